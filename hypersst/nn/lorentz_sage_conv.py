"""GraphSAGE on the Lorentz manifold: a node beside the centroid of its neighbours, through one linear layer."""

from __future__ import annotations

from typing import Any

import geoopt
import torch
from torch import Tensor

from hypersst.nn.activation import Activation
from hypersst.nn.centroid_sums import CentroidSums
from hypersst.nn.graph_conv import Adjacency, MeanConv, Nodes, Points, split_nodes
from hypersst.nn.lazy_linear import lazy_linear
from hypersst.nn.lorentz_linear import LorentzLinear
from hypersst.nn.manifold_argument import as_lorentz
from hypersst.nn.sparse import CSRMatrix

__all__ = ["LorentzSAGEConv"]


class LorentzSAGEConv(CentroidSums, MeanConv):
    r"""Linear layer of a node's point joined with the Lorentz centroid of its neighbours.

    With :math:`m_i \propto \sum_j A_{ij} x_j` on the hyperboloid,

    .. math:: y_i = \operatorname{LorentzLinear}\bigl([x_i \,\Vert\, m_i]\bigr), \qquad
        [x \,\Vert\, m] = \Bigl(\sqrt{x_0^2 + m_0^2 - 1/c},\; x_s,\; m_s\Bigr),

    the mean, concatenation and product of GraphSAGE, each in its Lorentz form. The two space parts have columns of
    their own in the one weight, and the joined point's time follows from them.

    Sources: Hamilton, Ying and Leskovec (2017), *Inductive Representation Learning on Large Graphs*, algorithm 1,
    lines 4–5 (mean); Qu and Zou (2022), *Lorentzian Fully Hyperbolic Generative Adversarial Network* (concatenation).

    Use: on large graphs in mini-batches, where a node shall keep its own features beside its neighbours'.

    Cost: ``(out_channels + 1) * (2 * in_channels + 2) + 1`` parameters;
    ``N * (out_channels + 1) * (2 * in_channels + 1)`` multiply-adds; ``E * (in_channels + 1)`` over edges.

    Args:
        in_channels: Intrinsic dimensions of the input; -1 to read them off the first one; a pair for sources and
            targets.
        out_channels: Intrinsic dimensions of the output.
        bias: Learn a bias in the linear layer.
        time: Form of the linear layer, see `LorentzLinear`.
        manifold: Where the points lie; curvature -1 if left out.
        activation: Function or name, applied to the joined point's ambient vector.
        dropout: Probability of dropping entries of that vector in training.
        cached: Keep the normalised graph of the first call; for transductive training only.
        **kwargs: Arguments of PyG's `MessagePassing`.

    Shapes:
        - input: node points ``(N, in_channels + 1)``, dense, or a pair for sources and targets; the graph as for
          `LorentzConv`, without self-loops;
        - output: node points ``(N, out_channels + 1)``.

    Example:
        >>> conv = LorentzSAGEConv(16, 32)
        >>> conv
        LorentzSAGEConv(16, 32)
        >>> conv(conv.manifold.from_space(torch.randn(3, 16)), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 33])
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        bias: bool = True,
        *,
        time: str = "gated",
        manifold: geoopt.Lorentz | None = None,
        activation: str | Activation | None = None,
        dropout: float = 0.0,
        cached: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, add_self_loops=False, cached=cached, **kwargs)
        manifold = as_lorentz(manifold)
        sizes = in_channels if isinstance(in_channels, tuple) else (in_channels, in_channels)
        self.lin = lazy_linear(
            LorentzLinear,
            -1 if -1 in sizes else sum(sizes),
            out_channels,
            bias,
            time=time,
            manifold=manifold,
            activation=activation,
            dropout=dropout,
        )
        self.manifold = manifold

    def forward(
        self,
        x: Nodes,
        edge_index: Adjacency,
        edge_weight: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Map node points; arguments and result as for `MeanConv`, with targets always needed in a pair."""
        source, target, _ = split_nodes(x, edge_index, size)
        if isinstance(x, (tuple, list)) and target is None:
            raise ValueError("`x` must hold targets too, which stand beside their neighbours, got None for them.")
        root = source if target is None else target
        mean = self._sum(x, edge_index, edge_weight, size)
        joined = self.manifold.from_space(torch.cat((_dense(root)[..., 1:], mean[..., 1:]), dim=-1))
        return self.lin(joined)

    def _transform(self, x: Points, linear: Any) -> Tensor:
        return _dense(x)


def _dense(x: Points) -> Tensor:
    if isinstance(x, CSRMatrix):
        raise TypeError("`x` must be dense, since neighbours are averaged before the linear layer, got a CSRMatrix.")
    return x
