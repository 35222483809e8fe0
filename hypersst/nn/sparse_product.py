"""Where the stored entries of a sparse matrix are, and products with it that autograd, compilers and vmap know."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.manifolds.rows import kept
from hypersst.tracing import is_recorded, is_traced

__all__ = ["Arrangements", "Pattern", "pattern_of", "product"]

# torch says once per process, at the first such tensor, that the layout is in beta, and torch 2.11 that it checks none.
# We use two of its operations, both tested, so the reader of a training log need not hear of it.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Sparse (CSR tensor support is in beta|invariant checks are implicitly)")
    torch.eye(1).to_sparse_csr()
    torch.sparse_csr_tensor([0, 1], [0], [1.0], (1, 1), check_invariants=False)


class Pattern:
    """Where the stored entries of a matrix are, by rows and (made on first use) by columns."""

    def __init__(self, crow: Tensor, col: Tensor, shape: tuple[int, int]) -> None:
        self.crow, self.col, self.shape = crow, col, shape
        self._row: Tensor | None = None
        self._transposed: tuple[Pattern, Tensor] | None = None
        self._repeated: tuple[int, Pattern] | None = None

    @property
    def row(self) -> Tensor:
        """Row of each stored entry, shape ``(nnz,)``."""
        if self._row is None:
            counts = self.crow.diff().long()
            rows = torch.arange(self.shape[0], device=self.col.device, dtype=self.col.dtype)
            self._row = rows.repeat_interleave(counts)
        return self._row

    @property
    def transposed(self) -> tuple[Pattern, Tensor]:
        """Pattern of the transpose and where its entries are among these, shape ``(nnz,)`` or that of one block."""
        if self._transposed is None:
            # Rows ascend already, so a stable sort by column leaves them ascending within each column.
            order = self.col.long().argsort(stable=True)
            counts = torch.bincount(self.col.long(), minlength=self.shape[1])
            crow = F.pad(counts.cumsum(0), (1, 0)).to(self.crow.dtype)
            turned = Pattern(crow, self.row[order], (self.shape[1], self.shape[0]))
            self._transposed = (turned, order.to(self.col.dtype))
        return self._transposed

    def repeated(self, copies: int) -> Pattern:
        """Pattern of the block-diagonal matrix with so many blocks of this pattern."""
        if self._repeated is None or self._repeated[0] != copies:
            blocks, (turned, order) = self._blocks(copies), self.transposed
            blocks._transposed = (turned._blocks(copies), order)
            self._repeated = (copies, blocks)
        return self._repeated[1]

    def _blocks(self, copies: int) -> Pattern:
        (rows, columns), stored = self.shape, self.col.numel()
        block = torch.arange(copies, device=self.col.device).unsqueeze(1)
        crow = F.pad((self.crow[1:] + stored * block).flatten(), (1, 0))
        col = (self.col + columns * block).flatten()
        return pattern_of(crow, col, (copies * rows, copies * columns))


def _flat(blocks: Tensor) -> Tensor:
    """Rows one after another."""
    # A compiler that has not stored them as rows divides to find the row of each entry.
    return kept(blocks)[0].flatten()


def pattern_of(crow: Tensor, col: Tensor, shape: tuple[int, int]) -> Pattern:
    """Pattern of compressed rows ``crow`` and columns ``col``, of integers that are as short as its sizes allow."""
    # 32-bit indices halve the traffic of the product, which is bound by memory.
    dtype = torch.int32 if max(*shape, col.numel()) < 2**31 else torch.int64
    return Pattern(crow.to(dtype), col.to(dtype), shape)


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
    operator = torch.ops.hypersst.csr_product if is_recorded() else _eager_product
    result: Tensor = operator(crow, col, values, dense)
    return result


_library.define("in_order(Tensor blocks, Tensor order) -> Tensor")


def _eager_in_order(blocks: Tensor, order: Tensor) -> Tensor:
    if blocks.device.type != "cpu" or torch.is_grad_enabled():
        return blocks.index_select(1, order)
    # One by one they take two thirds of the time, and of that of the code that a compiler writes for the CPU.
    result = torch.empty_like(blocks)
    for block, ordered in zip(blocks, result, strict=True):
        torch.index_select(block, 0, order, out=ordered)
    return result


_library.impl("in_order", _eager_in_order, "CompositeExplicitAutograd")


torch.library.register_fake("hypersst::in_order", lambda blocks, order: torch.empty_like(blocks), lib=_library)


def _in_order(values: Tensor, order: Tensor) -> Tensor:
    """Entries of each block in another order, shape ``(nnz,)``; ``order`` is that of one block."""
    blocks = values.unflatten(0, (-1, order.numel()))
    operator = torch.ops.hypersst.in_order if is_recorded() else _eager_in_order
    ordered: Tensor = operator(blocks, order)
    return ordered.flatten()


class Arrangements:
    """Other arrangements of a matrix's values, kept for as long as the values stay as they are."""

    def __init__(self) -> None:
        self._held: dict[Hashable, tuple[Tensor, int, Tensor]] = {}

    def get(self, name: Hashable, values: Tensor, arrange: Callable[[Tensor], Tensor]) -> Tensor:
        """``arrange(values)``, or what it was for these ``values`` in an earlier call of the ``name``."""
        if torch.compiler.is_compiling() or values.requires_grad or values.is_inference():
            return arrange(values)
        held = self._held.get(name)
        if held is not None and held[0] is values and held[1] == values._version:
            return held[2]
        arranged = arrange(values)
        if not is_traced(values):
            self._held[name] = (values, values._version, arranged)
        return arranged


