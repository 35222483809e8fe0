"""Elementwise functions of Poincaré coordinates, on either model of hyperbolic space."""

from __future__ import annotations

from torch import Tensor

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.nn.activation import Activation
from hypersst.nn.chart import from_chart, to_chart

__all__ = ["ball_activation"]


def ball_activation(x: Tensor, function: Activation | None, manifold: Lorentz | PoincareBall) -> Tensor:
    r"""Apply an elementwise function to the coordinates of the ball.

    A function with :math:`|\sigma(t)| \le |t|` (ReLU, tanh, ELU, …) shortens vectors, so the ball is mapped into
    itself; of any other the result is projected. Lorentz points go to the ball of the same curvature and back.

    Source: Liu, Nickel and Kiela (2019), *Hyperbolic Graph Neural Networks*.

    Args:
        x: Points, shape ``(*, ambient)``.
        function: The function; ``None`` changes nothing.
        manifold: Where the points lie.

    Returns:
        Points, the same shape.
    """
    return x if function is None else from_chart(function(to_chart(x, manifold, "ball")), manifold, "ball")
