"""Attention on the Lorentz manifold at a cost linear in the lengths of the sequences."""

from __future__ import annotations

import math

import geoopt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.manifolds.stable import at_least_float32, norm
from hypersst.nn.attention_heads import check_heads, check_key_padding, check_sequences, merge_heads, split_heads
from hypersst.nn.lorentz_linear import LorentzLinear
from hypersst.nn.manifold_argument import as_lorentz

__all__ = ["LorentzLinearAttention", "focused", "focused_attention"]

# Rows in a block of causal attention: a block costs its square, a state between blocks d².
_BLOCK = 64


def focused(x: Tensor, power: float) -> Tensor:
    r"""Make features positive and sharpen their direction, keeping their length.

    .. math:: \phi(x) = \frac{\lVert\tilde x\rVert}{\lVert\tilde x^p\rVert}\,\tilde x^p, \qquad
        \tilde x_i = \max\bigl(x_i,\; 10^{-3} \max_j |x_j|,\; 10^{-6}\bigr)

    with the power taken of each entry. It is of degree one: :math:`\phi(ax)` is :math:`a\,\phi(x)` but for the
    :math:`10^{-6}`.

    Source: Yang et al. (2024), *Hypformer*, after Han et al. (2023), *FLatten Transformer*. There
    :math:`\tilde x = \operatorname{ReLU}(x)`, with 1e-6 added in the authors' code. Departure: a query and a key that
    have no positive entry in common would meet in the rounding of these zeros (in float32 at radius 7 the result was
    off by 0.4); with a floor of a thousandth of the row they meet with a small weight that rounding does not move.

    Args:
        x: Shape ``(*, d)``.
        power: The positive exponent :math:`p`.

    Returns:
        Non-negative features, shape ``(*, d)``.

    Example:
        >>> focused(torch.tensor([3.0, 4.0, -1.0]), power=2.0)
        tensor([2.4513e+00, 4.3579e+00, 4.3579e-06])
    """
    x = torch.maximum(x, (1e-3 * x.abs().amax(dim=-1, keepdim=True)).clamp_min(1e-6))
    # Scaling cancels in the quotient, and its gradient too; without it 1e-6 to the power would vanish.
    raised = (x / x.detach().amax(dim=-1, keepdim=True)).pow(power)
    return norm(x) / norm(raised) * raised


def focused_attention(
    q: Tensor, k: Tensor, v: Tensor, power: float, key_padding_mask: Tensor | None = None, *, is_causal: bool = False
) -> Tensor:
    r"""Average values with weights :math:`\phi(q_i)\cdot\phi(k_j)`, without forming the matrix of weights.

    .. math:: y_i = \frac{\phi(q_i)^\top \sum_j \phi(k_j)\,v_j^\top}{\phi(q_i)^\top \sum_j \phi(k_j)}

    Causal sums, over :math:`j \le i`, are taken in blocks of 64 rows: the sums of whole blocks are accumulated, within
    a block the weights are formed. That is L · 64 weights and L / 64 matrices of d · e numbers for each head.

    Sources: Yang et al. (2024), *Hypformer*; Katharopoulos et al. (2020), *Transformers are RNNs* (causal sums).

    Args:
        q: Space parts of queries, shape ``(*, L, d)``.
        k: Space parts of keys, shape ``(*, S, d)``.
        v: Space parts of values, shape ``(*, S, e)``.
        power: Exponent of `focused`.
        key_padding_mask: Boolean, true where a key is padding, or numbers whose exponentials multiply its weights;
            broadcastable to ``(*, S)``.
        is_causal: Let query i see keys up to i only; L and S must agree.

    Returns:
        Averages, shape ``(*, L, e)``; zero where a query sees no key.
    """
    q, k = focused(q, power), focused(k, power)
    if key_padding_mask is not None:
        seen = ~key_padding_mask if key_padding_mask.dtype == torch.bool else key_padding_mask.exp()
        k = k * seen.to(k.dtype).unsqueeze(-1)
    # A column of ones makes the denominator along with the numerator.
    v = F.pad(v, (0, 1), value=1.0)
    total = _causal_sums(q, k, v) if is_causal else q @ (k.mT @ v)
    numerator, denominator = at_least_float32(total).split((v.shape[-1] - 1, 1), dim=-1)
    # Two rows of zeros have a weight of 1e-12 · d. Far below, there is no key, and the quotient shall be 0.
    guard = torch.finfo(denominator.dtype).tiny ** 0.5
    return numerator / torch.where(denominator > guard, denominator, 1.0)


