"""Attention whose keys and values are computed by one call and used by another, so that they can be kept."""

from __future__ import annotations

import math

import geoopt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.manifolds.lorentz_math import space_part
from hypersst.manifolds.stable import at_least_float32
from hypersst.models.sequence.key_value_cache import KeysAndValues
from hypersst.models.sequence.masks import future
from hypersst.models.sequence.rotary import RotaryPositions
from hypersst.nn.attention_heads import check_heads, merge_heads, split_heads
from hypersst.nn.lorentz_attention import lorentz_attention
from hypersst.nn.lorentz_linear import LorentzLinear
from hypersst.nn.manifold_argument import as_lorentz
from hypersst.nn.shapes import check_probability

__all__ = ["Attention", "DistanceAttention", "SoftmaxAttention"]


class Attention(nn.Module):
    """Attention of several heads: `keys_and_values` reads a sequence, ``forward`` attends to what it returned.

    A subclass sets ``q_proj``, ``k_proj``, ``v_proj`` and ``out_proj`` and defines `_split`, `_weigh`.

    Args:
        dim: Intrinsic dimensions.
        heads: Number of heads, a divisor of ``dim``.
        dropout: Probability of dropping a weight in training.
        rotary: What turns queries and keys by their positions; ``None`` for attention without positions.

    Raises:
        ValueError: If ``heads`` does not divide ``dim`` or ``dropout`` is no probability.
    """

    q_proj: nn.Module
    k_proj: nn.Module
    v_proj: nn.Module
    out_proj: nn.Module

    def __init__(self, dim: int, heads: int, dropout: float, rotary: RotaryPositions | None) -> None:
        super().__init__()
        check_heads(dim=dim, heads=heads)
        check_probability(dropout=dropout)
        self.heads = heads
        self.dropout = dropout
        self.rotary = rotary

    def keys_and_values(self, x: Tensor, start: int = 0) -> KeysAndValues:
        """Keys and values of a sequence ``(B, S, ambient)`` from position ``start`` on, ``(B, H, S, *)`` each."""
        return self._split(self.k_proj(x), self.rotary, start), self._split(self.v_proj(x), None, 0)

    def forward(
        self, x: Tensor, known: KeysAndValues, hidden: Tensor | None = None, causal: bool = False, start: int = 0
    ) -> Tensor:
        """Attend from a sequence to keys and values.

        Args:
            x: Shape ``(B, L, ambient)``.
            known: What `keys_and_values` returned, of S positions.
            hidden: True where a query must not see a key, broadcastable to ``(B, H, L, S)``.
            causal: Hide what comes after a query, the last query standing where the last key does.
            start: Position of the first query.

        Returns:
            Shape ``(B, L, ambient)``.
        """
        query = self._split(self.q_proj(x), self.rotary, start)
        return self.out_proj(self._weigh(query, known, hidden, causal))

    def _split(self, x: Tensor, rotary: RotaryPositions | None, start: int) -> Tensor:
        """Heads of a sequence, turned."""
        raise NotImplementedError

    def _weigh(self, q: Tensor, known: KeysAndValues, hidden: Tensor | None, causal: bool) -> Tensor:
        """Weighted means of the values, the heads side by side."""
        raise NotImplementedError

    def _hidden(self, q: Tensor, k: Tensor, hidden: Tensor | None, causal: bool) -> Tensor | None:
        """One mask; a single query that stands last sees all there is."""
        if not causal or q.shape[-2] == 1:
            return hidden
        later = future(q.shape[-2], k.shape[-2], q.device)
        return later if hidden is None else hidden | later

    def extra_repr(self) -> str:
        """Number of heads, and dropout if there is any."""
        return f"heads={self.heads}" + (f", dropout={self.dropout}" if self.dropout else "")


