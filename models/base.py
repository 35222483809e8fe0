"""What every graph model of this package can do."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.nn import CSRMatrix, normalized_adjacency

__all__ = ["GraphModel", "encoder_widths"]


class GraphModel(nn.Module):
    """An encoder of nodes with a head for classes and a decoder for edges.

    A subclass sets ``self.head`` (``None`` for link prediction) and ``self.decoder``, and defines `encode`. All
    models take the same arguments::

        Model(in_channels, hidden_channels, num_layers, out_channels=None, *, dropout=0.0, activation=None,
              c=1.0, learnable_c=False, ...)

    and count layers as HGCN does: with ``out_channels`` (node classification) there are ``num_layers - 1`` encoder
    layers and a head; without (link prediction) there are ``num_layers``. The head is called ``head``, a name that
    `hypersst.spectralize` leaves out by default, as the SST paper does.

    Attributes:
        normalization: How `adjacency` normalises, the word of `hypersst.nn.normalized_adjacency`.
    """

    normalization: ClassVar[str] = "row"
    head: nn.Module | None
    decoder: nn.Module

    def encode(self, x: Tensor | CSRMatrix, adj: Tensor | CSRMatrix) -> Tensor:
        """Map node features to embeddings.

        Args:
            x: Euclidean features, shape ``(N, in_channels)``, dense or sparse.
            adj: Edges ``(2, E)``, sparse ``adj_t`` ``(N, N)``, or the `CSRMatrix` that `adjacency` makes.

        Returns:
            Embeddings, shape ``(N, ambient hidden channels)``.
        """
        raise NotImplementedError

    def forward(self, x: Tensor | CSRMatrix, adj: Tensor | CSRMatrix) -> Tensor:
        """Map node features to class scores, shape ``(N, out_channels)``, or to embeddings if there is no head."""
        z = self.encode(x, adj)
        return z if self.head is None else self.head(z)

    def decode(self, z: Tensor, edge_label_index: Tensor) -> Tensor:
        """Score pairs of nodes; the higher, the likelier an edge.

        Args:
            z: Embeddings from `encode`, shape ``(N, *)``.
            edge_label_index: The pairs, shape ``(2, n)``.

        Returns:
            Scores, shape ``(n,)``.
        """
        # index_select rather than indexing: its backward adds rows up without sorting.
        source, target = edge_label_index
        return self.decoder(z.index_select(0, source), z.index_select(0, target))

    def node_loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Loss of class scores ``(n, K)`` for classes ``y`` of shape ``(n,)``: cross-entropy."""
        return F.cross_entropy(logits, y)

    def link_loss(self, pos_scores: Tensor, neg_scores: Tensor) -> Tensor:
        """Loss of scores of edges and of non-edges: the mean binary cross-entropy over both."""
        # softplus(-s) = -log sigmoid(s), softplus(s) = -log(1 - sigmoid(s))
        total = F.softplus(-pos_scores).sum() + F.softplus(neg_scores).sum()
        return total / (pos_scores.numel() + neg_scores.numel())

    def adjacency(self, edge_index: Tensor, num_nodes: int, edge_weight: Tensor | None = None) -> CSRMatrix:
        """Normalise edges ``(2, E)`` once, as this model wants them; `encode` is fastest with the result."""
        return normalized_adjacency(edge_index, num_nodes, edge_weight, normalization=self.normalization)


def encoder_widths(
    in_channels: int, hidden_channels: int, num_layers: int, out_channels: int | None
) -> list[tuple[int, int]]:
    """Sizes of each encoder layer, by HGCN's count of layers.

    Raises:
        ValueError: If no layer would be left.

    Example:
        >>> encoder_widths(1433, 16, 3, 7)
        [(1433, 16), (16, 16)]
    """
    least = 1 if out_channels is None else 2
    if num_layers < least:
        task = "link prediction" if out_channels is None else "node classification, where the head counts as one"
        raise ValueError(f"`num_layers` must be at least {least} for {task}, got {num_layers}.")
    layers = num_layers if out_channels is None else num_layers - 1
    return [(in_channels, hidden_channels)] + [(hidden_channels, hidden_channels)] * (layers - 1)
