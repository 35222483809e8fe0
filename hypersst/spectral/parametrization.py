r"""A weight held as :math:`W = u^\top\operatorname{diag}(\Sigma)\,v`, for `torch.nn.utils.parametrize`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.sharding import put, whole
from hypersst.spectral.execution import EXECUTIONS, factors_win
from hypersst.spectral.factors import FACTORS
from hypersst.spectral.products import compose, factored_linear, recomputed_linear
from hypersst.spectral.singular_vectors import SingularVectors
from hypersst.spectral.storage import STORAGES
from hypersst.tracing import is_traced

__all__ = [
    "GRADIENTS",
    "VECTORS",
    "Spectral",
    "WeightParametrization",
]

GRADIENTS = ("enhanced", "plain")
VECTORS = ("sphere", "ambient", "stiefel", "polar")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got {value!r}.")


class WeightParametrization(nn.Module):
    """A parametrization of ours: `hypersst.merge` leaves the weight it makes as a plain parameter."""


# Note [column sizes]: the gradient of a weight is a sum of δxᵀ, so its columns are as unequal as the layer's inputs x.
# Element-wise Adam on W evens that out, since each entry has a second moment of its own. A singular value has one for
# uᵀGv, a sum over all columns in which the largest drown the others. So where the sizes s of the inputs are known, we
# hold W = uᵀ diag(Σ) v diag(1/s), and the factors see inputs of equal size. See docs/decisions.md for what it is worth.


class Spectral(SingularVectors, WeightParametrization):
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
    ``column_scale``             see ``column_sizes``, a buffer or ``None``                 ``(n,)``
    ============================ ========================================================== =================

    Parameter objects never change identity: draws and decompositions swap values in place, so optimizers, compiled
    graphs and wrappers keep working. `u` and `v` hold the active rows' values too, so composing copies nothing; but not
    if they are stored in another type than the active rows, which then replace theirs when they are read.

    `torch.distributed.fsdp.fully_shard` may shard all of these over axis 0, which keeps vectors whole: see
    Note [sharded factors] in singular_vectors.py.

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
        column_sizes: How large the numbers are that each column is multiplied by, relative to each other, positive and
            of shape ``(n,)``. The factors are then those of :math:`W\operatorname{diag}(s)`, see
            Note [column sizes]. Equal ones if left out.

    Raises:
        ValueError: If an option is none of those listed, ``column_sizes`` are not positive, or ``vectors="polar"``,
            which turns frozen rows in every step, meets compact storage.

    Source: Zhao, Zhang, Li, Liu, Cannistraci (2025), Sparse Spectral Training and Inference on Euclidean and
    Hyperbolic Neural Networks, sec. 3.
    """

    column_scale: Tensor | None

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
        column_sizes: Tensor | None = None,
    ) -> None:
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
        super().__init__(rank, vectors, storage)
        self.execution = execution
        self.gradient = gradient
        self.factors = factors
        self.recompute = recompute
        self.plain_linear = False
        self.weight_shape: tuple[int, ...] = ()
        if column_sizes is not None and not (column_sizes.dim() == 1 and bool((column_sizes > 0).all())):
            raise ValueError(f"`column_sizes` must be one positive number for each column, got {column_sizes}.")
        self.register_buffer("column_scale", None if column_sizes is None else column_sizes.detach().reciprocal())
        self._merged: tuple[object, Tensor] | None = None

    # -- what parametrize calls ------------------------------------------------------------------------------

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Take over ``weight``: factor it, fill the vectors and return the singular values, shape ``(k,)``.

        Raises:
            ValueError: If the weight has one dimension only or another shape than the one before it, ``rank`` is not
                between 1 and ``k``, or `truncate` left too few singular values for a whole weight.
            DecompositionError: If the weight is not finite.
        """
        scale = self.column_scale
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
        if scale is not None:
            if scale.numel() != matrix.shape[1]:
                raise ValueError(f"`column_sizes` must be {matrix.shape[1]}, one a column, got {scale.numel()}.")
            matrix = matrix / scale.to(matrix)
        u, sigma, v = FACTORS[self.factors](matrix, None)
        if not self.weight_shape:
            self.weight_shape = tuple(weight.shape)
            if scale is not None:
                self.column_scale = scale.to(matrix)
            self.register_buffer("index", torch.arange(self.rank, device=u.device))
            self._hold(u, v)
        else:
            self._load(u, v)
        return sigma

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
        if self.column_scale is not None:
            x = x * self.column_scale.to(x.dtype)
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
        if self.column_scale is not None:
            weight = weight * self.column_scale.to(dtype)
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
        """New factors, float64, of the matrix that ``u, sigma, v`` make; as many as there were."""
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

    def train(self, mode: bool = True) -> Spectral:
        """Switch the mode; training forgets the merged weight."""
        if mode:
            self._merged = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_merged": None}  # made again on demand

    def extra_repr(self) -> str:
        """Shape, rank and options, for ``print``."""
        m, n = self.shape
        options = (self.execution, self.gradient, self.vectors, *self._uncommon())
        return f"{m}x{n}, k={self.k}, rank={self.rank}, {', '.join(options)}"

    def _uncommon(self) -> list[str]:
        options = [self.factors] if self.factors != "svd" else []
        options += ["balanced"] if self.column_scale is not None else []
        options += ["recompute"] if self.recompute else []
        return options + ([self.storage] if self.storage != "float32" else [])
