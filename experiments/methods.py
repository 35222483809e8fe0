"""Training methods: what each does to a model, and the optimizer and clock that go with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

import hypersst
from hypersst.errors import unknown
from hypersst.lowrank import GaLore, Refactor, ReLoRA, lora, low_rank
from hypersst.optim import RiemannianAdamW
from hypersst.spectral import (
    Decomposition,
    EachRound,
    EveryIterations,
    Multinomial,
    Never,
    Selection,
    Sequential,
    SpectralReport,
    SSTSampler,
    TopR,
    Uniform,
)

if TYPE_CHECKING:
    from hypersst.experiments.settings import ResolvedSettings
    from hypersst.experiments.texts.settings import ResolvedTextSettings

    #: Of graphs and of texts; what the methods ask for has the same names and meanings in both.
    MethodSettings: TypeAlias = ResolvedSettings | ResolvedTextSettings

__all__ = ["METHODS", "Trainer", "prepare"]


SELECTIONS: Mapping[str, Callable[[], Selection]] = {
    "multinomial": Multinomial,
    "sequential": Sequential,
    "top": TopR,
    "uniform": Uniform,
}


#: What of the optimizer's state a draw clears, as options of the sampler.
RESETS: Mapping[str, Mapping[str, Any]] = {
    "all": {"reset_sigma": True, "reset_vectors": True},
    "none": {"reset_sigma": False, "reset_vectors": False},
    "vectors": {"reset_sigma": False, "reset_vectors": True},
}


@dataclass(frozen=True)
class Trainer:
    """What steps a prepared model.

    Args:
        optimizer: Holds every trainable parameter.
        clock: Draws, decomposes, restarts or projects through the optimizer's hooks; ``None`` if a method needs none.
        report: The selection of weights, ``None`` for full-rank training.
    """

    optimizer: torch.optim.Optimizer
    clock: SSTSampler | ReLoRA | Refactor | GaLore | None = None
    report: SpectralReport | None = None


#: What is done to a model between the method's change of its weights and the optimizer, such as sharding.
Between: TypeAlias = Callable[[nn.Module], None] | None


def _optimizer(model: nn.Module, settings: MethodSettings, between: Between) -> RiemannianAdamW:
    if between:
        between(model)
    groups = hypersst.param_groups(
        model,
        settings.lr,
        weight_decay=settings.weight_decay,
        vector_lr=settings.vector_lr,
        sigma_lr=settings.sigma_lr,
    )
    return RiemannianAdamW(groups, lr=settings.lr, betas=settings.betas)


def _full(model: nn.Module, settings: MethodSettings, between: Between) -> Trainer:
    return Trainer(_optimizer(model, settings, between))


def decomposition_named(name: str) -> Decomposition:
    """``"round"``, ``"never"``, or a number of iterations.

    Raises:
        ValueError: If it is none of these.
    """
    if name == "round":
        return EachRound()
    if name == "never":
        return Never()
    if not name.isdigit() or int(name) < 1:
        raise ValueError(f"`decomposition` must be round, never or a number of iterations, got {name!r}.")
    return EveryIterations(int(name))


def _sst(model: nn.Module, settings: MethodSettings, between: Between) -> Trainer:
    if settings.selection not in SELECTIONS:
        raise unknown("selection", settings.selection, SELECTIONS)
    if settings.reset not in RESETS:
        raise unknown("reset", settings.reset, RESETS)
    decomposition = decomposition_named(settings.decomposition)
    report = hypersst.spectralize(
        model,
        rank=settings.rank,
        execution=settings.execution,
        gradient=settings.gradient,
        vectors=settings.vectors,
        factors=settings.factors,
        recompute=settings.recompute,
        storage=settings.storage,
        balanced=settings.balanced,
    )
    optimizer = _optimizer(model, settings, between)
    sampler = SSTSampler(
        model,
        optimizer,
        steps_per_iteration=settings.steps_per_iteration,
        warmup_steps=settings.warmup_steps,
        selection=SELECTIONS[settings.selection](),
        decomposition=decomposition,
        sigma=settings.sigma,
        **RESETS[settings.reset],
        seed=settings.seed,
    )
    return Trainer(optimizer, sampler, report)


def _lora(model: nn.Module, settings: MethodSettings, between: Between) -> Trainer:
    report = lora(model, settings.rank)
    return Trainer(_optimizer(model, settings, between), report=report)


def _relora(model: nn.Module, settings: MethodSettings, between: Between) -> Trainer:
    report = lora(model, settings.rank)
    optimizer = _optimizer(model, settings, between)
    clock = ReLoRA(
        model,
        optimizer,
        steps_per_restart=settings.steps_per_iteration,
        warmup_steps=settings.warmup_steps,
        seed=settings.seed,
    )
    return Trainer(optimizer, clock, report)


def _refactor(model: nn.Module, settings: MethodSettings, between: Between) -> Trainer:
    report = low_rank(model, settings.rank)
    optimizer = _optimizer(model, settings, between)
    clock = Refactor(
        model, optimizer, steps_per_restart=settings.steps_per_iteration, warmup_steps=settings.warmup_steps
    )
    return Trainer(optimizer, clock, report)


def _galore(model: nn.Module, settings: MethodSettings, between: Between) -> Trainer:
    optimizer = _optimizer(model, settings, between)
    clock = GaLore(
        model, optimizer, settings.rank, update_gap=settings.steps_per_iteration, scale=settings.galore_scale
    )
    return Trainer(optimizer, clock, clock.report)


METHODS: Mapping[str, Callable[[nn.Module, MethodSettings, Between], Trainer]] = {
    "full": _full,
    "sst": _sst,
    "lora": _lora,
    "relora": _relora,
    "galore": _galore,
    "refactor": _refactor,
}


def prepare(model: nn.Module, settings: MethodSettings, between: Between = None) -> Trainer:
    """Apply the method that resolved ``settings`` name to ``model``, in place, and build its optimizer.

    Args:
        model: The network.
        settings: What to train.
        between: Called with the model when its weights are changed and no optimizer holds them yet.

    Raises:
        ValueError: As the method's own functions do.
    """
    return METHODS[settings.method](model, settings, between)
