"""Which way of applying a weight that is held by factors is faster: build it, or multiply by the factors."""

from __future__ import annotations

__all__ = ["EXECUTIONS", "factors_win"]

EXECUTIONS = ("auto", "composed", "factored")

# Below this many singular values the number of operations costs more than the arithmetic: compose, but for weights
# with one side so many times as long as the other.
_SMALL, _SKINNY = 128, 20


def factors_win(shape: tuple[int, int], k: int, rank: int, rows: int, *, recompute: bool) -> bool:
    """Whether a training step by factors is expected to be faster than one by a composed weight.

    Args:
        shape: ``(m, n)`` of the weight.
        k: Number of its singular values.
        rank: How many pairs train.
        rows: Rows of input, ``B``.
        recompute: Whether nothing but the input is kept for the backward pass.
    """
    # Note [composed or factored]: measured on one CPU core. For B rows composing costs (2k + r)/(3B) of a dense
    # step on top of it; factoring costs a third more than dense for squares and less than dense from a ratio
    # of sides of about 2.4 on, but for small k the number of operations decides. Only where the gradient of the
    # weight is most of the work and few rows of it are needed do factors win there: 16 x 1433, B = 2708 takes
    # 0.75 of a dense step at r = 1 and 1.03 at r = 4 (composed: 1.09 and 1.14), 16 x 256 the same either way.
    m, n = shape
    ratio = max(m, n) / k
    if k < _SMALL:
        return ratio >= _SKINNY and 4 * rank <= k
    if recompute:
        # Multiply-adds, since both make one product more: the composed weight, of k rows, and x vᵀ, of B. So factors
        # win for fewer shapes than otherwise.
        factored = rows * (2 * k * (m + n) + k * n + rank * (m + n))
        return factored < m * n * (3 * rows + 3 * k + rank)
    return not (ratio < 2.2 and rows >= 2.5 * k)
