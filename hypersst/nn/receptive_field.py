"""The part of a graph that some nodes' results depend on."""

from __future__ import annotations

from torch import Tensor

from hypersst.nn.sparse import CSRMatrix

__all__ = ["receptive_field"]


def receptive_field(adjacency: CSRMatrix, nodes: Tensor, num_layers: int) -> tuple[Tensor, list[CSRMatrix]]:
    r"""Cut out what ``num_layers`` sums over neighbours read to give the results of some nodes.

    The last layer needs rows ``nodes`` of :math:`\hat A` and the columns that these reach, the layer before it the rows
    of those columns, and so on. Values and gradients are those of the whole graph, since nothing left out is read. With
    60 of PubMed's 19,717 nodes to learn from, the second layer of two has 60 rows and the first 363.

    Args:
        adjacency: Square, as `normalized_adjacency` makes it.
        nodes: Nodes whose results are wanted, shape ``(n,)``, in any order.
        num_layers: Number of sums over neighbours, at least 0.

    Returns:
        The nodes whose features are read, ascending (``nodes`` itself for no layers), and one matrix for each layer,
        the first layer's first: its rows are the results, its columns what they are made of.

    Example:
        >>> path = CSRMatrix.from_dense(torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]))
        >>> field, (block,) = receptive_field(path, torch.tensor([2]), 1)
        >>> field, block.to_dense()
        (tensor([1, 2]), tensor([[1., 1.]]))
    """
    blocks = []
    for _ in range(num_layers):
        rows = adjacency.select_rows(nodes)
        nodes, columns = rows.col.long().unique(return_inverse=True)
        blocks.append(rows.with_columns(columns, nodes.numel()))
    return nodes, blocks[::-1]
