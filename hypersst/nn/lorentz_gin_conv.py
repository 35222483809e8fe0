"""Graph isomorphism network on the Lorentz manifold: sums, not means, of the neighbours."""

from __future__ import annotations

from typing import Any

import geoopt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from hypersst.nn.graph_conv import Adjacency, MeanConv, Nodes, Points, split_nodes
from hypersst.nn.manifold_argument import as_lorentz
from hypersst.nn.sparse import CSRMatrix

__all__ = ["LorentzGINConv"]


class LorentzGINConv(MeanConv):
    r"""Network of the sum of a node and its neighbours in the space coordinates.

    .. math:: s_i = (1 + \epsilon)\,x_{i,s} + \sum_j A_{ij}\,x_{j,s}, \qquad
        y_i = f\bigl(\sqrt{1/c + \lVert s_i\rVert^2},\; s_i\bigr)

    A centroid forgets how many points it is made of, and so could not tell apart the multisets that GIN tells apart.
    The space coordinates determine a point, so their sum is as injective as GIN's; the radius of the sum grows with
    the logarithm of the degree.

    Sources: Xu et al. (2019), *How Powerful are Graph Neural Networks?*, eq. 4.1; the operation on space with time
    recomputed is that of Yang et al. (2024), *Hypformer*. It commutes with rotations, not with boosts.

    Use: to tell graphs apart by structure, where a centroid would forget how many neighbours there are.

    Cost: ``0`` parameters; ``0`` multiply-adds; ``E * nn.in_channels`` over edges; the network ``nn`` comes on top.

    Args:
        nn: Network :math:`f` from Lorentz points to Lorentz points, such as a `LorentzLinear` or a sequence of them.
        eps: :math:`\epsilon`, or its first value.
        train_eps: Train :math:`\epsilon`.
        manifold: Where the points lie; the manifold of ``nn`` if left out, curvature -1 if it has none.
        **kwargs: Arguments of PyG's `MessagePassing`.

    Shapes:
        - input: node points ``(N, d + 1)``, dense, or a pair for sources and targets; the graph as for `LorentzConv`,
          neither with self-loops nor normalised;
        - output: what ``nn`` makes of ``(N, d + 1)``.

    Example:
        >>> from hypersst.nn import LorentzLinear
        >>> conv = LorentzGINConv(LorentzLinear(16, 32, time="recomputed"))
        >>> conv(conv.manifold.from_space(torch.randn(3, 16)), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 33])
    """

    eps: Tensor

    def __init__(
        self,
        nn: nn.Module,
        eps: float = 0.0,
        train_eps: bool = False,
        *,
        manifold: geoopt.Lorentz | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(-1, 1, add_self_loops=False, normalize=False, **kwargs)
        # The network knows its sizes; PyG's GINConv has none either.
        del self.in_channels, self.out_channels
        self.nn = nn
        self.manifold = as_lorentz(getattr(nn, "manifold", None) if manifold is None else manifold)
        self.initial_eps = eps
        value = torch.tensor(float(eps))
        if train_eps:
            self.eps = torch.nn.Parameter(value)
        else:
            self.register_buffer("eps", value)

    def reset_parameters(self) -> None:
        """Reset the network and put ε back to its first value."""
        self._cached_graph = None
        reset(self.nn)
        torch.nn.init.constant_(self.eps, self.initial_eps)

    def forward(
        self,
        x: Nodes,
        edge_index: Adjacency,
        edge_weight: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Map node points; arguments and result as for `MeanConv`. Without targets the root's term is left out."""
        source, target, _ = split_nodes(x, edge_index, size)
        total = self._sum(x, edge_index, edge_weight, size)
        root = target if isinstance(x, (tuple, list)) else source
        if root is not None:
            total = total + (1.0 + self.eps) * _space(root)
        # The projection recomputes time and holds the largest radius.
        return self.nn(self.manifold.projx(F.pad(total, (1, 0))))

    def _transform(self, x: Points, linear: Any) -> Tensor:
        return _space(x)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(nn={self.nn})"


def _space(x: Points) -> Tensor:
    if isinstance(x, CSRMatrix):
        raise TypeError("`x` must be dense, since neighbours are summed before the network, got a CSRMatrix.")
    return x[..., 1:]
