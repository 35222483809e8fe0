"""Time a training step of a spectral linear layer against the dense one, alternately in one process.

Both layers see the same input and upstream gradient and are stepped by the same `torch.optim.AdamW`; the spectral step
includes the sampler's hooks. A machine that others use too slows both sides of a pair alike, so the figure is the
median of the *ratios* of neighbouring steps. What falls due only at a draw or a decomposition is timed on its own and
reported per step.

    OMP_NUM_THREADS=1 python experiments/benchmarks/linear_step.py
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import hypersst
from hypersst.experiments.records import device_name, versions
from hypersst.spectral import spectral_weights

__all__ = ["CASES", "Case", "Settings", "main", "markdown_table", "measure", "run"]


@dataclass(frozen=True)
class Case:
    """A layer, a batch, and the ratio to dense that the step must not exceed on a CPU.

    Args:
        out_features: Rows ``m`` of the weight.
        in_features: Columns ``n``.
        rows: Rows ``B`` of the input.
        rank: Pairs that train at a time.
        target: Largest ratio allowed.
        input_gradient: Whether the step computes the gradient of its input; a first layer does not.
    """

    out_features: int
    in_features: int
    rows: int
    rank: int
    target: float
    input_gradient: bool = True

    @property
    def name(self) -> str:
        """Shape and batch."""
        return f"{self.out_features}x{self.in_features}, B={self.rows}"


# Ranks are k/8, and 1 where k = 16, as in the graph networks.
CASES = (
    Case(256, 256, 4096, 32, 1.10),
    Case(512, 512, 4096, 64, 1.25),
    Case(2048, 512, 4096, 64, 1.15),
    Case(16, 1433, 2708, 1, 1.10, input_gradient=False),
)


@dataclass(frozen=True)
class Settings:
    """What is measured, and where the record goes.

    Args:
        pairs: Neighbouring steps that are timed per case.
        warmup: Pairs before these, not counted.
        execution: Execution of the spectral layer: auto, composed or factored.
        vectors: ``"sphere"`` or ``"ambient"``.
        threads: Threads of torch; what the environment says if left out.
        device: Where to run.
        seed: Seed of inputs and weights.
        output: File of the JSON record.
    """

    pairs: int = 60
    warmup: int = 5
    execution: str = "auto"
    vectors: str = "sphere"
    threads: int | None = None
    device: str = "cpu"
    seed: int = 0
    output: Path = Path("experiments/results/linear_step.json")


def _timer(device: str) -> Callable[[Callable[[], None]], float]:
    def timed(work: Callable[[], None]) -> float:
        if device != "cpu":
            torch.accelerator.synchronize()
        start = time.perf_counter()
        work()
        if device != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter() - start

    return timed


def _step(layer: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, upstream: Tensor) -> None:
    optimizer.zero_grad()
    x.grad = None
    layer(x).backward(upstream)
    optimizer.step()


def measure(case: Case, settings: Settings) -> dict[str, Any]:
    """Time one case.

    Returns:
        Median times in milliseconds, the ratios' median and quartiles, and the milliseconds per step that draws and
        decompositions add at the sampler's default rhythm.
    """
    torch.manual_seed(settings.seed)
    dense = nn.Linear(case.in_features, case.out_features, device=settings.device)
    held = nn.Sequential(copy.deepcopy(dense))
    hypersst.spectralize(held, rank=case.rank, execution=settings.execution, vectors=settings.vectors)
    x = torch.randn(case.rows, case.in_features, device=settings.device, requires_grad=case.input_gradient)
    upstream = torch.randn(case.rows, case.out_features, device=settings.device) / case.rows

    plain = torch.optim.AdamW(dense.parameters(), lr=1e-3)
    adam = torch.optim.AdamW(hypersst.param_groups(held, lr=1e-3))
    sampler = hypersst.SSTSampler(held, adam, steps_per_iteration=10**9)
    timed = _timer(settings.device)
    seconds: list[tuple[float, float]] = []
    for pair in range(settings.warmup + settings.pairs):
        sides = [(dense, plain), (held, adam)]
        times = [0.0, 0.0]
        # Whoever comes second finds x in the cache: take turns.
        for side in (0, 1) if pair % 2 else (1, 0):
            layer, optimizer = sides[side]
            times[side] = timed(functools.partial(_step, layer, optimizer, x, upstream))
        if pair >= settings.warmup:
            seconds.append((times[0], times[1]))
    sampler.detach()

    [weight] = spectral_weights(held)
    index = weight.spectral.index.clone()
    draw = statistics.median(timed(lambda: weight.spectral.activate(index)) for _ in range(5))
    decompose = statistics.median(timed(lambda: weight.spectral.redecompose(weight.sigma)) for _ in range(3))
    rhythm = 200  # steps per iteration, the paper's
    ratios = [spectral / other for other, spectral in seconds]
    low, median, high = statistics.quantiles(ratios, n=4)
    return {
        "case": case.name,
        "rank": case.rank,
        "input_gradient": case.input_gradient,
        "dense_ms": 1e3 * statistics.median(other for other, _ in seconds),
        "spectral_ms": 1e3 * statistics.median(spectral for _, spectral in seconds),
        "ratio": median,
        "ratio_quartiles": [low, high],
        "target": case.target,
        "draws_ms_per_step": 1e3 * (draw + decompose * case.rank / min(case.out_features, case.in_features)) / rhythm,
    }


def run(settings: Settings) -> dict[str, Any]:
    """Measure all cases and write the record."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    cases = [measure(case, settings) for case in CASES]
    record: dict[str, Any] = {
        "settings": {**dataclasses.asdict(settings), "output": str(settings.output)},
        "versions": versions(),
        "device": device_name(torch.device(settings.device)),
        "threads": torch.get_num_threads(),
        "cases": cases,
    }
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    settings.output.write_text(json.dumps(record, indent=2) + "\n")
    return record


def markdown_table(path: Path) -> str:
    """The record in ``path`` as a Markdown table."""
    lines = ["| layer, rows of input | rank | step over dense, median (quartiles) |", "|---|---|---|"]
    for case in json.loads(path.read_text())["cases"]:
        low, high = case["ratio_quartiles"]
        lines.append(f"| {case['case']} | {case['rank']} | {case['ratio']:.2f} ({low:.2f} to {high:.2f}) |")
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    """Read the settings from the command line, measure, and print the table."""
    record = run(tyro.cli(Settings, args=args, description=__doc__))
    table = Table("layer", "r", "dense", "spectral", "ratio", "quartiles", "target", "draws", caption="times in ms")
    for case in record["cases"]:
        low, high = case["ratio_quartiles"]
        table.add_row(
            case["case"],
            str(case["rank"]),
            f"{case['dense_ms']:.2f}",
            f"{case['spectral_ms']:.2f}",
            f"{case['ratio']:.3f}",
            f"{low:.2f}-{high:.2f}",
            f"{case['target']:.2f}",
            f"{case['draws_ms_per_step']:.3f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
