"""Time the step of Riemannian Adam over many small parameters against geoopt's, in turn in one process.

A quarter of the parameters each is on the hyperboloid, in the ball, on the sphere and plain, interleaved. Three sides:
our optimizer, geoopt's on the same manifolds (ours), and geoopt's on its own manifolds. The first two must end in the
same values, up to rounding: in the precision that is timed and, much more narrowly, in float64.

    OMP_NUM_THREADS=1 python experiments/benchmarks/optimizer_step.py
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geoopt
import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from hypersst.experiments.benchmarks.timing import alternate, ratio_of_rounds, write_benchmark
from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.optim import RiemannianAdam

__all__ = ["Settings", "difference", "main", "markdown_table", "measure", "parameters", "run"]

# Roundings by which values may differ after the steps of the check.
_ROUNDINGS = 1e3
_SIDES = ("geoopt", "all_geoopt")


@dataclass(frozen=True)
class Settings:
    """What is measured, and where the record goes.

    Args:
        counts: Numbers of parameters.
        size: Each is a matrix of so many rows and columns.
        rounds: Turns of each side that are timed.
        steps: Steps in a turn.
        warmup: Turns before these, not counted.
        checked: Steps after which values are compared.
        target: Times that geoopt's step must take at least.
        threads: Threads of torch; what the environment says if left out.
        device: Where to run.
        seed: Seed of points and gradients.
        output: File of the JSON record.
    """

    counts: tuple[int, ...] = (100, 1000)
    size: int = 16
    rounds: int = 15
    steps: int = 4
    warmup: int = 2
    checked: int = 20
    target: float = 15.0
    threads: int | None = None
    device: str = "cpu"
    seed: int = 0
    output: Path = Path("experiments/results/optimizer_step.json")


def parameters(
    count: int, settings: Settings, dtype: torch.dtype = torch.float32, foreign: bool = False
) -> list[nn.Parameter]:
    """Parameters on the four manifolds in turn, with gradients.

    Args:
        count: How many.
        settings: Size, seed and device.
        dtype: Their precision.
        foreign: Take hyperboloid and ball of geoopt, with the same points.
    """
    one = torch.tensor(1.0, dtype=dtype, device=settings.device)
    hyperboloid, ball, sphere = Lorentz(one), PoincareBall(one), geoopt.Sphere()
    homes: list[Any] = [geoopt.Lorentz(one), geoopt.PoincareBall(one)] if foreign else [hyperboloid, ball]
    generator = torch.Generator().manual_seed(settings.seed)
    shape = (settings.size, settings.size)

    def normal() -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(settings.device, dtype)

    result: list[nn.Parameter] = []
    for number in range(count):
        # Points about two away from the origin.
        kind, numbers = number % 4, 0.5 * normal()
        if kind == 0:
            numbers[:, 0] = 0.0
            parameter = geoopt.ManifoldParameter(hyperboloid.expmap0(numbers), manifold=homes[0])
        elif kind == 1:
            parameter = geoopt.ManifoldParameter(ball.expmap0(0.5 * numbers), manifold=homes[1])
        elif kind == 2:
            parameter = geoopt.ManifoldParameter(sphere.projx(numbers), manifold=sphere)
        else:
            parameter = nn.Parameter(numbers)
        parameter.grad = normal()
        result.append(parameter)
    return result


def difference(count: int, settings: Settings, dtype: torch.dtype) -> float:
    """Largest difference between our values and geoopt's after the steps of the check, relative or absolute.

    Raises:
        RuntimeError: If it is more than rounding.
    """
    mine, theirs = (parameters(count, settings, dtype) for _ in range(2))
    for optimizer in (RiemannianAdam(mine, lr=1e-2), geoopt.optim.RiemannianAdam(theirs, lr=1e-2)):
        for _ in range(settings.checked):
            optimizer.step()
    largest = 0.0
    for p, q in zip(mine, theirs, strict=True):
        ours, others = p.detach().as_subclass(Tensor), q.detach().as_subclass(Tensor)
        largest = max(largest, float(((ours - others).abs() / others.abs().clamp_min(1.0)).max()))
    if not largest < _ROUNDINGS * torch.finfo(dtype).eps:
        raise RuntimeError(f"The steps of {count} parameters in {dtype} differ from geoopt's by {largest:.3g}.")
    return largest


def _turn(optimizer: torch.optim.Optimizer, steps: int) -> Callable[[], None]:
    def turn() -> None:
        for _ in range(steps):
            optimizer.step()

    return turn


def measure(count: int, settings: Settings) -> dict[str, Any]:
    """Time one number of parameters.

    Returns:
        Median times of a step in milliseconds, the ratios' medians and quartiles, and differences of values.
    """
    differences = {
        str(dtype).removeprefix("torch."): difference(count, settings, dtype)
        for dtype in (torch.float32, torch.float64)
    }
    optimizers = {
        "ours": RiemannianAdam(parameters(count, settings), lr=1e-3),
        "geoopt": geoopt.optim.RiemannianAdam(parameters(count, settings), lr=1e-3),
        "all_geoopt": geoopt.optim.RiemannianAdam(parameters(count, settings, foreign=True), lr=1e-3),
    }
    turns = {name: _turn(optimizer, settings.steps) for name, optimizer in optimizers.items()}
    seconds = alternate(turns, settings.rounds, settings.warmup, settings.device)
    return {
        "parameters": count,
        "ms": {name: 1e3 * statistics.median(spent) / settings.steps for name, spent in seconds.items()},
        "geoopt": ratio_of_rounds(seconds["geoopt"], seconds["ours"]),
        "all_geoopt": ratio_of_rounds(seconds["all_geoopt"], seconds["ours"]),
        "target": settings.target,
        "differences": differences,
    }


def run(settings: Settings) -> dict[str, Any]:
    """Measure all numbers of parameters and write the record."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    cases = [measure(count, settings) for count in settings.counts]
    return write_benchmark(settings.output, dataclasses.asdict(settings), settings.device, cases)


def markdown_table(path: Path) -> str:
    """The record in ``path`` as a Markdown table."""
    record = json.loads(path.read_text())
    size = record["settings"]["size"]
    lines = [
        f"| parameters {size} × {size} | geoopt's step over ours, median (quartiles) | with geoopt's manifolds |",
        "|---|---|---|",
    ]
    for case in record["cases"]:
        cells = [f"{case[side]['ratio']:.1f} ({case[side]['low']:.1f} to {case[side]['high']:.1f})" for side in _SIDES]
        lines.append(f"| {case['parameters']:,} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    """Read the settings from the command line, measure, and print the table."""
    record = run(tyro.cli(Settings, args=args, description=__doc__))
    table = Table(
        "parameters",
        "ours",
        "geoopt",
        "ratio",
        "all geoopt",
        "ratio",
        "target",
        caption="times in ms, ratios as median and quartiles",
    )
    for case in record["cases"]:
        ratios = ["{ratio:.1f}\n{low:.1f}-{high:.1f}".format(**case[side]) for side in _SIDES]
        times = [f"{case['ms'][name]:.2f}" for name in ("ours", *_SIDES)]
        table.add_row(
            str(case["parameters"]), times[0], times[1], ratios[0], times[2], ratios[1], f"{case['target']:.0f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
