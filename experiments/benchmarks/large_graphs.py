"""Time epochs in batches on generated graphs of growing size, each in a process of its own, and plot them.

Beside wall time the record holds the time that the process had of the CPU, which neighbours on a shared machine
lengthen less. Use one thread where others compute too: two were once twenty times slower there.

    OMP_NUM_THREADS=1 python experiments/benchmarks/large_graphs.py
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # draws to files, on machines without a display too

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure

from hypersst.experiments.benchmarks.timing import timed, write_benchmark
from hypersst.experiments.minibatch_run import run_for
from hypersst.experiments.records import peak_memory
from hypersst.experiments.settings import Settings as RunSettings
from hypersst.experiments.training import load_task, resolve_device

__all__ = ["Settings", "exponent", "main", "markdown_table", "measure", "plot", "run"]


@dataclass(frozen=True)
class Settings:
    """What is measured, and where record and picture go.

    Args:
        sizes: Numbers of nodes.
        tasks: nc, lp or both.
        model: Name of the model.
        layers: Layers as HGCN counts them.
        dim: Intrinsic dimensions of the hidden layers.
        epochs: Epochs of each size; their median counts.
        threads: Threads of torch; what the environment says if left out.
        device: Where to train.
        output: File of the JSON record.
        figure: File of the picture.
    """

    sizes: tuple[int, ...] = (10_000, 30_000, 100_000, 300_000, 1_000_000)
    tasks: tuple[str, ...] = ("nc", "lp")
    model: str = "hybonet"
    layers: int = 3
    dim: int = 16
    epochs: int = 3
    threads: int | None = None
    device: str = "cpu"
    output: Path = Path("experiments/results/large_graphs.json")
    figure: Path = Path("docs/figures/large_graphs.png")


def measure(nodes: int, task: str, settings: Settings) -> dict[str, Any]:
    """Generate one graph, train on it in batches of the recipe's size, and evaluate once.

    Peak memory is that of the process, so only a fresh one tells the truth.

    Returns:
        Seconds of each part, the score after the last epoch, and peak memory in bytes.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = resolve_device(settings.device)
    wanted = RunSettings(
        dataset="synthetic", nodes=nodes, task=task, model=settings.model, layers=settings.layers, dim=settings.dim
    ).resolve()
    start = time.perf_counter()
    data = load_task(wanted).to(device)
    loaded = time.perf_counter()
    trained = run_for(wanted, data)
    ready = time.perf_counter()
    busy = time.process_time()
    epochs = [timed(trained.train_epoch, settings.device) for _ in range(settings.epochs)]
    busy = time.process_time() - busy
    training_memory = peak_memory(device)
    evaluation = timed(trained.keep_if_best, settings.device)
    return {
        "nodes": nodes,
        "edges": data.num_edges,
        "task": task,
        "parts": wanted.parts,
        "parts_per_batch": wanted.parts_per_batch,
        "seconds": {
            "generation": loaded - start,
            "partition": ready - loaded,
            "epochs": epochs,
            "epoch": statistics.median(epochs),
            "epoch_cpu": busy / settings.epochs,
            "evaluation": evaluation,
        },
        "validation": trained.best.validation,
        "peak_memory": {"training": training_memory, "evaluation": peak_memory(device)},
    }


def exponent(cases: Sequence[Mapping[str, Any]]) -> float:
    """Slope of seconds per epoch against edges in double-logarithmic scale: 1 for linear time."""
    edges = [case["edges"] for case in cases]
    seconds = [case["seconds"]["epoch"] for case in cases]
    return float(np.polyfit(np.log(edges), np.log(seconds), 1)[0])


def plot(record: Mapping[str, Any], path: Path) -> None:
    """Draw seconds per epoch against edges, with the line of linear time through the largest graph."""
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for task, cases in _by_task(record).items():
        edges = [case["edges"] for case in cases]
        seconds = [case["seconds"]["epoch"] for case in cases]
        (line,) = axes.loglog(edges, seconds, "o", label=f"{task}: slope {exponent(cases):.2f}")
        linear = [seconds[-1] * count / edges[-1] for count in edges]
        axes.loglog(edges, linear, "--", color=line.get_color(), linewidth=0.8)
    axes.set_xlabel("undirected edges")
    axes.set_ylabel("seconds per epoch")
    axes.set_title(f"{record['settings']['model']}, threads: {record['threads']}; dashed: linear", fontsize=9)
    axes.grid(which="major", alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def run(settings: Settings) -> dict[str, Any]:
    """Measure all sizes and tasks, each in a fresh process, write the record and draw the picture.

    Raises:
        ValueError: If there are fewer than two sizes, which show no slope.
    """
    if len(set(settings.sizes)) < 2:
        raise ValueError(f"`sizes` must hold at least two different numbers, got {settings.sizes}.")
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    # Forked children of a process that has used torch's thread pools may hang.
    context = multiprocessing.get_context("spawn")
    cases = []
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        for task in settings.tasks:
            for nodes in sorted(settings.sizes):
                cases.append(pool.submit(measure, nodes, task, settings).result())
                print(_line(cases[-1]), flush=True)
    record = write_benchmark(settings.output, dataclasses.asdict(settings), settings.device, cases)
    plot(record, settings.figure)
    return record


def markdown_table(path: Path) -> str:
    """The record in ``path`` as a Markdown table."""
    record = json.loads(path.read_text())
    lines = [
        "| task | nodes | edges | steps | epoch, s | evaluation, s | generation + partition, s | peak memory, GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in record["cases"]:
        seconds, steps = case["seconds"], -(-case["parts"] // case["parts_per_batch"])
        lines.append(
            f"| {case['task']} | {case['nodes']:,} | {case['edges']:,} | {steps} | {seconds['epoch']:.2f} | "
            f"{seconds['evaluation']:.2f} | {seconds['generation']:.1f} + {seconds['partition']:.1f} | "
            f"{case['peak_memory']['evaluation'] / 1e9:.2f} |"
        )
    return "\n".join(lines)


def _by_task(record: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    tasks = dict.fromkeys(case["task"] for case in record["cases"])
    return {task: [case for case in record["cases"] if case["task"] == task] for task in tasks}


def _line(case: Mapping[str, Any]) -> str:
    return (
        f"{case['task']} {case['nodes']:,} nodes, {case['edges']:,} edges: {case['seconds']['epoch']:.2f} s an epoch, "
        f"{case['peak_memory']['evaluation'] / 1e9:.2f} GB"
    )


def main(args: list[str] | None = None) -> None:
    """Read the settings from the command line, measure, and print the table and the slopes."""
    settings = tyro.cli(Settings, args=args, description=__doc__)
    record = run(settings)
    print(markdown_table(settings.output))
    for task, cases in _by_task(record).items():
        print(f"{task}: seconds grow with edges to the power of {exponent(cases):.2f}")


if __name__ == "__main__":
    main()
