"""What manifolds, beside geoopt's, and layers achieve in floating point: the page ``docs/numerics.md``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geoopt
import torch
import tyro
from torch import Tensor

from hypersst.experiments.conformance import CASES
from hypersst.experiments.layer_errors import RADII as LAYER_RADII
from hypersst.experiments.layer_errors import layer_error
from hypersst.experiments.oracle import LorentzOracle, PoincareOracle, value_and_gradients
from hypersst.experiments.records import versions
from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare

__all__ = ["Errors", "NumericsSettings", "evaluate", "main", "measure", "pair_at", "report"]

RADII = (0.0, 1e-6, 1e-4, 1e-2, 1.0, 3.0, 5.0, 7.0)
FROM_ORIGIN = ("expmap0", "logmap0")
PAIRWISE = ("expmap", "logmap", "dist", "transp")

# The grid reaches radius 7 and steps on from there: no cap may interfere with what is measured.
_UNCAPPED = 9.0

Error = tuple[float, float]
"""Largest relative error of the values and of the gradients."""


@dataclass(frozen=True)
class NumericsSettings:
    """What ``docs/numerics.md`` is made from.

    Args:
        points: Random points for each entry of a table.
        dim: Intrinsic dimensions.
        steps: Distances between the two points of a pair.
        seed: Seed of points, directions and cotangents.
        output: Where the page goes.
    """

    points: int = 16
    dim: int = 4
    steps: tuple[float, ...] = (1e-3, 1.0)
    seed: int = 0
    output: Path = Path("docs/numerics.md")


@dataclass(frozen=True)
class Errors:
    """Errors of one manifold in one precision: ``rows[radius][function]``."""

    rows: dict[float, dict[str, Error]]


def pair_at(
    model: str, radius: float, step: float, count: int, dim: int, c: float, dtype: torch.dtype, seed: int
) -> dict[str, Tensor]:
    r"""Random points at a radius, second points one step away, and tangent vectors, rounded to ``dtype``.

    Args:
        model: ``lorentz`` or ``poincare``.
        radius: Geodesic distance of x from the origin, in units of :math:`1/\sqrt c`.
        step: Geodesic distance from x to y in the same unit.
        count: Number n of points.
        dim: Intrinsic dimensions d.
        c: Positive curvature parameter.
        dtype: Precision of the result.
        seed: Seed of the directions.

    Returns:
        ``v`` (tangents at the origin with ``expmap0(v)`` at that radius), ``x``, ``y``, ``u`` (the tangent at x that
        leads to y) and ``w`` (unit tangents at x), each ``(n, d)``: for ``lorentz`` the space parts.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(3, count, dim, generator=generator, dtype=torch.float64)
    first, second, third = directions / directions.norm(dim=-1, keepdim=True) / math.sqrt(c)
    hyperboloid = Lorentz(torch.tensor(c, dtype=torch.float64), max_radius=20 / math.sqrt(c))
    x = hyperboloid.expmap0_space(radius * first)
    u = hyperboloid.transp0(x, _with_time(step * second))
    w = hyperboloid.transp0(x, _with_time(third * math.sqrt(c)))
    y = hyperboloid.expmap(x, u)
    v = radius * first
    if model == "lorentz":
        found = {"v": v, "x": x[:, 1:], "y": y[:, 1:], "u": u[:, 1:], "w": w[:, 1:]}
    else:
        ball = PoincareBall(hyperboloid.c, max_radius=20 / math.sqrt(c))
        bx = lorentz_to_poincare(x, c)
        gap = 2 / ball.lambda_x(bx, keepdim=True)
        # Half, as the metric at the origin is 4 dx²; then shrunk like every tangent vector.
        u, w = 0.5 * gap * step * second, 0.5 * gap * third * math.sqrt(c)
        found = {"v": 0.5 * v, "x": bx, "y": ball.expmap(bx, u), "u": u, "w": w}
    return {name: value.to(dtype) for name, value in found.items()}


def _with_time(space: Tensor) -> Tensor:
    return torch.cat((torch.zeros_like(space[:, :1]), space), dim=-1)


_INPUTS = {
    "expmap0": ("v",),
    "logmap0": ("x",),
    "expmap": ("x", "u"),
    "logmap": ("x", "y"),
    "dist": ("x", "y"),
    "transp": ("x", "y", "w"),
}


def evaluate(manifold: geoopt.Manifold, name: str, inputs: Sequence[Tensor]) -> Tensor:
    """Call a verb of a manifold on coordinates; Lorentz ones go in and out as space parts.

    The time of a point is sqrt(1/c + |space|²) and that of a tangent vector at x is x_s·v_s/x_0, so that gradients with
    respect to space parts mean the same for every implementation.
    """
    if not isinstance(manifold, geoopt.Lorentz):
        value = getattr(manifold, name)(*inputs)
        return value.unsqueeze(-1) if name == "dist" else value

    def point(s: Tensor) -> Tensor:
        return torch.cat(((manifold.k + (s * s).sum(-1, keepdim=True)).sqrt(), s), dim=-1)

    def tangent(s: Tensor) -> Tensor:
        return torch.cat(((x[..., 1:] * s).sum(-1, keepdim=True) / x[..., :1], s), dim=-1)

    if name == "expmap0":
        return manifold.expmap0(_with_time(inputs[0]))[..., 1:]
    x = point(inputs[0])
    if name == "logmap0":
        return manifold.logmap0(x)[..., 1:]
    if name == "expmap":
        return manifold.expmap(x, tangent(inputs[1]))[..., 1:]
    y = point(inputs[1])
    if name == "dist":
        return manifold.dist(x, y).unsqueeze(-1)
    if name == "logmap":
        return manifold.logmap(x, y)[..., 1:]
    return manifold.transp(x, y, tangent(inputs[2]))[..., 1:]


