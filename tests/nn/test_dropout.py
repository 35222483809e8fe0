"""Masks have the share of zeros and the mean of dropout, follow the seed, and are the same compiled."""

import pytest
import torch

from hypersst.nn import CSRMatrix
from hypersst.nn.dropout import copies_draw_from, dropout, dropout_mask


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0 - 2.0**-16])
def test_a_mask_has_the_share_of_zeros_and_the_mean_of_dropout(p: float) -> None:
    generator = torch.Generator().manual_seed(0)
    mask = dropout_mask((400, 1001), p, torch.float64, generator)
    kept, count = round((1.0 - p) * 2**16), mask.numel()
    deviation = (p * (1 - p) / count) ** 0.5
    assert abs(float((mask == 0.0).double().mean()) - p) < 5 * deviation
    assert mask.unique().tolist() == [0.0, 2**16 / kept]


def test_all_four_lanes_of_a_word_are_random() -> None:
    mask = dropout_mask((100_000, 4), 0.5, torch.float32, torch.Generator().manual_seed(0)) / 2.0
    for lane in range(4):
        assert abs(float(mask[:, lane].mean()) - 0.5) < 0.01
        for other in range(lane):
            assert abs(float((mask[:, lane] * mask[:, other]).mean()) - 0.25) < 0.01


def test_values_and_gradients_are_multiplied_by_the_mask() -> None:
    x = torch.randn(30, 7, requires_grad=True)
    torch.manual_seed(3)
    y = dropout(x, 0.4)
    mask = dropout_mask(x.shape, 0.4, x.dtype, torch.Generator().manual_seed(3))
    torch.testing.assert_close(y, x * mask)
    y.sum().backward()
    torch.testing.assert_close(x.grad, mask)


def test_nothing_is_dropped_in_evaluation_and_everything_with_probability_one() -> None:
    x = torch.randn(5, 5)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0) is x
    assert not dropout(x, 1.0).any()


def test_a_compiled_function_draws_the_masks_that_eager_code_draws() -> None:
    matrix = CSRMatrix.from_dense((torch.rand(20, 30) < 0.3).double())
    weight = torch.randn(30, 4, dtype=torch.float64, requires_grad=True)

    def chain(weight: torch.Tensor, matrix: CSRMatrix) -> torch.Tensor:
        return dropout(dropout(matrix.dropout(0.5).matmul(weight), 0.3).sin(), 0.3)

    results = []
    for function in (chain, torch.compile(chain, fullgraph=True)):
        torch.manual_seed(5)
        y = function(weight, matrix)
        results.append((y, *torch.autograd.grad(y.square().sum(), weight)))
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-12, atol=1e-12)


def test_a_compiler_does_not_take_two_draws_of_one_shape_for_equal() -> None:
    x = torch.ones(100)
    one, two = torch.compile(lambda x: (dropout(x, 0.5), dropout(x, 0.5)), fullgraph=True)(x)
    assert not torch.equal(one, two)


def test_copies_draw_the_masks_that_each_would_draw_alone() -> None:
    x, weight = torch.randn(6, 5), torch.randn(3, 6, 5)

    def chain(weight: torch.Tensor) -> torch.Tensor:
        return dropout(dropout(x, 0.5) * weight, 0.3)

    def one(copy: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        with copies_draw_from(generators, copy):
            return chain(weight)

    generators = [torch.Generator().manual_seed(seed) for seed in (4, 1, 7)]
    together = torch.vmap(one, randomness="different")(torch.arange(3), weight)
    for seed, w, y in zip((4, 1, 7), weight, together, strict=True):
        torch.manual_seed(seed)
        assert torch.equal(y, chain(w))


def test_generators_that_are_not_one_for_each_copy_are_refused() -> None:
    def one(copy: torch.Tensor) -> torch.Tensor:
        with copies_draw_from([torch.Generator()], copy):
            return dropout(torch.ones(4), 0.5)

    with pytest.raises(RuntimeError, match="`generators` must be one for each of 3 copies, got 1"):
        torch.vmap(one, randomness="different")(torch.arange(3))
    with pytest.raises(RuntimeError, match=r"must be entered inside `torch\.vmap`"):
        one(torch.tensor(0))
