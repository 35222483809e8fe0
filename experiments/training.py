"""The training loop: full-batch, one graph, any model and method."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from hypersst.datasets import load
from hypersst.errors import DeviceError, NonFiniteError
from hypersst.experiments.checkpoint import check_same_run, load_checkpoint, save_checkpoint
from hypersst.experiments.interrupts import InterruptedRun, deferred_interrupt
from hypersst.experiments.records import Record
from hypersst.experiments.run import Run
from hypersst.experiments.settings import Settings

__all__ = ["Report", "resolve_device", "train"]

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
    resolved = settings.resolve()
    target = resolve_device(device)
    saved = load_checkpoint(resume) if resume else None
    if saved:
        check_same_run(saved["settings"], resolved.to_dict())
    data = load(resolved.dataset, task=resolved.task, split=resolved.split, seed=resolved.split_seed, data_dir=data_dir)
    devices = [target] if target.type == "cuda" else []
    with torch.random.fork_rng(devices):
        run = Run(resolved, data.to(target))
        if saved:
            run.load_state_dict(saved)
        _loop(run, checkpoint, report)
        return run.record()


def _loop(run: Run, checkpoint: Path | None, report: Report | None) -> None:

    def save() -> None:
        if checkpoint is not None:
            save_checkpoint(checkpoint, run.state_dict())

    before = run.seconds
    start = last = time.perf_counter()
    if run.epoch == 0:
        save()
    with deferred_interrupt() as interrupted:
        while not run.finished:
            try:
                loss = run.step()
            except NonFiniteError as error:
                if all(torch.isfinite(p).all() for p in run.model.parameters()):
                    save()  # the bad step was not taken
                kept = f" The last good state is in {checkpoint}." if checkpoint else ""
                raise NonFiniteError(f"{error}{kept}") from None
            if run.epoch % run.settings.eval_every == 0 or run.finished:
                score = run.keep_if_best()
                if report:
                    report(run.epoch, loss.item(), score)
            now = time.perf_counter()
            run.seconds = before + now - start
            if interrupted():
                save()
                raise InterruptedRun(run.epoch, checkpoint)
            if now - last > _SECONDS_BETWEEN_CHECKPOINTS:
                save()
                last = now
    save()
