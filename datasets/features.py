"""Feature matrices on their way from files to tensors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypersst.nn.sparse import entries_of_rows

__all__ = ["SPARSE_BELOW", "identity", "row_normalize", "select_rows", "sparse_rows", "to_tensor"]

SPARSE_BELOW = 0.20
"""Share of non-zero entries below which a feature matrix is kept sparse (Cora 1.3 %, PubMed 10.0 %)."""


def row_normalize(x: sp.csr_matrix | NDArray[np.floating]) -> sp.csr_matrix:
    """Divide each row by its sum; rows that sum to zero become zero, as in HGCN's `normalize`.

    It is the *sum*, not the norm. For the counts of the citation sets that makes rows of sum one. Airport's
    columns have signs, so a row's sum can be small and its entries large (up to 286): the literature's choice,
    kept because every published number rests on it.
    """
    x = sp.csr_matrix(x, dtype=np.float64)
    sums = np.asarray(x.sum(axis=1)).ravel()
    inverse = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums != 0)
    return sp.csr_matrix(sp.diags(inverse) @ x)


def to_tensor(x: sp.csr_matrix | NDArray[np.floating]) -> Tensor:
    """Turn features into a float32 tensor: sparse CSR if fewer than `SPARSE_BELOW` are non-zero, else dense."""
    csr = sp.csr_matrix(x, dtype=np.float32)
    if csr.nnz >= SPARSE_BELOW * csr.shape[0] * csr.shape[1]:
        return torch.from_numpy(np.ascontiguousarray(csr.toarray()))
    csr.sum_duplicates()
    csr.eliminate_zeros()
    return _sparse_csr(csr)


def identity(num_nodes: int) -> Tensor:
    """One indicator column per node, sparse CSR of shape ``(num_nodes, num_nodes)``: features for graphs without."""
    return _sparse_csr(sp.identity(num_nodes, dtype=np.float32, format="csr"))


def sparse_rows(x: Tensor) -> Tensor:
    """Convert a matrix of any layout to sparse CSR, without torch's notice that the layout is in beta."""
    with _beta_notice_silenced():
        return x.to_sparse_csr()


def select_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Copy some rows of a dense or sparse CSR matrix.

    Args:
        x: Shape ``(n, d)``.
        rows: Which, in the order wanted, shape ``(k,)``.

    Returns:
        Shape ``(k, d)``, of the same layout.
    """
    if x.layout == torch.strided:
        return x[rows]
    crow, entry = entries_of_rows(x.crow_indices(), rows)
    parts = crow, x.col_indices()[entry], x.values()[entry]
    with _beta_notice_silenced():
        return torch.sparse_csr_tensor(*parts, (rows.numel(), x.size(1)), check_invariants=False)


def _sparse_csr(csr: sp.csr_matrix) -> Tensor:
    crow = torch.from_numpy(csr.indptr.astype(np.int64))
    col = torch.from_numpy(csr.indices.astype(np.int64))
    values = torch.from_numpy(csr.data.astype(np.float32))
    with _beta_notice_silenced():
        return torch.sparse_csr_tensor(crow, col, values, csr.shape, check_invariants=True)


@contextmanager
def _beta_notice_silenced() -> Iterator[None]:
    # torch says so once per process, whoever comes first; what we use of it is tested here.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        yield
