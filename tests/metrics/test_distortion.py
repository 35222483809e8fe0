"""Average distortion against its definition."""

import pytest
import torch

from hypersst.manifolds import Lorentz
from hypersst.metrics import average_distortion, graph_distances


def test_it_is_the_mean_relative_error_over_connected_pairs():
    generator = torch.Generator().manual_seed(0)
    edges = torch.tensor([[0, 1, 2, 4], [1, 2, 3, 5]])
    graph = graph_distances(edges, 7)
    embedded = torch.rand(7, 7, generator=generator, dtype=torch.float64)
    errors = [
        abs(embedded[u, v].item() - graph[u, v].item()) / graph[u, v].item()
        for u in range(7)
        for v in range(7)
        if u != v and graph[u, v] < torch.inf
    ]
    assert len(errors) == 14
    assert average_distortion(embedded, graph).item() == pytest.approx(sum(errors) / 14, rel=1e-12)


def test_a_path_on_a_geodesic_has_none_and_a_scaled_one_has_the_scale():
    manifold = Lorentz(0.5).double()
    graph = graph_distances(torch.tensor([[0, 1, 2], [1, 2, 3]]))
    for scale in (1.0, 0.5, 3.0):
        steps = torch.arange(-1.0, 3.0).double().unsqueeze(1) * torch.tensor([0.6, 0.8], dtype=torch.float64)
        x = manifold.expmap0_space(scale * steps)
        found = average_distortion(manifold.dist(x[:, None], x), graph)
        # The points are right to a few hundred roundings at radius 6.
        assert found.item() == pytest.approx(abs(scale - 1), abs=1e-12)


def test_the_type_is_that_of_the_embedding_and_gradients_pass():
    embedded = torch.tensor([1.0, 3.0, 9.0], requires_grad=True)
    found = average_distortion(embedded, torch.tensor([1.0, 2.0, torch.inf], dtype=torch.float64))
    assert found.dtype == torch.float32
    found.backward()
    assert embedded.grad.tolist() == [0.0, 0.25, 0.0]


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"`graph` must have the shape \(3,\), got \(2,\)"):
        average_distortion(torch.ones(3), torch.ones(2))
    with pytest.raises(ValueError, match="`graph` must hold a positive finite distance, got none among 2"):
        average_distortion(torch.ones(2), torch.tensor([0.0, torch.inf]))
