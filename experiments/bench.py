"""Run a table's grid in parallel processes, one record per run, and go on where it was stopped."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from hypersst.experiments.records import Record, append_record, read_records
from hypersst.experiments.settings import ResolvedSettings
from hypersst.experiments.training import train

__all__ = ["missing", "recorded", "run_grid"]

# Settings that came later, with the values that older records stand for.
_LATER = {"nodes": 0, "parts": 1, "parts_per_batch": 1, "neighbors": [], "batch_size": 1024, "compile": False}


def recorded(runs: list[ResolvedSettings], path: Path) -> list[Record]:
    """The records in ``path`` of exactly these runs, in their order; runs without one are left out."""
    by_settings = [(_LATER | record.settings, record) for record in read_records(path)]
    found = []
    for run in runs:
        wanted = run.to_dict()
        found += [record for settings, record in by_settings if settings == wanted][-1:]
    return found


def missing(runs: list[ResolvedSettings], path: Path) -> list[ResolvedSettings]:
    """Those of ``runs`` that have no record in ``path``."""
    done = [_LATER | record.settings for record in read_records(path)]
    return [run for run in runs if run.to_dict() not in done]


def _work(settings: ResolvedSettings, data_dir: Path | None, device: str) -> Record:
    torch.set_num_threads(1)
    return train(settings, data_dir=data_dir, device=device)


def run_grid(
    runs: list[ResolvedSettings],
    path: Path,
    *,
    jobs: int,
    data_dir: Path | None = None,
    device: str = "cpu",
    done: Callable[[Record, int], None] | None = None,
) -> None:
    """Train what has no record yet and append its record to ``path`` as soon as it is there.

    Args:
        runs: The runs of a table.
        path: File of records, one a line.
        jobs: Processes at a time, one thread each.
        data_dir: Folder to look for data files in first.
        device: Where to train.
        done: Called after each run with its record and the number of runs that are left.

    Raises:
        ValueError: If ``jobs`` is not positive, or a run refuses its settings or data; records made so far stay.
    """
    if jobs < 1:
        raise ValueError(f"`jobs` must be at least 1, got {jobs}.")
    left = missing(runs, path)
    # Forked children of a process that has used torch's thread pools may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        futures = [pool.submit(_work, settings, data_dir, device) for settings in left]
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                record = future.result()
                append_record(path, record)
                if done:
                    done(record, len(left) - number)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