def _causal_sums(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Row i is the sum over j up to i of ``(q_i · k_j) v_j``, shape ``(*, L, e)``."""
    length = q.shape[-2]
    q, k, v = (F.pad(x, (0, 0, 0, -length % _BLOCK)).unflatten(-2, (-1, _BLOCK)) for x in (q, k, v))
    upto = (k.mT @ v).cumsum(dim=-3)
    before = F.pad(upto[..., :-1, :, :], (0, 0, 0, 0, 1, 0))
    return (q @ before + (q @ k.mT).tril() @ v).flatten(-3, -2)[..., :length, :]


class LorentzLinearAttention(nn.Module):
    r"""Attention of several heads on Lorentz points, at a cost linear in the number of points.

    Linear layers make queries, keys and values; each splits its space part into heads. A head averages the space parts
    of the values and adds a linear map :math:`\psi` of the point's own value,

    .. math::
        y_i = \frac{\phi(q_i)^\top \sum_j \phi(k_j)\,v_j^\top}{\phi(q_i)^\top \sum_j \phi(k_j)} + \psi(v_i), \qquad
        \phi(x) = \frac{\lVert\tilde x\rVert}{\lVert\tilde x^p\rVert}\,\tilde x^p, \quad
        \tilde x_i = \max\bigl(x_i,\; 10^{-3} \max_j |x_j|,\; 10^{-6}\bigr).

    The heads are put side by side, time is recomputed, and a last linear layer mixes them.

    Source: Yang et al. (2024), *Hypformer: Exploring Efficient Hyperbolic Transformer Fully in Hyperbolic Space*, and
    the authors' code. Departures: a learned number by which :math:`\tilde x` is divided there is left out, since the
    quotient cancels it; the floor of :math:`\tilde x`, see `focused`; heads are parts of ``embed_dim`` dimensions,
    where each has all of them there; the last layer, which there is Euclidean and optional, is a `LorentzLinear`;
    nothing is added to the denominator; the causal form and masks are added.

    Use: to let all nodes of a large graph, or a long sequence, attend to each other.

    Cost: ``4 * embed_dim * (embed_dim + 2) + head_dim * (head_dim + 1)`` parameters;
    ``N * embed_dim * (4 * (embed_dim + 1) + 2 * (head_dim + 1) + head_dim)`` multiply-adds; of N points that
    attend to each other, not causally.

    Args:
        embed_dim: Intrinsic dimensions of the points, which have ``embed_dim + 1`` coordinates.
        num_heads: Number of heads, a divisor of ``embed_dim``.
        power: The exponent :math:`p`; larger ones make the weights sharper.
        bias: Learn biases in the linear layers.
        residual: Learn :math:`\psi`; without it queries need not be as many as values.
        batch_first: Whether the axis of the batch comes before that of the sequence.
        time: Form of the linear layers, see `LorentzLinear`.
        manifold: Where the points lie; curvature -1 if left out.

    Shapes:
        - query: ``(L, N, embed_dim + 1)``, ``(N, L, embed_dim + 1)`` if ``batch_first``, or ``(L, embed_dim + 1)``;
        - key, value: the same with S for L; S is L with ``residual``;
        - output: as the query.

    Raises:
        ValueError: If a size or ``power`` is not positive, ``num_heads`` does not divide ``embed_dim`` or ``time`` is
            no form of `LorentzLinear`.

    Example:
        >>> attention = LorentzLinearAttention(16, 4)
        >>> nodes = attention.manifold.from_space(torch.randn(1000, 16))
        >>> attention(nodes, nodes, nodes).shape
        torch.Size([1000, 17])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        power: float = 2.0,
        bias: bool = True,
        residual: bool = True,
        batch_first: bool = False,
        time: str = "recomputed",
        manifold: geoopt.Lorentz | None = None,
    ) -> None:
        super().__init__()
        check_heads(embed_dim=embed_dim, num_heads=num_heads)
        if not 0.0 < power < math.inf:
            raise ValueError(f"`power` must be positive and finite, got {power}.")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.power = power
        self.batch_first = batch_first
        self.manifold = as_lorentz(manifold)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            LorentzLinear(embed_dim, embed_dim, bias, time=time, manifold=self.manifold) for _ in range(4)
        )
        self.residual = nn.Linear(self.head_dim, self.head_dim, bias) if residual else None

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for layer in (self.q_proj, self.k_proj, self.v_proj, self.out_proj, self.residual):
            if layer is not None:
                layer.reset_parameters()

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Attend from ``query`` to ``key`` and ``value``; a query that sees no key keeps its own value only.

        Args:
            query: Points, see the class for shapes.
            key: Points.
            value: Points.
            key_padding_mask: Shape ``(N, S)``, or ``(S,)`` for one sequence; true where a key is padding, or numbers
                whose exponentials multiply its weights.
            is_causal: Let query i see keys up to i only.

        Returns:
            Points of the query's shape.

        Raises:
            TypeError: If the mask is neither boolean nor of floating point.
            ValueError: If shapes do not go together.
        """
        check_sequences(query, key, value, (self.embed_dim,) * 3, self.batch_first)
        if key_padding_mask is not None:
            check_key_padding(key_padding_mask, key, self.batch_first)
            key_padding_mask = key_padding_mask.unsqueeze(-2)
        if query.shape != key.shape and (is_causal or self.residual is not None):
            raise ValueError(
                "`key` must have a row for each row of `query` with `is_causal` or `residual`, got shapes "
                f"{tuple(key.shape)} and {tuple(query.shape)}."
            )
        q = split_heads(self.q_proj(query), self.num_heads, self.batch_first)
        k = split_heads(self.k_proj(key), self.num_heads, self.batch_first)
        v = split_heads(self.v_proj(value), self.num_heads, self.batch_first)
        space = focused_attention(q, k, v, self.power, key_padding_mask, is_causal=is_causal)
        if self.residual is not None:
            space = space + self.residual(v)
        return self.out_proj(self.manifold.from_space(merge_heads(space, self.batch_first)))

    def extra_repr(self) -> str:
        """Sizes and options that differ from their defaults."""
        parts = [f"{self.embed_dim}, {self.num_heads}, power={self.power}"]
        parts += ["batch_first=True"] if self.batch_first else []
        return ", ".join(parts)
