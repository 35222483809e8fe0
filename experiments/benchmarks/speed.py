"""Time training steps against each other, in turn in one process, and against the floor of the machine.

A comparison is the ratio of the steps of two networks on the same data. A turn takes as many steps as fit into a fifth
of a second, so that a short step is timed with warm caches as in training; an SST side's turn is a whole period of its
clock, draws and decompositions included. The cases ``epoch-…`` measure one network alone: its step, an epoch with its
share of the evaluations, the floor of the step, and the peak memory of a fresh process that trains.

    OMP_NUM_THREADS=1 python -m hypersst.experiments.benchmarks.speed --cases reference gcn-cora-nc
"""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import statistics
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from hypersst.experiments.benchmarks.floors import floor_seconds, machine_for, stages
from hypersst.experiments.benchmarks.sides import Ground, Stepper, build_side
from hypersst.experiments.benchmarks.speed_cases import Case, in_order, select
from hypersst.experiments.benchmarks.speed_tables import line, print_tables
from hypersst.experiments.benchmarks.timing import alternate, ratio_of_rounds, timed
from hypersst.experiments.records import device_name, peak_memory, versions
from hypersst.experiments.run import Run
from hypersst.experiments.training import resolve_device
from hypersst.spectral import SSTSampler, spectral_weights

__all__ = ["Settings", "main", "measure", "run"]

_PERIODS = 3  # of an SST clock, over which the share of its decompositions is taken
_EPOCHS_FOR_PEAK = 6


@dataclass(frozen=True)
class Settings:
    """What is measured, and where the record goes.

    Args:
        cases: Names or kinds of cases; all if left out. The others keep their records.
        rounds: Turns of each side that are timed.
        warmup: Turns before these, not counted.
        turn: Seconds that a turn takes at least.
        device: Where to run.
        data_dir: Folder to look for data files in first.
        seed: Seed of all sides.
        output: File of the JSON record, which holds a part for each device.
    """

    cases: tuple[str, ...] = ()
    rounds: int = 15
    warmup: int = 1
    turn: float = 0.2
    device: str = "cpu"
    data_dir: Path | None = None
    seed: int = 0
    output: Path = Path("experiments/results/speed.json")


def _turn(stepper: Stepper, steps: int) -> Callable[[], None]:
    def turn() -> None:
        for _ in range(steps):
            stepper.step()

    return turn


def _period(stepper: Stepper) -> int | None:
    """Steps from one decomposition of an SST run to the next, ``None`` if there is no clock."""
    if not isinstance(stepper, Run) or not isinstance(stepper.trainer.clock, SSTSampler):
        return None
    clock = stepper.trainer.clock
    per_round = max(math.ceil(w.spectral.k / w.spectral.rank) for w in spectral_weights(stepper.model))
    due = (i for i in range(1, per_round) if clock.decomposition.due(i, per_round, lambda: math.inf))
    return clock.steps_per_iteration * next(due, per_round)


def _steps_per_turn(stepper: Stepper, settings: Settings) -> int:
    for _ in range(3):  # compiles, fills caches and states
        stepper.step()
    return math.ceil(settings.turn / min(timed(stepper.step, settings.device) for _ in range(3)))


def _decomposition_share(run: Run, settings: Settings, steps: int) -> float:
    """Share of some steps' time that goes into decompositions; evaluations would make it smaller."""
    spent: list[float] = []

    def watch(decompose: Callable[..., None]) -> Callable[..., None]:
        return lambda *args: spent.append(timed(lambda: decompose(*args), settings.device))

    parametrizations: list[Any] = [weight.spectral for weight in spectral_weights(run.model)]
    for parametrization in parametrizations:
        parametrization.redecompose = watch(parametrization.redecompose)
    try:
        total = timed(_turn(run, steps), settings.device)
    finally:
        for parametrization in parametrizations:
            del parametrization.redecompose
    return sum(spent) / total


def _compare(case: Case, settings: Settings, ground: Ground) -> dict[str, Any]:
    over, under = case.sides
    steppers = {name: build_side(name, ground) for name in case.sides}
    periods = [period for period in map(_period, steppers.values()) if period]
    steps = {name: max(periods, default=0) or _steps_per_turn(stepper, settings) for name, stepper in steppers.items()}
    turns = {name: _turn(stepper, steps[name]) for name, stepper in steppers.items()}
    seconds = alternate(turns, settings.rounds, settings.warmup, settings.device)
    each = {name: [spent / steps[name] for spent in times] for name, times in seconds.items()}
    result: dict[str, Any] = {"ms": {name: 1e3 * statistics.median(times) for name, times in each.items()}}
    result |= {"steps": steps, **ratio_of_rounds(each[over], each[under])}
    clocked = steppers[over]
    if periods and isinstance(clocked, Run):
        result["decomposition_share"] = _decomposition_share(clocked, settings, _PERIODS * steps[over])
    return result


