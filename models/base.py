"""What every graph model of this package can do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.manifolds.rows import kept
from hypersst.nn import CSRMatrix, LiftedFeatures, LiftFeatures, normalized_adjacency
from hypersst.nn.sparse import linear

__all__ = ["Features", "Graph", "GraphModel", "LiftingModel", "affine", "check_depth", "encoder_widths", "through"]

Features = Tensor | CSRMatrix | LiftedFeatures
#: The whole graph, or the matrices that `hypersst.nn.receptive_field` cuts out of it, one for each convolution.
Graph = Tensor | CSRMatrix | Sequence[CSRMatrix]


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
        self_loops: Whether `adjacency` adds the identity.
    """

    normalization: ClassVar[str] = "row"
    self_loops: ClassVar[bool] = True
    head: nn.Module | None
    decoder: nn.Module

    def encode(self, x: Features, adj: Graph) -> Tensor:
        """Map node features to embeddings.

        Args:
            x: Euclidean features, shape ``(N, in_channels)``, dense or sparse, or what `features` made of them.
            adj: Edges ``(2, E)``, sparse ``adj_t`` ``(N, N)``, or the `CSRMatrix` that `adjacency` makes; for models
                with a `depth` also that many matrices of a `hypersst.nn.receptive_field`, ``x`` being its nodes'.

        Returns:
            Embeddings, shape ``(N, ambient hidden channels)``.
        """
        raise NotImplementedError

    @property
    def depth(self) -> int | None:
        """Number of sums over neighbours that a result depends on; ``None`` if the model wants the whole graph."""
        return None

    def features(self, x: Features) -> Features:
        """Prepare features once, as `adjacency` prepares edges: hyperbolic models of constant curvature lift them."""
        return x

    def forward(self, x: Features, adj: Graph) -> Tensor:
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
        # Else a compiler works the embeddings out anew for every pair, and in each loop over pairs.
        (z,) = kept(z)
        # index_select rather than indexing: its backward adds rows up without sorting.
        source, target = edge_label_index
        return self.decoder(z.index_select(0, source), z.index_select(0, target))

    def node_loss(self, logits: Tensor, y: Tensor, class_weight: Tensor | None = None) -> Tensor:
        """Loss of class scores ``(n, K)`` for classes ``y`` of shape ``(n,)``: cross-entropy.

        Args:
            logits: The scores.
            y: The right classes.
            class_weight: Weights of the classes in the mean over nodes, shape ``(K,)``; all the same if left out.
        """
        return F.cross_entropy(logits, y, class_weight)

    def link_loss(self, pos_scores: Tensor, neg_scores: Tensor) -> Tensor:
        """Loss of scores of edges and of non-edges: the mean binary cross-entropy over both."""
        # softplus(-s) = -log sigmoid(s), softplus(s) = -log(1 - sigmoid(s))
        total = F.softplus(-pos_scores).sum() + F.softplus(neg_scores).sum()
        return total / (pos_scores.numel() + neg_scores.numel())

    def adjacency(self, edge_index: Tensor, num_nodes: int, edge_weight: Tensor | None = None) -> CSRMatrix:
        """Normalise edges ``(2, E)`` once, as this model wants them; `encode` is fastest with the result."""
        return normalized_adjacency(
            edge_index, num_nodes, edge_weight, normalization=self.normalization, add_self_loops=self.self_loops
        )


class LiftingModel(GraphModel):
    """A model that lifts its features onto a manifold and applies convolutions to the points, one after the other.

    A subclass sets ``self.lift`` and ``self.layers``.
    """

    lift: LiftFeatures
    layers: nn.ModuleList

    @property
    def depth(self) -> int:
        """Number of convolutions."""
        return len(self.layers)

    def features(self, x: Features) -> Features:
        """Lift features for good, unless the curvature is learned."""
        return self.lift.prepared(x)

    def encode(self, x: Features, adj: Graph) -> Tensor:
        """Map features ``(N, in_channels)`` to points ``(N, ambient hidden channels)``."""
        h = through(self.layers, self.lift(x), adj)
        assert isinstance(h, Tensor)  # there is at least one layer
        return h


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


def affine(layer: nn.Linear, x: Tensor | CSRMatrix) -> Tensor:
    """Apply a linear layer to dense or sparse rows, shape ``(N, in)``; the result is ``(N, out)``."""
    return linear(x, layer.weight, layer.bias) if isinstance(x, CSRMatrix) else layer(x)


def check_depth(adj: Graph, depth: int | None) -> None:
    """Refuse matrices of a receptive field that are not as many as the convolutions, or all of them for ``None``.

    Raises:
        ValueError: Naming both numbers.
    """
    if isinstance(adj, Sequence) and depth is None:
        raise ValueError(f"`adj` must be the whole graph for a model whose `depth` is None, got {len(adj)} matrices.")
    if isinstance(adj, Sequence) and len(adj) != depth:
        raise ValueError(f"`adj` must hold a matrix for each of the {depth} convolutions, got {len(adj)}.")


def through(layers: Iterable[nn.Module], h: Tensor | CSRMatrix, adj: Graph) -> Tensor | CSRMatrix:
    """Apply convolutions one after the other, each to its own matrix where ``adj`` holds several.

    Raises:
        ValueError: If they are not as many as the layers.
    """
    layers = list(layers)
    if not isinstance(adj, Sequence):
        for layer in layers:
            h = layer(h, adj)
        return h
    check_depth(adj, len(layers))
    for layer, matrix in zip(layers, adj, strict=True):
        h = layer((h, None), matrix)
    return h
