"""Holding a module's weight by its singular values and vectors, in place."""

from __future__ import annotations

import sys
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hypersst.spectral.parametrization import Spectral
from hypersst.spectral.registration import register

__all__ = ["is_plain_linear", "spectral", "spectral_of"]


def spectral_of(module: nn.Module, name: str = "weight") -> Spectral | None:
    """Return the `Spectral` that holds ``module.name``, or ``None``."""
    if not parametrize.is_parametrized(module, name):
        return None
    first = module.parametrizations[name][0]  # type: ignore[index]
    return first if isinstance(first, Spectral) else None


def spectral(
    module: nn.Module,
    name: str = "weight",
    *,
    rank: int,
    execution: str = "auto",
    gradient: str = "enhanced",
    vectors: str = "sphere",
    factors: str = "svd",
    recompute: bool = False,
    storage: str = "float32",
    column_sizes: Tensor | None = None,
) -> nn.Module:
    r"""Hold ``module.name`` by its singular values and vectors, in place.

    The parameter object of the weight becomes that of the singular values; reading ``module.name`` gives the weight
    as before (but for random factors and compact storage). `torch.nn.utils.parametrize.remove_parametrizations` (or
    `hypersst.merge`) undoes it.

    Args:
        module: Owner of the weight.
        name: Name of a parameter of two or more dimensions.
        rank: Number of pairs of singular vectors that train at a time, between 1 and ``k = min(m, n)``.
        execution: See `Spectral`; ``"factored"`` needs an `nn.Linear` or PyG `Linear`.
        gradient: See `Spectral`.
        vectors: See `Spectral`.
        factors: See `Spectral`.
        recompute: See `Spectral`; needs an `nn.Linear` or PyG `Linear` too. Around any other module
            `torch.utils.checkpoint` does the same: it frees the composed weight with all that the module keeps.
        storage: See `Spectral`.
        column_sizes: See `Spectral`.

    Returns:
        ``module`` itself.

    Raises:
        ValueError: If ``name`` is no parameter of the module, is parametrized already or lazy, if ``rank`` is out of
            range, or ``execution="factored"`` or ``recompute`` is asked of a module that is no plain linear map.

    Example:
        >>> layer = spectral(torch.nn.Linear(4, 3), rank=2)
        >>> layer.parametrizations.weight.original.shape, layer.weight.shape
        (torch.Size([3]), torch.Size([3, 4]))
    """
    if parametrize.is_parametrized(module, name):
        raise ValueError(f"`name` must be a plain parameter, but {name!r} is parametrized already.")
    weight = module._parameters.get(name)
    if weight is None:
        known = ", ".join(n for n, p in module._parameters.items() if p is not None) or "none"
        raise ValueError(f"`name` must be a parameter of {type(module).__name__} ({known}), got {name!r}.")
    if isinstance(weight, nn.parameter.UninitializedParameter):
        raise ValueError(f"`name` must be initialised, but {name!r} is lazy: run the model on one batch first.")
    parametrization = Spectral(
        rank,
        execution=execution,
        gradient=gradient,
        vectors=vectors,
        factors=factors,
        recompute=recompute,
        storage=storage,
        column_sizes=column_sizes,
    )
    parametrization.plain_linear = name == "weight" and is_plain_linear(module)
    if execution == "factored" and not parametrization.plain_linear:
        raise ValueError(
            f"`execution` 'factored' needs a plain linear map, not {type(module).__name__}: use 'composed'."
        )
    if recompute and not parametrization.plain_linear:
        raise ValueError(
            f"`recompute` must be False for {type(module).__name__}, which is no plain linear map: use "
            f"`torch.utils.checkpoint` around it."
        )
    parametrization.train(module.training)
    requires_grad = weight.requires_grad
    register(module, name, parametrization)
    for parameter in (parametrization.u_active, parametrization.v_active):
        parameter.requires_grad_(requires_grad)
    if parametrization.plain_linear and (execution != "composed" or recompute):
        # parametrize gave this module a class of its own, so the method is this module's alone and goes with it.
        type(module).forward = _linear_forward
    return module


def is_plain_linear(module: nn.Module) -> bool:
    """Whether ``module(x)`` is exactly ``F.linear(x, module.weight, module.bias)``."""
    # Without PyG imported no module can be one of its, and importing it takes seconds.
    pyg = sys.modules.get("torch_geometric.nn.dense.linear")
    plain = [nn.Linear.forward] + ([pyg.Linear.forward] if pyg else [])
    return type(module).forward in plain


def _linear_forward(self: Any, x: Tensor) -> Tensor:
    chain = self.parametrizations._modules.get("weight")
    parametrization = None if chain is None or len(chain) > 1 else chain[0]
    # No `Spectral`: the weight was merged while another parametrization stays. A second one in the chain needs the
    # weight of the first. Inside `parametrize.cached` the weight is read as any layer reads it.
    if not isinstance(parametrization, Spectral) or (
        parametrize._cache_enabled and not parametrization.prefers_factors(x)
    ):
        return F.linear(x, self.weight, self.bias)
    return parametrization.linear(x, chain.original, self.bias)
