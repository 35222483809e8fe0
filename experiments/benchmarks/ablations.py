"""HyboNet's step without one of the things that make it fast, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.datasets import GraphTask
from hypersst.experiments.batches import Batch
from hypersst.experiments.run import Run
from hypersst.experiments.settings import ResolvedSettings
from hypersst.nn import LorentzConv

__all__ = ["ABLATIONS"]


class _WholeGraph(Run):
    """Every node's result is computed, and the classes of some are read."""

    def batch(self) -> Batch:
        task = self.task
        nothing = task.train_pos
        return Batch(self.x, self.adjacency, task.train, task.y[task.train], nothing, nothing)


class _TorchDropout(Run):
    """Masks by torch's own kernel."""

    def step(self) -> Tensor:
        with _torch_dropout():
            return super().step()


@contextmanager
def _torch_dropout() -> Iterator[None]:
    def mask(like: Tensor, p: float) -> Tensor:
        return F.dropout(torch.ones_like(like), p)

    with patch("hypersst.nn.dropout._default_mask", mask):
        yield


def _dense(settings: ResolvedSettings, task: GraphTask) -> Run:
    return Run(settings, replace(task, x=task.x.to_dense()))


def _wide_sums(settings: ResolvedSettings, task: GraphTask) -> Run:
    run = Run(settings, task)
    for layer in run.model.modules():
        if isinstance(layer, LorentzConv):
            layer.sum_dtype = torch.float64
    return run


#: Without the receptive field, the cheap masks, sparse features, or sums in float32.
ABLATIONS: Mapping[str, Callable[[ResolvedSettings, GraphTask], Run]] = {
    "whole-graph": _WholeGraph,
    "torch-dropout": _TorchDropout,
    "dense-features": _dense,
    "float64-sums": _wide_sums,
}