class _Product(torch.autograd.Function):
    """``Y = A D`` with ``dD = Aᵀ dY`` through the cached transpose and ``dA_ij = dY_i · D_j``."""

    @staticmethod
    def forward(values: Tensor, dense: Tensor, pattern: Pattern, arrangements: Arrangements) -> Tensor:
        return _product(pattern.crow, pattern.col, values, dense)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Pattern, Arrangements], output: Tensor) -> None:
        values, dense, ctx.pattern, ctx.arrangements = inputs
        ctx.save_for_backward(values, dense)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        values, dense = ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        grad_values = grad_dense = None
        if ctx.needs_input_grad[0]:
            # index_select, here and below, takes a third of the time of indexing, and 32-bit indices.
            grad_values = (grad.index_select(0, pattern.row) * dense.index_select(0, pattern.col)).sum(dim=-1)
        if ctx.needs_input_grad[1]:
            turned, order = pattern.transposed
            transposed = ctx.arrangements.get(
                ("transposed", values.dtype, values.numel()), values, lambda stored: _in_order(stored, order)
            )
            grad_dense = _product(turned.crow, turned.col, transposed, grad.contiguous())
        return grad_values, grad_dense, None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, int | None, None, None],
        values: Tensor,
        dense: Tensor,
        pattern: Pattern,
        arrangements: Arrangements,
    ) -> tuple[Tensor, int]:
        """Several products as one with a block-diagonal matrix, whether matrices, factors or both differ.

        Factors side by side would do where the matrix is one. On a CPU that is as fast at best, since rows of all
        copies leave the cache (PubMed's features transposed, ten copies: 56 ms, as blocks 23), and wants them copied.
        """
        copies, (of_values, of_dense) = info.batch_size, in_dims[:2]
        if of_values is None:
            values = arrangements.get(("repeated", copies), values, lambda stored: stored.repeat(copies))
        else:
            values, arrangements = _flat(values.movedim(of_values, 0)), Arrangements()
        dense = dense.expand(copies, *dense.shape) if of_dense is None else dense.movedim(of_dense, 0)
        results: Tensor = _Product.apply(values, dense.flatten(0, 1), pattern.repeated(copies), arrangements)
        return results.unflatten(0, (copies, -1)), 0


def product(values: Tensor, dense: Tensor, pattern: Pattern, arrangements: Arrangements) -> Tensor:
    """Multiply a sparse by a dense matrix; differentiable in both, and one product where `torch.vmap` makes several.

    Args:
        values: Stored entries, shape ``(nnz,)``.
        dense: Shape ``(columns, d)``, of the same type.
        pattern: Where the entries are.
        arrangements: What is kept for these ``values``.

    Returns:
        Shape ``(rows, d)``.
    """
    result: Tensor = _Product.apply(values, dense, pattern, arrangements)
    return result