class SoftmaxAttention(Attention):
    r"""Attention by products, :math:`W_o\bigl[\operatorname{softmax}(Q_h K_h^\top / \sqrt d)\,V_h\bigr]_h`.

    It is `torch.nn.MultiheadAttention` by torch's fused kernel, with a weight of its own for queries, keys and values,
    so that each can be spectral.

    Source: Vaswani et al. (2017), *Attention Is All You Need*, section 3.2.

    Args:
        dim: Dimensions.
        heads: Number of heads, a divisor of ``dim``.
        dropout: Probability of dropping a weight in training; on a CPU it forms the matrix of weights.
        bias: Learn biases.
        rotary: What turns queries and keys by their positions.

    Shapes:
        - input: ``(B, L, dim)``;
        - output: the same.

    Example:
        >>> attention, x = SoftmaxAttention(16, 4), torch.randn(2, 5, 16)
        >>> attention(x, attention.keys_and_values(x), causal=True).shape
        torch.Size([2, 5, 16])
    """

    def __init__(
        self, dim: int, heads: int, dropout: float = 0.0, bias: bool = True, rotary: RotaryPositions | None = None
    ) -> None:
        super().__init__(dim, heads, dropout, rotary)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim, bias) for _ in range(4))

    def _split(self, x: Tensor, rotary: RotaryPositions | None, start: int) -> Tensor:
        x = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return x if rotary is None else rotary(x, start)

    def _weigh(self, q: Tensor, known: KeysAndValues, hidden: Tensor | None, causal: bool) -> Tensor:
        k, v = known
        # The kernel knows by itself what is causal where queries and keys are the same positions.
        fused = causal and hidden is None and q.shape[-2] == k.shape[-2]
        hidden = None if fused else self._hidden(q, k, hidden, causal)
        seen = None if hidden is None else ~hidden
        dropout = self.dropout if self.training else 0.0
        kind, dtype = q.device.type, q.dtype
        if kind == "cpu" and dtype == torch.bfloat16:
            # Of a CPU's kernel the backward pass in bfloat16 takes seven times as long as in float32.
            q, k, v = q.float(), k.float(), v.float()
        with torch.autocast(kind, enabled=torch.is_autocast_enabled(kind) and kind != "cpu"):
            y = F.scaled_dot_product_attention(q, k, v, seen, dropout, is_causal=fused)
        return y.to(dtype).transpose(1, 2).flatten(2)


class DistanceAttention(Attention):
    r"""Attention by distances: weights :math:`\operatorname{softmax}(-d_L^2(q_i, k_j)/\tau)`, values by their centroid.

    It computes what `hypersst.nn.LorentzMultiheadAttention` does and has the same parameters; that layer takes
    queries, keys and values in one call, as torch's does.

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*; departures as there. Rotations of the space parts,
    which are isometries: He et al. (2025), *HELM: Hyperbolic Large Language Models via Mixture-of-Curvature Experts*.

    Args:
        dim: Intrinsic dimensions.
        heads: Number of heads, a divisor of ``dim``.
        dropout: Probability of dropping a weight in training.
        bias: Learn biases.
        rotary: What turns queries and keys by their positions.
        manifold: Where the points lie; curvature -1 if left out.
        precision: Least precise type of scores and sums. float32 suffices where linear maps are gated: heads of
            ``dim`` dimensions in all stay within radius 3.1 at first, where a result moves by 1.5e-5 of its length.

    Shapes:
        - input: ``(B, L, dim + 1)``;
        - output: the same.

    Example:
        >>> attention = DistanceAttention(16, 4)
        >>> x = attention.manifold.from_space(torch.randn(2, 5, 16))
        >>> attention(x, attention.keys_and_values(x), causal=True).shape
        torch.Size([2, 5, 17])
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        rotary: RotaryPositions | None = None,
        *,
        manifold: geoopt.Lorentz | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(dim, heads, dropout, rotary)
        self.precision = precision
        self.manifold = as_lorentz(manifold)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            LorentzLinear(dim, dim, bias, manifold=self.manifold) for _ in range(4)
        )
        self.log_scale = nn.Parameter(torch.full((), 0.5 * math.log(dim // heads)))

    def _split(self, x: Tensor, rotary: RotaryPositions | None, start: int) -> Tensor:
        space = split_heads(x, self.heads, batch_first=True)
        return self.manifold.from_space(space if rotary is None else rotary(space, start))

    def _weigh(self, q: Tensor, known: KeysAndValues, hidden: Tensor | None, causal: bool) -> Tensor:
        k, v = known
        hidden = self._hidden(q, k, hidden, causal)
        scale = at_least_float32(self.log_scale).exp()
        dropout = self.dropout if self.training else 0.0
        y, _ = lorentz_attention(
            q, k, v, hidden, scale, self.manifold.c, dropout=dropout, need_weights=False, precision=self.precision
        )
        return self.manifold.from_space(merge_heads(space_part(y), batch_first=True))
