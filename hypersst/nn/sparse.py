r"""Sparse matrices whose products are fast in both directions.

A graph network multiplies by the same two sparse matrices in every step: the features :math:`X` (Cora:
1.3 % stored) and the normalised adjacency :math:`\hat A`. Autograd's own sparse product sorts the transpose
anew in each backward pass; `CSRMatrix` sorts it once and reuses the order, also when the stored values change
(dropout, lifting onto a manifold), because the pattern does not.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.nn.dropout import dropout as dense_dropout
from hypersst.nn.sparse_product import Arrangements, pattern_of, product

__all__ = ["CSRMatrix", "dropout", "entries_of_rows", "linear", "normalized_adjacency"]


class CSRMatrix:
    """A sparse ``(rows, columns)`` matrix in compressed rows, differentiable in its values and its factor.

    Args:
        crow: Start of each row in ``col`` and ``values``, integers of shape ``(rows + 1,)``.
        col: Column of each stored entry, integers of shape ``(nnz,)``, ascending within a row.
        values: Stored entries, shape ``(nnz,)``.
        shape: ``(rows, columns)``.

    Example:
        >>> a = CSRMatrix.from_dense(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
        >>> a.matmul(torch.eye(2))
        tensor([[0., 2.],
                [1., 0.]])
    """

    def __init__(self, crow: Tensor, col: Tensor, values: Tensor, shape: tuple[int, int]) -> None:
        self._pattern = pattern_of(crow, col, (int(shape[0]), int(shape[1])))
        self._arrangements = Arrangements()
        self.values = values

    @classmethod
    def from_dense(cls, dense: Tensor) -> CSRMatrix:
        """Store the non-zero entries of ``dense``, shape ``(rows, columns)``."""
        return cls.from_torch(dense.to_sparse_csr())

    @classmethod
    def from_torch(cls, matrix: Tensor) -> CSRMatrix:
        """Take over a two-dimensional torch tensor of any sparse layout."""
        if matrix.dim() != 2:
            raise ValueError(f"`matrix` must have two dimensions, got shape {tuple(matrix.shape)}.")
        csr = matrix if matrix.layout == torch.sparse_csr else matrix.to_sparse_csr()
        # Copies: views of a sparse tensor cannot enter a compiled graph.
        crow, col, values = (part.clone() for part in (csr.crow_indices(), csr.col_indices(), csr.values()))
        return cls(crow, col, values, (csr.shape[0], csr.shape[1]))

    @classmethod
    def from_edges(cls, row: Tensor, col: Tensor, values: Tensor, shape: tuple[int, int]) -> CSRMatrix:
        """Build from coordinates, shape ``(nnz,)`` each; repeated coordinates are added up."""
        indices = torch.stack((row, col))
        return cls.from_torch(torch.sparse_coo_tensor(indices, values, shape, check_invariants=False).coalesce())

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, columns)``."""
        return self._pattern.shape

    @property
    def row(self) -> Tensor:
        """Row of each stored entry, shape ``(nnz,)``."""
        return self._pattern.row

    @property
    def col(self) -> Tensor:
        """Column of each stored entry, shape ``(nnz,)``."""
        return self._pattern.col

    @property
    def dtype(self) -> torch.dtype:
        """Type of the stored entries."""
        return self.values.dtype

    @property
    def device(self) -> torch.device:
        """Where the stored entries lie."""
        return self.values.device

    def size(self, dim: int) -> int:
        """Length of dimension ``dim``, as for a tensor."""
        return self.shape[dim]

    def to(self, *args: Any, **kwargs: Any) -> CSRMatrix:
        """Move to a device or cast the values, with the arguments of `torch.Tensor.to`."""
        values = self.values.to(*args, **kwargs)
        if values.device == self.device:
            return self.with_values(values)
        pattern = self._pattern
        return CSRMatrix(pattern.crow.to(values.device), pattern.col.to(values.device), values, self.shape)

    def with_values(self, values: Tensor) -> CSRMatrix:
        """Return the same pattern, cached transpose included, with other ``values`` of shape ``(nnz,)``."""
        other = object.__new__(CSRMatrix)
        other._pattern, other._arrangements, other.values = self._pattern, Arrangements(), values
        return other

    def matmul(self, dense: Tensor) -> Tensor:
        """Multiply by ``dense`` of shape ``(columns, d)``, in the wider of both types; the result is ``(rows, d)``."""
        dtype = torch.promote_types(self.dtype, dense.dtype)
        values = self.values
        if values.dtype != dtype:
            values = self._arrangements.get(dtype, values, lambda stored: stored.to(dtype))
        return product(values, dense.to(dtype), self._pattern, self._arrangements)

    __matmul__ = matmul

    def dropout(self, p: float, training: bool = True) -> CSRMatrix:
        """Drop stored entries with probability ``p``, as dropout of the dense matrix would."""
        if not training or p == 0.0:
            return self
        return self.with_values(dense_dropout(self.values, p))

    def row_sums(self, values: Tensor | None = None) -> Tensor:
        """Sum the stored entries (or other ``values`` in their places) of each row, shape ``(rows,)``."""
        values = self.values if values is None else values
        return values.new_zeros(self.shape[0]).index_add(0, self.row, values)

    def scale_rows(self, factor: Tensor) -> CSRMatrix:
        """Multiply row ``i`` by ``factor[i]``, shape ``(rows,)``."""
        return self.with_values(self.values * factor[self.row])

    def select_rows(self, rows: Tensor) -> CSRMatrix:
        """Keep ``rows``, integers of shape ``(n,)``, in their order; the result is ``(n, columns)``."""
        crow, entry = entries_of_rows(self._pattern.crow, rows)
        return CSRMatrix(crow, self.col[entry], self.values[entry], (rows.numel(), self.shape[1]))

    def with_columns(self, col: Tensor, columns: int) -> CSRMatrix:
        """Number the columns anew: entry by entry ``col``, shape ``(nnz,)``, ascending within a row."""
        return CSRMatrix(self._pattern.crow, col, self.values, (self.shape[0], columns))

    def prepend_column(self, column: Tensor) -> CSRMatrix:
        """Put a dense ``column`` of shape ``(rows,)`` before the first one; its zeros are stored too."""
        rows, columns = self.shape
        first = torch.arange(rows, device=self.device)
        row = torch.cat((first, self.row.long()))
        col = torch.cat((torch.zeros_like(first), self.col.long() + 1))
        order = (row * (columns + 1) + col).argsort()
        crow = self._pattern.crow.long() + torch.arange(rows + 1, device=self.device)
        values = torch.cat((column, self.values))[order]
        return CSRMatrix(crow, col[order], values, (rows, columns + 1))

    def to_dense(self) -> Tensor:
        """Return the matrix with its zeros, shape ``(rows, columns)``."""
        index = (self.row.long(), self.col.long())
        return self.values.new_zeros(self.shape).index_put(index, self.values, accumulate=True)

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"CSRMatrix({rows}x{columns}, nnz={self.values.numel()}, {self.dtype})"


def entries_of_rows(crow: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Where the stored entries of some rows of a compressed matrix are.

    Args:
        crow: Start of each row, shape ``(n + 1,)``.
        rows: Which, in the order wanted, shape ``(k,)``.

    Returns:
        Start of each row among these, shape ``(k + 1,)``, and the number of each of their entries.
    """
    start, count = crow[rows].long(), crow.diff()[rows].long()
    found = F.pad(count.cumsum(0), (1, 0))
    entry = torch.arange(int(found[-1]), device=crow.device) + (start - found[:-1]).repeat_interleave(count)
    return found, entry


def linear(x: Tensor | CSRMatrix, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` for dense or sparse rows.

    Args:
        x: Rows, shape ``(*, in)`` if dense and ``(rows, in)`` if sparse.
        weight: Shape ``(out, in)``.
        bias: Shape ``(out,)``, or ``None``.

    Returns:
        ``x weightᵀ + bias``, shape ``(*, out)``.
    """
    if isinstance(x, CSRMatrix):
        y = x.matmul(weight.t())
        return y if bias is None else y + bias
    return F.linear(x, weight, bias)


def dropout(x: Tensor | CSRMatrix, p: float, training: bool = True) -> Tensor | CSRMatrix:
    """`torch.nn.functional.dropout` for dense or sparse rows."""
    if isinstance(x, CSRMatrix):
        return x.dropout(p, training)
    return dense_dropout(x, p, training)


def normalized_adjacency(
    edge_index: Tensor,
    num_nodes: int,
    edge_weight: Tensor | None = None,
    *,
    normalization: str = "row",
    add_self_loops: bool = True,
    dtype: torch.dtype | None = None,
) -> CSRMatrix:
    r"""Sparse :math:`\hat A` with ``A[target, source]``, ready to multiply node features from the left.

    ``"row"`` is :math:`D^{-1}(A + I)`, the mean over neighbours of HGCN and HyboNet; ``"sym"`` is
    :math:`D^{-1/2}(A + I)D^{-1/2}` (Kipf and Welling, 2017, eq. 2); ``"none"`` is :math:`A + I`.

    Args:
        edge_index: Source and target of each edge, shape ``(2, E)``.
        num_nodes: Number of nodes.
        edge_weight: Shape ``(E,)``, ones if left out.
        normalization: ``"row"``, ``"sym"`` or ``"none"``.
        add_self_loops: Add the identity before normalising.
        dtype: Type of the result, torch's default if left out.

    Returns:
        A matrix of shape ``(num_nodes, num_nodes)``; rows of isolated nodes without self-loop are empty.

    Raises:
        ValueError: If ``normalization`` is none of the three.
    """
    if normalization not in ("row", "sym", "none"):
        raise ValueError(f"`normalization` must be 'row', 'sym' or 'none', got {normalization!r}.")
    source, target = edge_index[0].long(), edge_index[1].long()
    if edge_weight is None:
        edge_weight = torch.ones(source.numel(), dtype=dtype or torch.get_default_dtype(), device=source.device)
    if add_self_loops:
        loops = torch.arange(num_nodes, device=source.device)
        source, target = torch.cat((source, loops)), torch.cat((target, loops))
        edge_weight = torch.cat((edge_weight, edge_weight.new_ones(num_nodes)))
    adjacency = CSRMatrix.from_edges(target, source, edge_weight, (num_nodes, num_nodes))
    degree = adjacency.row_sums()
    if normalization == "row":
        return adjacency.scale_rows(torch.where(degree == 0, 0.0, 1.0 / degree))
    if normalization == "sym":
        root = torch.where(degree == 0, 0.0, degree.rsqrt())
        return adjacency.with_values(adjacency.values * root[adjacency.row] * root[adjacency.col])
    return adjacency
