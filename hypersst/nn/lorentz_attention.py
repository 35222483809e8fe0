r"""Attention on the Lorentz manifold: weights from distances, values averaged by their centroid.

# Note [float64 in attention]

Two things cancel for far points: the Minkowski products in the scores, and the square :math:`\langle s, s\rangle` of
the sum of the values. Either one in float32 moves a result by up to 2e-5 of its length at radius 3, 6e-4 at 5 and
3e-2 at 7 (:math:`\tau = 3`, keys close to their queries); with both in float64 it is 6e-8 at each. So scores are
float64 up to the subtraction of their largest, which leaves numbers that float32 holds well, and the sum is float64.
For the backward pass only the float32 weights are kept, 4 bytes each instead of 8; of float64 there are two matrices
of scores for a moment. On a CPU forward and backward take 2.6 times as long as in float32 (512 points, heads of 32
dimensions); on a GPU with few float64 units it will be more.

Heads of a layer whose points stay near, as those of gated linear maps do (radius 3.1 at first), lose little in float32:
`precision` is for them. Results move by 2e-6 of their length at radius 2, 1.5e-5 at 3 and 4e-5 at 3.5 (heads of 16
dimensions, :math:`\tau = 4`), and forward and backward take a third of the time.
"""

from __future__ import annotations

import math
from typing import Any

import geoopt
import torch
from torch import Tensor, nn

from hypersst.manifolds.lorentz_math import from_space, normalize, space_part, time_part
from hypersst.manifolds.stable import at_least_float32
from hypersst.nn.attention_heads import (
    check_heads,
    check_key_padding,
    check_mask_type,
    check_sequences,
    merge_heads,
    split_heads,
)
from hypersst.nn.dropout import dropout as drop
from hypersst.nn.lorentz_linear import LorentzLinear
from hypersst.nn.manifold_argument import as_lorentz
from hypersst.nn.shapes import check_channels, check_probability

__all__ = ["LorentzMultiheadAttention", "lorentz_attention"]


def lorentz_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    scale: Tensor,
    c: Tensor,
    *,
    dropout: float = 0.0,
    need_weights: bool = True,
    precision: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor | None]:
    r"""Lorentz centroid of values, weighted by the squared Lorentzian distances of queries and keys.

    .. math::
        w_{ij} = \operatorname{softmax}_j\bigl(-d_L^2(q_i, k_j) / \tau\bigr), \qquad
        y_i = \frac{\sum_j w_{ij} v_j}{\sqrt{c}\,\sqrt{-\langle s_i, s_i\rangle}}, \quad s_i = \sum_j w_{ij} v_j

    with :math:`d_L^2(x, y) = -2/c - 2\langle x, y\rangle`, whose constant the softmax cancels. An isometry that moves
    queries and keys changes no weight, one that moves the values moves the result. A query all of whose keys are
    masked or dropped has no centroid: its result is the origin, its weights are zero.

    Times are recomputed from space parts, and no gradient goes to them.

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*. The authors' code adds a learned number to
    all scores, which the softmax cancels: it is left out.

    Args:
        q: Queries, shape ``(*, L, d + 1)``.
        k: Keys, shape ``(*, S, d + 1)``.
        v: Values, shape ``(*, S, e + 1)``.
        mask: Boolean, true where a query must not see a key, or numbers to be added to the scores; broadcastable to
            ``(*, L, S)``.
        scale: The positive scalar :math:`\tau`.
        c: Positive curvature parameter, a scalar.
        dropout: Probability with which weights are zeroed; the others are divided by ``1 - dropout``.
        need_weights: Return the weights as well.
        precision: Least precise type of scores and sums, see Note [float64 in attention]; they are never less precise
            than the points.

    Returns:
        Points, shape ``(*, L, e + 1)``, and weights after dropout, shape ``(*, L, S)``, or ``None``.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [1.25, 0.75]])
        >>> _, weights = lorentz_attention(x, x, x, None, torch.tensor(1.0), torch.tensor(1.0))
        >>> weights
        tensor([[0.6225, 0.3775],
                [0.3775, 0.6225]])
    """
    dtype = at_least_float32(q).dtype
    wide = torch.promote_types(dtype, precision)
    wide_c = c.to(wide)
    q, k, v = (from_space(space_part(x).to(wide), wide_c) for x in (q, k, v))
    with torch.autocast(q.device.type, enabled=False):
        # Note [float64 in attention]: products of far points cancel, and so does the square of their sum.
        score = torch.cat((-time_part(q), space_part(q)), dim=-1) * (2.0 / scale.to(wide)) @ k.mT
        if mask is not None:
            score = score.masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else score + mask
        # The lower bound keeps -inf - top what it is where everything is masked.
        top = score.detach().amax(dim=-1, keepdim=True).clamp_min(torch.finfo(score.dtype).min)
        exponential = (score - top).to(dtype).exp()
        weight = drop(exponential, dropout)
        # The centroid does not ask for the sum of the weights, so they are not divided by it.
        time, space = _WideSum.apply(weight, v).split((1, v.shape[-1] - 1), dim=-1)
    # A sum with any weight has a positive time; in place of an empty one stands a multiple of the origin.
    total = torch.cat((torch.where(time > 0, time, 1.0), space), dim=-1)
    y = normalize(total, wide_c).to(dtype)
    if not need_weights:
        return y, None
    return y, weight / exponential.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(dtype).tiny)


