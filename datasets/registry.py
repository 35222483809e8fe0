"""The data sets by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from hypersst.datasets import sources
from hypersst.datasets.disease_tree import disease_tree
from hypersst.datasets.files import DataFile, read_files
from hypersst.datasets.graph import Graph
from hypersst.datasets.graph_task import GraphTask
from hypersst.datasets.hgcn import append_degrees, read_airport, read_disease
from hypersst.datasets.planetoid import read_planetoid
from hypersst.datasets.splits import SPLITS, TASKS, split_graph
from hypersst.datasets.synthetic import LEAST_NODES, synthetic_graph
from hypersst.errors import unknown

__all__ = ["DATASETS", "Dataset", "load"]

# Always the same graph, as for any other set: `seed` is for the split alone.
_GRAPH_SEED = 0


@dataclass(frozen=True)
class Dataset:
    """How a data set is made.

    Attributes:
        summary: One line for lists.
        read: Makes the graph of the files' content, the task, the split and whether to normalise features; of the
            number of nodes too, if that can be chosen.
        normalize: Whether HGCN divides the rows of its features by their sums.
        files: What ``read`` needs.
        finish: Adds what depends on the split.
        any_size: Whether the number of nodes can be chosen.
    """

    summary: str
    read: Callable[..., Graph]
    normalize: bool
    files: tuple[DataFile, ...] = ()
    finish: Callable[[GraphTask], GraphTask] | None = None
    any_size: bool = False


def _planetoid(name: str, files: Mapping[str, bytes], task: str, split: str, normalize: bool) -> Graph:
    return read_planetoid(name, files, normalize=normalize)


def _airport(files: Mapping[str, bytes], task: str, split: str, normalize: bool) -> Graph:
    return read_airport(files, keep_label=task == "lp" and split == "hgcn", normalize=normalize)


def _disease(files: Mapping[str, bytes], task: str, split: str, normalize: bool) -> Graph:
    return read_disease(files, normalize=normalize)


def _disease_tree(files: Mapping[str, bytes], task: str, split: str, normalize: bool) -> Graph:
    return disease_tree(generator=torch.Generator().manual_seed(_GRAPH_SEED))


def _synthetic(files: Mapping[str, bytes], task: str, split: str, normalize: bool, nodes: int = 10_000) -> Graph:
    if nodes < LEAST_NODES:
        raise ValueError(f"`nodes` must be at least {LEAST_NODES}, got {nodes}.")
    return synthetic_graph(nodes, generator=torch.Generator().manual_seed(_GRAPH_SEED))


DATASETS: Mapping[str, Dataset] = {
    "disease-tree": Dataset("epidemic on a random tree, generated: needs no files", _disease_tree, False),
    "cora": Dataset(
        "2,708 papers on machine learning",
        partial(_planetoid, "cora"),
        True,
        sources.PLANETOID["cora"],
    ),
    "citeseer": Dataset(
        "3,327 papers on computer science",
        partial(_planetoid, "citeseer"),
        True,
        sources.PLANETOID["citeseer"],
    ),
    "pubmed": Dataset(
        "19,717 papers on diabetes",
        partial(_planetoid, "pubmed"),
        True,
        sources.PLANETOID["pubmed"],
    ),
    "airport": Dataset("3,188 airports and their flights (HGCN)", _airport, True, sources.AIRPORT, append_degrees),
    "disease": Dataset("epidemic on a tree of 2,665 nodes (HGCN, disease_lp)", _disease, False, sources.DISEASE),
    "synthetic": Dataset(
        "scale-free, tree-like graph of any size, generated: needs no files", _synthetic, False, any_size=True
    ),
}
"""All data sets by the names that `load` takes."""


def load(
    name: str,
    *,
    task: str = "nc",
    split: str = "clean",
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    normalize: bool | None = None,
    nodes: int | None = None,
) -> GraphTask:
    """Load a data set and split it for a task.

    Files come from ``data_dir`` or else ``HYPERSST_DATA``, then from the cache, then from their source, into the
    cache; see `hypersst.datasets.files`.

    Args:
        name: A key of `DATASETS`.
        task: ``"nc"`` (node classification) or ``"lp"`` (link prediction).
        split: ``"clean"``; ``"hgcn"`` for the literature's (for Airport's nodes it **leaks**, see
            `hypersst.datasets.splits.hgcn_nodes`); ``"public"`` for the published nodes of the citation sets.
        seed: Seed of the split. The literature's is 1234.
        data_dir: Folder to look in first.
        normalize: Divide each row of the features by its sum; ``None`` for what HGCN does with this set.
        nodes: Number of nodes, for ``"synthetic"`` only; 10,000 if left out.

    Returns:
        The task, on the CPU.

    Raises:
        ValueError: If a name is unknown or the set lacks the split.
        DataError: If files are missing and cannot be fetched, or have a wrong checksum (a `ValueError` too).

    Example:
        >>> task = load("disease-tree", task="lp")
        >>> task.num_nodes, task.train_pos.shape[1], task.test_neg.shape[1]
        (1000, 851, 99)
    """
    if name not in DATASETS:
        raise unknown("dataset", name, DATASETS)
    # Before any download.
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    dataset = DATASETS[name]
    if nodes is not None and not dataset.any_size:
        sized = ", ".join(other for other in DATASETS if DATASETS[other].any_size)
        raise ValueError(f"`nodes` must be left out for {name} (only {sized} is made in any size), got {nodes}.")
    if normalize is None:
        normalize = dataset.normalize
    elif normalize and not dataset.files:
        raise ValueError(f"`normalize` must be left out for {name}, whose features are generated, got {normalize}.")
    files = read_files(dataset.files, data_dir)
    size = {} if nodes is None else {"nodes": nodes}
    graph = dataset.read(files, task, split, normalize, **size)
    result = split_graph(graph, task, split, seed)
    return result if dataset.finish is None else dataset.finish(result)
