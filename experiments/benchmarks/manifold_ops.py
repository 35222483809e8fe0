"""Time forward and backward of the manifolds' operations against geoopt's, eager and compiled, in turn in one process.

Both sides get the same points at about 1.6 from the origin, and must agree in values and gradients. The memory floor is
the time of the bytes that have to move (inputs and results once forward; inputs, cotangents and gradients once
backward) at the bandwidth of a copy, measured in the same rounds.

    OMP_NUM_THREADS=1 python experiments/benchmarks/manifold_ops.py
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geoopt
import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from hypersst.experiments.benchmarks.timing import alternate, ratio_of_rounds, write_benchmark
from hypersst.manifolds import Lorentz, PoincareBall

__all__ = ["OPERATIONS", "Operation", "Settings", "main", "markdown_table", "measure", "run"]

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Settings:
    """What is measured, and where the record goes.

    Args:
        rows: Number of points.
        dim: Intrinsic dimensions.
        rounds: Turns of each side that are timed.
        warmup: Turns before these, not counted.
        threads: Threads of torch; what the environment says if left out.
        device: Where to run.
        seed: Seed of points and cotangents.
        output: File of the JSON record.
    """

    rows: int = 100_000
    dim: int = 64
    rounds: int = 15
    warmup: int = 3
    threads: int | None = None
    device: str = "cpu"
    seed: int = 0
    output: Path = Path("experiments/results/manifold_ops.json")


@dataclass(frozen=True)
class Operation:
    """One operation of a manifold.

    Args:
        model: ``"lorentz"`` or ``"ball"``.
        name: The verb, on our manifold as on geoopt's.
        inputs: ``"point"``, ``"tangent0"`` or ``"matrix"``, in order.
        eager: Times that geoopt's time must be ours.
        compiled: The same for ours compiled.
    """

    model: str
    name: str
    inputs: tuple[str, ...]
    eager: float
    compiled: float


OPERATIONS = (
    Operation("lorentz", "expmap0", ("tangent0",), 6.0, 7.0),
    Operation("lorentz", "logmap0", ("point",), 4.0, 8.0),
    Operation("lorentz", "dist", ("point", "point"), 1.5, 2.8),
    Operation("ball", "expmap0", ("tangent0",), 8.0, 12.0),
    Operation("ball", "logmap0", ("point",), 3.0, 4.0),
    Operation("ball", "dist", ("point", "point"), 2.5, 13.0),
    Operation("ball", "mobius_matvec", ("matrix", "point"), 3.5, 6.0),
)


def inputs_of(operation: Operation, settings: Settings) -> tuple[Tensor, ...]:
    """Leaves that require gradients, the same for both sides."""
    generator = torch.Generator().manual_seed(settings.seed)
    lorentz = operation.model == "lorentz"

    def draw(kind: str) -> Tensor:
        if kind == "matrix":
            return torch.randn(settings.dim, settings.dim, generator=generator) / settings.dim**0.5
        v = 1.6 * torch.randn(settings.rows, settings.dim, generator=generator) / settings.dim**0.5
        if lorentz and kind == "point":
            return Lorentz().expmap0_space(v)
        if lorentz:
            return torch.nn.functional.pad(v, (1, 0))
        return PoincareBall().expmap0(0.5 * v) if kind == "point" else 0.5 * v

    return tuple(draw(kind).to(settings.device).requires_grad_() for kind in operation.inputs)


def forward_and_backward(function: Function, inputs: tuple[Tensor, ...], cotangent: Tensor) -> Callable[[], Any]:
    """A turn: value and gradients of all inputs."""
    return lambda: torch.autograd.grad(function(*inputs), inputs, cotangent)


def measure(operation: Operation, settings: Settings) -> dict[str, Any]:
    """Time one operation.

    Returns:
        Median times in milliseconds, the floor, ratios' medians and quartiles, and the largest difference of values.

    Raises:
        RuntimeError: If the sides do not agree.
    """
    ours, theirs = (
        (Lorentz(), geoopt.Lorentz()) if operation.model == "lorentz" else (PoincareBall(), geoopt.PoincareBall())
    )
    ours, theirs = ours.to(settings.device), theirs.to(settings.device)
    inputs = inputs_of(operation, settings)
    sides: dict[str, Function] = {
        "geoopt": getattr(theirs, operation.name),
        "eager": getattr(ours, operation.name),
        "compiled": torch.compile(getattr(ours, operation.name), fullgraph=True),
    }
    expected = sides["geoopt"](*inputs).detach()
    cotangent = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(settings.device)
    for name in ("eager", "compiled"):
        difference = float((sides[name](*inputs).detach() - expected).abs().max() / expected.abs().max())
        if not difference < 1e-3:
            raise RuntimeError(f"{operation.name} of the {operation.model} ({name}) differs by {difference:.3g}.")
    turns = {name: forward_and_backward(function, inputs, cotangent) for name, function in sides.items()}
    source = inputs[-1].detach()
    target = torch.empty_like(source)
    turns["copy"] = lambda: target.copy_(source)
    seconds = alternate(turns, settings.rounds, settings.warmup, settings.device)
    ms = {name: 1e3 * statistics.median(spent) for name, spent in seconds.items()}
    numbers = 3 * sum(x.numel() for x in inputs) + 2 * expected.numel()
    return {
        "operation": dataclasses.asdict(operation),
        "ms": {name: ms[name] for name in sides},
        "floor_ms": ms["copy"] * numbers / (2 * source.numel()),
        "eager": ratio_of_rounds(seconds["geoopt"], seconds["eager"]),
        "compiled": ratio_of_rounds(seconds["geoopt"], seconds["compiled"]),
    }


def run(settings: Settings) -> dict[str, Any]:
    """Measure all operations and write the record."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    with warnings.catch_warnings():
        # Dynamo makes an instance of each autograd.Function that it traces, and torch warns of that.
        warnings.filterwarnings("ignore", message=".*should not be instantiated", category=DeprecationWarning)
        cases = [measure(operation, settings) for operation in OPERATIONS]
    return write_benchmark(settings.output, dataclasses.asdict(settings), settings.device, cases)


def _cells(case: dict[str, Any]) -> list[str]:
    ms, operation = case["ms"], case["operation"]
    return [
        f"{operation['model']} {operation['name']}",
        f"{ms['geoopt']:.0f}",
        *(f"{ms[side]:.0f}" for side in ("eager", "compiled")),
        f"{case['floor_ms']:.0f}",
        *(
            "{ratio:.1f} ({low:.1f} to {high:.1f}), asked {asked:g}".format(**case[side], asked=operation[side])
            for side in ("eager", "compiled")
        ),
    ]


_HEADER = ["operation", "geoopt, ms", "eager, ms", "compiled, ms", "floor, ms", "geoopt over eager", "over compiled"]


def markdown_table(path: Path) -> str:
    """The record in ``path`` as a Markdown table."""
    rows = [_HEADER, ["---"] * len(_HEADER), *(_cells(case) for case in json.loads(path.read_text())["cases"])]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(args: list[str] | None = None) -> None:
    """Read the settings from the command line, measure, and print the table."""
    record = run(tyro.cli(Settings, args=args, description=__doc__))
    table = Table(*_HEADER, caption="ratios as median and quartiles")
    for case in record["cases"]:
        table.add_row(*_cells(case))
    Console().print(table)


if __name__ == "__main__":
    main()
