"""Losses that compare distances between points, on either model."""

from __future__ import annotations

import geoopt
import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.errors import unknown
from hypersst.nn.distance_matrix import distance_matrix
from hypersst.nn.manifold_argument import as_hyperbolic

__all__ = ["distance_contrastive_loss", "distance_softmax_loss", "distance_triplet_loss", "distortion_loss"]


def distance_triplet_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    manifold: geoopt.Lorentz | geoopt.PoincareBall,
    margin: float = 1.0,
    squared: bool = False,
) -> Tensor:
    r"""Ask that a point be nearer to its positive than to its negative by a margin.

    .. math:: \frac 1n \sum_i \max\bigl(0,\; m + d(a_i, p_i) - d(a_i, n_i)\bigr)

    Source: Schroff, Kalenichenko and Philbin (2015), *FaceNet*, with squared distances there.

    Args:
        anchor: Points, shape ``(*, ambient)``.
        positive: Points, broadcastable to the same shape.
        negative: Points, likewise.
        manifold: Where they lie, a ball or a Lorentz manifold.
        margin: The number :math:`m`.
        squared: Take squared distances.

    Returns:
        The mean, a scalar.

    Example:
        >>> from hypersst.manifolds import Lorentz
        >>> a, p, n = Lorentz().expmap0_space(torch.tensor([[0.0], [1.0], [1.5]]))
        >>> distance_triplet_loss(a, p, n, manifold=Lorentz())
        tensor(0.5000)
    """
    space = as_hyperbolic(manifold)
    near, far = space.dist(anchor, positive), space.dist(anchor, negative)
    if squared:
        near, far = near.square(), far.square()
    return (margin + near - far).relu().mean()


def distance_contrastive_loss(
    x: Tensor, y: Tensor, *, manifold: geoopt.Lorentz | geoopt.PoincareBall, temperature: float | Tensor = 1.0
) -> Tensor:
    r"""Ask that each point be nearest to its partner among all partners of a batch.

    .. math:: -\frac 1n \sum_i \log \frac{e^{-d(x_i, y_i)/\tau}}{\sum_j e^{-d(x_i, y_j)/\tau}}

    The distances to others are one matrix product in float64 (`distance_matrix`), those to the partners, which training
    makes small, are taken pair by pair. For a symmetric loss add the one with x and y exchanged.

    Source: Oord, Li and Vinyals (2018), *Representation Learning with Contrastive Predictive Coding*, with the score
    :math:`-d/\tau` of Desai et al. (2023), *Hyperbolic Image-Text Representations*.

    Args:
        x: Points, shape ``(n, ambient)``.
        y: Their partners, the same shape.
        manifold: Where they lie, a ball or a Lorentz manifold.
        temperature: The positive number :math:`\tau`, or a tensor with no axes.

    Returns:
        The mean, a scalar.

    Raises:
        ValueError: If the shapes do not fit or ``temperature`` is a number that is not positive.

    Example:
        >>> from hypersst.manifolds import Lorentz
        >>> x = Lorentz().from_space(torch.zeros(2, 3))
        >>> distance_contrastive_loss(x, x, manifold=Lorentz())
        tensor(0.6931)
    """
    if x.dim() != 2 or x.shape != y.shape:
        raise ValueError(f"`x` and `y` must have one shape (n, ambient), got {tuple(x.shape)} and {tuple(y.shape)}.")
    if not isinstance(temperature, Tensor) and not temperature > 0.0:
        raise ValueError(f"`temperature` must be positive, got {temperature}.")
    space = as_hyperbolic(manifold)
    partner = torch.arange(x.size(0), device=x.device)
    own = torch.eye(x.size(0), dtype=torch.bool, device=x.device)
    distances = torch.where(own, space.dist(x, y).unsqueeze(-1), distance_matrix(x, y, space))
    return F.cross_entropy(-distances / temperature, partner)


def distance_softmax_loss(
    x: Tensor,
    positive: Tensor,
    negatives: Tensor,
    *,
    manifold: geoopt.Lorentz | geoopt.PoincareBall,
    reduction: str = "mean",
) -> Tensor:
    r"""Ask that each point be nearer to its positive than to its negatives.

    .. math:: -\sum_i \log \frac{e^{-d(x_i, p_i)}}{e^{-d(x_i, p_i)} + \sum_j e^{-d(x_i, n_{ij})}}

    Source: Nickel and Kiela (2017), *Poincaré Embeddings for Learning Hierarchical Representations*, equation 6, with
    the positive in the denominator as in the authors' code.

    Args:
        x: Points, shape ``(*, ambient)``.
        positive: Points, the same shape.
        negatives: Points, shape ``(*, k, ambient)``.
        manifold: Where they lie, a ball or a Lorentz manifold.
        reduction: ``"mean"`` or ``"sum"``, over all positives.

    Returns:
        A scalar.

    Raises:
        ValueError: If ``reduction`` is neither.

    Example:
        >>> from hypersst.manifolds import PoincareBall
        >>> distance_softmax_loss(torch.zeros(2), torch.zeros(2), torch.zeros(3, 2), manifold=PoincareBall())
        tensor(1.3863)
    """
    if reduction not in ("mean", "sum"):
        raise unknown("reduction", reduction, ("mean", "sum"))
    candidates = torch.cat((positive.unsqueeze(-2), negatives), dim=-2)
    distances = as_hyperbolic(manifold).dist(x.unsqueeze(-2), candidates)
    distances = distances.reshape(-1, distances.size(-1))
    first = torch.zeros(distances.size(0), dtype=torch.long, device=x.device)
    return F.cross_entropy(-distances, first, reduction=reduction)


def distortion_loss(
    x: Tensor, pairs: Tensor, targets: Tensor, *, manifold: geoopt.Lorentz | geoopt.PoincareBall
) -> Tensor:
    r"""Ask that distances be as given, whatever their size.

    .. math:: \frac 1m \sum_{(i, j)} \left\lvert \left(\frac{d(x_i, x_j)}{D_{ij}}\right)^2 - 1 \right\rvert

    Source: Gu et al. (2019), *Learning Mixed-Curvature Representations in Product Spaces*, who sum.

    Args:
        x: Points, shape ``(n, ambient)``.
        pairs: Indices of points, integers of shape ``(2, m)``.
        targets: The distances :math:`D_{ij}` that they shall have, positive, shape ``(m,)``; in a graph, those along
            shortest paths.
        manifold: Where they lie, a ball or a Lorentz manifold.

    Returns:
        The mean, a scalar.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> from hypersst.manifolds import Lorentz
        >>> x = Lorentz().expmap0_space(torch.tensor([[0.0], [2.0]]))
        >>> distortion_loss(x, torch.tensor([[0], [1]]), torch.tensor([4.0]), manifold=Lorentz())
        tensor(0.7500)
    """
    if pairs.dim() != 2 or pairs.size(0) != 2 or targets.shape != pairs.shape[1:]:
        raise ValueError(
            f"`pairs` and `targets` must have shapes (2, m) and (m,), got {tuple(pairs.shape)} and "
            f"{tuple(targets.shape)}."
        )
    distances = as_hyperbolic(manifold).dist(x[pairs[0]], x[pairs[1]])
    return ((distances / targets).square() - 1.0).abs().mean()
