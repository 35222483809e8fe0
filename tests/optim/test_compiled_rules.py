"""A compiled step of points is the eager one, to rounding."""

import geoopt
import pytest
import torch

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.optim import RiemannianAdam


@pytest.mark.parametrize(("manifold", "amsgrad"), [(Lorentz(0.7), False), (PoincareBall(0.7), True)])
def test_compiled_steps_equal_eager_ones(manifold: geoopt.Manifold, amsgrad: bool) -> None:
    start = manifold.random_normal(5, 4, std=0.5, dtype=torch.float64)
    target = manifold.random_normal(5, 4, std=0.5, dtype=torch.float64)
    points = []
    for compiled in (False, True):
        x = geoopt.ManifoldParameter(start.clone(), manifold=manifold)
        optimizer = RiemannianAdam([x], lr=0.1, amsgrad=amsgrad)
        if compiled:
            optimizer.compile()
        for step in range(6):
            # A rate that changes from step to step must not be compiled in.
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
            optimizer.zero_grad()
            manifold.dist(x, target).square().sum().backward()
            optimizer.step()
        points.append((x.detach(), optimizer.state[x]["exp_avg"], optimizer.state[x]["exp_avg_sq"]))
    for eager, compiled_one in zip(*points, strict=True):
        torch.testing.assert_close(compiled_one, eager, rtol=1e-9, atol=1e-12)
    assert not torch.equal(points[0][0], start)
