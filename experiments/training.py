"""The training loop: one graph, whole or in batches, any model and method."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from hypersst.datasets import GraphTask, load, read_edge_file
from hypersst.errors import DeviceError, NonFiniteError
from hypersst.experiments.checkpoint import check_same_run, load_checkpoint, save_checkpoint
from hypersst.experiments.ensemble import Ensemble
from hypersst.experiments.interrupts import InterruptedRun, deferred_interrupt
from hypersst.experiments.minibatch_run import run_for
from hypersst.experiments.processes import ALONE, Processes
from hypersst.experiments.records import Record
from hypersst.experiments.run import Run
from hypersst.experiments.settings import OWN_GRAPH, ResolvedSettings, Settings, is_edge_file
from hypersst.sharding import own

if TYPE_CHECKING:
    from hypersst.experiments.texts.run import TextRun

__all__ = ["Report", "bring_to_end", "load_task", "resolve_device", "train", "train_seeds"]

#: Called after each evaluation with the epoch, the loss and the validation score.
Report = Callable[[int, float, float], None]

_SECONDS_BETWEEN_CHECKPOINTS = 20.0


def resolve_device(name: str) -> torch.device:
    """Turn a name such as ``"cpu"`` or ``"cuda:1"`` into a device that is there.

    Raises:
        DeviceError: If it is not, or the name is none.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        present = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise DeviceError(f"`device` must be one that is there ({', '.join(present)}), got {name!r}.") from error
    return device


def load_task(settings: ResolvedSettings, data_dir: Path | None = None) -> GraphTask:
    """Load the graph that resolved settings name, split for their task.

    Raises:
        ValueError: If it is none of the data sets, or its files are bad.
    """
    if settings.dataset == OWN_GRAPH:
        raise ValueError(f"`dataset` must be one that can be loaded; {OWN_GRAPH!r} is for a graph that is handed over.")
    if is_edge_file(settings.dataset):
        return read_edge_file(
            settings.dataset,
            features=settings.features or None,
            labels=settings.labels or None,
            task=settings.task,
            split=settings.split,
            seed=settings.split_seed,
        )
    return load(
        settings.dataset,
        task=settings.task,
        split=settings.split,
        seed=settings.split_seed,
        data_dir=data_dir,
        nodes=settings.nodes or None,
    )


def train(
    settings: Settings,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    checkpoint: Path | None = None,
    resume: Path | None = None,
    report: Report | None = None,
) -> Record:
    """Train one model and score it at the epoch with the best validation score.

    The caller's global random state is left as it was.

    Args:
        settings: What to train; recipes fill what is ``None``.
        data_dir: Folder to look for data files in first.
        device: Where to train.
        checkpoint: File to keep the state in: at the start, now and then, and at the end; ``None`` for none.
        resume: Checkpoint to continue from; its settings must equal ``settings``, but for epochs and patience.
        report: Called after each evaluation.

    Returns:
        The record.

    Raises:
        ValueError: If a setting, the data or the checkpoint is bad.
        NonFiniteError: If training becomes non-finite; the checkpoint then holds the last good state.
        InterruptedRun: After an interrupt; the checkpoint holds the state at the end of that epoch.
    """
    run = _train(settings, run_for, {}, data_dir, device, checkpoint, resume, report)
    return run.record()


def train_seeds(
    settings: Settings,
    seeds: Sequence[int],
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    checkpoint: Path | None = None,
    resume: Path | None = None,
    report: Report | None = None,
) -> list[Record]:
    """Train one model for each seed, all at once, as an `Ensemble`; each result is that of `train` to rounding.

    Args:
        settings: What to train; their own seed is replaced.
        seeds: Distinct seeds.
        data_dir: Folder to look for data files in first.
        device: Where to train.
        checkpoint: As for `train`, one file for all.
        resume: As for `train`; its seeds must be the same too.
        report: Called after each evaluation, with means over the seeds evaluated.

    Returns:
        The records, in the order of the seeds.

    Raises:
        ValueError: As `train`, or if the seeds are not distinct.
        NonFiniteError: As `train`, if one of them becomes non-finite.
        InterruptedRun: As `train`.
    """

    def make(resolved: ResolvedSettings, task: GraphTask) -> Ensemble:
        return Ensemble(resolved, seeds, task)

    first = replace(settings, seed=seeds[0]) if seeds else settings
    run = _train(first, make, {"seeds": list(seeds)}, data_dir, device, checkpoint, resume, report)
    return run.records()


_AnyRun = TypeVar("_AnyRun", Run, Ensemble)


def _train(
    settings: Settings,
    make: Callable[[ResolvedSettings, GraphTask], _AnyRun],
    further: dict[str, Any],
    data_dir: Path | None,
    device: str,
    checkpoint: Path | None,
    resume: Path | None,
    report: Report | None,
) -> _AnyRun:
    """Load, make a run, bring it to its end and return it; ``further`` is what its checkpoints say beside settings."""
    resolved = settings.resolve()
    target = resolve_device(device)
    saved = load_checkpoint(resume) if resume else None
    if saved:
        check_same_run(saved["settings"], resolved.to_dict() | further)
    data = load_task(resolved, data_dir)
    devices = [target] if target.type == "cuda" else []
    with torch.random.fork_rng(devices):
        run = make(resolved, data.to(target))
        if saved:
            run.load_state_dict(saved)
        bring_to_end(run, checkpoint, report)
        return run


def bring_to_end(
    run: Run | Ensemble | TextRun,
    checkpoint: Path | None,
    report: Report | None,
    *,
    save_every: float = _SECONDS_BETWEEN_CHECKPOINTS,
    processes: Processes = ALONE,
) -> None:
    """Train until the run is finished, saving every so many seconds; arguments and errors as for `train`.

    Where several ``processes`` train the run, the first one says when to save and does, and an interrupt of one stops
    all.
    """

    def save() -> None:
        if checkpoint is None:
            return
        state = run.state_dict()  # of all processes, which may have to gather it together
        if processes.first:
            save_checkpoint(checkpoint, state)

    last = saved = time.perf_counter()
    if run.epoch == 0:
        save()
    with deferred_interrupt() as interrupted:
        while not run.finished:
            try:
                loss = run.step()
            except NonFiniteError as error:
                spoiled = not all(torch.isfinite(own(p)).all() for p in run.parameters())
                if not processes.any([spoiled], next(iter(run.parameters())).device)[0]:
                    save()  # the bad step was not taken
                processes.wait()
                kept = f" The last good state is in {checkpoint}." if checkpoint else ""
                raise NonFiniteError(f"{error}{kept}") from None
            if run.evaluation_due:
                score = run.keep_if_best()
                if report:
                    report(run.epoch, loss.mean().item(), score)
            now = time.perf_counter()
            run.spend(now - last)
            last = now
            late = processes.first and now - saved > save_every
            stop, due = processes.any([interrupted(), late], loss.device)
            if stop or due:
                save()
                saved = now
            if stop:
                processes.wait()
                raise InterruptedRun(run.epoch, checkpoint, run.unit)
    save()
