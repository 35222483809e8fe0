"""Which weights of a model are replaced: one rule for every training method."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import geoopt
from torch import nn
from torch.nn.utils import parametrize

from hypersst.sharding import is_sharded

__all__ = [
    "ALL_LINEAR",
    "Patterns",
    "Target",
    "check_targets",
    "find_targets",
    "matches",
    "plain_targets",
    "selects",
]

#: Every matrix that multiplies features, convolutions' kernels included.
ALL_LINEAR = "all-linear"

#: A regular expression that must match the whole name, or names of which one must end the name at a dot.
Patterns = str | Sequence[str]

# Left out by "all-linear": what looks up rows instead of multiplying, what scales, and what cuDNN flattens itself.
_NEVER = (nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
# The paper leaves output heads at full rank; these are their customary names.
_HEADS = re.compile(r"(^|\.)(head|heads|lm_head|classifier|embed_out|output_layer)(\.|$)")


@dataclass(frozen=True)
class Target:
    """A weight to replace: parameter ``tensor`` of ``module``, which the model calls ``name``."""

    name: str
    module: nn.Module
    tensor: str

    @property
    def weight_name(self) -> str:
        """Name of the parameter in the model."""
        return f"{self.name}.{self.tensor}" if self.name else self.tensor

    @property
    def weight(self) -> nn.Parameter:
        """The parameter itself."""
        parameter = self.module._parameters[self.tensor]
        assert parameter is not None
        return parameter


def matches(patterns: Patterns, target: Target) -> bool:
    """Whether ``patterns`` name the target, by its module's or its parameter's name."""
    names = (target.name, target.weight_name)
    if isinstance(patterns, str):
        return any(re.fullmatch(patterns, name) for name in names)
    return any(name == p or name.endswith(f".{p}") for p in patterns for name in names)


def _is_weight(name: str) -> bool:
    return name == "weight" or name.endswith("_weight")


def _candidates(model: nn.Module) -> Iterator[Target]:
    """Every parameter of two or more dimensions that is a weight in the Euclidean sense."""
    for name, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList) or ".parametrizations." in f".{name}.":
            continue
        for tensor, parameter in module._parameters.items():
            lazy = isinstance(parameter, nn.parameter.UninitializedParameter)
            on_manifold = isinstance(parameter, geoopt.ManifoldParameter)
            if parameter is not None and not on_manifold and (lazy or parameter.dim() >= 2):
                yield Target(name, module, tensor)


def _replaced(model: nn.Module) -> Iterator[Target]:
    """Every parametrized tensor."""
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for tensor in module.parametrizations:
                yield Target(name, module, tensor)


def _declared_heads(model: nn.Module) -> set[int]:
    """Modules that ``model``, or a model within it, names as its output embeddings in the manner of transformers."""
    found = (getattr(module, "get_output_embeddings", lambda: None)() for module in model.modules())
    return {id(head) for head in found if head is not None}


def _by_default(target: Target, heads: set[int]) -> bool:
    skip = isinstance(target.module, _NEVER) or id(target.module) in heads or _HEADS.search(target.name)
    return _is_weight(target.tensor) and not skip


def _refuse_tied(model: nn.Module, targets: list[Target]) -> None:
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():  # a module met twice is listed once: sharing a whole layer is fine
        for tensor, parameter in module._parameters.items():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(f"{name}.{tensor}" if name else tensor)
    for target in targets:
        names = owners[id(target.weight)]
        if len(names) > 1:
            raise ValueError(
                f"`include` must not select tied weights, but {' and '.join(map(repr, names))} are one parameter: "
                f"untie them first, or leave them out with `exclude`."
            )


def selects(include: Patterns, exclude: Patterns | None, target: Target) -> bool:
    """Whether the patterns name ``target``; ``"all-linear"`` names all."""
    named = include == ALL_LINEAR or matches(include, target)
    return named and (exclude is None or not matches(exclude, target))


def plain_targets(model: nn.Module, include: Patterns, exclude: Patterns | None) -> list[Target]:
    """Select as `find_targets` does, without its checks; may be empty."""
    found = [t for t in _candidates(model) if selects(include, exclude, t)]
    if include != ALL_LINEAR:
        return found
    heads = _declared_heads(model)
    return [t for t in found if _by_default(t, heads)]


def check_targets(model: nn.Module, targets: list[Target]) -> None:
    """Raise `ValueError` if a target is lazy, sharded, or tied to another parameter."""
    for target in targets:
        if is_sharded(target.weight):
            raise ValueError(
                f"`model` must not be sharded, but {target.weight_name!r} is: change weights before `fully_shard`."
            )
        if isinstance(target.weight, nn.parameter.UninitializedParameter):
            raise ValueError(f"`model` must be initialised, but {target.weight_name!r} is lazy: run one batch first.")
    _refuse_tied(model, targets)


def find_targets(model: nn.Module, include: Patterns = ALL_LINEAR, exclude: Patterns | None = None) -> list[Target]:
    """Select weights of ``model``, in the manner of PEFT's ``target_modules``.

    Args:
        model: Any module.
        include: ``"all-linear"`` (every parameter called ``weight`` or ``*_weight`` of two or more dimensions, without
            embeddings, recurrent layers, and output heads: those of customary names, and those that a model within it
            returns from ``get_output_embeddings()``), a regular expression that must match the whole name of a module
            or parameter, or a sequence of names or ends of names.
        exclude: Regular expression or sequence of names, taken away from the selection.

    Returns:
        The targets, in the order of ``model.named_modules()``; never empty.

    Raises:
        ValueError: If nothing is selected, ``exclude`` matches nothing, or a selected weight is tied to another one,
            not initialised yet (lazy), sharded, or replaced already.
    """
    chosen = plain_targets(model, include, exclude)
    # "all-linear" means the weights that are left; a name means that very weight.
    replaced = [t.weight_name for t in _replaced(model) if selects(include, exclude, t)]
    if replaced and (include != ALL_LINEAR or not chosen):
        raise ValueError(
            f"`include` must select plain weights, but {', '.join(map(repr, replaced))} is parametrized already: "
            f"`merge` first."
        )
    if not chosen:
        candidates = [t.weight_name for t in _candidates(model)]
        wanted = [include] if isinstance(include, str) else list(include)
        near = [n for w in wanted for n in difflib.get_close_matches(w, candidates, n=2)] or candidates[:4]
        hint = f"it has {', '.join(near)}" if near else "it has no parameter of two or more dimensions"
        left_out = f" after `exclude` {exclude!r}" if plain_targets(model, include, None) else ""
        owner = type(model).__name__
        raise ValueError(f"`include` must select a weight of {owner}, but {include!r} selects none{left_out}: {hint}.")
    if exclude is not None and not any(matches(exclude, t) for t in (*_candidates(model), *_replaced(model))):
        raise ValueError(f"`exclude` must name a weight of {type(model).__name__}, but {exclude!r} matches none.")
    check_targets(model, chosen)
    return chosen
