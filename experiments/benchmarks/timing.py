"""What benchmarks share: two or more sides timed in turn, and the record of what came out.

A machine that others use too slows neighbouring turns alike, so figures are medians of the *ratios* of one round.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hypersst.experiments.records import device_name, versions

__all__ = ["alternate", "ratio_of_rounds", "timed", "write_benchmark"]


def timed(work: Callable[[], object], device: str = "cpu") -> float:
    """Seconds that ``work`` takes, the device's share included."""
    if device != "cpu":
        torch.accelerator.synchronize()
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start


def alternate(
    sides: Mapping[str, Callable[[], object]], rounds: int, warmup: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Time every side once per round.

    The order turns over from round to round: who comes second may find the caches filled.

    Args:
        sides: What to time, by name.
        rounds: Rounds that count.
        warmup: Rounds before these.
        device: Where the work is done.

    Returns:
        Seconds of each side, round by round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warmup + rounds):
        for name in reversed(list(sides)) if number % 2 else list(sides):
            spent = timed(sides[name], device)
            if number >= warmup:
                seconds[name].append(spent)
    return seconds


def ratio_of_rounds(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of the ratios of neighbouring turns."""
    low, median, high = statistics.quantiles([a / b for a, b in zip(slow, fast, strict=True)], n=4)
    return {"ratio": median, "low": low, "high": high}


def write_benchmark(
    path: Path, settings: Mapping[str, Any], device: str, cases: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Write settings, versions, machine and results as JSON.

    Returns:
        What was written.
    """
    record = {
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()},
        "versions": versions(),
        "device": device_name(torch.device(device)),
        "threads": torch.get_num_threads(),
        "cases": list(cases),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")
    return record
