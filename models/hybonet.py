"""HyboNet: a graph network that never leaves the Lorentz manifold."""

from __future__ import annotations

from torch import Tensor, nn

from hypersst.manifolds import Lorentz
from hypersst.models.base import LiftingModel, encoder_widths
from hypersst.nn import (
    LiftFeatures,
    LorentzConv,
    LorentzScore,
    PrototypeHead,
    margin_ranking_loss,
    multi_margin_loss,
)
from hypersst.nn.activation import Activation

__all__ = ["HyboNet"]


class HyboNet(LiftingModel):
    r"""Lift, Lorentz convolutions, class prototypes or Lorentzian scores, margin losses.

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*, and the authors' code for graphs (without
    attention). Their ``dim 16`` counts the time coordinate: it is ``hidden_channels=15`` here.

    Args:
        in_channels: Number of Euclidean features.
        hidden_channels: Intrinsic dimensions of the hidden layers and embeddings.
        num_layers: Layers as HGCN counts them, see `GraphModel`.
        out_channels: Number of classes; ``None`` for link prediction.
        dropout: Probability of dropping entries of each layer's input.
        activation: Function or name, applied to the input of every convolution but the first.
        c: Positive curvature parameter; one for all layers.
        learnable_c: Train the curvature.
        margin: Margin of both losses.
        time: Form of the linear layers, see `hypersst.nn.LorentzLinear`.
        bias: Learn biases in the linear layers.

    Example:
        >>> import torch
        >>> model = HyboNet(5, 8, num_layers=2, out_channels=3)
        >>> model(torch.randn(4, 5), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_layers: int,
        out_channels: int | None = None,
        *,
        dropout: float = 0.0,
        activation: str | Activation | None = None,
        c: float = 1.0,
        learnable_c: bool = False,
        margin: float = 1.0,
        time: str = "gated",
        bias: bool = True,
    ) -> None:
        super().__init__()
        widths = encoder_widths(in_channels, hidden_channels, num_layers, out_channels)
        self.manifold = Lorentz(c, learnable=learnable_c)
        self.margin = margin
        self.lift = LiftFeatures(manifold=self.manifold)
        self.layers = nn.ModuleList(
            LorentzConv(
                fan_in,
                fan_out,
                bias,
                time=time,
                manifold=self.manifold,
                # Lifted features keep their sparsity and their meaning: no activation before the first layer.
                activation=activation if i > 0 else None,
                dropout=dropout,
            )
            for i, (fan_in, fan_out) in enumerate(widths)
        )
        self.head = (
            None if out_channels is None else PrototypeHead(hidden_channels, out_channels, manifold=self.manifold)
        )
        self.decoder = LorentzScore(manifold=self.manifold)

    def node_loss(self, logits: Tensor, y: Tensor, class_weight: Tensor | None = None) -> Tensor:
        """Multi-class margin loss of scores ``(n, K)`` for classes ``y`` of shape ``(n,)``; weights as in the base."""
        return multi_margin_loss(logits, y, self.margin, class_weight)

    def link_loss(self, pos_scores: Tensor, neg_scores: Tensor) -> Tensor:
        """Margin ranking loss; each edge's score is paired with one non-edge's, so both have shape ``(n,)``."""
        return margin_ranking_loss(pos_scores, neg_scores, self.margin)
