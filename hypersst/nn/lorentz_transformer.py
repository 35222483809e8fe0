"""Transformer layers on the Lorentz manifold, for the stacks of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import geoopt
from torch import Tensor, nn

from hypersst.nn.activation import Activation
from hypersst.nn.attention_heads import check_heads
from hypersst.nn.hyperbolic_activation import HyperbolicActivation
from hypersst.nn.hyperbolic_dropout import HyperbolicDropout
from hypersst.nn.layer_norm import HyperbolicLayerNorm
from hypersst.nn.lorentz_attention import LorentzMultiheadAttention
from hypersst.nn.lorentz_linear import LorentzLinear
from hypersst.nn.manifold_argument import as_lorentz
from hypersst.nn.residual import HyperbolicResidual
from hypersst.nn.shapes import check_channels

__all__ = ["LorentzTransformerDecoderLayer", "LorentzTransformerEncoderLayer"]


class _TransformerLayer(nn.Module):
    """Self-attention, feed-forward network and what stands around them; the arguments are those of the subclasses."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        manifold: geoopt.Lorentz | None = None,
    ) -> None:
        super().__init__()
        check_heads(d_model=d_model, nhead=nhead)
        check_channels(dim_feedforward=dim_feedforward)
        self.d_model = d_model
        self.nhead = nhead
        self.dim_feedforward = dim_feedforward
        self.norm_first = norm_first
        self.manifold = as_lorentz(manifold)
        on: dict[str, Any] = {"manifold": self.manifold}
        self.self_attn = LorentzMultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **on)
        self.linear1 = LorentzLinear(d_model, dim_feedforward, bias, **on)
        self.activation = HyperbolicActivation(activation, chart="space", **on)
        self.dropout = HyperbolicDropout(dropout, **on)
        self.linear2 = LorentzLinear(dim_feedforward, d_model, bias, **on)
        self.norm1 = HyperbolicLayerNorm(d_model, layer_norm_eps, bias=bias, **on)
        self.norm2 = HyperbolicLayerNorm(d_model, layer_norm_eps, bias=bias, **on)
        self.dropout1 = HyperbolicDropout(dropout, **on)
        self.dropout2 = HyperbolicDropout(dropout, **on)
        self.residual = HyperbolicResidual(**on)

    def _connect(self, x: Tensor, block: Callable[[Tensor], Tensor], norm: nn.Module) -> Tensor:
        """Put a residual connection and a norm around a block."""
        if self.norm_first:
            return self.residual(x, block(norm(x)))
        return norm(self.residual(x, block(x)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def extra_repr(self) -> str:
        """Where the norms stand."""
        return f"norm_first={self.norm_first}"


class LorentzTransformerEncoderLayer(_TransformerLayer):
    r"""Self-attention and a feed-forward network on Lorentz points, in place of `torch.nn.TransformerEncoderLayer`.

    .. math::
        z = \operatorname{norm}_1\bigl(x \oplus \operatorname{attention}(x)\bigr), \qquad
        y = \operatorname{norm}_2\bigl(z \oplus W_2\,\sigma(W_1 z)\bigr)

    with the centroid of two points for :math:`\oplus` (`HyperbolicResidual`), `LorentzMultiheadAttention`, gated
    `LorentzLinear` layers :math:`W_1, W_2`, and activation, dropout and layer norm on the space part. With
    ``norm_first`` it is :math:`z = x \oplus \operatorname{attention}(\operatorname{norm}_1 x)` and so on.

    ``torch.nn.TransformerEncoder(layer, n, norm, enable_nested_tensor=False)`` stacks it. torch copies the layer n
    times and its manifold with it: where the curvature is learned, each copy would learn its own.

    Sources: Vaswani et al. (2017), *Attention Is All You Need*; Chen et al. (2022), *Fully Hyperbolic Neural Networks*
    (linear layers and attention); Yang et al. (2024), *Hypformer* (operations on the space part, centroid as residual
    connection). Departure: Chen et al. have no norm, and add the residual within the gate of the linear layers.

    Use: as the layer of a Transformer whose embeddings are Lorentz points.

    Cost: ``4 * (d_model + 1) * (d_model + 2) + (dim_feedforward + 1) * (d_model + 2)
    + (d_model + 1) * (dim_feedforward + 2) + 4 * d_model + 7`` parameters;
    ``N * (4 * (d_model + 1) ** 2 + 2 * N * (d_model + nhead) + 2 * (dim_feedforward + 1) * (d_model + 1))``
    multiply-adds; for one sequence of N points.

    Args:
        d_model: Intrinsic dimensions of the points, which have ``d_model + 1`` coordinates.
        nhead: Number of heads, a divisor of ``d_model``.
        dim_feedforward: Intrinsic dimensions between the two linear layers.
        dropout: Probability of dropping attention weights and space coordinates in training.
        activation: Function or name.
        layer_norm_eps: What the norms add to the variance.
        batch_first: Whether the axis of the batch comes before that of the sequence.
        norm_first: Put the norms before attention and network instead of after the sums.
        bias: Learn biases in linear layers and norms.
        manifold: Where the points lie; curvature -1 if left out.

    Shapes:
        - input: ``(S, N, d_model + 1)``, ``(N, S, d_model + 1)`` if ``batch_first``, or ``(S, d_model + 1)``;
        - output: the same.

    Raises:
        ValueError: If a size is not positive, ``nhead`` does not divide ``d_model`` or ``dropout`` is no probability.

    Example:
        >>> layer = LorentzTransformerEncoderLayer(16, 4, dim_feedforward=32, batch_first=True)
        >>> encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        >>> encoder(layer.manifold.origin(2, 5, 17)).shape
        torch.Size([2, 5, 17])
    """

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Map points ``src``; the masks are those of `LorentzMultiheadAttention.forward`."""

        def attend(x: Tensor) -> Tensor:
            y, _ = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)
            return self.dropout1(y)

        x = self._connect(src, attend, self.norm1)
        return self._connect(x, lambda x: self.dropout2(self._feed_forward(x)), self.norm2)


class LorentzTransformerDecoderLayer(_TransformerLayer):
    r"""`LorentzTransformerEncoderLayer` with a second attention, to a memory; for `torch.nn.TransformerDecoder`.

    .. math::
        z = \operatorname{norm}_1\bigl(x \oplus \operatorname{attention}(x)\bigr), \quad
        u = \operatorname{norm}_2\bigl(z \oplus \operatorname{attention}(z, m)\bigr), \quad
        y = \operatorname{norm}_3\bigl(u \oplus W_2\,\sigma(W_1 u)\bigr)

    Sources: Vaswani et al. (2017), *Attention Is All You Need*; for its parts see `LorentzTransformerEncoderLayer`.

    Use: to write a sequence of Lorentz points from the output of an encoder.

    Cost: ``8 * (d_model + 1) * (d_model + 2) + (dim_feedforward + 1) * (d_model + 2)
    + (d_model + 1) * (dim_feedforward + 2) + 6 * d_model + 12`` parameters;
    ``N * (8 * (d_model + 1) ** 2 + 4 * N * (d_model + nhead) + 2 * (dim_feedforward + 1) * (d_model + 1))``
    multiply-adds; for one sequence of N points and a memory as long.

    Args:
        d_model: Intrinsic dimensions of the points, which have ``d_model + 1`` coordinates.
        nhead: Number of heads, a divisor of ``d_model``.
        dim_feedforward: Intrinsic dimensions between the two linear layers.
        dropout: Probability of dropping attention weights and space coordinates in training.
        activation: Function or name.
        layer_norm_eps: What the norms add to the variance.
        batch_first: Whether the axis of the batch comes before that of the sequence.
        norm_first: Put the norms before attention and network instead of after the sums.
        bias: Learn biases in linear layers and norms.
        manifold: Where the points lie; curvature -1 if left out.

    Shapes:
        - tgt: ``(T, N, d_model + 1)``, ``(N, T, d_model + 1)`` if ``batch_first``, or ``(T, d_model + 1)``;
        - memory: the same with S for T;
        - output: as ``tgt``.

    Raises:
        ValueError: If a size is not positive, ``nhead`` does not divide ``d_model`` or ``dropout`` is no probability.

    Example:
        >>> layer = LorentzTransformerDecoderLayer(16, 4, dim_feedforward=32)
        >>> tgt, memory = layer.manifold.origin(5, 2, 17), layer.manifold.origin(7, 2, 17)
        >>> layer(tgt, memory, tgt_is_causal=True).shape
        torch.Size([5, 2, 17])
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        manifold: geoopt.Lorentz | None = None,
    ) -> None:
        manifold = as_lorentz(manifold)
        sizes = (d_model, nhead, dim_feedforward)
        super().__init__(*sizes, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, manifold=manifold)
        on: dict[str, Any] = {"manifold": manifold}
        self.multihead_attn = LorentzMultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **on)
        self.norm3 = HyperbolicLayerNorm(d_model, layer_norm_eps, bias=bias, **on)
        self.dropout3 = HyperbolicDropout(dropout, **on)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Map points ``tgt``, given those of ``memory``; for masks see `LorentzMultiheadAttention.forward`."""

        def attend(x: Tensor) -> Tensor:
            y, _ = self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)
            return self.dropout1(y)

        def recall(x: Tensor) -> Tensor:
            y, _ = self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )
            return self.dropout2(y)

        x = self._connect(self._connect(tgt, attend, self.norm1), recall, self.norm2)
        return self._connect(x, lambda x: self.dropout3(self._feed_forward(x)), self.norm3)
