"""How far an embedding is from keeping a graph's distances."""

from __future__ import annotations

from torch import Tensor

__all__ = ["average_distortion"]


def average_distortion(embedded: Tensor, graph: Tensor) -> Tensor:
    r"""Mean relative error of the embedded distances.

    .. math:: \frac 1{|P|} \sum_{(u,v) \in P} \frac{|d(x_u, x_v) - d_G(u, v)|}{d_G(u, v)}

    Over the pairs P of different nodes between which there is a path; pairs at graph distance 0 or ``inf`` are left
    out. It is 0 for an isometric embedding. The scale counts: an embedding that was trained to *rank* neighbours, not
    to keep distances, may have a large distortion and perfect ranks (see `hypersst.metrics.mean_rank`).

    Source: Sala et al. (2018), *Representation Tradeoffs for Hyperbolic Embeddings*, section 2.

    Args:
        embedded: Distances of the points, any shape, such as ``(n, n)``.
        graph: Distances of the nodes, the same shape, such as `hypersst.metrics.graph_distances` gives.

    Returns:
        A scalar of the type of ``embedded``; differentiable with respect to it.

    Raises:
        ValueError: If the shapes differ or no pair is left.

    Example:
        >>> average_distortion(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([1.0, 2.0, torch.inf]))
        tensor(0.2500)
    """
    if embedded.shape != graph.shape:
        raise ValueError(f"`graph` must have the shape {tuple(embedded.shape)}, got {tuple(graph.shape)}.")
    joined = (graph > 0) & graph.isfinite()
    if not joined.any():
        raise ValueError(f"`graph` must hold a positive finite distance, got none among {graph.numel()}.")
    length = graph[joined].to(embedded.dtype)
    return ((embedded[joined] - length).abs() / length).mean()