def _peak_of(side: str, ground: Ground) -> int:
    """Peak bytes of a process that trains a few epochs and evaluates; to be called in a fresh one."""
    side_run = build_side(side, ground)
    assert isinstance(side_run, Run)
    _turn(side_run, _EPOCHS_FOR_PEAK)()
    side_run.evaluate()
    return peak_memory(side_run.task.device)


def _measure_alone(case: Case, settings: Settings, ground: Ground) -> dict[str, Any]:
    (side,) = case.sides
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        peak = pool.submit(_peak_of, side, ground).result()
    side_run = build_side(side, ground)
    assert isinstance(side_run, Run)
    steps, parts = _steps_per_turn(side_run, settings), stages(side_run)
    seconds = alternate(
        {"step": _turn(side_run, steps), "evaluation": side_run.evaluate},
        settings.rounds,
        settings.warmup,
        settings.device,
    )
    low, median, high = (1e3 * spent / steps for spent in statistics.quantiles(seconds["step"], n=4))
    evaluation = 1e3 * statistics.median(seconds["evaluation"])
    machine = machine_for(parts, settings.device)
    floor = 1e3 * floor_seconds(parts, machine)
    return {
        "step_ms": median,
        "step_low_ms": low,
        "step_high_ms": high,
        "evaluation_ms": evaluation,
        "epoch_ms": median + evaluation / side_run.settings.eval_every,
        "peak_mb": peak / 1e6,
        "floor_ms": floor,
        "over_floor": median / floor,
        "bytes": sum(part.bytes for part in parts),
        "operations": sum(part.operations for part in parts),
        "machine": dataclasses.asdict(machine),
    }


def measure(case: Case, settings: Settings) -> dict[str, Any]:
    """Measure one case.

    Returns:
        For two sides: median times of a step in ms, the ratios' median and quartiles, and for SST the share of the
        decompositions. For one: times of step, evaluation and epoch, the floor, and the peak memory. And for both:
        what is asked, and with what it was measured.
    """
    device = resolve_device(settings.device)
    ground = Ground(case.dataset, case.task, case.split, settings.device, settings.data_dir, settings.seed)
    result = (_compare if len(case.sides) == 2 else _measure_alone)(case, settings, ground)
    asks = [ask for ask in case.asks if ask.device == device.type]
    return {
        "kind": case.kind,
        "dataset": case.dataset,
        "task": case.task,
        "sides": list(case.sides),
        **result,
        "asked": [{**dataclasses.asdict(ask), "met": ask.met(result[ask.quantity])} for ask in asks],
        "rounds": settings.rounds,
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def run(settings: Settings, done: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure cases one after another and write each into the record as soon as it is done.

    Args:
        settings: What is measured, and where the record goes.
        done: Called with a line of text after each case.

    Returns:
        The results of this call by name.

    Raises:
        ValueError: If a case is unknown, a number is out of range, or the device is not there.
    """
    cases = select(settings.cases)
    for name, low in (("rounds", 2), ("warmup", 0)):
        if getattr(settings, name) < low:
            raise ValueError(f"`{name}` must be at least {low}, got {getattr(settings, name)}.")
    if not settings.turn > 0.0:
        raise ValueError(f"`turn` must be positive, got {settings.turn}.")
    device = device_name(resolve_device(settings.device))
    results = {}
    with warnings.catch_warnings():
        # Dynamo makes an instance of each autograd.Function that it traces, and torch warns of that.
        warnings.filterwarnings("ignore", message=".*should not be instantiated", category=DeprecationWarning)
        for case in cases:
            results[case.name] = measure(case, settings)
            _update(settings.output, device, {case.name: results[case.name]})
            done(line(case.name, results[case.name]))
    return results


def _update(path: Path, device: str, results: dict[str, Any]) -> None:
    """Put ``results`` into the part of ``device``."""
    record = json.loads(path.read_text()) if path.exists() else {"devices": {}}
    record["devices"][device] = in_order(record["devices"].get(device, {}) | results)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")


def main(args: list[str] | None = None) -> None:
    """Read the settings from the command line, measure, and print the tables."""
    print_tables(run(tyro.cli(Settings, args=args, description=__doc__)))


if __name__ == "__main__":
    main()
