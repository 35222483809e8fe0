"""The command ``hypersst``."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import hypersst
from hypersst.errors import NonFiniteError, unknown
from hypersst.experiments import grids
from hypersst.experiments.bench import missing, run_grid
from hypersst.experiments.benchmarks import speed, speed_tables
from hypersst.experiments.dataset_table import print_table
from hypersst.experiments.embedding import embed_command
from hypersst.experiments.interrupts import InterruptedRun
from hypersst.experiments.memory import memory_command
from hypersst.experiments.minibatch_run import run_for
from hypersst.experiments.processes import launched_processes
from hypersst.experiments.records import Record, device_name, versions, write_record
from hypersst.experiments.report import report_command
from hypersst.experiments.reports.traced_run import train_traced
from hypersst.experiments.reports.traces import save_trace
from hypersst.experiments.settings import Settings
from hypersst.experiments.texts.commands import (
    concerns_texts,
    generate_command,
    text_result_line,
    train_text_command,
    translate_command,
)
from hypersst.experiments.training import load_task, resolve_device, train_seeds
from hypersst.experiments.training import train as train_run
from hypersst.experiments.tuning import tune_command

__all__ = ["main"]

_Settings = Annotated[Settings, tyro.conf.arg(name="")]
_NAMES = {"f1": "F1", "f1_macro": "macro F1", "accuracy": "accuracy", "roc_auc": "ROC-AUC", "ap": "AP"}


def result_line(record: Record) -> str:
    """One line that says what was trained and how well."""
    s = record.settings
    rank = "" if s["method"] == "full" else f" rank {s['rank']}"
    test = ", ".join(f"{_NAMES[k]} {100 * v:.2f}" for k, v in record.test.items())
    return (
        f"{s['dataset']} {s['task']} {s['model']} {s['method']}{rank} seed {s['seed']}: test {test} "
        f"(epoch {record.best_epoch} of {record.epochs}, {record.seconds:.1f} s, "
        f"{record.trainable:,} of {record.stored:,} numbers train)"
    )


def spread_line(records: list[Record]) -> str:
    """One line with mean and sample standard deviation of the test scores of several seeds."""
    found = {key: torch.tensor([100 * record.test[key] for record in records]) for key in records[0].test}
    listed = ", ".join(f"{_NAMES[key]} {x.mean():.2f} ± {x.std():.2f}" for key, x in found.items())
    return f"{len(records)} seeds: test {listed} ({sum(record.seconds for record in records):.1f} s)"


def train(
    settings: _Settings,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    output: Path | None = None,
    resume: Path | None = None,
    seeds: int = 1,
    trace: bool = False,
) -> int:
    """Train a network, print its scores, and write a JSON record and a checkpoint.

    These are the options for graphs and hierarchies; `hypersst train multi30k --help` shows those for texts.

    Args:
        settings: What to train.
        data_dir: Folder to look for data files in first (else HYPERSST_DATA, the cache, the source).
        device: Where to train: cpu, cuda, cuda:1.
        output: Folder of the run; runs/NAME by default, NAME made of the settings.
        resume: Checkpoint to continue; give the same settings as before.
        seeds: Train so many networks at once, their seeds counted from the given one, with a record each.
        trace: Watch the run, and write trace.npz for `hypersst report --trace`; no checkpoint is kept.
    """
    if trace and (seeds > 1 or resume is not None or settings.task == "embed"):
        raise ValueError("`trace` must be left out with `seeds`, `resume` and embeddings: it is for a run on a graph.")
    if seeds < 1:
        raise ValueError(f"`seeds` must be at least 1, got {seeds}.")
    if settings.task == "embed":
        if seeds > 1:
            raise ValueError(f"`seeds` must be 1 for embed, whose runs are trained one by one, got {seeds}.")
        return embed_command(settings, data_dir=data_dir, device=device, output=output, resume=resume)
    name = settings.run_name if seeds == 1 else f"{settings.run_name}-{seeds}seeds"
    folder = output or _RUNS / name
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
        console.print(name, style="bold")
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(name, total=epochs, loss=float("nan"), score=float("nan"))

        def show(epoch: int, loss: float, score: float) -> None:
            progress.update(bar, completed=epoch, loss=loss, score=score)

        options: dict[str, Any] = {"data_dir": data_dir, "device": device, "resume": resume, "report": show}
        checkpoint = folder / "checkpoint.pt"
        if trace:
            record, traced = train_traced(settings, data_dir=data_dir, device=device, report=show)
            save_trace(folder, traced)
            records = {"record.json": record}
        elif seeds == 1:
            records = {"record.json": train_run(settings, checkpoint=checkpoint, **options)}
        else:
            numbers = range(settings.seed, settings.seed + seeds)
            found = train_seeds(settings, numbers, checkpoint=checkpoint, **options)
            records = {f"record-s{number}.json": record for number, record in zip(numbers, found, strict=True)}
    for file, record in records.items():
        write_record(folder / file, record)
        print(result_line(record))
    if seeds > 1:
        print(spread_line(list(records.values())))
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
    task = load_task(full, data_dir)
    print(task.describe())
    with torch.random.fork_rng():
        run = run_for(full, task.to(target))
    print(run.model)
    if run.trainer.report:
        print(run.trainer.report)
    if run.trainer.clock:
        print(run.trainer.clock)
    return 0


_RESULTS = Path("experiments") / "results"
_RUNS = Path("runs")


def bench(
    grid: tyro.conf.Positional[str],
    *,
    jobs: int | None = None,
    together: int = 10,
    compile: bool = False,
    cases: tuple[str, ...] = (),
    rounds: int | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
    results: Path = _RESULTS,
) -> int:
    """Train all runs of a table that have no record yet (can be stopped and called again), or time training steps.

    Args:
        grid: Name of the table, or speed.
        jobs: Processes at a time, one thread each; 2 if left out. Not for speed.
        together: Most seeds of a table that a process trains at once.
        compile: Compile the training steps of a table, which takes a minute for each kind of run and halves the rest.
        cases: speed: names or kinds of the cases to time, such as reference or gcn-cora-nc; all if left out.
        rounds: speed: turns of each side.
        data_dir: Folder to look for data files in first.
        device: Where to train.
        results: Folder of the records, one file per table.
    """
    if grid == "speed":
        if jobs is not None:
            raise ValueError(f"`jobs` must be left out for speed, whose sides take turns in one process, got {jobs}.")
        turns = {} if rounds is None else {"rounds": rounds}
        options = speed.Settings(cases=cases, device=device, data_dir=data_dir, output=results / "speed.json", **turns)
        speed_tables.print_tables(speed.run(options))
        print(f"recorded in {options.output}")
        return 0
    if grid not in grids.GRIDS:
        raise unknown("grid", grid, [*grids.GRIDS, "speed"])
    for name, value in (("cases", cases or None), ("rounds", rounds)):
        if value is not None:
            raise ValueError(f"`{name}` must be left out for a table of runs: it is for speed, got {value}.")
    path = results / f"{grid}.jsonl"
    runs = [replace(run, compile=compile) if isinstance(run, Settings) else run for run in grids.grid(grid)]

    console = Console(stderr=True)
    columns = (
        TextColumn(grid),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    lacking = len(missing(runs, path))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(grid, total=len(runs), completed=len(runs) - lacking)

        def done(record: Record, left: int) -> None:
            line = result_line(record) if "task" in record.settings else text_result_line(record)
            print(f"{line}; {left} left", flush=True)
            progress.update(bar, completed=len(runs) - left)

        places: dict[str, Any] = {"data_dir": data_dir, "device": device, "checkpoints": _RUNS / grid}
        run_grid(runs, path, jobs=2 if jobs is None else jobs, together=together, done=done, **places)
    print(f"{len(runs)} runs are recorded in {path}")
    return 0


def report(
    grid: tyro.conf.Positional[str | None] = None,
    *,
    results: Path = _RESULTS,
    html: Path | None = None,
    into: tuple[Path, ...] = (),
    trace: tuple[Path, ...] = (),
) -> int:
    """Print a grid's tables as Markdown, made of its records, and write them with pictures to one HTML page.

    Args:
        grid: Name of the table; may be left out where traces are given.
        results: Folder of the records.
        html: File of the page; report.html beside the first trace if left out.
        into: Texts to make the tables anew in, between lines <!-- report: GRID --> and <!-- end -->.
        trace: Folders of traced runs, whose curves, spectra, draws and embeddings the page shall show.
    """
    return report_command(grid, results=results, html=html, into=into, trace=trace)


def tune(grid: tyro.conf.Positional[str], *, results: Path = _RESULTS) -> int:
    """Freeze the recipes that a recorded search has found best by validation score.

    Args:
        grid: Name of the search, such as hgnn-search; `hypersst bench` makes its runs.
        results: Folder of the records.
    """
    return tune_command(grid, results=results)


def datasets(
    names: tyro.conf.Positional[tuple[str, ...]] = (), *, measure: bool = False, data_dir: Path | None = None
) -> int:
    """List the data sets, or measure their graphs.

    Args:
        names: Which; all if left out.
        measure: Load them and print counts, degree, Gromov's delta and homophily (two minutes for all).
        data_dir: Folder to look for data files in first (else HYPERSST_DATA, the cache, the source).
    """
    print_table(names, measured=measure, data_dir=data_dir)
    return 0


_COMMANDS: dict[str, Callable[..., int]] = {
    "train": train,
    "translate": translate_command,
    "generate": generate_command,
    "info": info,
    "datasets": datasets,
    "memory": memory_command,
    "bench": bench,
    "report": report,
    "tune": tune,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status. Errors of the user are one line, without a traceback."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(level=logging.WARNING, format="hypersst: %(message)s")
    if arguments == ["--version"]:
        print(hypersst.__version__)
        return 0
    commands = dict(_COMMANDS)
    if texts := arguments[:1] == ["train"] and concerns_texts(arguments):
        commands["train"] = train_text_command
    try:
        if not texts and launched_processes() > 1:
            raise ValueError(f"torchrun is for training on texts: start `hypersst {shlex.join(arguments)}` without it.")
        return tyro.extras.subcommand_cli_from_dict(
            commands, prog="hypersst", description="Hyperbolic networks trained spectrally.", args=arguments
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
    except (ValueError, NonFiniteError, OSError, ImportError) as error:
        print(f"hypersst: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
