r"""A weight held as :math:`W = u^\top\operatorname{diag}(\Sigma)\,v`, for `torch.nn.utils.parametrize`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import geoopt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.sharding import is_sharded, numbered_here, own, put, whole
from hypersst.spectral.decomposition import orthogonality_defect
from hypersst.spectral.execution import EXECUTIONS, factors_win
from hypersst.spectral.factors import FACTORS
from hypersst.spectral.products import compose, factored_linear, recomputed_linear
from hypersst.spectral.retraction import normalize_, orthogonalize, polar
from hypersst.spectral.storage import STORAGES, encode, whole_rows
from hypersst.tracing import is_traced

__all__ = [
    "GRADIENTS",
    "VECTORS",
    "Spectral",
    "WeightParametrization",
]

# Note [sharded factors]: within a pass `fully_shard` puts whole parameters in the places of the shards, and memory that
# it frees afterwards. What is written then is lost, and neither versions nor addresses say anything of the values. So
# a pass writes nothing back and remembers nothing; the sampler writes back after each step, when the shards are in
# place. There every process has to call alike, since rows are gathered from all.

GRADIENTS = ("enhanced", "plain")
VECTORS = ("sphere", "ambient", "stiefel", "polar")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got {value!r}.")


class WeightParametrization(nn.Module):
    """A parametrization of ours: `hypersst.merge` leaves the weight it makes as a plain parameter."""


class Spectral(WeightParametrization):
    r"""Holds a weight of shape ``(m, n)`` by all its singular values and vectors, of which ``rank`` pairs train.

    With ``k = min(m, n)``, and weights of more dimensions flattened to ``(m, -1)``:

    ============================ ========================================================== =================
    name                         what                                                       shape
    ============================ ========================================================== =================
    ``original`` (of the list)   all singular values, trained every step                    ``(k,)``
    ``u_active``, ``v_active``   the sampled pairs, one vector per row, unit length         ``(r, m)``, ``(r, n)``
    ``u``, ``v``                 all vectors as rows, frozen; ``None`` if all are active    ``(k, m)``, ``(k, n)``
    ``u_scale``, ``v_scale``     scales of ``u`` and ``v`` stored as int8, else ``None``    ``(k, ⌈m/128⌉)``, …
    ``index``                    which rows are active, a buffer                            ``(r,)``
    ============================ ========================================================== =================

    Parameter objects never change identity: draws and decompositions swap values in place, so optimizers, compiled
    graphs and wrappers keep working. `u` and `v` hold the active rows' values too, so composing copies nothing; but not
    if they are stored in another type than the active rows, which then replace theirs when they are read.

    `torch.distributed.fsdp.fully_shard` may shard all of these over axis 0, which keeps vectors whole: see
    Note [sharded factors].

    Register it with `spectral`, as `torch.nn.utils.parametrizations.orthogonal` is registered, and draw and
    decompose with `hypersst.SSTSampler`.

    Args:
        rank: Number ``r`` of pairs that train at a time, between 1 and ``k``.
        execution: ``"composed"`` builds the weight; ``"factored"`` multiplies by the factors, for `nn.Linear` and
            PyG's `Linear` only; ``"auto"`` takes the faster one for the shape at hand.
        gradient: ``"enhanced"`` (of unit scale) or ``"plain"`` (times the singular value) for the vectors.
        vectors: ``"sphere"`` makes the active rows `geoopt.ManifoldParameter` on `geoopt.Sphere`, so that geoopt's
            optimizers step along the sphere, by row; ``"ambient"`` makes them plain parameters, stepped
            element by element by any optimizer and normalised by the sampler (the paper's procedure); ``"stiefel"``
            likewise, but made orthonormal to each other and to the frozen rows, which stay; ``"polar"`` likewise, but
            turning the frozen rows too. See `hypersst.spectral.retraction`.
        factors: ``"svd"`` decomposes the weight; ``"random"`` draws vectors, which moves it, see
            `hypersst.spectral.factors`. The first ones are drawn from torch's global generator.
        recompute: In plain linear maps, keep nothing but the input between the forward and the backward pass: neither
            the composed weight nor, factored, the product with ``v``. A weight that `parametrize.cached` holds is kept.
            Under `torch.compile` it is the compiler that decides what to keep.
        storage: Type of ``u`` and ``v``: ``"float32"`` stands for the type of the weight; ``"bfloat16"`` and ``"int8"``
            hold frozen rows in two bytes and one, the active ones as ever. The weight then moves wherever rows are
            rounded: now, at draws (by the rows that are released) and at decompositions; see
            `hypersst.spectral.storage` and docs/memory.md. Casts of the module leave this type as it is. A checkpoint
            is to be loaded after the sampler was built, which draws and so rounds what was active.

    Raises:
        ValueError: If an option is none of those listed, or ``vectors="polar"``, which turns frozen rows in every step,
            meets compact storage.

    Source: Zhao, Zhang, Li, Liu, Cannistraci (2025), Sparse Spectral Training and Inference on Euclidean and
    Hyperbolic Neural Networks, sec. 3.
    """

    u: nn.Parameter | None
    v: nn.Parameter | None
    u_scale: nn.Parameter | None
    v_scale: nn.Parameter | None
    u_active: nn.Parameter
    v_active: nn.Parameter
    index: Tensor

    def __init__(
        self,
        rank: int,
        *,
        execution: str = "auto",
        gradient: str = "enhanced",
        vectors: str = "sphere",
        factors: str = "svd",
        recompute: bool = False,
        storage: str = "float32",
    ) -> None:
        super().__init__()
        _check_choice("execution", execution, EXECUTIONS)
        _check_choice("gradient", gradient, GRADIENTS)
        _check_choice("vectors", vectors, VECTORS)
        _check_choice("factors", factors, tuple(FACTORS))
        _check_choice("storage", storage, STORAGES)
        if vectors == "polar" and storage != "float32":
            raise ValueError(
                f"`storage` must be float32 with `vectors` 'polar', which turns frozen rows in every step by less than "
                f"rounding, got {storage!r}: use 'stiefel', or float32."
            )
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise ValueError(f"`rank` must be an integer of at least 1, got {rank!r}.")
        self.rank = rank
        self.execution = execution
        self.gradient = gradient
        self.vectors = vectors
        self.factors = factors
        self.recompute = recompute
        self.storage = storage
        self.plain_linear = False
        self.weight_shape: tuple[int, ...] = ()
        #: ``(m, n)`` of the weight as a matrix.
        self.shape = (0, 0)
        #: Number of singular values held.
        self.k = 0
        self._synced: tuple[int, int] | None = None
        self._sampled = False  # whether a sampler has written shards back
        self._here: tuple[tuple[int, int], tuple[Tensor, Tensor]] | None = None
        self._merged: tuple[object, Tensor] | None = None

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

    # -- what parametrize calls ------------------------------------------------------------------------------

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Take over ``weight``: factor it, fill the vectors and return the singular values, shape ``(k,)``.

        Raises:
            ValueError: If the weight has one dimension only or another shape than the one before it, ``rank`` is not
                between 1 and ``k``, or `truncate` left too few singular values for a whole weight.
            DecompositionError: If the weight is not finite.
        """
        if weight.dim() < 2:
            raise ValueError(f"`weight` must have at least two dimensions, got shape {tuple(weight.shape)}.")
        if self.weight_shape and weight.shape != self.weight_shape:
            raise ValueError(f"`weight` must have shape {self.weight_shape}, got {tuple(weight.shape)}.")
        matrix = weight.detach().flatten(1)
        limit = min(matrix.shape)
        if self.weight_shape and self.k < limit:
            raise ValueError(f"`weight` holds {self.k} of {limit} singular values, too few for another: `merge` first.")
        if self.rank > limit:
            raise ValueError(f"`rank` must be between 1 and min{tuple(matrix.shape)} = {limit}, got {self.rank}.")
        u, sigma, v = FACTORS[self.factors](matrix, None)
        if not self.weight_shape:
            self.weight_shape = tuple(weight.shape)
            self.register_buffer("index", torch.arange(self.rank, device=u.device))
            self._hold(u, v)
        else:
            self._load(u, v)
        return sigma

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

    def forward(self, sigma: Tensor) -> Tensor:
        """Return the weight, of its original shape, for singular values ``sigma`` of shape ``(k,)``."""
        dtype = self._compute_dtype(sigma)
        if self.training or torch.is_grad_enabled() or is_traced(sigma) or self._in_shards:
            return self._compose(sigma, dtype)
        # Evaluation asks for the same weight again and again.
        self._sync()
        tensors = (sigma, *self._parameters.values(), self.index)
        key = (dtype, *((t._version, t.data_ptr(), t.dtype, t.device) for t in tensors if t is not None))
        if self._merged is None or self._merged[0] != key:
            self._merged = (key, self._compose(sigma, dtype))
        return self._merged[1]

    def linear(self, x: Tensor, sigma: Tensor, bias: Tensor | None) -> Tensor:
        """Apply the weight as a linear map to rows ``x`` of shape ``(*, n)``, by the execution that is preferred."""
        factored = self.prefers_factors(x)
        if not factored and not (self.recompute and (self.training or torch.is_grad_enabled())):
            # Half the cost of reading the weight through two modules, which a small layer feels.
            return F.linear(x, self.forward(sigma), bias)
        self._sync()
        how: dict[str, Any] = {"enhanced": self.gradient == "enhanced", "dtype": self._compute_dtype(sigma)}
        if factored:
            y = factored_linear(x, sigma, *self._factors(), scales=self._scales(), **how, recompute=self.recompute)
        else:
            y = recomputed_linear(x, sigma, *self._factors(), scales=self._scales(), **how)
        return y if bias is None else y + bias.to(y.dtype)

    # -- executions ------------------------------------------------------------------------------------------

    def prefers_factors(self, x: Tensor) -> bool:
        """Whether ``execution`` asks for `linear`, and not for the weight, on rows ``x`` of shape ``(*, n)``."""
        if self.execution != "auto":
            return self.execution == "factored"
        (m, n), k = self.shape, self.k
        if k * (m + n) < m * n:  # a truncated weight: two thin products beat one with the whole
            return True
        if not (self.training or torch.is_grad_enabled()):
            return False  # the merged weight is cached
        return factors_win(self.shape, k, self.rank, x.numel() // max(n, 1), recompute=self.recompute)

    def _compose(self, sigma: Tensor, dtype: torch.dtype) -> Tensor:
        self._sync()
        weight = compose(
            sigma, *self._factors(), scales=self._scales(), enhanced=self.gradient == "enhanced", dtype=dtype
        )
        return weight if len(self.weight_shape) == 2 else weight.view(self.weight_shape)

    def _factors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        u_active, v_active = self.u_active, self.v_active
        u, v = self.u, self.v
        if u is None or v is None:
            # Detached, because Dynamo does not trace a function that gets one tensor twice.
            return u_active, v_active, u_active.detach(), v_active.detach(), self.index
        return u_active, v_active, u, v, self.index

    def _scales(self) -> tuple[Tensor | None, Tensor | None]:
        return self.u_scale, self.v_scale

    @staticmethod
    def _compute_dtype(sigma: Tensor) -> torch.dtype:
        kind = sigma.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else sigma.dtype

    # -- what the sampler calls ------------------------------------------------------------------------------

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
    def redecompose(self, sigma: Tensor, generator: torch.Generator | None = None) -> None:
        """Factor the present weight again and take over the result, ``sigma`` included.

        The weight stays, unless the factors are random, which ``generator`` is the source of.

        Raises:
            DecompositionError: If that fails; nothing has changed then.
        """
        self.take_over(sigma, *self.refactored(*self.gathered(sigma), generator))

    @torch.no_grad()
    def gathered(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(u, sigma, v)`` as they are now, all rows of them."""
        self._sync()
        u, v = self.rows
        return u, whole(sigma), v

    @torch.no_grad()
    def refactored(
        self, u: Tensor, sigma: Tensor, v: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New factors, float64, of the weight that ``u, sigma, v`` make; as many as there were."""
        # In float64, so that the weight moves by the rounding of its new factors only.
        weight = (u.double() * sigma.double()[:, None]).t() @ v.double()
        new_u, new_sigma, new_v = FACTORS[self.factors](weight, generator)
        return new_u[: self.k], new_sigma[: self.k], new_v[: self.k]  # a truncated weight has no more than that

    @torch.no_grad()
    def take_over(self, sigma: Tensor, u: Tensor, s: Tensor, v: Tensor) -> None:
        """Take over factors of the weight, and write their singular values into ``sigma``."""
        self._check_shards()
        put(sigma, s)
        self._load(u, v)

    @torch.no_grad()
    def keep(self, count: int, sigma: Tensor) -> None:
        """Drop all but the first ``count`` singular values and vectors, ``sigma`` included, and make all active."""
        u, v = (rows.detach()[:count].as_subclass(Tensor) for rows in self.rows)
        self.rank = count
        self.index = torch.arange(count, device=u.device)
        self._hold(u, v)
        sigma.set_(sigma[:count].clone())  # type: ignore[call-overload]
        self._synced, self._merged = None, None

    # -- telemetry -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def defect(self) -> tuple[float, float]:
        """`orthogonality_defect` of ``u`` and of ``v``."""
        self._sync()
        u, v = self.rows
        return orthogonality_defect(u).item(), orthogonality_defect(v).item()

    def train(self, mode: bool = True) -> Spectral:
        """Switch the mode; training forgets the merged weight."""
        if mode:
            self._merged = None
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Spectral:
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
        # The merged weight is made again on demand, and version counters belong to this very tensor.
        return {**self.__dict__, "_merged": None, "_synced": None, "_here": None}

    def extra_repr(self) -> str:
        """Shape, rank and options, for ``print``."""
        m, n = self.shape
        options = (self.execution, self.gradient, self.vectors, *self._uncommon())
        return f"{m}x{n}, k={self.k}, rank={self.rank}, {', '.join(options)}"

    def _uncommon(self) -> list[str]:
        options = [self.factors] if self.factors != "svd" else []
        options += ["recompute"] if self.recompute else []
        return options + ([self.storage] if self.storage != "float32" else [])
