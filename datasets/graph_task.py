"""What a training loop is given: one graph, one task, one split."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hypersst.datasets.non_edges import NonEdges

__all__ = ["GraphTask"]


def _no_nodes() -> Tensor:
    return torch.empty(0, dtype=torch.long)


def _no_pairs() -> Tensor:
    return torch.empty(2, 0, dtype=torch.long)


@dataclass(frozen=True, eq=False, repr=False)
class GraphTask:
    """A graph with a split, for node classification (``"nc"``) or link prediction (``"lp"``).

    What a task does not use is empty, never ``None``: the pairs under ``"nc"``, the indices under ``"lp"``.

    Attributes:
        name: Name of the data set.
        task: ``"nc"`` or ``"lp"``.
        split: Name of the split.
        seed: Seed of the split.
        x: Features, shape ``(num_nodes, num_features)``, dense or sparse CSR.
        edge_index: Edges for message passing, shape ``(2, E)``: both directions, no self-loops, sorted, no
            repeats. Under ``"lp"`` these are the *training* edges only.
        num_nodes: Number of nodes.
        num_classes: Number of classes, 0 if the nodes have no labels.
        y: Classes, shape ``(num_nodes,)`` or empty. Present under ``"lp"`` too where the set has labels.
        train, val, test: Node indices under ``"nc"``, shape ``(n,)``.
        train_pos, val_pos, test_pos: Edges under ``"lp"``, each undirected edge once, shape ``(2, n)``.
        val_neg, test_neg: Pairs without an edge, as many as there are positives.
        num_edges: Number of undirected edges of the whole graph, self-loops not counted.
    """

    name: str
    task: str
    split: str
    seed: int
    x: Tensor
    edge_index: Tensor
    num_nodes: int
    num_classes: int
    y: Tensor
    num_edges: int
    train: Tensor = field(default_factory=_no_nodes)
    val: Tensor = field(default_factory=_no_nodes)
    test: Tensor = field(default_factory=_no_nodes)
    train_pos: Tensor = field(default_factory=_no_pairs)
    val_pos: Tensor = field(default_factory=_no_pairs)
    val_neg: Tensor = field(default_factory=_no_pairs)
    test_pos: Tensor = field(default_factory=_no_pairs)
    test_neg: Tensor = field(default_factory=_no_pairs)

    @property
    def num_features(self) -> int:
        """Number of columns of ``x``."""
        return self.x.size(1)

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.edge_index.device

    @cached_property
    def _non_edges(self) -> NonEdges:
        pairs = self.train_pos if self.task == "lp" else self.edge_index
        # HGCN counts a node paired with itself among its negatives; the clean split does not.
        return NonEdges(pairs, self.num_nodes, loops=self.split == "hgcn")

    def sample_negatives(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` pairs without a *training* edge, uniformly with replacement, never enumerating them.

        A trainer cannot know which pairs will turn out to be validation or test edges, so those are not kept
        out: doing so would tell the model where the held-out edges are. (HGCN's ``train_edges_false`` is the
        same set of pairs, plus the diagonal; under ``split="hgcn"`` the diagonal is in it here too.)

        Args:
            n: Number of pairs.
            generator: Source of the draws.

        Returns:
            Pairs with the smaller node first, shape ``(2, n)``.
        """
        return self._non_edges.sample(n, generator)

    def to(self, device: torch.device | str) -> GraphTask:
        """Return the same task with all tensors on ``device``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **moved)

    def describe(self) -> str:
        """Say in one line what is in it."""
        stored = "dense"
        if self.x.layout == torch.sparse_csr:
            share = self.x.values().numel() / (self.num_nodes * self.num_features)
            stored = f"sparse, {share:.1%} stored"
        parts = [
            f"{self.name}, {'node classification' if self.task == 'nc' else 'link prediction'}",
            f"split {self.split} (seed {self.seed}): {self.num_nodes:,} nodes",
            f"{self.num_edges:,} edges",
            f"{self.num_features:,} features ({stored})",
        ]
        if self.task == "nc":
            sizes = (self.train.numel(), self.val.numel(), self.test.numel())
            parts.append(f"{self.num_classes} classes; nodes")
        else:
            sizes = (self.train_pos.size(1), self.val_pos.size(1), self.test_pos.size(1))
            parts[-1] += "; edges"
        counts = " / ".join(f"{size:,}" for size in sizes)
        return f"{', '.join(parts)} {counts} for training / validation / test"

    def __repr__(self) -> str:
        return f"GraphTask({self.describe()})"