class _WideSum(torch.autograd.Function):
    """``weight @ points`` in the type of the points, for which the narrow weights are kept and not their wide copy."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, points: Tensor) -> Tensor:
        return weight.to(points.dtype) @ points

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        weight, points = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            return (grad @ points.mT).to(weight.dtype), weight.to(points.dtype).mT @ grad


class LorentzMultiheadAttention(nn.Module):
    r"""Attention of several heads on Lorentz points, with the call of `torch.nn.MultiheadAttention`.

    Linear layers make queries, keys and values; each splits its space part into heads, and every head's time is
    recomputed. A head weighs the values by distance and takes their centroid (`lorentz_attention`),

    .. math::
        w_{ij} = \operatorname{softmax}_j\bigl(-d_L^2(q_i, k_j) / \tau\bigr), \qquad
        y_i \propto \textstyle\sum_j w_{ij} v_j,

    :math:`\tau` being learned, first :math:`\sqrt{\text{head\_dim}}`. The heads' space parts are put side by side,
    their time is recomputed, and a last linear layer mixes them.

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*. Departures from the authors' code: there the gate
    of `LorentzLinear` acts on each head by itself, :math:`\tau` starts at :math:`\sqrt{\text{embed\_dim}}`, the
    weights are not dropped, and the last linear layer also adds the residual.

    Use: for sequences or sets of Lorentz points, and as `self_attn` of a Transformer layer; memory grows with the
    product of both lengths, see `LorentzLinearAttention` for long ones.

    Cost: ``4 * ((embed_dim + 1) * (embed_dim + 2) + 1) + 1`` parameters;
    ``N * (4 * (embed_dim + 1) ** 2 + 2 * N * (embed_dim + num_heads))`` multiply-adds; for one sequence of N points
    that attend to each other, the products of attention in float64.

    Args:
        embed_dim: Intrinsic dimensions of queries and output; their points have ``embed_dim + 1`` coordinates.
        num_heads: Number of heads, a divisor of ``embed_dim``.
        dropout: Probability of dropping a weight in training.
        bias: Learn biases in the linear layers.
        kdim: Intrinsic dimensions of the keys, ``embed_dim`` if left out.
        vdim: Intrinsic dimensions of the values, ``embed_dim`` if left out.
        batch_first: Whether the axis of the batch comes before that of the sequence.
        time: Form of the linear layers, see `LorentzLinear`.
        manifold: Where the points lie; curvature -1 if left out.

    Shapes:
        - query: ``(L, N, embed_dim + 1)``, ``(N, L, embed_dim + 1)`` if ``batch_first``, or ``(L, embed_dim + 1)``;
        - key, value: the same with S for L and ``kdim`` or ``vdim`` for ``embed_dim``;
        - output: as the query;
        - weights: ``(N, L, S)``, or ``(N, num_heads, L, S)`` if not averaged; without N for one sequence.

    Raises:
        ValueError: If a size is not positive, ``num_heads`` does not divide ``embed_dim``, ``dropout`` is no
            probability or ``time`` is no form of `LorentzLinear`.

    Example:
        >>> attention = LorentzMultiheadAttention(16, 4, batch_first=True)
        >>> x = attention.manifold.from_space(torch.randn(2, 5, 16))
        >>> y, weights = attention(x, x, x, is_causal=True)
        >>> y.shape, weights.shape
        (torch.Size([2, 5, 17]), torch.Size([2, 5, 5]))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        time: str = "gated",
        manifold: geoopt.Lorentz | None = None,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        check_heads(embed_dim=embed_dim, num_heads=num_heads)
        check_channels(kdim=self.kdim, vdim=self.vdim)
        check_probability(dropout=dropout)
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.manifold = as_lorentz(manifold)
        options: dict[str, Any] = {"bias": bias, "time": time, "manifold": self.manifold}
        self.q_proj = LorentzLinear(embed_dim, embed_dim, **options)
        self.k_proj = LorentzLinear(self.kdim, embed_dim, **options)
        self.v_proj = LorentzLinear(self.vdim, embed_dim, **options)
        self.out_proj = LorentzLinear(embed_dim, embed_dim, **options)
        self.log_scale = nn.Parameter(torch.full((), 0.5 * math.log(self.head_dim)))

    def reset_parameters(self) -> None:
        """Draw the weights anew and set the scale to its first value."""
        for layer in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            layer.reset_parameters()
        nn.init.constant_(self.log_scale, 0.5 * math.log(self.head_dim))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from ``query`` to ``key`` and ``value``.

        A query that sees no key gets the image of the origin under the last linear layer, and zero weights, where
        `torch.nn.MultiheadAttention` gives NaN.

        Args:
            query: Points, see the class for shapes.
            key: Points.
            value: Points.
            key_padding_mask: Shape ``(N, S)``, or ``(S,)`` for one sequence; true where a key is padding, or numbers
                to be added to its scores.
            need_weights: Return the weights as well.
            attn_mask: Shape ``(L, S)`` or ``(N * num_heads, L, S)``; true where a query must not see a key, or numbers
                to be added to the scores.
            average_attn_weights: Average the returned weights over the heads.
            is_causal: Let query i see keys up to i only. With an ``attn_mask`` it is a hint that the mask says so
                already; without one, which torch refuses, the mask is made.

        Returns:
            Points of the query's shape, and the weights or ``None``.

        Raises:
            TypeError: If a mask is neither boolean nor of floating point.
            ValueError: If shapes do not go together.
        """
        check_sequences(query, key, value, (self.embed_dim, self.kdim, self.vdim), self.batch_first)
        if key_padding_mask is not None:
            check_key_padding(key_padding_mask, key, self.batch_first)
        q = self._heads(self.q_proj(query))
        k = self._heads(self.k_proj(key))
        v = self._heads(self.v_proj(value))
        mask = self._mask(q, k, attn_mask, key_padding_mask, is_causal)
        c, scale = self.manifold.c, at_least_float32(self.log_scale).exp()
        dropout = self.dropout if self.training else 0.0
        y, weights = lorentz_attention(q, k, v, mask, scale, c, dropout=dropout, need_weights=need_weights)
        y = self.out_proj(self.manifold.from_space(merge_heads(space_part(y), self.batch_first)))
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=-3)
        return y, weights

    def _heads(self, x: Tensor) -> Tensor:
        """Points of each head, shape ``(N, num_heads, L, head_dim + 1)``."""
        return self.manifold.from_space(split_heads(x, self.num_heads, self.batch_first))

    def _mask(
        self, q: Tensor, k: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None, is_causal: bool
    ) -> Tensor | None:
        """One mask that broadcasts to the heads' weights, ``(N, num_heads, L, S)``."""
        length, keys = q.shape[-2], k.shape[-2]
        if attn_mask is None:
            if is_causal:
                attn_mask = torch.ones(length, keys, dtype=torch.bool, device=q.device).triu(1)
        else:
            check_mask_type("attn_mask", attn_mask)
            shapes = [(length, keys), (q.shape[:-2].numel(), length, keys)]
            if tuple(attn_mask.shape) not in shapes:
                raise ValueError(
                    f"`attn_mask` must have shape {shapes[0]} or {shapes[1]}, got {tuple(attn_mask.shape)}."
                )
            if attn_mask.dim() == 3:
                attn_mask = attn_mask.unflatten(0, q.shape[:-2])
        if key_padding_mask is None:
            return attn_mask
        padding = key_padding_mask[..., None, None, :]
        if attn_mask is None:
            return padding
        if attn_mask.dtype == padding.dtype == torch.bool:
            return attn_mask | padding
        return _additive(attn_mask) + _additive(padding)

    def extra_repr(self) -> str:
        """Sizes and options that differ from their defaults."""
        parts = [f"{self.embed_dim}, {self.num_heads}"]
        parts += [f"dropout={self.dropout}"] if self.dropout else []
        parts += [f"kdim={self.kdim}"] if self.kdim != self.embed_dim else []
        parts += [f"vdim={self.vdim}"] if self.vdim != self.embed_dim else []
        parts += ["batch_first=True"] if self.batch_first else []
        return ", ".join(parts)


def _additive(mask: Tensor) -> Tensor:
    """A boolean mask as numbers to be added to scores."""
    return torch.where(mask, -torch.inf, 0.0) if mask.dtype == torch.bool else mask
