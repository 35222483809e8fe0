"""Cora, CiteSeer and PubMed from Planetoid's raw files."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import numpy as np
import scipy.sparse as sp
import torch

from hypersst.datasets.features import row_normalize, to_tensor
from hypersst.datasets.graph import Graph, undirected_pairs
from hypersst.datasets.pickles import loads

__all__ = ["read_planetoid"]

VALIDATION_NODES = 500


def read_planetoid(name: str, files: Mapping[str, bytes], *, normalize: bool = True) -> Graph:
    """Assemble a citation graph (Yang, Cohen and Salakhutdinov, 2016, "Revisiting Semi-Supervised Learning").

    The files hold the labelled nodes (``x``, ``y``), all nodes but the test nodes (``allx``, ``ally``) and the
    test nodes (``tx``, ``ty``) in the order of ``test.index``, which gives their places in the graph. CiteSeer's
    test range has 15 gaps: isolated nodes without words or class. They stay in the graph with zero features and,
    as in PyG, with class 0; no part of the split contains them.

    The published split: the nodes of ``y`` for training, the next 500 for validation, ``test.index`` for test.

    Args:
        name: ``"cora"``, ``"citeseer"`` or ``"pubmed"``, as in the files' names.
        files: Content of the eight raw files by name.
        normalize: Divide each row of the features by its sum, as HGCN does.

    Returns:
        The graph, with the published split.
    """
    part = {key: loads(files[f"ind.{name}.{key}"], key) for key in ("tx", "allx", "y", "ty", "ally", "graph")}
    test = np.array(files[f"ind.{name}.test.index"].split(), dtype=np.int64)
    known = part["allx"].shape[0]
    n = max(int(test.max()) + 1, known)

    tx = part["tx"].tocoo()
    placed = sp.csr_matrix((tx.data, (test[tx.row] - known, tx.col)), shape=(n - known, tx.shape[1]))
    x = sp.vstack([part["allx"], placed], format="csr")
    one_hot = np.zeros((n, part["ally"].shape[1]))
    one_hot[:known] = part["ally"]
    one_hot[test] = part["ty"]

    neighbours = part["graph"]
    source = np.repeat(np.array(list(neighbours)), [len(others) for others in neighbours.values()])
    target = np.fromiter(chain.from_iterable(neighbours.values()), dtype=np.int64)
    edges = torch.from_numpy(np.stack((source, target)))
    labelled = part["y"].shape[0]
    return Graph(
        name=name,
        x=to_tensor(row_normalize(x) if normalize else x),
        # The adjacency lists repeat some edges: 5,429 are often printed for Cora, 5,278 are different.
        pairs=undirected_pairs(edges, n),
        y=torch.from_numpy(one_hot.argmax(axis=1)),
        public=(
            torch.arange(labelled),
            torch.arange(labelled, labelled + VALIDATION_NODES),
            torch.from_numpy(np.sort(test)),
        ),
    )
