"""CSRMatrix does what the dense matrix does, in values and gradients."""

import pytest
import torch

from hypersst.nn.sparse import CSRMatrix, dropout, linear, normalized_adjacency


def _dense(rows: int = 6, columns: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rows)
    dense = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    dense[torch.rand(rows, columns, generator=generator) < 0.6] = 0.0
    dense[2] = 0.0  # an empty row
    dense[:, 1] = 0.0  # and an empty column
    return dense


def test_it_holds_the_matrix_it_was_made_of() -> None:
    dense = _dense()
    for matrix in (
        CSRMatrix.from_dense(dense),
        CSRMatrix.from_torch(dense.to_sparse_coo()),
        CSRMatrix.from_torch(dense.to_sparse_csr()),
        CSRMatrix.from_edges(*dense.nonzero().t(), dense[tuple(dense.nonzero().t())], (6, 4)),
    ):
        assert torch.equal(matrix.to_dense(), dense)
        assert matrix.shape == (6, 4)
        assert matrix.size(1) == 4


def test_repeated_coordinates_are_added_up() -> None:
    one, two = torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0])
    matrix = CSRMatrix.from_edges(one, two, torch.tensor([1.0, 2.0, 5.0]), (2, 2))
    assert matrix.to_dense().tolist() == [[0.0, 3.0], [5.0, 0.0]]


def test_product_and_both_gradients_equal_the_dense_ones() -> None:
    matrix = CSRMatrix.from_dense(_dense())
    values = matrix.values.clone().requires_grad_()
    factor = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, f: matrix.with_values(v).matmul(f), (values, factor))
    torch.testing.assert_close(matrix @ factor.detach(), _dense() @ factor.detach())


def test_linear_equals_torchs_for_dense_and_sparse_rows() -> None:
    weight, bias = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    want = torch.nn.functional.linear(_dense(), weight, bias)
    torch.testing.assert_close(linear(_dense(), weight, bias), want)
    torch.testing.assert_close(linear(CSRMatrix.from_dense(_dense()), weight, bias), want)
    torch.testing.assert_close(linear(CSRMatrix.from_dense(_dense()), weight), want - bias)


def test_dropout_zeroes_a_share_of_the_stored_entries_and_scales_the_rest() -> None:
    matrix = CSRMatrix.from_dense(torch.ones(100, 100))
    dropped = dropout(matrix, 0.25)
    assert isinstance(dropped, CSRMatrix)
    kept = dropped.values != 0
    # 10,000 draws: six standard deviations of the kept share are 6 sqrt(0.25 * 0.75 / 10000) = 0.026.
    assert abs(kept.float().mean().item() - 0.75) < 0.026
    torch.testing.assert_close(dropped.values[kept], torch.full((int(kept.sum()),), 1 / 0.75))
    assert dropout(matrix, 0.25, training=False) is matrix


def test_prepending_a_column_stores_its_zeros_too() -> None:
    column = torch.tensor([1.0, 0.0, 2.0, 0.0, 0.0, 3.0], dtype=torch.float64)
    wider = CSRMatrix.from_dense(_dense()).prepend_column(column)
    assert torch.equal(wider.to_dense(), torch.cat((column[:, None], _dense()), dim=1))
    assert int((wider.col == 0).sum()) == 6
    factor = torch.randn(5, 2, dtype=torch.float64)
    torch.testing.assert_close(wider @ factor, wider.to_dense() @ factor)


def test_row_sums_and_scaling_act_on_rows() -> None:
    matrix = CSRMatrix.from_dense(_dense())
    torch.testing.assert_close(matrix.row_sums(), _dense().sum(1))
    factor = torch.arange(6, dtype=torch.float64)
    torch.testing.assert_close(matrix.scale_rows(factor).to_dense(), factor[:, None] * _dense())


def test_casting_keeps_the_pattern() -> None:
    half = CSRMatrix.from_dense(_dense()).to(torch.float32)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.to_dense(), _dense().float())


@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("normalization", ["row", "sym", "none"])
def test_normalized_adjacency_equals_its_formula(normalization: str, loops: bool) -> None:
    edges = torch.tensor([[0, 1, 1, 2, 3], [1, 0, 2, 1, 1]])
    weight = torch.tensor([1.0, 2.0, 0.5, 0.25, 3.0], dtype=torch.float64)
    a = torch.zeros(5, 5, dtype=torch.float64)
    a[edges[1], edges[0]] = weight  # messages flow from source to target
    if loops:
        a += torch.eye(5, dtype=torch.float64)
    degree = a.sum(1)
    inverse = torch.where(degree > 0, 1 / degree, 0.0)
    want = {"row": inverse[:, None] * a, "sym": inverse.sqrt()[:, None] * a * inverse.sqrt(), "none": a}
    got = normalized_adjacency(edges, 5, weight, normalization=normalization, add_self_loops=loops)
    torch.testing.assert_close(got.to_dense(), want[normalization])


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="`normalization` must be 'row', 'sym' or 'none', got 'col'"):
        normalized_adjacency(torch.zeros(2, 0, dtype=torch.long), 3, normalization="col")
    with pytest.raises(ValueError, match=r"`matrix` must have two dimensions, got shape \(3,\)"):
        CSRMatrix.from_torch(torch.ones(3))


def test_selected_rows_stand_in_the_order_asked_for() -> None:
    dense = _dense()
    rows = torch.tensor([5, 2, 0, 5])
    assert torch.equal(CSRMatrix.from_dense(dense).select_rows(rows).to_dense(), dense[rows])


def test_a_compiled_product_equals_the_eager_one_in_values_and_gradients() -> None:
    matrix = CSRMatrix.from_dense(_dense())
    results = []
    for product in (CSRMatrix.matmul, torch.compile(CSRMatrix.matmul, fullgraph=True)):
        values = matrix.values.clone().requires_grad_()
        factor = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).view(4, 3).requires_grad_()
        y = product(matrix.with_values(values), factor)
        results.append((y, *torch.autograd.grad(y.square().sum(), (values, factor))))
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager)


@pytest.mark.parametrize("in_dims", [(0, 0), (None, 0), (0, None), (None, 2), (1, 1)])
def test_products_of_several_matrices_at_once_equal_those_one_by_one(in_dims: tuple[int | None, int | None]) -> None:
    matrix = CSRMatrix.from_dense(_dense())

    def several(x: torch.Tensor, dim: int | None) -> torch.Tensor:
        if dim is None:
            return x.clone()
        return torch.stack([x, 2.0 * x + 1.0, x.square()], dim=dim)

    factor = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).view(4, 3)
    inputs = tuple(several(x, dim).requires_grad_() for x, dim in zip((matrix.values, factor), in_dims, strict=True))

    def product(values: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        return matrix.with_values(values) @ dense

    together = torch.vmap(product, in_dims=in_dims)(*inputs)
    parts = [[x if dim is None else x.select(dim, i) for x, dim in zip(inputs, in_dims, strict=True)] for i in range(3)]
    apart = torch.stack([product(*part) for part in parts])
    torch.testing.assert_close(together, apart)
    for mine, theirs in zip(
        torch.autograd.grad(together.sin().sum(), inputs), torch.autograd.grad(apart.sin().sum(), inputs), strict=True
    ):
        torch.testing.assert_close(mine, theirs)
