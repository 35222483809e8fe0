"""The networks whose training steps `hypersst bench speed` compares, by name.

All start from HyboNet's published recipe for the data set, so that a pair differs in nothing but what its names say.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from hypersst.datasets import GraphTask, load
from hypersst.experiments.benchmarks.ablations import ABLATIONS
from hypersst.experiments.benchmarks.pyg_gcn import PygStep
from hypersst.experiments.benchmarks.reference_step import ReferenceStep
from hypersst.experiments.ensemble import Ensemble
from hypersst.experiments.run import Run
from hypersst.experiments.settings import ResolvedSettings, Settings

__all__ = ["SIDES", "Ground", "Stepper", "build_side", "settings_of"]


class Stepper(Protocol):
    """Anything that trains one epoch at a time."""

    def step(self) -> Tensor:
        """Train for one epoch; returns the loss."""


@dataclass(frozen=True)
class Ground:
    """What all sides of a comparison share.

    Args:
        dataset: Name of the data set.
        task: ``"nc"`` or ``"lp"``.
        split: Name of the split.
        device: Where to train.
        data_dir: Folder to look for data files in first.
        seed: Seed of initialisation, dropout, negative edges and draws.
    """

    dataset: str
    task: str
    split: str
    device: str = "cpu"
    data_dir: Path | None = None
    seed: int = 0


@functools.cache
def _task(dataset: str, task: str, split: str, device: str, data_dir: Path | None) -> GraphTask:
    seed = Settings().split_seed
    return load(dataset, task=task, split=split, seed=seed, data_dir=data_dir).to(device)


def _recipe(ground: Ground, **options: Any) -> ResolvedSettings:
    settings = Settings(dataset=ground.dataset, task=ground.task, split=ground.split, seed=ground.seed, **options)
    return settings.resolve()


def _euclidean(ground: Ground) -> ResolvedSettings:
    hybonet = _recipe(ground)
    # As wide as HyboNet's points, whose time coordinate `dim` does not count.
    return replace(hybonet, model="gcn", dim=hybonet.dim + 1)


def _as_deep(ground: Ground) -> ResolvedSettings:
    gcn = _euclidean(ground)
    # The GCN's head is a convolution, where HyboNet's is none.
    return replace(gcn, layers=gcn.layers - 1) if ground.task == "nc" else gcn


#: Settings of the sides that are a `Run`: HyboNet; a GCN of its widths, with as many layers or with as many
#: convolutions; HGCN likewise; SST at rank 1, and full-rank training by the same recipe.
_EAGER: Mapping[str, Callable[[Ground], ResolvedSettings]] = {
    "hybonet": _recipe,
    "gcn": _euclidean,
    "gcn-as-deep": _as_deep,
    "hgcn": lambda ground: replace(_euclidean(ground), model="hgcn"),
    "sst": functools.partial(_recipe, method="sst", rank=1),
    "full": lambda ground: replace(_recipe(ground, method="sst", rank=1), method="full"),
}


def _compiled(settings: Callable[[Ground], ResolvedSettings], ground: Ground) -> ResolvedSettings:
    return replace(settings(ground), compile=True)


#: Each of them, and compiled.
_RUNS: Mapping[str, Callable[[Ground], ResolvedSettings]] = {
    **_EAGER,
    **{f"{name}-compiled": functools.partial(_compiled, settings) for name, settings in _EAGER.items()},
}

#: The others: the dense re-statement of HyboNet's step, PyG's network, HyboNet without one of its tricks, and ten
#: copies of it trained at once.
_OTHERS: Mapping[str, Callable[[Ground], Stepper]] = {
    "reference": lambda ground: ReferenceStep(_run("hybonet", ground)),
    "pyg": lambda ground: PygStep(_task_of(ground)),
    **{
        name: functools.partial(lambda make, ground: make(settings_of("hybonet", ground), _task_of(ground)), make)
        for name, make in ABLATIONS.items()
    },
    "ten": lambda ground: Ensemble(settings_of("hybonet", ground), range(10), _task_of(ground)),
}

SIDES = (*_RUNS, *_OTHERS)


def _task_of(ground: Ground) -> GraphTask:
    return _task(ground.dataset, ground.task, ground.split, ground.device, ground.data_dir)


def _run(name: str, ground: Ground) -> Run:
    return Run(settings_of(name, ground), _task_of(ground))


def settings_of(name: str, ground: Ground) -> ResolvedSettings:
    """The settings of a side that is a `Run`."""
    return _RUNS[name](ground)


def build_side(name: str, ground: Ground) -> Stepper:
    """Build a side, ready to step.

    Args:
        name: One of `SIDES`.
        ground: Data, device and seed.
    """
    return _run(name, ground) if name in _RUNS else _OTHERS[name](ground)
