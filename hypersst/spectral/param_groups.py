r"""Parameter groups for a spectral model: which numbers decay, and what a learning rate of a vector means.

Decoupled decay of :math:`W = \sum_i\Sigma_i u_i v_i^\top` is exactly decay of :math:`\Sigma`, so that is where a
layer's weight decay goes; on vectors of unit length it would mean nothing.

# Note [what a learning rate of a vector means]
Riemannian Adam keeps one second moment per *row*, so on the sphere its learning rate is an angle: ``lr`` radians per
step. Element-wise Adam moves every entry by about ``lr``, hence a row of length ``n`` by about ``lr·√n``: on Cora's
1,433 columns 0.02 is 0.02 rad by the first reading and 0.76 rad by the second.
"""

from __future__ import annotations

import math
from typing import Any

import geoopt
import torch
from geoopt.optim.mixin import OptimMixin
from torch import nn

from hypersst.spectral.surgery import spectral_weights

__all__ = ["param_groups", "steps_by_row"]

_UNITS = ("optimizer", "radians", "elements")


def steps_by_row(optimizer: type | torch.optim.Optimizer, vectors: nn.Parameter) -> bool:
    """Whether ``optimizer`` steps ``vectors`` along the sphere, row by row, and keeps them at unit length itself."""
    kind = optimizer if isinstance(optimizer, type) else type(optimizer)
    return issubclass(kind, OptimMixin) and isinstance(vectors, geoopt.ManifoldParameter)


def _reading(optimizer: type | None, vectors: nn.Parameter) -> str:
    if optimizer is None:
        return "radians per step with geoopt's Adam, per element with element-wise optimizers"
    return "radians per step" if steps_by_row(optimizer, vectors) else "per element"


def _vector_lr(lr: float, unit: str, optimizer: type | None, vectors: nn.Parameter) -> float:
    if unit == "optimizer":
        return lr
    assert optimizer is not None
    by_row = steps_by_row(optimizer, vectors)
    root = math.sqrt(vectors.shape[1])
    if unit == "radians":
        return lr if by_row else lr / root
    return lr * root if by_row else lr


def param_groups(
    model: nn.Module,
    lr: float,
    *,
    weight_decay: float = 0.0,
    vector_lr: float | None = None,
    sigma_lr: float | None = None,
    unit: str = "optimizer",
    optimizer: type[torch.optim.Optimizer] | None = None,
) -> list[dict[str, Any]]:
    """Split the trainable parameters of ``model`` into groups for any optimizer.

    ============ ================================================================== ================
    ``role``     what                                                               weight decay
    ============ ================================================================== ================
    weights      plain parameters of two or more dimensions                         ``weight_decay``
    scalars      plain parameters of fewer: biases, scales, curvatures              0
    points       parameters on a geoopt manifold, such as class prototypes          0
    sigma        singular values                                                    ``weight_decay``
    vectors      active singular vectors                                            0
    ============ ================================================================== ================

    Args:
        model: A model, spectral in some of its weights.
        lr: Learning rate of all but the vectors.
        weight_decay: Give it to an optimizer with *decoupled* decay: L2 in the gradient of an adaptive optimizer is
            another thing, and with the same number trains to another result.
        vector_lr: Learning rate of the vectors, in ``unit``; ``lr`` if left out.
        sigma_lr: Learning rate of the singular values; ``lr`` if left out.
        unit: How ``vector_lr`` reads. ``"optimizer"``: as the optimizer reads it. ``"radians"``: the angle by which an
            adaptive optimizer turns a row. ``"elements"``: the change of each entry. The latter two are converted for
            the optimizer at hand, in one group per length of row where needed.
        optimizer: Class of the optimizer; needed by the latter two units.

    Returns:
        Groups with ``params``, ``lr``, ``weight_decay``, ``role``, and for vectors ``reading``: how their rate is read.

    Raises:
        ValueError: If ``unit`` is unknown or lacks its ``optimizer``, or a rate or decay is negative.

    Example:
        >>> import hypersst
        >>> model = nn.Sequential(nn.Linear(8, 4))
        >>> report = hypersst.spectralize(model, rank=1)
        >>> [group["role"] for group in hypersst.param_groups(model, lr=1e-2)]
        ['scalars', 'sigma', 'vectors']
    """
    if unit not in _UNITS:
        raise ValueError(f"`unit` must be one of {', '.join(_UNITS)}, got {unit!r}.")
    if unit != "optimizer" and optimizer is None:
        raise ValueError(f"`unit` {unit!r} is converted for one kind of optimizer: give its class as `optimizer`.")
    rates = {"lr": lr, "weight_decay": weight_decay, "vector_lr": vector_lr, "sigma_lr": sigma_lr}
    for name, value in rates.items():
        if value is not None and not value >= 0:
            raise ValueError(f"`{name}` must not be negative, got {value}.")

    held = spectral_weights(model)
    sigmas = [w.sigma for w in held if w.sigma.requires_grad]
    vectors = [p for w in held for p in (w.spectral.u_active, w.spectral.v_active) if p.requires_grad]
    own = {id(p) for p in (*sigmas, *vectors)}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    points = [p for p in rest if isinstance(p, geoopt.ManifoldParameter)]
    plain = [p for p in rest if not isinstance(p, geoopt.ManifoldParameter)]

    groups: list[dict[str, Any]] = [
        {"role": "weights", "params": [p for p in plain if p.dim() >= 2], "lr": lr, "weight_decay": weight_decay},
        {"role": "scalars", "params": [p for p in plain if p.dim() < 2], "lr": lr, "weight_decay": 0.0},
        {"role": "points", "params": points, "lr": lr, "weight_decay": 0.0},
        {"role": "sigma", "params": sigmas, "lr": lr if sigma_lr is None else sigma_lr, "weight_decay": weight_decay},
    ]
    by_rate: dict[tuple[float, str], list[nn.Parameter]] = {}
    for parameter in vectors:
        rate = _vector_lr(lr if vector_lr is None else vector_lr, unit, optimizer, parameter)
        by_rate.setdefault((rate, _reading(optimizer, parameter)), []).append(parameter)
    for (rate, reading), params in by_rate.items():
        groups.append({"role": "vectors", "params": params, "lr": rate, "weight_decay": 0.0, "reading": reading})
    return [group for group in groups if group["params"]]
