r"""The least time that a training step could take: its bytes and operations at rates measured in the same run.

A step is cut into stages. Each must move some bytes, at best at the rate of a copy, and do some operations, at best at
the rate of a matrix product; it takes the longer of both, and the stages follow one another. Counted is what the
mathematics of `HyboNet` needs in float32 with 32-bit indices, once: no second pass, no wider type, no call's overhead.
Rows that several edges read are counted once, as they stay in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hypersst.datasets import GraphTask
from hypersst.experiments.benchmarks.timing import timed
from hypersst.experiments.run import Run
from hypersst.models import HyboNet
from hypersst.nn import LorentzConv, PrototypeHead

__all__ = ["Machine", "Stage", "floor_seconds", "machine_for", "stages"]

_NUMBER = 4  # bytes of a float32 and of a 32-bit index
_POINTWISE = 10  # operations for each number of a map between points: squares, a root, a quotient


@dataclass(frozen=True)
class Stage:
    """A part of the step.

    Args:
        name: What is done.
        numbers: Numbers and indices read or written, four bytes each.
        operations: Additions and multiplications.
    """

    name: str
    numbers: int
    operations: int

    @property
    def bytes(self) -> int:
        """Bytes read or written."""
        return _NUMBER * self.numbers


@dataclass(frozen=True)
class Machine:
    """Rates of a device.

    Args:
        bytes_per_second: Of a copy; reading and writing count.
        operations_per_second: Of a matrix product in float32; a fused multiply-add counts as two.
    """

    bytes_per_second: float
    operations_per_second: float


def machine_for(parts: list[Stage], device: str = "cpu", rounds: int = 15) -> Machine:
    """Measure the rates for a step; the fastest of some turns counts, because a floor must hold on a quiet machine.

    Args:
        parts: Stages of the step. The copy is as large as the largest of them: what fits into a cache is copied at
            the cache's rate.
        device: Where.
        rounds: Turns of each rate.
    """
    side = 1024
    source = torch.ones(max(part.numbers for part in parts) // 2, device=device)
    target, square = torch.empty_like(source), torch.ones(side, side, device=device)
    product = torch.empty_like(square)
    # A small copy is repeated, so that the clock sees more than the call.
    repeats = max(1, 2**22 // source.numel())

    def copy() -> None:
        for _ in range(repeats):
            target.copy_(source)

    def multiply() -> None:
        torch.mm(square, square, out=product)

    for work in (copy, multiply):
        work()
    return Machine(
        bytes_per_second=2 * _NUMBER * repeats * source.numel() / min(timed(copy, device) for _ in range(rounds)),
        operations_per_second=2 * side**3 / min(timed(multiply, device) for _ in range(rounds)),
    )


def floor_seconds(parts: list[Stage], machine: Machine) -> float:
    """Sum over stages of the longer of both times."""
    return sum(
        max(part.bytes / machine.bytes_per_second, part.operations / machine.operations_per_second) for part in parts
    )


@dataclass(frozen=True)
class _Needed:
    """What a convolution must see so that the loss can be computed."""

    sources: Tensor  # mask of the nodes that go in
    targets: int  # number of nodes that come out
    edges: int  # number of edges between them, self-loops too


def _needed(task: GraphTask, depth: int) -> list[_Needed]:
    """For each convolution, the first one first: only neighbours of neighbours ... of training nodes matter."""
    mask = torch.zeros(task.num_nodes, dtype=torch.bool, device=task.device)
    # Any node may be drawn for a pair without an edge.
    mask[task.train if task.task == "nc" else slice(None)] = True
    source, target = task.edge_index
    result: list[_Needed] = []
    for _ in range(depth):
        inside = mask[target]
        sources = mask.clone()
        sources[source[inside]] = True
        result.insert(0, _Needed(sources, int(mask.sum()), int(inside.sum() + mask.sum())))
        mask = sources
    return result


def stages(run: Run) -> list[Stage]:
    """Count a full-rank step of HyboNet: on each node that the loss depends on, and on no other.

    Raises:
        ValueError: If the run trains another model or by another method.
    """
    model, settings, task = run.model, run.settings, run.task
    if not isinstance(model, HyboNet) or settings.method != "full":
        raise ValueError(f"`run` must train hybonet by full, got {settings.model} by {settings.method}.")
    parts = []
    out = summed = 0
    for i, (conv, needed) in enumerate(zip(model.layers, _needed(task, len(model.layers)), strict=True)):
        assert isinstance(conv, LorentzConv)
        out, width = conv.lin.weight.shape
        nodes = int(needed.sources.sum())
        if i == 0 and task.x.layout != torch.strided:
            # Lifted once for all steps, which adds a stored time for every node.
            entries = int(task.x.crow_indices().diff()[needed.sources].sum()) + nodes
            stored = 2 * entries  # values and columns
        else:
            entries = stored = nodes * width
        points, summed = nodes * out, needed.targets * out
        dropped = entries if settings.dropout else 0
        # Forward reads and writes the entries; backward multiplies the gradient by the mask, but for the features.
        parts.append(Stage(f"dropout {i}", (2 if i == 0 else 5) * dropped, (1 if i == 0 else 2) * dropped))
        parts.append(Stage(f"product {i}", stored + points + out * width, 2 * entries * out))
        parts.append(Stage(f"gradient of weight {i}", stored + points + out * width, 2 * entries * out))
        if i > 0:
            parts.append(Stage(f"gradient of input {i}", points + out * width + nodes * width, 2 * entries * out))
        parts.append(Stage(f"gate {i}", 5 * points, 3 * _POINTWISE * points))
        # Once forward and once with the transpose: values and columns, rows in and rows out.
        parts.append(Stage(f"sum of neighbours {i}", 4 * needed.edges + 2 * (points + summed), 4 * needed.edges * out))
        parts.append(Stage(f"normalisation {i}", 5 * summed, 3 * _POINTWISE * summed))
    if isinstance(model.head, PrototypeHead):
        rows, (classes, width) = task.train.numel(), model.head.prototypes.shape
        parts.append(Stage("head and loss", 3 * rows * (width + classes), 6 * rows * width * classes))
    else:
        pairs = 2 * task.train_pos.shape[1]
        parts.append(Stage("scores and loss", 4 * pairs + 3 * summed, 8 * pairs * out))
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # Parameter, gradient and two moments are read, all but the gradient are written; clipping reads the gradient.
    parts.append(Stage("optimizer", 8 * weights, 14 * weights))
    return [part for part in parts if part.numbers]
