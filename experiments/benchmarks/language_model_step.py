"""Memory and time of a training step of a language model: full rank, GaLore, and SST with frozen vectors in int8.

Every side sees the same tokens, runs its layers again in the backward pass, and is stepped by the same fused
`torch.optim.AdamW`. Memory is that of `hypersst memory --measure`. Steps are timed in turn, so that a machine that
others use too slows neighbouring ones alike, and the figure is the median of the ratios of one round. Draws and
decompositions come every few hundred steps and fall outside of them.

    OMP_NUM_THREADS=1 python experiments/benchmarks/language_model_step.py
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro

from hypersst.experiments.benchmarks.timing import alternate, ratio_of_rounds, write_benchmark
from hypersst.experiments.memory import applicable
from hypersst.experiments.memory_measurement import Training, measure
from hypersst.experiments.memory_prediction import trace
from hypersst.experiments.memory_settings import MemorySettings

__all__ = ["METHODS", "Settings", "main", "markdown_table", "run"]

METHODS = ("full", "galore", "sst-int8")
"""Ways of training, full rank first."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured, and where the record goes.

    Args:
        size: Named size of the model; the options below go before its numbers.
        dim: Dimensions between layers.
        layers: Layers.
        heads: Heads of each attention.
        feedforward: Dimensions within the feed-forward networks.
        vocabulary: Number of words.
        tokens: Tokens in a step.
        length: Tokens in a row.
        accumulate: Passes that make up a step.
        precision: float32 or bf16.
        ranks: Ranks of GaLore and SST.
        rounds: Steps of each side that are timed.
        device: Where to run.
        output: File of the record.

    Raises:
        ValueError: If there is no rank or fewer than two rounds.
    """

    size: str | None = None
    dim: int = 768
    layers: int = 12
    heads: int = 12
    feedforward: int = 2048
    vocabulary: int = 8000
    tokens: int = 8192
    length: int = 256
    accumulate: int = 2
    precision: str = "bf16"
    ranks: tuple[int, ...] = (24, 48)
    rounds: int = 5
    device: str = "cpu"
    output: Path = Path("experiments/results/language_model_step.json")

    def __post_init__(self) -> None:
        if not self.ranks:
            raise ValueError("`ranks` must name at least one rank, got none.")
        if self.rounds < 2:
            raise ValueError(f"`rounds` must be at least 2, for quartiles, got {self.rounds}.")

    def step(self, rank: int) -> MemorySettings:
        """The step at a rank."""
        shared = {f.name for f in dataclasses.fields(MemorySettings)} & {f.name for f in dataclasses.fields(self)}
        options: dict[str, Any] = {name: getattr(self, name) for name in shared}
        return MemorySettings(model="llama", checkpoint=True, method=METHODS, rank=rank, **options)


def run(settings: Settings) -> dict[str, Any]:
    """Measure all sides and write the record."""
    device = torch.device(settings.device)
    trainings: dict[str, Training] = {}
    cases: list[dict[str, Any]] = []
    for rank in settings.ranks:
        step = settings.step(rank)
        variants, _ = applicable(step, trace(step))
        for method, variant in variants.items():
            if method == "full" and cases:
                continue
            footprint = measure(step, variant, device)
            cases.append(
                {"method": method, "rank": None if method == "full" else rank, **dataclasses.asdict(footprint)}
            )
            torch.manual_seed(0)
            trainings[f"{method} {rank}"] = Training(step, variant, device)
    inputs = settings.step(settings.ranks[0]).inputs(device)
    sides = {name: partial(training.take_step, inputs) for name, training in trainings.items()}
    seconds = alternate(sides, settings.rounds, 1, settings.device)
    full, *_ = seconds.values()
    for case, spent in zip(cases, seconds.values(), strict=True):
        case |= {"peak_share": case["peak"] / cases[0]["peak"], "seconds": statistics.median(spent)}
        case |= ratio_of_rounds(spent, full)
    return write_benchmark(settings.output, dataclasses.asdict(settings), settings.device, cases)


def markdown_table(path: Path) -> str:
    """The record in ``path`` as a Markdown table, in MB (10⁶ bytes)."""
    parts = ("weights", "gradients", "states", "activations", "peak")
    lines = [f"| method | rank | {' | '.join(parts)} | of full | step over full, median (quartiles) |"]
    lines.append("|" + "---|" * (len(parts) + 4))
    for case in json.loads(path.read_text())["cases"]:
        sizes = " | ".join(f"{case[part] / 1e6:,.1f}" for part in parts)
        rank = "–" if case["rank"] is None else case["rank"]
        time = "{ratio:.2f} ({low:.2f} to {high:.2f})".format(**case)
        lines.append(f"| {case['method']} | {rank} | {sizes} | {case['peak_share']:.1%} | {time} |")
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    """Read the settings from the command line, measure, and print the table."""
    settings = tyro.cli(Settings, args=args, description=__doc__)
    run(settings)
    print(markdown_table(settings.output))


if __name__ == "__main__":
    main()