def measure(manifold: geoopt.Manifold, name: str, points: dict[str, Tensor], seed: int = 0) -> Error:
    """Largest relative errors, over points, of a verb and of its gradients against the oracle on the same numbers.

    The error of a vector is the Euclidean norm of the difference over the norm of the true one, for each gradient by
    itself; where the true one is zero, it is the norm of what was found.
    """
    oracle: Any = LorentzOracle if isinstance(manifold, geoopt.Lorentz) else PoincareOracle
    truth = oracle(1 / float(manifold.k) if oracle is LorentzOracle else float(manifold.c))
    inputs = [points[key].clone().requires_grad_() for key in _INPUTS[name]]
    value = evaluate(manifold, name, inputs)
    generator = torch.Generator().manual_seed(seed)
    cotangent = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
    gradients = torch.autograd.grad(value, inputs, cotangent)
    worst_value = worst_gradient = 0.0
    for i in range(len(value)):
        true_value, true_gradients = value_and_gradients(
            getattr(truth, name), [x[i].tolist() for x in inputs], cotangent[i].tolist()
        )
        worst_value = _worse(worst_value, value[i], true_value)
        for found, true in zip(gradients, true_gradients, strict=True):
            worst_gradient = _worse(worst_gradient, found[i], true)
    return worst_value, worst_gradient


def _worse(so_far: float, found: Tensor, true: Sequence[float]) -> float:
    truth = torch.tensor(true, dtype=torch.float64)
    size = float(truth.norm())
    error = float((found.detach().double() - truth).norm()) / (size or 1.0)
    # A NaN is the worst of all, and max would lose it.
    return max(so_far, error) if math.isfinite(error) and math.isfinite(so_far) else math.nan


def table(manifold: geoopt.Manifold, settings: NumericsSettings, step: float, dtype: torch.dtype) -> Errors:
    """Errors of all verbs at all radii."""
    model = "lorentz" if isinstance(manifold, geoopt.Lorentz) else "poincare"
    rows = {}
    for radius in RADII:
        points = pair_at(model, radius, step, settings.points, settings.dim, 1.0, dtype, settings.seed)
        names = (*FROM_ORIGIN, *PAIRWISE) if step == settings.steps[-1] else PAIRWISE
        rows[radius] = {name: measure(manifold, name, points, settings.seed) for name in names}
    return Errors(rows)


def _manifolds(dtype: torch.dtype) -> list[tuple[str, geoopt.Manifold, geoopt.Manifold]]:
    one = torch.ones((), dtype=dtype)
    return [
        ("Lorentz", Lorentz(one, max_radius=_UNCAPPED), geoopt.Lorentz(one.clone())),
        ("PoincareBall", PoincareBall(one, max_radius=_UNCAPPED), geoopt.PoincareBall(one.clone())),
    ]


def _number(error: float) -> str:
    if math.isnan(error):
        return "nan"
    return "0" if error == 0 else f"{error:.0e}".replace("e-0", "e-").replace("e+0", "e+").replace("e+0", "")


