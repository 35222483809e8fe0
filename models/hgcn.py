"""HGCN: graph convolutions in the tangent space at the origin, with a curvature for each layer."""

from __future__ import annotations

from torch import nn

from hypersst.errors import unknown
from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.models.base import LiftingModel, encoder_widths
from hypersst.nn import FermiDirac, LiftFeatures, MobiusConv, TangentHead
from hypersst.nn.activation import Activation

__all__ = ["HGCN"]

_MANIFOLDS: dict[str, type[Lorentz] | type[PoincareBall]] = {"ball": PoincareBall, "lorentz": Lorentz}


class HGCN(LiftingModel):
    r"""Lift, Möbius convolutions, linear head in the tangent space or Fermi–Dirac scores, cross-entropy.

    Source: Chami et al. (2019), *Hyperbolic Graph Convolutional Neural Networks*, without attention.

    Args:
        in_channels: Number of Euclidean features.
        hidden_channels: Intrinsic dimensions of the hidden layers and embeddings.
        num_layers: Layers as HGCN counts them, see `GraphModel`.
        out_channels: Number of classes; ``None`` for link prediction.
        dropout: Probability of dropping entries of each layer's weight, as in HGCN's code.
        activation: Function or name, applied in the tangent space after each mean.
        c: Positive curvature parameter, the first value of each if they are learned.
        learnable_c: Train one curvature for each layer's input and one for the embeddings.
        manifold: ``"ball"`` (the paper's results) or ``"lorentz"``.
        r: Squared distance at which an edge has probability one half.
        t: Temperature of the Fermi–Dirac decoder.
        bias: Learn biases in the linear layers.

    Example:
        >>> import torch
        >>> model = HGCN(5, 8, num_layers=2, out_channels=3, activation="relu")
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
        manifold: str = "ball",
        r: float = 2.0,
        t: float = 1.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if manifold not in _MANIFOLDS:
            raise unknown("manifold", manifold, _MANIFOLDS)
        widths = encoder_widths(in_channels, hidden_channels, num_layers, out_channels)
        kind = _MANIFOLDS[manifold]
        if learnable_c:
            manifolds = [kind(c, learnable=True) for _ in range(len(widths) + 1)]
        else:
            manifolds = [kind(c)] * (len(widths) + 1)
        self.lift = LiftFeatures(manifold=manifolds[0])
        self.layers = nn.ModuleList(
            MobiusConv(
                fan_in,
                fan_out,
                bias,
                manifold=manifolds[i],
                out_manifold=manifolds[i + 1],
                activation=activation,
                dropout=dropout,
            )
            for i, (fan_in, fan_out) in enumerate(widths)
        )
        self.manifold = manifolds[-1]
        self.head = None if out_channels is None else TangentHead(hidden_channels, out_channels, manifold=self.manifold)
        self.decoder = FermiDirac(r, t, manifold=self.manifold)
