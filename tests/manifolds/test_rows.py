"""Passes over rows: blocks give the numbers that all rows at once give, and numbers that are kept stay the same."""

import pytest
import torch

from hypersst.manifolds import Lorentz
from hypersst.manifolds.chord import squared_chord
from hypersst.manifolds.rows import blocks, kept, kept_by_row

ROWS, DIM = 30_000, 24
ONE = torch.tensor(0.7)


def points(seed):
    v = torch.randn(ROWS, DIM, generator=torch.Generator().manual_seed(seed)) / DIM**0.5
    return Lorentz(0.7).expmap0_space(v)


@torch.no_grad()
def test_blocks_are_the_rows_in_order():
    x, number = points(0), torch.arange(ROWS).unsqueeze(-1)
    parts = blocks(x, number)
    assert len(parts) > 1
    for whole, found in zip((x, number), zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(found), whole, rtol=0, atol=0)


def test_there_is_one_block_of_what_is_small_unlike_traced_or_recorded():
    x = points(0)
    with torch.no_grad():
        assert len(blocks(x[:100])) == 1
        assert len(blocks(x, x[:1])) == 1
        assert len(blocks(x.t(), dim=0)) == 1
    assert len(blocks(x)) == 1  # gradients are recorded


def test_squared_chords_and_gradients_in_blocks_are_those_of_few_rows():
    leaves = [points(seed).requires_grad_() for seed in (0, 1)]
    cotangent = torch.randn(ROWS, 1, generator=torch.Generator().manual_seed(2))

    def chords_and_gradients(rows):
        q = squared_chord(*(x[rows] for x in leaves), ONE)
        return q, *(g[rows] for g in torch.autograd.grad(q, leaves, cotangent[rows]))

    whole = chords_and_gradients(slice(None))
    few = [chords_and_gradients(slice(start, start + 3000)) for start in range(0, ROWS, 3000)]
    for found, expected in zip(whole, (torch.cat(parts) for parts in zip(*few, strict=True)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dim", [7, 8, 15])
def test_a_compiler_that_reads_whole_rows_finds_the_same_chords(dim):
    """Space fills vectors where ``dim`` is 8; elsewhere time is among the coordinates, as a zero."""
    generator = torch.Generator().manual_seed(dim)
    tangents = torch.randn(2, 20, dim, generator=generator, dtype=torch.float64)
    leaves = [Lorentz(0.7).double().expmap0_space(v).requires_grad_() for v in tangents]

    def chords_and_gradients(function):
        q = function(*leaves, ONE.double())
        return q, *torch.autograd.grad(q.square().sum(), leaves)

    torch._dynamo.reset()
    compiled = torch.compile(squared_chord, fullgraph=True, backend="aot_eager")
    for found, expected in zip(*map(chords_and_gradients, (compiled, squared_chord)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_that_a_compiler_keeps_are_the_same(dtype):
    numbers = torch.tensor([[0.0], [-0.0], [1e-30], [3.5], [float("inf")], [float("nan")]], dtype=dtype)
    many = torch.ones(6, 2**17, dtype=dtype)
    torch._dynamo.reset()
    for keep in (kept, lambda *numbers: kept_by_row(many, *numbers)):
        found = torch.compile(lambda x, keep=keep: keep(x, 2 * x), fullgraph=True, backend="aot_eager")(numbers)
        torch.testing.assert_close(found, (numbers, 2 * numbers), rtol=0, atol=0, equal_nan=True)
