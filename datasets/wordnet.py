"""Hierarchies of WordNet: which noun is a kind of which."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hypersst.datasets.files import DataFile, read_files
from hypersst.errors import DataError, unknown

__all__ = ["HIERARCHIES", "MAMMALS", "Hierarchy", "HierarchySource", "load_hierarchy", "read_closure"]

_URL = "https://raw.githubusercontent.com/canallee/MCF_hyperbolic_Learning/2c4ffd626b2da4bdb4ee5419d3c730ba45575ed5"

MAMMALS = DataFile(
    "wordnet/mammal_closure.csv",
    f"{_URL}/wordnet/mammal_closure.csv",
    "de4a395b6c06eeca442709967899ab5ebfe5e846d8eee643c85ed473e7d4820c",
)
"""All pairs (mammal, kind of mammal that it is) (made by a script of poincare-embeddings, CC BY-NC 4.0)."""


@dataclass(frozen=True)
class Hierarchy:
    """Which node is a kind of which.

    Attributes:
        name: Name of the data set.
        names: Names of the nodes, sorted; a node's number is its place.
        pairs: Columns (narrower, broader), sorted, shape ``(2, E)``.
    """

    name: str
    names: tuple[str, ...]
    pairs: Tensor

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.names)

    @property
    def roots(self) -> tuple[str, ...]:
        """Names of the nodes that are a kind of nothing."""
        narrower = torch.zeros(self.num_nodes, dtype=torch.bool)
        narrower[self.pairs[0]] = True
        return tuple(self.names[i] for i in (~narrower).nonzero().flatten().tolist())

    def describe(self) -> str:
        """One line for records."""
        return f"{self.name}: {self.num_nodes:,} nodes, {self.pairs.size(1):,} pairs (narrower, broader)"


@dataclass(frozen=True)
class HierarchySource:
    """How a hierarchy is made.

    Attributes:
        summary: One line for lists.
        file: What it is read from.
        read: Makes the hierarchy of its name and the file's content.
    """

    summary: str
    file: DataFile
    read: Callable[[str, bytes], Hierarchy]


def read_closure(name: str, content: bytes) -> Hierarchy:
    """Read pairs (narrower, broader) in the format of poincare-embeddings, columns ``id1,id2,weight``.

    Weights are dropped: those of a closure are all 1.

    Args:
        name: Name of the data set.
        content: The file.

    Raises:
        DataError: If the columns are others, a pair occurs twice, or a node is paired with itself.
    """
    rows = csv.reader(io.StringIO(content.decode()))
    header = next(rows, [])
    if header[:2] != ["id1", "id2"]:
        raise DataError(f"The columns of {name} must begin with id1, id2, got {','.join(header)!r}.")
    found = [(row[0], row[1]) for row in rows if row]
    pairs = sorted(set(found))
    loops = [narrower for narrower, broader in pairs if narrower == broader]
    if len(pairs) < max(len(found), 1) or loops:
        raise DataError(
            f"The pairs of {name} must be different and of two nodes each, got {len(found) - len(pairs)} repeats and "
            f"{len(loops)} loops among {len(found)}."
        )
    names = tuple(sorted({node for pair in pairs for node in pair}))
    number = {node: i for i, node in enumerate(names)}
    columns = torch.tensor([(number[narrower], number[broader]) for narrower, broader in pairs]).t().contiguous()
    return Hierarchy(name, names, columns)


HIERARCHIES: Mapping[str, HierarchySource] = {
    "mammals": HierarchySource("1,180 mammals of WordNet and all their broader kinds", MAMMALS, read_closure),
}
"""All hierarchies by the names that `load_hierarchy` takes."""


def load_hierarchy(name: str = "mammals", *, data_dir: str | os.PathLike[str] | None = None) -> Hierarchy:
    """Load a hierarchy.

    Its file comes from ``data_dir`` or else ``HYPERSST_DATA``, then from the cache, then from its source, into the
    cache; see `hypersst.datasets.files`.

    Args:
        name: A key of `HIERARCHIES`.
        data_dir: Folder to look in first.

    Raises:
        ValueError: If the name is unknown.
        DataError: If the file is missing and cannot be fetched, or has a wrong checksum (a `ValueError` too).
    """
    if name not in HIERARCHIES:
        raise unknown("dataset", name, HIERARCHIES)
    source = HIERARCHIES[name]
    return source.read(name, read_files([source.file], data_dir)[source.file.name])
