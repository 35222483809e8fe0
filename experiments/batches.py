"""What a training step sees: the whole graph, or a piece of it that fits into memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from hypersst.datasets import GraphTask, Subgraphs, partition
from hypersst.datasets.features import select_rows
from hypersst.models import GraphModel
from hypersst.models.base import Features, Graph
from hypersst.nn import CSRMatrix, receptive_field

__all__ = ["Batch", "BatchSource", "ClusterBatches", "NeighborBatches", "features", "neighbor_loader", "part_to_learn"]


@dataclass(frozen=True, eq=False)
class Batch:
    """What one training step sees; what its task does not use is empty.

    Attributes:
        x: Features of the nodes, shape ``(n, d)``.
        adjacency: The graph among them, normalised as the model wants it, or the matrices of a receptive field.
        nodes: Nodes whose classes are learned, shape ``(k,)``; ``None`` if all that have results are.
        y: These classes, shape ``(k,)``.
        positive: Edges to be told from other pairs, shape ``(2, k)``.
        negative: As many pairs without an edge.
        class_weight: Weights of the classes in the loss, shape ``(K,)``; ``None`` if all are the same.
    """

    x: Features
    adjacency: Graph
    nodes: Tensor | None
    y: Tensor
    positive: Tensor
    negative: Tensor
    class_weight: Tensor | None = None


class BatchSource(Protocol):
    """Cuts epochs into batches, each made when it is wanted."""

    def order(self, generator: torch.Generator) -> list[Tensor]:
        """Draw which pieces make up the batches of one epoch; each batch has something to learn from."""
        ...

    def batch(self, pieces: Tensor, model: GraphModel, generator: torch.Generator) -> Batch:
        """Make the batch of some pieces, negative edges drawn anew."""
        ...


def part_to_learn(model: GraphModel, x: Tensor | CSRMatrix, adjacency: CSRMatrix, task: GraphTask) -> Batch:
    """Nodes to learn from, with as much of the whole graph as their results depend on."""
    y, none = task.y[task.train], task.train_pos
    if model.depth is None:
        return Batch(model.features(x), adjacency, task.train, y, none, none)
    nodes, place = task.train.unique(return_inverse=True)
    repeats = nodes.numel() < place.numel()  # as in the literature's split of Airport
    field, blocks = receptive_field(adjacency, nodes if repeats else task.train, model.depth)
    part = x.select_rows(field) if isinstance(x, CSRMatrix) else x[field]
    return Batch(model.features(part), blocks, place if repeats else None, y, none, none)


def features(x: Tensor) -> Tensor | CSRMatrix:
    """Features as the models take them: dense ones as they are, sparse ones as a `CSRMatrix`."""
    return x if x.layout == torch.strided else CSRMatrix.from_torch(x)


class ClusterBatches:
    """Unions of parts of the graph drawn at random, with all edges among their nodes.

    Source: Chiang et al. (2019), *Cluster-GCN*, section 3.2 (stochastic multiple partitions); the adjacency is
    normalised anew in each batch. Negative edges are drawn among the nodes of a batch, edges between batches are
    left out of that epoch.

    Args:
        task: The whole graph.
        parts: Number of parts, see `hypersst.datasets.partition`.
        parts_per_batch: Parts that make up a batch, between 1 and ``parts``.

    Raises:
        ValueError: If a number is out of range, or no part holds anything to learn from.
    """

    def __init__(self, task: GraphTask, parts: int, parts_per_batch: int) -> None:
        if not 1 <= parts_per_batch <= parts:
            raise ValueError(f"`parts_per_batch` must be between 1 and `parts` = {parts}, got {parts_per_batch}.")
        part = partition(task.edge_index, task.num_nodes, parts)
        self.parts, self.parts_per_batch = parts, parts_per_batch
        self._members = part.argsort(stable=True).split(torch.bincount(part, minlength=parts).tolist())
        self._subgraphs = Subgraphs(task)
        if task.task == "nc":
            learned = part[task.train]
        else:
            ends = part[task.train_pos]
            learned = ends[0][ends[0] == ends[1]]
        self._targets = torch.bincount(learned, minlength=parts).cpu()
        if not self._targets.any():
            raise ValueError(f"`parts` must be so few that training edges lie within a part, got {parts}.")

    def order(self, generator: torch.Generator) -> list[Tensor]:
        """Draw which parts are together in one epoch; batches that hold nothing to learn from are left out."""
        chunks = torch.randperm(self.parts, generator=generator).split(self.parts_per_batch)
        return [chunk for chunk in chunks if self._targets[chunk].any()]

    def batch(self, pieces: Tensor, model: GraphModel, generator: torch.Generator) -> Batch:
        """Cut out the parts with the numbers ``pieces``."""
        nodes = torch.cat([self._members[i] for i in pieces.tolist()]).sort().values
        piece = self._subgraphs.induced(nodes)
        negative = piece.train_pos
        if piece.task == "lp":
            try:
                negative = piece.sample_negatives(piece.train_pos.size(1), generator).to(piece.device)
            except ValueError as error:
                raise ValueError(
                    f"`parts` must be so few that no batch is a complete graph, got {self.parts} for "
                    f"{self._subgraphs.task.num_nodes} nodes."
                ) from error
        return Batch(
            x=features(piece.x),
            adjacency=model.adjacency(piece.edge_index, piece.num_nodes),
            nodes=piece.train,
            y=piece.y[piece.train],
            positive=piece.train_pos,
            negative=negative,
        )


def neighbor_loader(task: GraphTask, neighbors: tuple[int, ...]) -> Callable[[Tensor], Any]:
    """PyG's loader of sampled neighbourhoods, called with nodes; see `torch_geometric.loader.NeighborLoader`.

    Args:
        task: The whole graph.
        neighbors: Neighbours drawn of each node, one number for each step away from the first nodes.

    Raises:
        ValueError: If neither pyg-lib nor torch-sparse is installed.
    """
    import torch_geometric.typing
    from torch_geometric.data import Data
    from torch_geometric.loader import NeighborLoader

    if not (torch_geometric.typing.WITH_PYG_LIB or torch_geometric.typing.WITH_TORCH_SPARSE):
        raise ValueError(
            f"`neighbors` must be left out where PyG's compiled helpers are missing, got {neighbors}: install pyg-lib "
            f"(or torch-sparse) built for torch {torch.__version__}, or set `parts` instead, which needs neither."
        )
    data = Data(edge_index=task.edge_index, num_nodes=task.num_nodes)
    return NeighborLoader(data, num_neighbors=list(neighbors), batch_size=1)


class NeighborBatches:
    """Nodes or edges to learn from, with neighbours drawn around them step by step.

    Source: Hamilton, Ying and Leskovec (2017), *Inductive Representation Learning on Large Graphs*. Negative edges are
    drawn among all nodes.

    Args:
        task: The whole graph.
        sample: Makes a PyG `Data` of nodes: the nodes themselves come first among its ``n_id``, and its
            ``edge_index`` leads towards them. `neighbor_loader` makes it of PyG's loader.
        batch_size: Nodes (nc) or edges (lp) that one batch learns from, at least 1.

    Raises:
        ValueError: If ``batch_size`` is not positive.
    """

    def __init__(self, task: GraphTask, sample: Callable[[Tensor], Any], batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
        self.task, self.sample, self.batch_size = task, sample, batch_size

    def order(self, generator: torch.Generator) -> list[Tensor]:
        """Shuffle the nodes or edges to learn from."""
        count = self.task.train.numel() if self.task.task == "nc" else self.task.train_pos.size(1)
        return list(torch.randperm(count, generator=generator).split(self.batch_size))

    def batch(self, pieces: Tensor, model: GraphModel, generator: torch.Generator) -> Batch:
        """Draw the neighbourhood of some training nodes or edges, and of as many pairs without an edge."""
        task, pieces = self.task, pieces.to(self.task.device)
        if task.task == "nc":
            wanted = task.train[pieces]
        else:
            pairs = (task.train_pos[:, pieces], task.sample_negatives(pieces.numel(), generator).to(task.device))
            wanted = torch.cat(pairs, dim=1)
        seeds, place = wanted.unique(return_inverse=True)
        data = self.sample(seeds.cpu())
        nodes, edges = data.n_id.to(task.device), data.edge_index.to(task.device)
        nc = task.task == "nc"
        none = place.new_empty(2, 0)
        return Batch(
            x=features(select_rows(task.x, nodes)),
            adjacency=model.adjacency(edges, nodes.numel()),
            nodes=place if nc else none[0],
            y=task.y[wanted] if nc else none[0],
            positive=none if nc else place[:, : pieces.numel()],
            negative=none if nc else place[:, pieces.numel() :],
        )