def _markdown(ours: Errors, theirs: Errors, *, which: int) -> list[str]:
    names = list(next(iter(ours.rows.values())))
    lines = ["| radius | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for radius, row in ours.rows.items():
        cells = [f"{_number(row[name][which])} / {_number(theirs.rows[radius][name][which])}" for name in names]
        lines.append(f"| {radius:g} | ".replace("e-0", "e-") + " | ".join(cells) + " |")
    return lines


_HEAD = """# Numerics

What manifolds and layers achieve, measured. This page is written by

    python -m hypersst.experiments.numerics

with {settings}
({versions}).

Each cell says **ours / geoopt's**: the largest relative error over {points} random points of {dim} coordinates with
c = 1, against 60 digits of mpmath. The oracle takes the stored, rounded inputs as exact (of Lorentz points and tangent
vectors the space parts), so an error here is the code's, not that of rounding a point. An error is the Euclidean norm
of the difference over that of the true (space) vector; gradients are those of the product with a fixed random vector,
each input's by itself. Where the truth is zero, the cell is the norm of what was found. Radii are geodesic distances
from the origin: x lies at that radius, y one step from x, `expmap` follows the tangent vector from x to y, and
`transp` carries a unit vector from x to y.

## How to read it

* The unit of rounding u is 6e-8 in float32 and 1e-16 in float64. At radius r one rounding of a point moves it by up to
  u·sinh r in the metric, so u·cosh r is what can be asked for: 6e-7 at radius 3, 4e-6 at 5, 3e-5 at 7 in float32. Our
  errors stay within a few times that (the gradients of `transp` with respect to a point, which are small differences
  of large parts, within thirty times); the subtractions in geoopt's formulas cost u·cosh² r and more far out, and u/r²
  near the origin.
* **The cap.** Maps onto the manifold shorten what lies beyond `max_radius`, by default 7/√c in float32 and 15/√c in
  float64, where u·cosh² r reaches 2 % and 0.03 %: beyond, the constraint ⟨x, x⟩ = −1/c is lost in the rounding of its
  own terms. Here the cap is lifted to {cap:g}. geoopt's ball clips at radius 6.2 in float32 and 12.2 in float64, which
  is what its last float32 rows show.
* **Tangent vectors** of the hyperboloid have space parts up to cosh r longer than they are in the metric, so storing
  one costs u·cosh r of its length, and a step of length s magnifies that by sinh(s)/s. The ball's carry only u: for
  long steps between far points it is the more accurate model. A transported vector can come out cosh r shorter, as a
  list of numbers, than it went in; its cell is then that much larger than its error in the metric.
* **`normalize`** divides by sqrt(−⟨s, s⟩) of a sum that is rounded already, and moves a point by a few u·cosh² r.
  `centroid` and `midpoint` sum in float64 and stay at u·cosh r (last table but one). So do the convolutions that
  aggregate by centroid, and scores that are Minkowski products; without it layers would err by 1e-2 to 1e-1 at 7.
* **The gradient of a distance where the two points meet**, which does not exist, is zero.
"""


def report(settings: NumericsSettings) -> str:
    """The page, as Markdown."""
    made_with = ", ".join(f"{name} {version}" for name, version in versions().items() if name in _VERSIONS)
    shown = f"points={settings.points}, dim={settings.dim}, steps={settings.steps}, seed={settings.seed}"
    head = _HEAD.format(settings=shown, versions=made_with, points=settings.points, dim=settings.dim, cap=_UNCAPPED)
    lines = [head]
    for dtype in (torch.float32, torch.float64):
        for title, ours, theirs in _manifolds(dtype):
            for step in reversed(settings.steps):
                both = table(ours, settings, step, dtype), table(theirs, settings, step, dtype)
                lines.append(f"## {title}, {str(dtype).removeprefix('torch.')}, step {step:g}\n")
                lines += ["Values:\n", *_markdown(*both, which=0), ""]
                lines += ["Gradients:\n", *_markdown(*both, which=1), ""]
    return "\n".join([*lines, *_centroids(settings), "", *_layers(), ""])


def _centroids(settings: NumericsSettings) -> list[str]:
    """Table of what ``normalize`` and ``centroid`` make of two points in float32, against float64."""
    lines = [
        "## Centroids of two points, float32\n",
        f"Largest geodesic distance from the centroid in float64, over {settings.points} pairs one unit apart.\n",
        "| radius | normalize of the float32 mean | centroid |",
        "|---|---|---|",
    ]
    single = Lorentz(max_radius=_UNCAPPED)
    double = Lorentz(torch.ones((), dtype=torch.float64), max_radius=_UNCAPPED)
    for radius in RADII[4:]:
        pair = pair_at("lorentz", radius, 1.0, settings.points, settings.dim, 1.0, torch.float32, settings.seed)
        spaces = torch.stack((pair["x"], pair["y"]), dim=1)
        points, exact = single.from_space(spaces), double.centroid(double.from_space(spaces.double()))
        found = single.normalize(points.mean(dim=1)), single.centroid(points)
        errors = [float(double.dist(double.from_space(f[:, 1:].double()), exact).max()) for f in found]
        lines.append(f"| {radius:g} | {_number(errors[0])} | {_number(errors[1])} |")
    return lines


def _layers() -> list[str]:
    """Table of what every layer of the conformance suite keeps in float32."""
    lines = [
        "## Layers, float32\n",
        "Largest relative error of a row of the output against the same layer in float64, on the inputs of the",
        "conformance suite moved to the radius (Euclidean inputs have that norm; a list of scores counts as one row), "
        "c = 0.75.",
        "Points, and parameters on a manifold, lie in directions of their own, in the last column about one from each",
        "other.\n",
        "| layer | " + " | ".join(f"radius {radius:g}" for radius in LAYER_RADII) + " | near each other, 7 |",
        "|---" * (len(LAYER_RADII) + 2) + "|",
    ]
    for case in CASES:
        errors = [layer_error(case, radius) for radius in LAYER_RADII]
        errors.append(layer_error(case, LAYER_RADII[-1], together=True))
        lines.append(f"| {case.name} | " + " | ".join(_number(error) for error in errors) + " |")
    return lines


_VERSIONS = ("python", "hypersst", "torch", "geoopt")


def main() -> None:
    """Write the page."""
    settings = tyro.cli(NumericsSettings, description=__doc__)
    settings.output.write_text(report(settings), encoding="utf-8")


if __name__ == "__main__":
    main()
