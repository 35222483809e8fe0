"""Turn weights of any model into spectral ones, back into plain ones, or cut them to low rank."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hypersst.sharding import is_sharded
from hypersst.spectral.config import Rank, SSTConfig, check_rank, resolve_rank
from hypersst.spectral.decomposition import decompose
from hypersst.spectral.parametrization import Spectral, WeightParametrization
from hypersst.spectral.report import LayerReport, SpectralReport
from hypersst.spectral.spectral_weight import is_plain_linear, spectral, spectral_of
from hypersst.spectral.targets import (
    ALL_LINEAR,
    Patterns,
    Target,
    check_targets,
    find_targets,
    matches,
    plain_targets,
    selects,
)

__all__ = [
    "SpectralWeight",
    "Truncation",
    "merge",
    "parametrized_weights",
    "report",
    "spectral_weights",
    "spectralize",
    "truncate",
]

logger = logging.getLogger("hypersst")


@dataclass(frozen=True)
class SpectralWeight:
    """A spectral weight of a model: its name, owner, the parameter's name there, and the parametrization."""

    name: str
    module: nn.Module
    tensor: str
    spectral: Spectral

    @property
    def sigma(self) -> nn.Parameter:
        """All singular values, shape ``(k,)``."""
        original: nn.Parameter = self.module.parametrizations[self.tensor].original  # type: ignore[index,union-attr]
        return original


def parametrized_weights(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Module]]:
    """Name, owner, parameter's name and first parametrization of every parametrized parameter of ``model``."""
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for tensor, chain in module.parametrizations.items():
                yield f"{name}.{tensor}" if name else tensor, module, tensor, chain[0]


def spectral_weights(model: nn.Module) -> list[SpectralWeight]:
    """List the spectral weights of ``model``, in the order of ``named_modules()``; empty if there are none."""
    return [
        SpectralWeight(name, module, tensor, first)
        for name, module, tensor, first in parametrized_weights(model)
        if isinstance(first, Spectral)
    ]


def spectralize(
    model: nn.Module,
    config: SSTConfig | None = None,
    /,
    *,
    rank: Rank | None = None,
    **options: object,
) -> SpectralReport:
    """Hold the weights of ``model`` by their singular values and vectors, in place; the outputs stay the same.

    With ``factors="random"``, an ablation, they do not, see `hypersst.spectral.factors`; nor do they quite with compact
    ``storage``, see `hypersst.spectral.storage`.

    Args:
        model: Any module, of any geometry.
        config: All settings in one object; or leave it out and give them by keyword.
        rank: Pairs of singular vectors that train at a time: an integer, or a share of ``min(m, n)`` in (0, 1]. Where
            it leaves no vector frozen the weight is trained fully, and the report says so.
        **options: The other fields of `SSTConfig`: ``include, exclude, rank_pattern, execution, gradient, vectors,
            factors, recompute, storage, balanced``.

    Returns:
        A printable report: shape, rank, numbers and predicted memory, beside full-rank training, LoRA and GaLore.

    Raises:
        ValueError: If the model is sharded, a rank is below 1 or not a fraction in (0, 1], if the selection is empty,
            tied, lazy or spectral already, a pattern of ``rank_pattern`` matches none of it, a weight has non-finite
            entries, or ``recompute`` is asked of a layer that is no plain linear map. The model is unchanged then.
        TypeError: If both ``config`` and keywords are given, neither is, or a keyword is unknown.

    Example:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        >>> print(spectralize(model, rank=2).trainable)
        120
    """
    if (config is None) == (rank is None):
        raise TypeError("`spectralize` takes either a `config` or a `rank` with further keywords.")
    if config is None:
        assert rank is not None
        config = SSTConfig(rank=rank, **options)  # type: ignore[arg-type]
    elif options:
        raise TypeError(f"`config` already holds the settings, so {', '.join(options)} cannot be given beside it.")
    targets = find_targets(model, config.include, config.exclude)
    for target in targets:
        if not torch.isfinite(target.weight).all():
            raise ValueError(f"`model` must have finite weights, but {target.weight_name!r} has a NaN or an infinity.")
    if config.recompute:
        _refuse_to_recompute([t.weight_name for t in targets if not _is_plain(t)])
    for pattern in config.rank_pattern:
        if not any(matches(pattern, target) for target in targets):
            names = ", ".join(target.weight_name for target in targets[:4])
            raise ValueError(f"`rank_pattern` must match selected weights, but {pattern!r} matches none: {names}.")
    for target in targets:
        limit = min(target.weight.flatten(1).shape)
        execution = config.execution
        if execution == "factored" and not _is_plain(target):
            execution = "composed"
        spectral(
            target.module,
            target.tensor,
            rank=resolve_rank(config.rank_for(target), limit),
            execution=execution,
            gradient=config.gradient,
            vectors=config.vectors,
            factors=config.factors,
            recompute=config.recompute,
            storage=config.storage,
            column_sizes=_column_sizes(target) if config.balanced else None,
        )
    result = report(model)
    full = [layer.name for layer in result.layers if layer.note]
    if full:
        logger.info("rank leaves no vector frozen, so these train fully: %s", ", ".join(full))
    return result


