r"""Sparse matrices whose products are fast in both directions.

A graph network multiplies by the same two sparse matrices in every step: the features :math:`X` (Cora:
1.3 % stored) and the normalised adjacency :math:`\hat A`. Autograd's own sparse product sorts the transpose
anew in each backward pass; `CSRMatrix` sorts it once and reuses the order, also when the stored values change
(dropout, lifting onto a manifold), because the pattern does not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.manifolds.rows import kept
from hypersst.nn.dropout import dropout as dense_dropout
from hypersst.tracing import is_recorded, is_traced

__all__ = ["CSRMatrix", "dropout", "entries_of_rows", "linear", "normalized_adjacency"]

# torch says once per process, at the first such tensor, that the layout is in beta. We use two of its
# operations, both tested, so the reader of a training log need not hear of it.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    torch.eye(1).to_sparse_csr()


class _Pattern:
    """Where the stored entries of a matrix are, by rows and (made on first use) by columns."""

    def __init__(self, crow: Tensor, col: Tensor, shape: tuple[int, int]) -> None:
        self.crow, self.col, self.shape = crow, col, shape
        self._row: Tensor | None = None
        self._transposed: tuple[_Pattern, Tensor] | None = None
        self._repeated: tuple[int, _Pattern] | None = None

    @property
    def row(self) -> Tensor:
        """Row of each stored entry, shape ``(nnz,)``."""
        if self._row is None:
            counts = self.crow.diff().long()
            rows = torch.arange(self.shape[0], device=self.col.device, dtype=self.col.dtype)
            self._row = rows.repeat_interleave(counts)
        return self._row

    @property
    def transposed(self) -> tuple[_Pattern, Tensor]:
        """Pattern of the transpose and where its entries are among these, shape ``(nnz,)`` or that of one block."""
        if self._transposed is None:
            # Rows ascend already, so a stable sort by column leaves them ascending within each column.
            order = self.col.long().argsort(stable=True)
            counts = torch.bincount(self.col.long(), minlength=self.shape[1])
            crow = F.pad(counts.cumsum(0), (1, 0)).to(self.crow.dtype)
            turned = _Pattern(crow, self.row[order], (self.shape[1], self.shape[0]))
            self._transposed = (turned, order.to(self.col.dtype))
        return self._transposed

    def repeated(self, copies: int) -> _Pattern:
        """Pattern of the block-diagonal matrix with so many blocks of this pattern."""
        if self._repeated is None or self._repeated[0] != copies:
            blocks, (turned, order) = self._blocks(copies), self.transposed
            blocks._transposed = (turned._blocks(copies), order)
            self._repeated = (copies, blocks)
        return self._repeated[1]

    def _blocks(self, copies: int) -> _Pattern:
        (rows, columns), stored = self.shape, self.col.numel()
        block = torch.arange(copies, device=self.col.device).unsqueeze(1)
        crow = F.pad((self.crow[1:] + stored * block).flatten(), (1, 0))
        col = (self.col + columns * block).flatten()
        return _pattern(crow, col, (copies * rows, copies * columns))


def _selected(values: Tensor, order: Tensor) -> Tensor:
    """Entries of each block in another order, shape ``(nnz,)``."""
    # One order for all blocks: a compiler divides to find the entry in a longer one, which takes as long again.
    return _flat(values.unflatten(0, (-1, order.numel())).index_select(1, order))


def _flat(blocks: Tensor) -> Tensor:
    """Rows one after another."""
    # A compiler that has not stored them as rows divides to find the row of each entry.
    return kept(blocks)[0].flatten()


def _pattern(crow: Tensor, col: Tensor, shape: tuple[int, int]) -> _Pattern:
    # 32-bit indices halve the traffic of the product, which is bound by memory.
    dtype = torch.int32 if max(*shape, col.numel()) < 2**31 else torch.int64
    return _Pattern(crow.to(dtype), col.to(dtype), shape)


# What a compiler sees, which cannot trace sparse tensors. As an operator the product costs some ten microseconds more.
_library = torch.library.Library("hypersst", "FRAGMENT")
_library.define("csr_product(Tensor crow, Tensor col, Tensor values, Tensor dense) -> Tensor")


def _eager_product(crow: Tensor, col: Tensor, values: Tensor, dense: Tensor) -> Tensor:
    rows = crow.shape[0] - 1
    matrix = torch.sparse_csr_tensor(crow, col, values, (rows, dense.shape[0]), check_invariants=False)
    # With no zeros to start from and no copy of them, which `@` makes, two thirds of the time.
    return dense.new_empty(rows, dense.shape[1]).addmm_(matrix, dense, beta=0)


_library.impl("csr_product", _eager_product, "CompositeExplicitAutograd")


torch.library.register_fake(
    "hypersst::csr_product",
    lambda crow, col, values, dense: dense.new_empty(crow.shape[0] - 1, dense.shape[1]),
    lib=_library,
)


def _product(crow: Tensor, col: Tensor, values: Tensor, dense: Tensor) -> Tensor:
    product = torch.ops.hypersst.csr_product if is_recorded() else _eager_product
    result: Tensor = product(crow, col, values, dense)
    return result


class _Arrangements:
    """Other arrangements of a matrix's values, kept for as long as the values stay as they are."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[Tensor, int, Tensor]] = {}

    def get(self, name: Hashable, values: Tensor, arrange: Callable[[Tensor], Tensor]) -> Tensor:
        """``arrange(values)``, or what it was for these ``values`` in an earlier call of the ``name``."""
        if torch.compiler.is_compiling() or values.requires_grad or values.is_inference():
            return arrange(values)
        kept = self._kept.get(name)
        if kept is not None and kept[0] is values and kept[1] == values._version:
            return kept[2]
        arranged = arrange(values)
        if not is_traced(values):
            self._kept[name] = (values, values._version, arranged)
        return arranged


