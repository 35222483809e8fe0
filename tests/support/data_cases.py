"""Small graphs and raw files for tests of the data sets, and the way to the real ones."""

import os
import pickle
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from hypersst.datasets import Graph
from hypersst.datasets.graph import undirected_pairs

# Read when imported: tests of the search order change the variable.
_REAL_DATA = os.environ.get("HYPERSST_DATA")


def real_data() -> Path:
    """Folder with the real sets; skips the test if there is none."""
    if not _REAL_DATA:
        pytest.skip("HYPERSST_DATA names no folder with the real data sets")
    return Path(_REAL_DATA)


def random_graph(num_nodes: int = 60, num_edges: int = 200, classes: int = 3, seed: int = 0) -> Graph:
    """Random pairs (self-loops among them), features and classes."""
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(num_nodes, (2, num_edges), generator=generator)
    edges = torch.cat((edges, torch.tensor([[0], [0]])), dim=1)
    return Graph(
        name="random",
        x=torch.randn(num_nodes, 4, generator=generator),
        pairs=undirected_pairs(edges, num_nodes),
        y=torch.arange(num_nodes) % classes,
    )


def all_pairs(num_nodes: int, loops: bool) -> set[tuple[int, int]]:
    """Every unordered pair, by two plain loops."""
    return {(u, v) for u in range(num_nodes) for v in range(u if loops else u + 1, num_nodes)}


def as_set(pairs: torch.Tensor) -> set[tuple[int, int]]:
    """Columns as tuples."""
    return {(int(u), int(v)) for u, v in pairs.t()}


def planetoid_files(name: str = "tiny") -> dict[str, bytes]:
    """Raw files of a citation graph of 510 nodes, 6 words, 2 classes, with node 508 isolated and unlisted.

    Four labelled nodes, 506 known ones, and the test nodes 509, 506, 507 in this order. Word counts of node ``i`` are
    ``i % 6 + 1`` in column ``i % 6``; the class is ``i % 2``. Edges form a path over all nodes but 508, listed
    twice in places, and there is a self-loop at 0.
    """
    n, words, known, test = 510, 6, 506, [509, 506, 507]

    def features(nodes: list[int]) -> sp.csr_matrix:
        x = np.zeros((len(nodes), words), dtype=np.float32)
        for row, node in enumerate(nodes):
            x[row, node % words] = node % words + 1
        return sp.csr_matrix(x)

    def classes(nodes: list[int]) -> np.ndarray:
        return np.eye(2, dtype=np.int32)[[node % 2 for node in nodes]]

    graph = defaultdict(list)
    path = [node for node in range(n) if node != 508]
    for node in range(n):
        graph[node] = []
    for u, v in pairwise(path):
        graph[u] += [v, v]
        graph[v].append(u)
    graph[0].append(0)
    everyone = list(range(known))
    contents = {
        "x": features(everyone[:4]),
        "y": classes(everyone[:4]),
        "allx": features(everyone),
        "ally": classes(everyone),
        "tx": features(test),
        "ty": classes(test),
        "graph": graph,
    }
    files = {f"ind.{name}.{part}": pickle.dumps(content, protocol=2) for part, content in contents.items()}
    files[f"ind.{name}.test.index"] = "".join(f"{node}\n" for node in test).encode()
    return files


def airport_files() -> dict[str, bytes]:
    """A pickled star of airports 10, 11, ..., 16 around 16, a self-loop at 16, and fifth features in all bins."""
    graph = nx.Graph()
    fifth = [0.9, 1.0, 1.1, 1.15, 1.2, 1.29, 1.3]
    for node, value in zip(range(10, 17), fifth, strict=True):
        graph.add_node(node, feat=[1.0, 2.0, -1.0, 2.0, value])
    graph.add_edges_from((16, node) for node in range(10, 17))
    return {"airport.p": pickle.dumps(graph)}
