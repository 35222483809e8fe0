r"""What a Transformer is put together from, in either geometry: one list of parts, two kinds of each.

# Note [small residuals]

The centroid :math:`x \oplus wy` forgets: with w = 1 the space part of x keeps a share
:math:`|x_s| / (|x_s| + |y_s|)`, and after some layers nothing is left of the words. A gated linear map ends at
:math:`|y_s| = \sqrt{6.1^2 - 1} = 6` whatever its input; before a block with pre-norm :math:`|x_s|` is about 1, where
words and positions begin, and with post-norm it is :math:`\sqrt d`. So w begins at 0.02 and at 0.1, where y makes about
a tenth of the sum, and is learned.

Losses on copying up to six words (32 dimensions, Adam, one seed each). Two layers each, lr 5e-3, 120 steps: w = 1 fixed
gives 1.8 for pre-norm and 1.3 for post-norm; 0.05 and 0.02 give 0.27 and 0.24 for pre-norm, 0.05 to 0.2 about 0.3 for
post-norm; the Euclidean model has 0.5 and 0.8. Six layers each, lr 3e-3, 100 steps: 0.05, 0.02 and 0.01 give 1.55, 0.51
and 0.45 for pre-norm, 0.1 and 0.03 give 0.42 and 0.47 for post-norm; the Euclidean model has 0.92 for pre-norm.
"""

from __future__ import annotations

from typing import Protocol

import geoopt
from torch import Tensor, nn

from hypersst.errors import unknown
from hypersst.models.sequence.attention import Attention, DistanceAttention, SoftmaxAttention
from hypersst.models.sequence.feed_forward import (
    FeedForward,
    GatedFeedForward,
    LorentzFeedForward,
    LorentzGatedFeedForward,
)
from hypersst.models.sequence.positions import LearnedPositions, SinusoidalPositions
from hypersst.models.sequence.rotary import RotaryPositions
from hypersst.models.sequence.word_head import WordHead
from hypersst.nn.dropout import dropout
from hypersst.nn.embedding import HyperbolicEmbedding
from hypersst.nn.hyperbolic_dropout import HyperbolicDropout
from hypersst.nn.layer_norm import HyperbolicLayerNorm, HyperbolicRMSNorm
from hypersst.nn.manifold_argument import as_lorentz
from hypersst.nn.positional_encoding import HyperbolicPositionalEncoding
from hypersst.nn.residual import HyperbolicResidual

__all__ = ["Embedding", "EuclideanParts", "LorentzParts", "Parts"]

#: A table of words with its ``weight``.
Embedding = nn.Embedding | HyperbolicEmbedding

# Note [small residuals].
_PRE_NORM, _POST_NORM = 0.02, 0.1
_NORMS = ("layer", "rms")
_NETWORKS = ("relu", "swiglu")


class Parts(Protocol):
    """Makes the modules of a Transformer, whose points have ``dim`` intrinsic dimensions."""

    def embedding(self, words: int, dim: int, pad: int | None) -> Embedding:
        """Tokens ``(*)`` to points ``(*, ambient)``."""
        ...

    def positions(self, dim: int, max_length: int, form: str) -> nn.Module:
        """Points of a sequence ``(B, L, ambient)`` that begins at position ``start``, to points that know theirs."""
        ...

    def attention(self, dim: int, heads: int, dropout: float, rotary: RotaryPositions | None) -> Attention:
        """Attention of several heads."""
        ...

    def feed_forward(self, dim: int, hidden: int, dropout: float) -> nn.Module:
        """The network of each position."""
        ...

    def norm(self, dim: int) -> nn.Module:
        """Points to points of about one length."""
        ...

    def residual(self, norm_first: bool) -> nn.Module:
        """Adds what a block made to what it was given, which is normalised afterwards or was beforehand."""
        ...

    def dropout(self, p: float) -> nn.Module:
        """Drops coordinates in training."""
        ...

    def head(self, dim: int, words: int) -> nn.Module:
        """Points to a score for each word."""
        ...