def _refuse_sharded(verb: str, model: nn.Module) -> None:
    if any(map(is_sharded, model.parameters())):
        raise ValueError(
            f"`model` must not be sharded: `{verb}` before `fully_shard`, or a model that has loaded the whole state."
        )


def _column_sizes(target: Target) -> Tensor | None:
    """What the module says of the numbers that the columns of its weight are multiplied by."""
    return getattr(target.module, "column_sizes", None) if target.tensor == "weight" else None


def _is_plain(target: Target) -> bool:
    return target.tensor == "weight" and is_plain_linear(target.module)


def _refuse_to_recompute(names: list[str]) -> None:
    if names:
        raise ValueError(
            f"`recompute` must be False for layers that are no plain linear maps, such as {', '.join(names[:4])}: "
            f"`include` the others alone, `spectralize` these in a second call without it, and use "
            f"`torch.utils.checkpoint` around them, which frees their weights too."
        )


def report(model: nn.Module) -> SpectralReport:
    """Report on the spectral weights that ``model`` has now."""
    layers: list[LayerReport] = []
    own: set[int] = set()
    for weight in spectral_weights(model):
        p = weight.spectral
        own.update(id(t) for t in (weight.sigma, p.u_active, p.v_active))
        layers.append(LayerReport(weight.name, p.shape, p.rank, p.k, weight.sigma.element_size(), p.storage))
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    return SpectralReport(
        layers=tuple(layers),
        other=sum(p.numel() for p in rest),
        other_bytes=sum(p.numel() * p.element_size() for p in rest),
    )


def merge(model: nn.Module) -> nn.Module:
    """Make every spectral or low-rank weight of ``model`` a plain parameter again, in place.

    The outputs stay the same. Optimizers and samplers made before hold the old parameters: detach and rebuild them.

    Args:
        model: A model that went through `spectralize` or a method of `hypersst.lowrank`.

    Returns:
        ``model`` itself.

    Raises:
        ValueError: If the model has no such weight, or is sharded.
    """
    _refuse_sharded("merge", model)
    found = [entry for entry in parametrized_weights(model) if isinstance(entry[3], WeightParametrization)]
    if not found:
        raise ValueError(f"`model` must have spectral or low-rank weights, but {type(model).__name__} has none.")
    for _, module, tensor, chain in found:
        # LoRA froze the parameter of the weight; what did not train before does not train now.
        trained = any(p.requires_grad for p in chain.parameters())
        parametrize.remove_parametrizations(module, tensor, leave_parametrized=True)
        module._parameters[tensor].requires_grad_(trained)  # type: ignore[union-attr]
    return model


