"""How many singular values a trained network needs: SST beside full rank, both cut in the same way.

Every run is trained as `hypersst train --trace` does it. Then all linear weights of the best epoch's model are cut to
their R largest singular values, for each R, and the copy is scored on the test part. Runs that the record holds are
not made again, so what was interrupted goes on. Of a run that became non-finite the record keeps the reason.

    OMP_NUM_THREADS=1 python experiments/benchmarks/truncation.py
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from hypersst.errors import NonFiniteError
from hypersst.experiments.benchmarks.timing import write_benchmark
from hypersst.experiments.reports.rows import SCORES
from hypersst.experiments.reports.traced_run import train_traced
from hypersst.experiments.settings import Settings as RunSettings

__all__ = ["Settings", "main", "markdown_table", "rank_that_keeps", "run"]

_KEY = ("dataset", "task", "method", "seed")
_SHARED = ("model", "rank", "split", "epochs")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is trained, and where the record goes.

    Args:
        datasets: Names of data sets.
        tasks: nc, lp or both.
        methods: Names of methods.
        model: Name of the model.
        rank: Vectors of SST that train at a time.
        split: Name of the split.
        seeds: Number of seeds, counted from 0.
        epochs: Epochs at most; what recipes say if left out.
        device: Where to train.
        data_dir: Folder to look for data files in first.
        output: File of the record.
    """

    datasets: tuple[str, ...] = ("disease", "airport", "cora", "pubmed")
    tasks: tuple[str, ...] = ("nc", "lp")
    methods: tuple[str, ...] = ("full", "sst")
    model: str = "hybonet"
    rank: int = 1
    split: str = "clean"
    seeds: int = 3
    epochs: int | None = None
    device: str = "cpu"
    data_dir: Path | None = None
    output: Path = Path("experiments/results/truncation.json")


def rank_that_keeps(share: float, ranks: Sequence[int], scores: Sequence[float]) -> int:
    """The rank from which on every cut keeps a share of what the uncut network scores.

    Args:
        share: Number in (0, 1].
        ranks: In ascending order; the last one cuts nothing.
        scores: Score at each rank.

    Example:
        >>> rank_that_keeps(0.99, [1, 2, 3, 4], [0.3, 0.8, 0.795, 0.8])
        2
    """
    wanted = share * scores[-1]
    enough = itertools.takewhile(lambda pair: pair[1] >= wanted, zip(reversed(ranks), reversed(scores), strict=True))
    return [rank for rank, _ in enough][-1]


def run(settings: Settings) -> dict[str, Any]:
    """Train what the record lacks, cut it, and write the record after each run.

    Returns:
        The record: for each run its ``ranks`` and the test score of each, ``truncated``, F1 of nodes or ROC-AUC of
        links.

    Raises:
        ValueError: If a setting or the data is bad, or the record's runs were made with other settings.
    """
    said = dataclasses.asdict(settings)
    # A folder of this machine is nothing to remember.
    del said["data_dir"]
    record: dict[str, Any] = {"settings": said, "cases": []}
    if settings.output.exists():
        record = json.loads(settings.output.read_text())
    for name in _SHARED:
        if record["settings"][name] != said[name]:
            raise ValueError(
                f"`{name}` must be that of the runs in {settings.output}, {record['settings'][name]}, got {said[name]}."
            )
    for dataset, task, method, seed in itertools.product(
        settings.datasets, settings.tasks, settings.methods, range(settings.seeds)
    ):
        key: dict[str, Any] = {"dataset": dataset, "task": task, "method": method, "seed": seed}
        if any(all(case[name] == value for name, value in key.items()) for case in record["cases"]):
            continue
        wanted = RunSettings(
            **key,
            model=settings.model,
            rank=settings.rank,
            split=settings.split,
            epochs=settings.epochs,
            compile=True,
        )
        try:
            found, trace = train_traced(wanted, data_dir=settings.data_dir, device=settings.device)
        except NonFiniteError as error:
            case = {**key, "reason": str(error)}
        else:
            case = {
                **key,
                "epochs": found.epochs,
                "seconds": found.seconds,
                "ranks": trace.ranks.tolist(),
                "truncated": [round(score, 5) for score in trace.truncated.tolist()],
            }
        record = write_benchmark(settings.output, said, settings.device, [*record["cases"], case])
    return record


def markdown_table(path: Path, share: float = 0.99) -> str:
    """The record in ``path`` as a Markdown table: for each data set, task and method what its seeds need."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for case in json.loads(path.read_text())["cases"]:
        groups.setdefault(tuple(case[name] for name in _KEY[:-1]), []).append(case)
    titles = {task: found[0][1] for task, found in SCORES.items()}
    lines = [
        f"| data set | score | method | whole, % | rank that keeps {share:.0%}: median (all seeds) "
        "| of | % at rank 1 | 2 | 4 | 8 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (dataset, task, method), tried in groups.items():
        cases = [case for case in tried if "ranks" in case]
        if not cases:
            lines.append(f"| {' | '.join([dataset, titles[task], method, *['non-finite'] * 2, *['–'] * 5])} |")
            continue
        kept = sorted(rank_that_keeps(share, case["ranks"], case["truncated"]) for case in cases)
        of_seeds = [*map(str, kept), *["non-finite"] * (len(tried) - len(cases))]
        curves: list[dict[int, float]] = [dict(zip(case["ranks"], case["truncated"], strict=True)) for case in cases]
        whole = statistics.fmean(case["truncated"][-1] for case in cases)
        # Where there are fewer singular values, all of them.
        at = [statistics.fmean(curve[min(rank, max(curve))] for curve in curves) for rank in (1, 2, 4, 8)]
        cells = [
            dataset,
            titles[task],
            method,
            f"{100 * whole:.1f}",
            f"{statistics.median(kept):g} ({', '.join(of_seeds)})",
            str(cases[0]["ranks"][-1]),
            *(f"{100 * score:.1f}" for score in at),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    """Read the settings from the command line, train, and print the table."""
    settings = tyro.cli(Settings, args=args, description=__doc__)
    run(settings)
    print(markdown_table(settings.output))


if __name__ == "__main__":
    main()
