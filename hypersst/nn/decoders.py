"""From pairs of points to scores of edges: the higher, the likelier."""

from __future__ import annotations

import geoopt
from torch import Tensor, nn

from hypersst.nn.manifold_argument import as_hyperbolic, as_lorentz

__all__ = ["FermiDirac", "InnerProduct", "LorentzScore", "fermi_dirac_logit"]


def fermi_dirac_logit(sqdist: Tensor, r: float = 2.0, t: float = 1.0) -> Tensor:
    r"""Logit of the Fermi–Dirac probability of an edge.

    .. math:: p = \frac{1}{\exp((d^2 - r)/t) + 1}, \qquad \operatorname{logit} p = \frac{r - d^2}{t}

    The exponential overflows for distant pairs; the logit does not, and `binary_cross_entropy_with_logits` takes it.

    Args:
        sqdist: Squared distances, any shape.
        r: Squared distance at which an edge has probability one half.
        t: Temperature.

    Returns:
        Logits, the same shape.
    """
    return (r - sqdist) / t


class FermiDirac(nn.Module):
    r"""Fermi–Dirac decoder on the squared geodesic distance.

    .. math:: \operatorname{logit} p = \frac{r - d^2(x, y)}{t}

    Sources: Krioukov et al. (2010), *Hyperbolic geometry of complex networks*; Chami et al. (2019), *Hyperbolic Graph
    Convolutional Neural Networks*.

    Use: to predict links from points of either model where scores shall be probabilities.

    Cost: ``0`` parameters; ``0`` multiply-adds; a few elementwise passes over the coordinates of each pair.

    Args:
        r: Squared distance at which an edge has probability one half.
        t: Temperature, positive.
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.

    Shapes:
        - input: two lists of points, ``(*, ambient)`` each;
        - output: logits ``(*)``.

    Raises:
        ValueError: If ``t`` is not positive.

    Example:
        >>> import torch
        >>> decoder = FermiDirac(r=2.0, t=1.0)
        >>> decoder.probability(torch.zeros(1, 3), torch.zeros(1, 3))
        tensor([0.8808])
    """

    def __init__(
        self,
        r: float = 2.0,
        t: float = 1.0,
        *,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
    ) -> None:
        super().__init__()
        if not t > 0.0:
            raise ValueError(f"`t` must be positive, got {t}.")
        self.r, self.t = r, t
        self.manifold = as_hyperbolic(manifold)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Logits of edges between points ``x`` and ``y``."""
        return fermi_dirac_logit(self.manifold.dist(x, y).square(), self.r, self.t)

    def probability(self, x: Tensor, y: Tensor) -> Tensor:
        """Probabilities of edges between points ``x`` and ``y``."""
        return self(x, y).sigmoid()

    def extra_repr(self) -> str:
        """Both parameters."""
        return f"r={self.r}, t={self.t}"


class LorentzScore(nn.Module):
    r"""Minus the squared Lorentzian distance, :math:`\tfrac 2c + 2\langle x, y\rangle = -d_L^2(x, y)`.

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*, link prediction in the authors' code.

    Use: to rank links between Lorentz points, with a margin loss; it needs no inverse hyperbolic function.

    Cost: ``0`` parameters; ``0`` multiply-adds; a few elementwise passes over the coordinates of each pair.

    Args:
        manifold: Where the points lie; curvature -1 if left out.

    Shapes:
        - input: two lists of points, ``(*, d + 1)`` each;
        - output: scores ``(*)``.
    """

    def __init__(self, *, manifold: geoopt.Lorentz | None = None) -> None:
        super().__init__()
        self.manifold = as_lorentz(manifold)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores of edges between points ``x`` and ``y``."""
        return -self.manifold.sqdist(x, y)


class InnerProduct(nn.Module):
    r"""Inner product of Euclidean embeddings, to be read as a logit.

    .. math:: \operatorname{logit} p = \langle x, y\rangle

    Source: Kipf and Welling (2016), *Variational Graph Auto-Encoders*, eq. 2.

    Use: to predict links in the Euclidean baseline.

    Cost: ``0`` parameters; ``0`` multiply-adds; one elementwise pass over the coordinates of each pair.

    Shapes:
        - input: two lists of vectors, ``(*, d)`` each;
        - output: logits ``(*)``.
    """

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Logits of edges between ``x`` and ``y``."""
        return (x * y).sum(dim=-1)