@dataclass(frozen=True)
class Truncation:
    """What `truncate` dropped from one weight.

    ``error`` is the Frobenius norm of the difference, which equals ``sqrt(sum of the dropped σ²)`` (Eckart and Young,
    1936); ``relative`` is its share of the weight's norm.
    """

    name: str
    shape: tuple[int, int]
    rank: int
    error: float
    relative: float


def _kept(sigma: Tensor, rank: Rank | None, energy: float | None) -> int:
    if energy is None:
        assert rank is not None
        return resolve_rank(rank, sigma.numel())
    squares = sigma.square()
    reached = squares.cumsum(0)
    # Compared with the last sum and not with 1, so that the whole energy ends before the zeros, whatever the rounding.
    return int((reached < energy * reached[-1]).sum()) + 1


@torch.no_grad()
def truncate(
    model: nn.Module,
    *,
    rank: Rank | None = None,
    energy: float | None = None,
    merged: bool = False,
    include: Patterns | None = None,
    exclude: Patterns | None = None,
) -> list[Truncation]:
    r"""Cut weights of ``model`` to their largest singular values, in place: the best approximation of that rank.

    Spectral weights are decomposed afresh, since training leaves their vectors not quite orthonormal.

    Args:
        model: Any module.
        rank: How many singular values to keep: an integer, or a share of ``min(m, n)`` in (0, 1].
        energy: Or keep the fewest whose squares make up this share of :math:`\sum\sigma_i^2`, in (0, 1].
        merged: Leave a plain weight of low rank. By default the weight stays in two thin factors (with the singular
            values between them), which store ``r(m + n + 1)`` numbers and, in plain linear layers, multiply that way.
        include: Which weights, see `hypersst.spectral.find_targets`; by default the spectral ones, or all linear ones
            if there are none.
        exclude: Which of them not.

    Returns:
        Rank and error of each weight.

    Raises:
        ValueError: If not exactly one of ``rank`` and ``energy`` is given, one is out of range, nothing is selected,
            or the model is sharded.
    """
    if (rank is None) == (energy is None):
        raise ValueError(f"Exactly one of `rank` and `energy` must be given, got rank={rank} and energy={energy}.")
    if rank is not None:
        check_rank(rank)
    if energy is not None and not 0.0 < energy <= 1.0:
        raise ValueError(f"`energy` must lie in (0, 1], got {energy}.")
    _refuse_sharded("truncate", model)
    return [_truncate_one(target, rank, energy, merged) for target in _truncation_targets(model, include, exclude)]


def _truncation_targets(model: nn.Module, include: Patterns | None, exclude: Patterns | None) -> list[Target]:
    """Select, and make those of the selected weights plain that are spectral."""
    patterns = ALL_LINEAR if include is None else include
    weights = [Target(w.name.rpartition(".")[0], w.module, w.tensor) for w in spectral_weights(model)]
    held = [target for target in weights if selects(patterns, exclude, target)]
    if not held:
        return find_targets(model, patterns, exclude)
    plain = [] if include is None else plain_targets(model, patterns, exclude)
    check_targets(model, plain)
    for target in held:
        parametrize.remove_parametrizations(target.module, target.tensor, leave_parametrized=True)
    return held + plain


def _truncate_one(target: Target, rank: Rank | None, energy: float | None, merged: bool) -> Truncation:
    weight = target.weight
    matrix = weight.detach().flatten(1)
    u, sigma, v = decompose(matrix.double())
    kept = _kept(sigma, rank, energy)
    error, norm = sigma[kept:].norm().item(), sigma.norm().item()
    if merged:
        low = (u[:kept] * sigma[:kept, None]).t() @ v[:kept]
        weight.copy_(low.to(weight).view_as(weight))
    else:
        spectral(target.module, target.tensor, rank=kept)
        thin = spectral_of(target.module, target.tensor)
        assert thin is not None
        thin.keep(kept, weight)  # the parameter of the weight is that of the singular values now
    shape = (matrix.shape[0], matrix.shape[1])
    return Truncation(target.weight_name, shape, kept, error, error / norm if norm else 0.0)
