"""What a Transformer computes at each position by itself."""

from __future__ import annotations

import geoopt
import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.nn.chart import from_chart
from hypersst.nn.dropout import dropout as drop
from hypersst.nn.hyperbolic_activation import HyperbolicActivation
from hypersst.nn.hyperbolic_dropout import HyperbolicDropout
from hypersst.nn.lorentz_linear import LorentzLinear
from hypersst.nn.manifold_argument import as_lorentz
from hypersst.nn.shapes import check_channels, check_probability

__all__ = ["FeedForward", "GatedFeedForward", "LorentzFeedForward", "LorentzGatedFeedForward"]


class FeedForward(nn.Module):
    r"""Two linear maps with a rectifier between them: :math:`W_2 \max(0, W_1 x + b_1) + b_2`.

    Source: Vaswani et al. (2017), *Attention Is All You Need*, eq. 2.

    Args:
        dim: Dimensions of input and output.
        hidden: Dimensions between the maps.
        dropout: Probability of dropping entries between the maps in training.
        bias: Learn biases.

    Example:
        >>> import torch
        >>> FeedForward(8, 32)(torch.zeros(2, 8)).shape
        torch.Size([2, 8])
    """

    def __init__(self, dim: int, hidden: int, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        _check(hidden, dropout)
        self.dropout = dropout
        self.linear1 = nn.Linear(dim, hidden, bias)
        self.linear2 = nn.Linear(hidden, dim, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x``, shape ``(*, dim)``."""
        return self.linear2(drop(self.linear1(x).relu(), self.dropout, self.training))


class GatedFeedForward(nn.Module):
    r"""SwiGLU: :math:`W_2\bigl(\operatorname{silu}(W_1 x) \circ W_3 x\bigr)`.

    Source: Shazeer (2020), *GLU Variants Improve Transformer*, eq. 6; 2/3 of the dimensions of a `FeedForward` between
    the maps are as many numbers.

    Args:
        dim: Dimensions of input and output.
        hidden: Dimensions between the maps.
        dropout: Probability of dropping entries between the maps in training.
        bias: Learn biases.

    Example:
        >>> import torch
        >>> GatedFeedForward(8, 24)(torch.zeros(2, 8)).shape
        torch.Size([2, 8])
    """

    def __init__(self, dim: int, hidden: int, dropout: float = 0.0, bias: bool = False) -> None:
        super().__init__()
        _check(hidden, dropout)
        self.dropout = dropout
        self.linear1 = nn.Linear(dim, hidden, bias)
        self.linear3 = nn.Linear(dim, hidden, bias)
        self.linear2 = nn.Linear(hidden, dim, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x``, shape ``(*, dim)``."""
        return self.linear2(drop(F.silu(self.linear1(x)) * self.linear3(x), self.dropout, self.training))


class LorentzFeedForward(nn.Module):
    """`FeedForward` on Lorentz points: gated `LorentzLinear` maps, rectifier and dropout on the space part.

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*; it is the network within
    `hypersst.nn.LorentzTransformerEncoderLayer`.

    Args:
        dim: Intrinsic dimensions of input and output.
        hidden: Intrinsic dimensions between the maps.
        dropout: Probability of dropping space coordinates between the maps in training.
        bias: Learn biases.
        manifold: Where the points lie; curvature -1 if left out.

    Example:
        >>> network = LorentzFeedForward(8, 32)
        >>> network(network.manifold.origin(2, 9)).shape
        torch.Size([2, 9])
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        manifold: geoopt.Lorentz | None = None,
    ) -> None:
        super().__init__()
        _check(hidden, dropout)
        self.manifold = as_lorentz(manifold)
        self.linear1 = LorentzLinear(dim, hidden, bias, manifold=self.manifold)
        self.activation = HyperbolicActivation("relu", chart="space", manifold=self.manifold)
        self.dropout = HyperbolicDropout(dropout, manifold=self.manifold)
        self.linear2 = LorentzLinear(hidden, dim, bias, manifold=self.manifold)

    def forward(self, x: Tensor) -> Tensor:
        """Map points ``x``, shape ``(*, dim + 1)``."""
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class LorentzGatedFeedForward(nn.Module):
    """`GatedFeedForward` on Lorentz points: the product is that of the space parts.

    Points beyond the manifold's largest radius come back to it.

    Source: He et al. (2025), *HELM: Hyperbolic Large Language Models via Mixture-of-Curvature Experts*, with the gated
    linear maps of Chen et al. (2022), *Fully Hyperbolic Neural Networks*.

    Args:
        dim: Intrinsic dimensions of input and output.
        hidden: Intrinsic dimensions between the maps.
        dropout: Probability of dropping space coordinates between the maps in training.
        bias: Learn biases.
        manifold: Where the points lie; curvature -1 if left out.

    Example:
        >>> network = LorentzGatedFeedForward(8, 24)
        >>> network(network.manifold.origin(2, 9)).shape
        torch.Size([2, 9])
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        dropout: float = 0.0,
        bias: bool = False,
        *,
        manifold: geoopt.Lorentz | None = None,
    ) -> None:
        super().__init__()
        _check(hidden, dropout)
        self.manifold = as_lorentz(manifold)
        self.linear1 = LorentzLinear(dim, hidden, bias, manifold=self.manifold)
        self.linear3 = LorentzLinear(dim, hidden, bias, manifold=self.manifold)
        self.dropout = HyperbolicDropout(dropout, manifold=self.manifold)
        self.linear2 = LorentzLinear(hidden, dim, bias, manifold=self.manifold)

    def forward(self, x: Tensor) -> Tensor:
        """Map points ``x``, shape ``(*, dim + 1)``."""
        space = F.silu(self.linear1(x)[..., 1:]) * self.linear3(x)[..., 1:]
        return self.linear2(self.dropout(from_chart(space, self.manifold, "space")))


def _check(hidden: int, dropout: float) -> None:
    check_channels(feedforward=hidden)
    check_probability(dropout=dropout)
