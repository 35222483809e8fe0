"""What some nodes' results depend on, and nothing else."""

import torch

from hypersst.nn import CSRMatrix, receptive_field


def random_adjacency(n: int = 30, degree: float = 1.5) -> tuple[CSRMatrix, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    dense = torch.rand(n, n, generator=generator, dtype=torch.float64)
    dense *= torch.rand(n, n, generator=generator) < degree / n
    dense += torch.eye(n, dtype=torch.float64)
    return CSRMatrix.from_dense(dense), dense


def test_products_with_the_blocks_are_rows_of_the_products_with_the_whole() -> None:
    adjacency, dense = random_adjacency()
    nodes = torch.tensor([7, 2, 19])
    x = torch.randn(30, 4, dtype=torch.float64)
    for layers in range(4):
        field, blocks = receptive_field(adjacency, nodes, layers)
        assert len(blocks) == layers
        y, whole = x[field], x
        for block in blocks:
            y, whole = block.matmul(y.tanh()), dense @ whole.tanh()
        torch.testing.assert_close(y, whole[nodes])


def test_no_node_is_read_that_does_not_matter() -> None:
    adjacency, dense = random_adjacency()
    nodes = torch.tensor([7, 2])
    field, blocks = receptive_field(adjacency, nodes, 2)
    reached = (torch.linalg.matrix_power(dense, 2)[nodes] != 0).any(0).nonzero().flatten()
    assert torch.equal(field, reached)
    assert blocks[1].shape[0] == 2
    assert blocks[0].shape[1] == reached.numel() < 30
