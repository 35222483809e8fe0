"""Airport and Disease as Chami et al. (2019), "Hyperbolic Graph Convolutional Neural Networks", have them."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F

from hypersst.datasets.features import row_normalize, to_tensor
from hypersst.datasets.graph import Graph, undirected_pairs
from hypersst.datasets.graph_task import GraphTask
from hypersst.datasets.pickles import loads

__all__ = ["append_degrees", "read_airport", "read_disease"]

AIRPORT_CUTS = (1.0, 8 / 7, 9 / 7)
_MAX_DEGREE = 5


def read_airport(files: Mapping[str, bytes], *, keep_label: bool = False, normalize: bool = True) -> Graph:
    """Flight routes between 3,188 airports; the class is the population of the airport's country, in four bins.

    Nodes keep the order of the pickled graph, as in HGCN, so that its splits can be repeated. Each has five
    numbers: latitude, longitude, altitude, and its country's economic output and population, all scaled. The
    fifth, cut at 1, 8/7 and 9/7, is the class. `append_degrees` adds seven columns once the split is known.

    Args:
        files: Content of ``airport.p``.
        keep_label: Leave the fifth column among the features. HGCN does so for link prediction
            (``split="hgcn"``). The clean split does not: embeddings learned from links would carry the class
            into any classifier placed on them.
        normalize: Divide each row by its sum, as HGCN does, though the columns have signs.

    Returns:
        The graph, its one self-loop included, without a published split.
    """
    graph = loads(files["airport.p"], "airport.p")
    index = {node: i for i, node in enumerate(graph.nodes)}
    edges = torch.tensor([(index[u], index[v]) for u, v in graph.edges]).t()
    raw = np.array([graph.nodes[node]["feat"] for node in graph.nodes])
    features = raw if keep_label else raw[:, :4]
    return Graph(
        name="airport",
        x=to_tensor(row_normalize(features) if normalize else features),
        pairs=undirected_pairs(edges, len(index)),
        y=torch.from_numpy(np.digitize(raw[:, 4], AIRPORT_CUTS)),
        fractions=(0.15, 0.15),
    )


def append_degrees(task: GraphTask) -> GraphTask:
    """Append a node's degree, cut at 5, as six indicator columns, and a column of ones.

    Under link prediction only training edges count: degrees from held-out edges would give those away.

    Args:
        task: A task with ``d`` dense features.

    Returns:
        The task with ``d + 7`` features.
    """
    edges = task.train_pos if task.task == "lp" else task.edge_index[:, task.edge_index[0] < task.edge_index[1]]
    degree = torch.bincount(edges.flatten(), minlength=task.num_nodes).clamp(max=_MAX_DEGREE)
    one_hot = F.one_hot(degree, _MAX_DEGREE + 1).to(task.x.dtype)
    x = torch.cat((task.x, one_hot, torch.ones_like(task.x[:, :1])), dim=1)
    return dataclasses.replace(task, x=x)


def read_disease(files: Mapping[str, bytes], *, normalize: bool = False) -> Graph:
    """A simulated epidemic on a tree of 2,665 nodes (HGCN's link prediction files, which have labels too).

    Ten columns bear on a node's susceptibility and the eleventh is its place in the drawn tree, see
    `hypersst.datasets.disease_tree`; a node's class says whether it was infected.

    Args:
        files: Content of ``disease_lp.edges.csv``, ``disease_lp.feats.npz`` and ``disease_lp.labels.npy``.
        normalize: Divide each row by its sum. HGCN does *not* for this set.

    Returns:
        The graph, without a published split; HGCN's shares (10 % validation, 60 % test) for random ones.
    """
    edges = np.loadtxt(io.BytesIO(files["disease_lp.edges.csv"]), delimiter=",", dtype=np.int64)
    x = sp.load_npz(io.BytesIO(files["disease_lp.feats.npz"]))
    y = np.load(io.BytesIO(files["disease_lp.labels.npy"]), allow_pickle=False)
    return Graph(
        name="disease",
        x=to_tensor(row_normalize(x) if normalize else x),
        pairs=undirected_pairs(torch.from_numpy(edges.T.copy()), x.shape[0]),
        y=torch.from_numpy(y.astype(np.int64)),
        fractions=(0.10, 0.60),
    )
