"""Singular vectors: which rows train, where the others are, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import geoopt
import torch
from torch import Tensor, nn

from hypersst.sharding import is_sharded, numbered_here, own, put, whole
from hypersst.spectral.decomposition import orthogonality_defect
from hypersst.spectral.retraction import normalize_, orthogonalize, polar
from hypersst.spectral.storage import encode, whole_rows
from hypersst.tracing import is_traced

__all__ = ["SingularVectors"]

# Note [sharded factors]: within a pass `fully_shard` puts whole parameters in the places of the shards, and memory that
# it frees afterwards. What is written then is lost, and neither versions nor addresses say anything of the values. So
# a pass writes nothing back and remembers nothing; the sampler writes back after each step, when the shards are in
# place. There every process has to call alike, since rows are gathered from all.


class SingularVectors(nn.Module):
    """Holds the left and right singular vectors of a weight of shape ``(m, n)`` as rows, ``rank`` of which train.

    Base of `Spectral`, which says what the parameters are and what the options mean. The rows may be in compact storage
    and in shards; who reads `rows` gets all of them as they are now, and what is written goes through the methods here.

    Args:
        rank: Number ``r`` of rows that train at a time.
        vectors: How these are stepped.
        storage: Type of the frozen rows.
    """

    u: nn.Parameter | None
    v: nn.Parameter | None
    u_scale: nn.Parameter | None
    v_scale: nn.Parameter | None
    u_active: nn.Parameter
    v_active: nn.Parameter
    index: Tensor

    def __init__(self, rank: int, vectors: str, storage: str) -> None:
        super().__init__()
        self.rank = rank
        self.vectors = vectors
        self.storage = storage
        #: ``(m, n)`` of the weight as a matrix.
        self.shape = (0, 0)
        #: Number of singular values held.
        self.k = 0
        self._synced: tuple[int, int] | None = None
        self._sampled = False  # whether a sampler has written shards back
        self._here: tuple[tuple[int, int], tuple[Tensor, Tensor]] | None = None

    @property
    def rows(self) -> tuple[Tensor, Tensor]:
        """All vectors as rows, shapes ``(k, m)`` and ``(k, n)``: the parameters, or copies if compact or sharded."""
        return self._rows("u"), self._rows("v")

    def _rows(self, name: str) -> Tensor:
        held, scale, active = (self._parameters[place] for place in (name, f"{name}_scale", f"{name}_active"))
        assert active is not None
        if held is None:
            return whole(active)
        if self._holds_active:
            return whole(held)
        with torch.no_grad():
            scales = None if scale is None else whole(scale)
            return whole_rows(whole(held), scales, whole(active), self.index, active.dtype)

    @property
    def _holds_active(self) -> bool:
        """Whether ``u`` and ``v`` are the place of the active rows too, once these are written back."""
        return self.u is not None and self.u.dtype == self.u_active.dtype

    @property
    def _in_shards(self) -> bool:
        """Whether `fully_shard` swaps the parameters for whole ones in a pass, see Note [sharded factors]."""
        return "_is_fsdp_managed_module" in self.__dict__ or self._sampled

    def _hold(self, u: Tensor, v: Tensor) -> None:
        """Make the parameters for all vectors ``u, v``; where every one is active they are held once."""
        self.k, self.shape = u.shape[0], (u.shape[1], v.shape[1])
        for name, rows in (("u", u), ("v", v)):
            held, scale = (None, None) if self.rank == self.k else encode(rows, self.storage)
            for place, tensor in ((name, held), (f"{name}_scale", scale)):
                self.register_parameter(place, None if tensor is None else nn.Parameter(tensor, requires_grad=False))
        self.u_active = self._active(u[: self.rank])
        self.v_active = self._active(v[: self.rank])

    def on_sphere(self, rows: Tensor) -> bool:
        """Whether active rows of shape ``(r, n)`` are to be stepped along the sphere by optimizers that can."""
        return self.vectors == "sphere" and rows.shape[1] > 1  # in one dimension it is two points

    def _active(self, rows: Tensor) -> nn.Parameter:
        if not self.on_sphere(rows):
            return nn.Parameter(rows.clone())
        return geoopt.ManifoldParameter(rows.clone(), manifold=geoopt.Sphere())

    def _sync(self) -> None:
        """Write the active rows back if anybody moved them: a step without a sampler is not lost."""
        if is_traced(self.u_active):
            return  # the sampler writes back after each step
        if self._in_shards:
            if is_sharded(self.u_active):
                self.write_back()
            else:
                self._check_pass()
        elif self._synced != (self.u_active._version, self.v_active._version):
            self.write_back()

    def _check_pass(self) -> None:
        """Refuse what would go wrong in silence in a pass of sharded factors, see Note [sharded factors]."""
        if self.u is None:
            return
        if self.storage != "float32" and self._holds_active:
            raise RuntimeError(
                f"`storage` must be float32 where `fully_shard` casts parameters, got {self.storage!r}: use autocast "
                f"instead of `mp_policy`."
            )
        if torch.is_grad_enabled() and self.u_active.requires_grad and not self._sampled:
            raise RuntimeError(
                "Sharded singular vectors must be trained with `hypersst.SSTSampler`, which writes them back after "
                "each step: build it after `fully_shard` and before the first pass."
            )

    def _check_shards(self) -> None:
        """Refuse to write where it would be lost, see Note [sharded factors]."""
        if self._in_shards and not is_sharded(self.u_active):
            raise RuntimeError(
                "Sharded singular vectors must be in shards to be written, but a pass has left them whole: call "
                "`reshard()` of the module that `fully_shard` was called with."
            )

    def numbered_here(self) -> Tensor:
        """Numbers that active rows have within this process's part of ``u`` and ``v``, and of the singular values."""
        return self.index if self.u is None or not is_sharded(self.u) else self._active_here(self.u)[0]

    def _active_here(self, held: Tensor) -> tuple[Tensor, Tensor]:
        """Which active rows are in this process, see `hypersst.sharding.numbered_here`."""
        draw = (id(self.index), self.index._version)
        if self._here is None or self._here[0] != draw:  # asked in every step, and new with each draw
            self._here = (draw, numbered_here(self.index, held))
        return self._here[1]

    @torch.no_grad()
    def write_back(self, *, normalize: bool = False) -> None:
        """Copy the active rows into ``u`` and ``v``, after making them unit or orthonormal if asked to.

        Compact storage gets them when a draw releases them.
        """
        u_active, v_active, index = self.u_active, self.v_active, self.index
        self._check_shards()
        sharded = is_sharded(u_active)
        if normalize and self.vectors == "stiefel":
            for active, rows in zip((u_active, v_active), self.rows, strict=True):
                fixed = None if self.u is None else rows.index_fill(0, index, 0.0)
                put(active, orthogonalize(whole(active), fixed))
        elif normalize and self.vectors != "polar":
            for rows in (u_active, v_active):
                normalize_(own(rows) if sharded else rows)
        if self.u is not None and self.v is not None and self._holds_active:
            for held, rows in ((self.u, u_active), (self.v, v_active)):
                self._put_rows(held, rows) if sharded else held.index_copy_(0, index, rows)
        if normalize and self.vectors == "polar":
            u, v = self.rows
            self._load(polar(u), polar(v))
        self._synced = (u_active._version, v_active._version)
        if sharded:
            self._sampled = True

    def _put_rows(self, held: Tensor, rows: Tensor) -> None:
        """Overwrite the rows of ``held`` that are active."""
        if not is_sharded(held):
            held.index_copy_(0, self.index, rows)
            return
        here, places = self._active_here(held)
        own(held).index_copy_(0, here, whole(rows)[places])

    @torch.no_grad()
    def activate(self, index: Tensor) -> None:
        """Make the rows ``index``, distinct and of shape ``(r,)``, the active ones; no change where all are."""
        if self.rank == self.k:
            return
        self._check_shards()
        self._sync()
        rows = self.rows
        if not self._holds_active:
            self._store("u", whole(self.u_active), drawn=True)
            self._store("v", whole(self.v_active), drawn=True)
        self.index.copy_(index)
        self._read_active(*rows)

    @torch.no_grad()
    def _load(self, u: Tensor, v: Tensor) -> None:
        """Take over all vectors and read the active ones from them."""
        for name, held, new in (("u", self.u, u), ("v", self.v, v)):
            if held is not None and not self._holds_active:
                self._store(name, new)
            elif held is not None:
                put(held, new)
        self._read_active(u, v)

    def _store(self, name: str, rows: Tensor, *, drawn: bool = False) -> None:
        """Round rows into the compact storage of all, or of those that are drawn."""
        for place, new in zip((name, f"{name}_scale"), encode(rows, self.storage), strict=True):
            held = self._parameters[place]
            if held is not None and new is not None:
                new = new.to(held.dtype)
                self._put_rows(held, new) if drawn else put(held, new)

    def _read_active(self, u: Tensor, v: Tensor) -> None:
        for active, rows in ((self.u_active, u), (self.v_active, v)):
            if active is not rows:
                put(active, rows[self.index])
        self._synced = (self.u_active._version, self.v_active._version)

    @torch.no_grad()
    def defect(self) -> tuple[float, float]:
        """`orthogonality_defect` of ``u`` and of ``v``."""
        self._sync()
        u, v = self.rows
        return orthogonality_defect(u).item(), orthogonality_defect(v).item()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SingularVectors:
        """Move or cast, but leave the type of compact rows and of scales as it is."""
        compact = () if self.storage == "float32" else (self.u, self.v, self.u_scale, self.v_scale)

        def keep_type(tensor: Tensor) -> Tensor:
            new = fn(tensor)
            if new.dtype == tensor.dtype or not any(tensor is one for one in compact):
                return new
            return tensor.to(new.device)  # not through the other type, which may hold fewer digits

        super()._apply(keep_type, recurse)
        if self.storage != "float32" and self._holds_active:
            self.write_back()  # the active rows have the type of the frozen ones now
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Version counters belong to this very tensor.
        return {**self.__dict__, "_synced": None, "_here": None}
