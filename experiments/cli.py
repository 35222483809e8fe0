"""The command ``hypersst``."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import hypersst
from hypersst.datasets import load
from hypersst.errors import NonFiniteError
from hypersst.experiments import grids
from hypersst.experiments.bench import missing, recorded, run_grid
from hypersst.experiments.embedding import embed_command
from hypersst.experiments.interrupts import InterruptedRun
from hypersst.experiments.records import Record, device_name, versions, write_record
from hypersst.experiments.report import markdown_table
from hypersst.experiments.run import Run
from hypersst.experiments.settings import Settings
from hypersst.experiments.training import resolve_device
from hypersst.experiments.training import train as train_run

__all__ = ["main"]

_Settings = Annotated[Settings, tyro.conf.arg(name="")]


def result_line(record: Record) -> str:
    """One line that says what was trained and how well."""
    s = record.settings
    rank = "" if s["method"] == "full" else f" rank {s['rank']}"
    names = {"f1": "F1", "f1_macro": "macro F1", "accuracy": "accuracy", "roc_auc": "ROC-AUC", "ap": "AP"}
    test = ", ".join(f"{names[k]} {100 * v:.2f}" for k, v in record.test.items())
    return (
        f"{s['dataset']} {s['task']} {s['model']} {s['method']}{rank} seed {s['seed']}: test {test} "
        f"(epoch {record.best_epoch} of {record.epochs}, {record.seconds:.1f} s, "
        f"{record.trainable:,} of {record.stored:,} numbers train)"
    )


def train(
    settings: _Settings,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    output: Path | None = None,
    resume: Path | None = None,
) -> int:
    """Train a graph network (or embed a hierarchy), print its scores, and write a JSON record and a checkpoint.

    Args:
        settings: What to train.
        data_dir: Folder to look for data files in first (else HYPERSST_DATA, the cache, the source).
        device: Where to train: cpu, cuda, cuda:1.
        output: Folder of the run; runs/NAME by default, NAME made of the settings.
        resume: Checkpoint to continue; give the same settings as before.
    """
    if settings.task == "embed":
        return embed_command(settings, data_dir=data_dir, device=device, output=output, resume=resume)
    folder = output or Path("runs") / settings.run_name
    console = Console(stderr=True)
    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TextColumn("loss {task.fields[loss]:.4f}, validation {task.fields[score]:.4f}, left"),
        TimeRemainingColumn(),
    )
    epochs = settings.resolve().epochs
    if console.is_terminal:
        console.print(settings.run_name, style="bold")
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(settings.run_name, total=epochs, loss=float("nan"), score=float("nan"))

        def show(epoch: int, loss: float, score: float) -> None:
            progress.update(bar, completed=epoch, loss=loss, score=score)

        checkpoint = folder / "checkpoint.pt"
        record = train_run(
            settings, data_dir=data_dir, device=device, checkpoint=checkpoint, resume=resume, report=show
        )
    write_record(folder / "record.json", record)
    print(result_line(record))
    return 0


def info(settings: _Settings, *, data_dir: Path | None = None, device: str = "cpu") -> int:
    """Print versions and device, and the model with what the training method makes of it.

    Args:
        settings: Which data set, task, model and method.
        data_dir: Folder to look for data files in first.
        device: The device to look at.
    """
    target = resolve_device(device)
    print(", ".join(f"{name} {number}" for name, number in versions().items()))
    print(f"{target}: {device_name(target)}, {torch.get_num_threads()} threads")
    full = settings.resolve()
    task = load(full.dataset, task=full.task, split=full.split, seed=full.split_seed, data_dir=data_dir)
    print(task.describe())
    with torch.random.fork_rng():
        run = Run(full, task.to(target))
    print(run.model)
    if run.trainer.report:
        print(run.trainer.report)
    if run.trainer.clock:
        print(run.trainer.clock)
    return 0


_RESULTS = Path("experiments") / "results"


def bench(
    grid: tyro.conf.Positional[str],
    *,
    jobs: int = 2,
    data_dir: Path | None = None,
    device: str = "cpu",
    results: Path = _RESULTS,
) -> int:
    """Train all runs of a table that have no record yet; can be stopped and called again.

    Args:
        grid: Name of the table.
        jobs: Processes at a time, one thread each.
        data_dir: Folder to look for data files in first.
        device: Where to train.
        results: Folder of the records, one file of JSON lines per table.
    """
    runs, path = grids.grid(grid), results / f"{grid}.jsonl"

    def done(record: Record, left: int) -> None:
        print(f"{result_line(record)}; {left} left", flush=True)

    run_grid(runs, path, jobs=jobs, data_dir=data_dir, device=device, done=done)
    print(f"{len(runs)} runs are recorded in {path}")
    return 0


def report(grid: tyro.conf.Positional[str], *, results: Path = _RESULTS) -> int:
    """Print a table as Markdown, made of its records.

    Args:
        grid: Name of the table.
        results: Folder of the records.
    """
    runs, path = grids.grid(grid), results / f"{grid}.jsonl"
    lacking = missing(runs, path)
    print(markdown_table(recorded(runs, path)))
    if lacking:
        print(f"\n{len(lacking)} of {len(runs)} runs have no record in {path}: `hypersst bench {grid}` makes them.")
    return 0


_COMMANDS: dict[str, Callable[..., int]] = {"train": train, "info": info, "bench": bench, "report": report}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status. Errors of the user are one line, without a traceback."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(level=logging.WARNING, format="hypersst: %(message)s")
    if arguments == ["--version"]:
        print(hypersst.__version__)
        return 0
    try:
        return tyro.extras.subcommand_cli_from_dict(
            _COMMANDS, prog="hypersst", description="Hyperbolic graph networks trained spectrally.", args=arguments
        )
    except InterruptedRun as stop:
        print(f"hypersst: {stop}.", file=sys.stderr)
        if stop.checkpoint:
            again = [a for a in arguments if not a.startswith("--resume")]
            command = shlex.join(["hypersst", *again, "--resume", str(stop.checkpoint)])
            print(f"Continue with: {command}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("hypersst: interrupted.", file=sys.stderr)
        return 130
    except (ValueError, NonFiniteError, OSError) as error:
        print(f"hypersst: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
