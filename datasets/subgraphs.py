"""The graphs that single nodes of a task leave when all others are taken away."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.datasets.features import select_rows
from hypersst.datasets.graph_task import GraphTask

__all__ = ["Subgraphs"]


class Subgraphs:
    """Induced subgraphs of a task, cut out in time that grows with their own nodes and those nodes' edges.

    Args:
        task: The task; its edges for message passing are sorted by source, as `GraphTask` says.

    Example:
        >>> from hypersst.datasets import load
        >>> task = load("disease-tree")
        >>> Subgraphs(task).induced(torch.arange(100)).num_nodes
        100
    """

    def __init__(self, task: GraphTask) -> None:
        self.task = task
        self._start = _starts(task.edge_index[0], task.num_nodes)
        # How often a node is trained on: HGCN's split lists some twice.
        self._times = torch.bincount(task.train, minlength=task.num_nodes) if task.task == "nc" else None
        loops = task.train_pos[0] == task.train_pos[1]
        self._loops = task.train_pos[0][loops]
        self._place = torch.full((task.num_nodes,), -1, dtype=torch.long, device=task.device)

    def induced(self, nodes: Tensor) -> GraphTask:
        """Keep some nodes and the edges among them.

        Args:
            nodes: Different nodes in ascending order, shape ``(k,)``; they are numbered 0, 1, ... in the result.

        Returns:
            A task with their features, classes and training part; its parts for validation and test are empty.
        """
        task, k = self.task, nodes.numel()
        start = self._start[nodes]
        counts = self._start[nodes + 1] - start
        source = torch.arange(k, device=nodes.device).repeat_interleave(counts)
        entry = torch.arange(source.numel(), device=nodes.device) + (start - counts.cumsum(0) + counts)[source]
        self._place[nodes] = torch.arange(k, device=nodes.device)
        target = self._place[task.edge_index[1][entry]]
        loops = self._place[self._loops]
        self._place[nodes] = -1
        inside = target >= 0
        edges = torch.stack((source[inside], target[inside]))
        once = edges[:, edges[0] < edges[1]]
        parts = {}
        if self._times is None:
            parts["train_pos"] = torch.cat((once, loops[loops >= 0].expand(2, -1)), dim=1)
        else:
            parts["train"] = torch.arange(k, device=nodes.device).repeat_interleave(self._times[nodes])
        return GraphTask(
            name=task.name,
            task=task.task,
            split=task.split,
            seed=task.seed,
            x=select_rows(task.x, nodes),
            edge_index=edges,
            num_nodes=k,
            num_classes=task.num_classes,
            y=task.y[nodes] if task.y.numel() else task.y,
            num_edges=once.size(1),
            **parts,
        )


def _starts(sorted_rows: Tensor, num_rows: int) -> Tensor:
    """Where each row's entries begin, and the end, shape ``(num_rows + 1,)``."""
    return F.pad(torch.bincount(sorted_rows, minlength=num_rows).cumsum(0), (1, 0))