class _Product(torch.autograd.Function):
    """``Y = A D`` with ``dD = Aᵀ dY`` through the cached transpose and ``dA_ij = dY_i · D_j``."""

    @staticmethod
    def forward(values: Tensor, dense: Tensor, pattern: _Pattern, arrangements: _Arrangements) -> Tensor:
        return _product(pattern.crow, pattern.col, values, dense)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, _Pattern, _Arrangements], output: Tensor) -> None:
        values, dense, ctx.pattern, ctx.arrangements = inputs
        ctx.save_for_backward(values, dense)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        values, dense = ctx.saved_tensors
        pattern: _Pattern = ctx.pattern
        grad_values = grad_dense = None
        if ctx.needs_input_grad[0]:
            # index_select, here and below, takes a third of the time of indexing, and 32-bit indices.
            grad_values = (grad.index_select(0, pattern.row) * dense.index_select(0, pattern.col)).sum(dim=-1)
        if ctx.needs_input_grad[1]:
            turned, order = pattern.transposed
            transposed = ctx.arrangements.get(
                ("transposed", values.dtype, values.numel()), values, lambda stored: _selected(stored, order)
            )
            grad_dense = _product(turned.crow, turned.col, transposed, grad.contiguous())
        return grad_values, grad_dense, None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, int | None, None, None],
        values: Tensor,
        dense: Tensor,
        pattern: _Pattern,
        arrangements: _Arrangements,
    ) -> tuple[Tensor, int]:
        """Several products as one with a block-diagonal matrix, whether matrices, factors or both differ.

        Factors side by side would do where the matrix is one. On a CPU that is as fast at best, since rows of all
        copies leave the cache (PubMed's features transposed, ten copies: 56 ms, as blocks 23), and wants them copied.
        """
        copies, (of_values, of_dense) = info.batch_size, in_dims[:2]
        if of_values is None:
            values = arrangements.get(("repeated", copies), values, lambda stored: stored.repeat(copies))
        else:
            values, arrangements = _flat(values.movedim(of_values, 0)), _Arrangements()
        dense = dense.expand(copies, *dense.shape) if of_dense is None else dense.movedim(of_dense, 0)
        product: Tensor = _Product.apply(values, dense.flatten(0, 1), pattern.repeated(copies), arrangements)
        return product.unflatten(0, (copies, -1)), 0


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
        self._pattern = _pattern(crow, col, (int(shape[0]), int(shape[1])))
        self._arrangements = _Arrangements()
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
        other._pattern, other._arrangements, other.values = self._pattern, _Arrangements(), values
        return other

    def matmul(self, dense: Tensor) -> Tensor:
        """Multiply by ``dense`` of shape ``(columns, d)``, in the wider of both types; the result is ``(rows, d)``."""
        dtype = torch.promote_types(self.dtype, dense.dtype)
        values = self.values
        if values.dtype != dtype:
            values = self._arrangements.get(dtype, values, lambda stored: stored.to(dtype))
        product: Tensor = _Product.apply(values, dense.to(dtype), self._pattern, self._arrangements)
        return product

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