class EuclideanParts:
    """Parts of Euclidean Transformers.

    Args:
        norm: ``"layer"`` or ``"rms"``.
        network: ``"relu"`` or ``"swiglu"``.
        bias: Learn biases; the head has none.

    Raises:
        ValueError: If ``norm`` or ``network`` is unknown.
    """

    def __init__(self, norm: str = "layer", network: str = "relu", bias: bool = True) -> None:
        _check(norm, network)
        self._norm, self._network, self._bias = norm, network, bias

    def embedding(self, words: int, dim: int, pad: int | None) -> Embedding:
        """Vectors of the words."""
        return nn.Embedding(words, dim, pad)

    def positions(self, dim: int, max_length: int, form: str) -> nn.Module:
        """Sinusoids or learned vectors, added."""
        return (LearnedPositions if form == "learned" else SinusoidalPositions)(dim, max_length)

    def attention(self, dim: int, heads: int, dropout: float, rotary: RotaryPositions | None) -> Attention:
        """Attention by products."""
        return SoftmaxAttention(dim, heads, dropout, self._bias, rotary)

    def feed_forward(self, dim: int, hidden: int, dropout: float) -> nn.Module:
        """A rectifier between two maps, or SwiGLU."""
        return (FeedForward if self._network == "relu" else GatedFeedForward)(dim, hidden, dropout, self._bias)

    def norm(self, dim: int) -> nn.Module:
        """Layer or RMS norm."""
        return nn.LayerNorm(dim, bias=self._bias) if self._norm == "layer" else nn.RMSNorm(dim, eps=1e-6)

    def residual(self, norm_first: bool) -> nn.Module:
        """The sum."""
        return _Sum()

    def dropout(self, p: float) -> nn.Module:
        """Dropout of entries."""
        return _Dropout(p)

    def head(self, dim: int, words: int) -> nn.Module:
        """A linear map without biases, whose rows are the words'."""
        return nn.Linear(dim, words, bias=False)


class LorentzParts:
    """Parts of Transformers on the Lorentz manifold: HyboNet's, with norms and dropout of the space part.

    Sources: Chen et al. (2022), *Fully Hyperbolic Neural Networks* (linear maps, attention, head); Yang et al. (2024),
    *Hypformer* (operations on the space part); He et al. (2025), *Lorentzian Residual Neural Networks* (centroid as
    residual connection). Departure: Chen et al. have no norm, add residuals within the gate of linear maps, and add
    positions to the input of one.

    Args:
        manifold: Where the points lie; curvature -1 if left out.
        norm: ``"layer"`` or ``"rms"``.
        network: ``"relu"`` or ``"swiglu"``.
        bias: Learn biases; the head has them anyway, as Chen et al. have.
        residual_weight: First weight of what a block made in residual connections; see Note [small residuals] if left
            out.

    Raises:
        ValueError: If ``norm`` or ``network`` is unknown.
    """

    def __init__(
        self,
        manifold: geoopt.Lorentz | None = None,
        norm: str = "layer",
        network: str = "relu",
        bias: bool = True,
        residual_weight: float | None = None,
    ) -> None:
        _check(norm, network)
        self.manifold = as_lorentz(manifold)
        self._weight = residual_weight
        self._norm, self._network, self._bias = norm, network, bias

    def embedding(self, words: int, dim: int, pad: int | None) -> Embedding:
        """Points of the words, about one unit from the origin, as far as those of the positions."""
        return HyperbolicEmbedding(words, dim, pad, manifold=self.manifold, std=dim**-0.5)

    def positions(self, dim: int, max_length: int, form: str) -> nn.Module:
        """Sinusoids or learned points, whose centroid with the words is taken."""
        return HyperbolicPositionalEncoding(dim, max_length, manifold=self.manifold, form=form, batch_first=True)

    def attention(self, dim: int, heads: int, dropout: float, rotary: RotaryPositions | None) -> Attention:
        """Attention by distances."""
        return DistanceAttention(dim, heads, dropout, self._bias, rotary, manifold=self.manifold)

    def feed_forward(self, dim: int, hidden: int, dropout: float) -> nn.Module:
        """A rectifier between two gated maps, or SwiGLU of the space parts."""
        kind = LorentzFeedForward if self._network == "relu" else LorentzGatedFeedForward
        return kind(dim, hidden, dropout, self._bias, manifold=self.manifold)

    def norm(self, dim: int) -> nn.Module:
        """Layer or RMS norm of the space part."""
        if self._norm == "layer":
            return HyperbolicLayerNorm(dim, bias=self._bias, manifold=self.manifold)
        return HyperbolicRMSNorm(dim, 1e-6, manifold=self.manifold)

    def residual(self, norm_first: bool) -> nn.Module:
        """The centroid with a learned weight, see Note [small residuals]."""
        weight = (_PRE_NORM if norm_first else _POST_NORM) if self._weight is None else self._weight
        return HyperbolicResidual(manifold=self.manifold, weight=weight, learnable=True)

    def dropout(self, p: float) -> nn.Module:
        """Dropout of space coordinates."""
        return HyperbolicDropout(p, manifold=self.manifold)

    def head(self, dim: int, words: int) -> nn.Module:
        """Distances to the words' prototypes."""
        return WordHead(dim, words, manifold=self.manifold)


class _Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class _Dropout(nn.Module):
    """Dropout with `hypersst.nn.dropout`, which is faster on a CPU."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def _check(norm: str, network: str) -> None:
    if norm not in _NORMS:
        raise unknown("norm", norm, _NORMS)
    if network not in _NETWORKS:
        raise unknown("network", network, _NETWORKS)
