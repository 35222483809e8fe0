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

from hypersst.sharding import is_sharded
from hypersst.spectral.surgery import spectral_weights

__all__ = ["param_groups", "steps_by_row"]

_UNITS = ("optimizer", "radians", "elements")


def steps_by_row(
    optimizer: type | torch.optim.Optimizer, vectors: nn.Parameter, manifold: object | None = None
) -> bool:
    """Whether ``optimizer`` steps ``vectors`` along the sphere, row by row, and keeps them at unit length itself.

    Args:
        optimizer: An optimizer or its class.
        vectors: Active vectors.
        manifold: What their parameter group says of it, which `hypersst.optim` reads and geoopt's optimizers do not.
    """
    kind = optimizer if isinstance(optimizer, type) else type(optimizer)
    known = isinstance(vectors, geoopt.ManifoldParameter)
    told = manifold is not None and getattr(kind, "reads_manifold", False)
    return issubclass(kind, OptimMixin) and (known or told)


def _reading(optimizer: type | None, vectors: nn.Parameter, manifold: str | None) -> str:
    if optimizer is None:
        return "radians per step with geoopt's Adam, per element with element-wise optimizers"
    return "radians per step" if steps_by_row(optimizer, vectors, manifold) else "per element"


def _vector_lr(lr: float, unit: str, optimizer: type | None, vectors: nn.Parameter, manifold: str | None) -> float:
    if unit == "optimizer":
        return lr
    assert optimizer is not None
    by_row = steps_by_row(optimizer, vectors, manifold)
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
        sigma_lr: Learning rate of the singular values; ``lr`` if left out. Where rates fall, up to five times that has
            paid: Adam moves a dense weight further in a step than its singular values (docs/decisions.md).
        unit: How ``vector_lr`` reads. ``"optimizer"``: as the optimizer reads it. ``"radians"``: the angle by which an
            adaptive optimizer turns a row. ``"elements"``: the change of each entry. The latter two are converted for
            the optimizer at hand, in one group per length of row where needed.
        optimizer: Class of the optimizer; needed by the latter two units.

    Returns:
        Groups with ``params``, ``lr``, ``weight_decay``, ``role``, and for vectors ``reading``: how their rate is read.
        Sharding takes from parameters the class that says where they lie, so groups of sharded points name their
        ``manifold`` (where a module of `hypersst.nn` owns them), and those of sharded vectors ``"sphere"``, for the
        optimizers of `hypersst.optim`.

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
    places = {p: w.spectral for w in held for p in (w.spectral.u_active, w.spectral.v_active) if p.requires_grad}
    vectors = list(places)
    own = {id(p) for p in (*sigmas, *vectors)}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    homes = _homes(model)
    points = [p for p in rest if isinstance(p, geoopt.ManifoldParameter)]
    plain = [p for p in rest if not isinstance(p, geoopt.ManifoldParameter) and p not in homes]
    by_home: dict[int, list[nn.Parameter]] = {}
    for parameter in rest:
        if parameter in homes:
            by_home.setdefault(id(homes[parameter]), []).append(parameter)

    groups: list[dict[str, Any]] = [
        {"role": "weights", "params": [p for p in plain if p.dim() >= 2], "lr": lr, "weight_decay": weight_decay},
        {"role": "scalars", "params": [p for p in plain if p.dim() < 2], "lr": lr, "weight_decay": 0.0},
        {"role": "points", "params": points, "lr": lr, "weight_decay": 0.0},
        *(
            {"role": "points", "params": params, "lr": lr, "weight_decay": 0.0, "manifold": homes[params[0]]}
            for params in by_home.values()
        ),
        {"role": "sigma", "params": sigmas, "lr": lr if sigma_lr is None else sigma_lr, "weight_decay": weight_decay},
    ]
    by_rate: dict[tuple[float, str, str | None], list[nn.Parameter]] = {}
    for parameter, spectral in places.items():
        manifold = "sphere" if is_sharded(parameter) and spectral.on_sphere(parameter) else None
        rate = _vector_lr(lr if vector_lr is None else vector_lr, unit, optimizer, parameter, manifold)
        by_rate.setdefault((rate, _reading(optimizer, parameter, manifold), manifold), []).append(parameter)
    for (rate, reading, manifold), params in by_rate.items():
        group = {"role": "vectors", "params": params, "lr": rate, "weight_decay": 0.0, "reading": reading}
        groups.append(group | ({"manifold": manifold} if manifold else {}))
    return [group for group in groups if group["params"]]


def _homes(model: nn.Module) -> dict[nn.Parameter, object]:
    """Manifolds of sharded points, which have lost the class that says so, as the modules that own them remember."""
    homes = {}
    for module in model.modules():
        for name, manifold in getattr(module, "parameter_manifolds", {}).items():
            parameter = module._parameters.get(name)
            if parameter is not None and is_sharded(parameter):
                homes[parameter] = manifold
    return homes
