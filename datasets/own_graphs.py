"""Graphs of one's own as tasks."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from hypersst.datasets.features import identity, sparse_rows
from hypersst.datasets.graph import Graph, undirected_pairs, validate
from hypersst.datasets.graph_task import GraphTask
from hypersst.datasets.splits import split_graph

__all__ = ["from_edges", "from_networkx"]


def from_edges(
    edge_index: Tensor,
    x: Tensor | None = None,
    y: Tensor | None = None,
    *,
    num_nodes: int | None = None,
    task: str = "nc",
    split: str = "clean",
    seed: int = 0,
    fractions: tuple[float, float] = (0.15, 0.15),
    public: tuple[Tensor, Tensor, Tensor] | None = None,
    name: str = "graph",
) -> GraphTask:
    """Make a task of tensors as PyG has them.

    Args:
        edge_index: Edges, shape ``(2, E)``; direction is dropped, repeats are merged.
        x: Features, shape ``(n, d)``, dense or sparse; one indicator column per node if left out.
        y: Classes 0, 1, ..., shape ``(n,)``; needed for ``task="nc"``.
        num_nodes: Number of nodes where ``x`` is left out and the last nodes have no edge.
        task: ``"nc"`` or ``"lp"``.
        split: ``"clean"``, ``"hgcn"``, or ``"public"`` with ``public``.
        seed: Seed of the split.
        fractions: Shares of the nodes for validation and test.
        public: Your own indices (train, validation, test); ``"clean"`` then means these too.
        name: What to call it.

    Returns:
        The task.

    Raises:
        ValueError: Naming argument, rule and value.

    Example:
        >>> ring = torch.stack((torch.arange(40), (torch.arange(40) + 1) % 40))
        >>> from_edges(ring, y=torch.arange(40) // 20)  # doctest: +ELLIPSIS
        GraphTask(graph, node classification, split clean (seed 0): 40 nodes, 40 edges, ... nodes 28 / 6 / 6 ...)
    """
    if x is None:
        if num_nodes is None:
            num_nodes = int(edge_index.max()) + 1 if y is None else y.size(0)
        x = identity(num_nodes)
    elif num_nodes not in (None, x.size(0)):
        raise ValueError(f"`num_nodes` must equal the rows of `x` = {x.size(0)}, got {num_nodes}.")
    elif x.layout not in (torch.strided, torch.sparse_csr):
        x = sparse_rows(x)
    validate(x, edge_index, y)
    graph = Graph(
        name=name,
        x=x,
        pairs=undirected_pairs(edge_index.long(), x.size(0)),
        y=torch.empty(0, dtype=torch.long) if y is None else y.long(),
        public=public,
        fractions=fractions,
    )
    return split_graph(graph, task, split, seed)


def from_networkx(
    graph: nx.Graph,
    *,
    features: str | None = None,
    label: str | None = None,
    task: str = "nc",
    split: str = "clean",
    seed: int = 0,
    fractions: tuple[float, float] = (0.15, 0.15),
) -> GraphTask:
    """Make a task of a networkx graph; nodes are numbered in the graph's own order.

    Args:
        graph: The graph; direction, weights and parallel edges are dropped.
        features: Node attribute with a sequence of numbers; indicator columns if left out.
        label: Node attribute with the class, of any sortable type; sorted values become 0, 1, ...
        task: ``"nc"`` or ``"lp"``.
        split: ``"clean"`` or ``"hgcn"``.
        seed: Seed of the split.
        fractions: Shares of the nodes for validation and test.

    Returns:
        The task.

    Raises:
        ValueError: If a node lacks an attribute that was named, or as `from_edges`.

    Example:
        >>> task = from_networkx(nx.karate_club_graph(), label="club")
        >>> task.num_nodes, task.num_edges, task.num_classes
        (34, 78, 2)
    """
    index = {node: i for i, node in enumerate(graph.nodes)}
    edges = torch.tensor([(index[u], index[v]) for u, v in graph.edges()], dtype=torch.long).reshape(-1, 2)
    x = y = None
    if features is not None:
        x = torch.from_numpy(np.array(_attribute(graph, "features", features), dtype=np.float32))
    if label is not None:
        y = torch.from_numpy(np.unique(_attribute(graph, "label", label), return_inverse=True)[1])
    return from_edges(
        edges.t(),
        x,
        y,
        num_nodes=len(index),
        task=task,
        split=split,
        seed=seed,
        fractions=fractions,
        name=graph.name or "graph",
    )


def _attribute(graph: nx.Graph, argument: str, name: str) -> list[Any]:
    values = nx.get_node_attributes(graph, name)
    for node in graph.nodes:
        if node not in values:
            raise ValueError(f"`{argument}` must name an attribute of every node, got {name!r}: none at {node!r}.")
    return [values[node] for node in graph.nodes]
