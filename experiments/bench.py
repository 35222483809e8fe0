"""Run a table's grid in parallel processes, one record per run, and go on where it was stopped.

Runs that differ in their seeds alone are trained at once, see `hypersst.experiments.ensemble`. Each such group keeps a
checkpoint until its records are written, so that a grid that is stopped loses seconds and not runs. Where one becomes
non-finite, the others of its group are trained alone, and it is noted in a file beside the records.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from hypersst.errors import NonFiniteError
from hypersst.experiments.records import Record, append_line, append_record, read_records
from hypersst.experiments.settings import ResolvedSettings, with_later
from hypersst.experiments.texts.settings import ResolvedTextSettings
from hypersst.experiments.texts.training import train_text
from hypersst.experiments.training import train, train_seeds

__all__ = ["AnySettings", "failed", "failures_path", "groups", "missing", "recorded", "run_grid"]

AnySettings: TypeAlias = ResolvedSettings | ResolvedTextSettings
"""Settings of a run on a graph or on texts."""


def recorded(runs: Sequence[AnySettings], path: Path) -> list[Record]:
    """The records in ``path`` of exactly these runs, in their order; runs without one are left out."""
    by_settings = {_key(record.settings): record for record in read_records(path)}
    return [by_settings[key] for run in runs if (key := _key(run.to_dict())) in by_settings]


def missing(runs: Sequence[AnySettings], path: Path) -> list[AnySettings]:
    """Those of ``runs`` that have no record in ``path``."""
    done = {_key(record.settings) for record in read_records(path)}
    return [run for run in runs if _key(run.to_dict()) not in done]


# Whether the step is compiled, and who holds the weights.
_ROUNDING = frozenset({"compile", "sharding"})


def failures_path(path: Path) -> Path:
    """Where runs of the table in ``path`` are noted that became non-finite."""
    return path.with_name(f"{path.stem}-failed{path.suffix}")


def failed(runs: Sequence[AnySettings], path: Path) -> list[AnySettings]:
    """Those of ``runs`` that became non-finite when the table in ``path`` was made."""
    file = failures_path(path)
    lines = file.read_text().splitlines() if file.exists() else []
    noted = {_key(with_later(json.loads(line)["settings"])) for line in lines}
    return [run for run in runs if _key(run.to_dict()) in noted]


def _key(settings: dict[str, object]) -> str:
    """What tells runs apart: all settings but those that change rounding alone."""
    return json.dumps({name: value for name, value in settings.items() if name not in _ROUNDING}, sort_keys=True)


def groups(runs: Sequence[AnySettings], together: int) -> list[list[AnySettings]]:
    """Put runs together that can be trained at once.

    Args:
        runs: Resolved settings.
        together: Most runs in a group, at least 1.

    Returns:
        Lists of runs that differ in their seeds alone, in the order of their first ones; runs in batches of the graph
        and on texts stay alone.
    """
    alike: dict[str, list[AnySettings]] = {}
    for run in runs:
        whole_graph = isinstance(run, ResolvedSettings) and run.parts == 1 and not run.neighbors
        alike.setdefault(_key((replace(run, seed=0) if whole_graph else run).to_dict()), []).append(run)
    return [found[i : i + together] for found in alike.values() for i in range(0, len(found), together)]


def _checkpoint(group: list[AnySettings], folder: Path) -> Path:
    digest = hashlib.sha256(json.dumps([run.to_dict() for run in group], sort_keys=True).encode()).hexdigest()[:16]
    return folder / f"{group[0].run_name}-{digest}.pt"


@dataclass(frozen=True)
class _Failure:
    run: AnySettings
    reason: str


def _work(
    group: list[AnySettings], folder: Path, data_dir: Path | None, device: str
) -> tuple[list[Record], list[_Failure]]:
    """Train a group; if one of its runs becomes non-finite, each of them alone."""
    torch.set_num_threads(1)
    try:
        return _trained(group, folder, data_dir, device), []
    except NonFiniteError as error:
        if len(group) == 1:
            return [], [_Failure(group[0], str(error))]
    _checkpoint(group, folder).unlink(missing_ok=True)
    alone = [_work([run], folder, data_dir, device) for run in group]
    return [record for records, _ in alone for record in records], [x for _, failures in alone for x in failures]


def _trained(group: list[AnySettings], folder: Path, data_dir: Path | None, device: str) -> list[Record]:
    checkpoint = _checkpoint(group, folder)
    resume = checkpoint if checkpoint.exists() else None
    first, seeds = group[0], [run.seed for run in group]
    places: dict[str, Any] = {"data_dir": data_dir, "device": device, "checkpoint": checkpoint, "resume": resume}
    if isinstance(first, ResolvedTextSettings):
        return [train_text(first, **places).record]
    return [train(first, **places)] if len(group) == 1 else train_seeds(first, seeds, **places)


def run_grid(
    runs: Sequence[AnySettings],
    path: Path,
    *,
    jobs: int,
    together: int = 10,
    checkpoints: Path = Path("runs"),
    data_dir: Path | None = None,
    device: str = "cpu",
    done: Callable[[Record, int], None] | None = None,
) -> None:
    """Train what has no record yet and append its record to ``path`` as soon as it is there.

    A run that becomes non-finite has a line in a file beside ``path``, whose name ends in ``-failed``, with its
    settings and where it happened. It is not tried again while that line is there.

    Args:
        runs: The runs of a table.
        path: File of records, one a line.
        jobs: Processes at a time, one thread each.
        together: Most seeds to train at once.
        checkpoints: Folder for the state of runs under way, from which a later call goes on.
        data_dir: Folder to look for data files in first.
        device: Where to train.
        done: Called after each run with its record and the number of runs that are left.

    Raises:
        ValueError: If ``jobs`` or ``together`` is not positive, or a run refuses its settings or data; records made so
            far stay.
        NonFiniteError: At the end, naming the runs that became so; the others have their records.
    """
    for name, value in (("jobs", jobs), ("together", together)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    hopeless = failed(runs, path)
    left = groups([run for run in missing(runs, path) if run not in hopeless], together)
    number = sum(map(len, left))
    reasons: list[str] = []
    # Forked children of a process that has used torch's thread pools may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        futures = {pool.submit(_work, group, checkpoints, data_dir, device): group for group in left}
        try:
            for future in as_completed(futures):
                group = futures[future]
                records, failures = future.result()
                for failure in failures:
                    line = json.dumps({"settings": failure.run.to_dict(), "reason": failure.reason})
                    append_line(failures_path(path), line)
                    reasons.append(f"{failure.run.run_name}: {failure.reason}")
                    number -= 1
                for record in records:
                    append_record(path, record)
                    number -= 1
                    if done:
                        done(record, number)
                for runs_of in (group, *([run] for run in group)):
                    _checkpoint(runs_of, checkpoints).unlink(missing_ok=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if reasons:
        raise NonFiniteError("no record of these runs:\n" + "\n".join(reasons))
