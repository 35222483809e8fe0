"""Tables of scores, gap cuts and costs, made of records."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from hypersst.experiments.records import Record
from hypersst.experiments.reports.bootstrap import nominal_coverage
from hypersst.experiments.reports.gap_cut import BASES, RESAMPLES, GapCut, mean_gap_cut, measured_gap_cut
from hypersst.experiments.reports.rows import SCORES, Column, Grid, Row, changes, mean_and_deviation
from hypersst.experiments.reports.table import Cell, Table

__all__ = ["cost_tables", "gap_tables", "score_tables"]


def _counts(groups: Sequence[Sequence[Record]]) -> str:
    """Numbers of runs in cells, as a number or a range."""
    sizes = [len(group) for group in groups if group]
    return f"{min(sizes)}–{max(sizes)}" if min(sizes) < max(sizes) else str(sizes[0])


def _leaders(means: Sequence[float]) -> list[bool]:
    """Which of these (NaN for none) print as the largest does, in percent with one decimal."""
    printed = [f"{100 * mean:.1f}" for mean in means]
    top = max((mean for mean in means if not math.isnan(mean)), default=math.nan)
    return [text == f"{100 * top:.1f}" and not math.isnan(top) for text in printed]


def _fewer(seeds: int, most: int) -> str:
    """A remark on a cell that has fewer seeds than others of its column."""
    return f" ({seeds} seed{'s' * (seeds > 1)})" if 0 < seeds < most else ""


def _score_column(grid: Grid, rows: Sequence[Row], column: Column, key: str) -> list[Cell]:
    values = [list(grid.scores(row, column, key).values()) for row in rows]
    means = [statistics.fmean(found) if found else math.nan for found in values]
    best = _leaders(means)
    best_low = _leaders([math.nan if row.full else mean for row, mean in zip(rows, means, strict=True)])
    most = max(map(len, values))
    counted = [mean_and_deviation(found) + _fewer(len(found), most) for found in values]
    return [Cell(text, bold=low, italic=first) for text, low, first in zip(counted, best_low, best, strict=True)]


_SCORE_NOTE = (
    "Mean ± sample standard deviation over seeds, in percent. Bold: the best mean of the low-rank methods in a column, "
    "of all ranks; italic: the best of all rows. Equal digits count as equal."
)


def score_tables(grid: Grid) -> list[Table]:
    """One table for each task, split and score: methods by data sets.

    Args:
        grid: Records of several data sets.

    Returns:
        Tables whose last column counts seeds.
    """
    tables = []
    for (task, _), columns in grid.together().items():
        rows = [row for row in grid.rows if any(grid.runs(row, column) for column in columns)]
        seeds = [Cell(_counts([grid.runs(row, column) for column in columns])) for row in rows]
        for key, title in SCORES[task]:
            found = [_score_column(grid, rows, column, key) for column in columns]
            cells = [[Cell(grid.name(row)) for row in rows], *found, seeds]
            header = ["method", *(column.dataset for column in columns), "seeds"]
            departed = _departures(grid, columns)
            note = f"{_SCORE_NOTE} {departed}".strip()
            tables.append(Table(f"{columns[0].title}: test {title}", header, list(zip(*cells, strict=True)), note))
    return tables


def _departures(grid: Grid, columns: Sequence[Column]) -> str:
    """A sentence on settings that are not the recipe's and that no row's name tells."""
    found: dict[str, list[str]] = {}
    for row in grid.rows:
        for column in columns:
            for record in grid.runs(row, column)[:1]:
                changed = [change for change in changes(record) if change not in row.changes]
                if changed:
                    listed = ", ".join(f"{name} {value}" for name, value in changed)
                    found.setdefault(f"{column.dataset} {listed}", []).append(grid.name(row))
    if not found:
        return ""
    listed = "; ".join(f"{what} ({', '.join(names)})" for what, names in found.items())
    return f"Departures from the recipes: {listed}."


def _gap_cut(grid: Grid, row: Row, column: Column, key: str) -> GapCut:
    def scores(method: str) -> dict[int, float]:
        rank = 0 if method == "full" else row.rank
        # The rivals run as their recipes say, whatever a row of ablations changes of its method.
        found = [other for other in grid.rows if (other.model, other.method, other.rank) == (row.model, method, rank)]
        plain = [other for other in found if not other.changes]
        return grid.scores((plain or found)[0], column, key) if len(plain or found) == 1 else {}

    bases = {method: scores(method) for method in BASES}
    name = f"{row.model}/{row.rank}/{column}/{key}"
    return measured_gap_cut(grid.scores(row, column, key), bases, scores("full"), name=name)


def _gap_note(cuts: Sequence[GapCut]) -> str:
    note = (
        "(method − base) / (full − base) in percent, base the better mean of LoRA and ReLoRA* of the same rank: 100 is "
        "full rank, 0 the base. In brackets the 95 % percentile interval of "
        f"{RESAMPLES:,} resamples over seeds, runs of one seed drawn together, the base chosen anew in each. "
    )
    counts = sorted({cut.seeds for cut in cuts if cut.interval is not None})
    if counts:
        shares = ", ".join(f"{100 * nominal_coverage(n):.0f} % at {n}" for n in counts)
        note += (
            f"Of means of normal scores such an interval holds the true one less often than it says: {shares} seeds. "
        )
    if any(cut.value is not None and str(cut).endswith("(no interval)") for cut in cuts):
        note += "No interval: in more than one resample of forty full rank is not above the base. "
    return note.strip()


def gap_tables(grid: Grid) -> list[Table]:
    """One table for each task, split and score: gap cuts by data set, with their mean where there are several.

    Args:
        grid: Records.

    Returns:
        Tables of the methods other than full, LoRA and ReLoRA*; none where no such method has both rivals.
    """
    tables = []
    for (task, _), columns in grid.together().items():
        for key, title in SCORES[task]:
            measured = [row for row in grid.rows if not row.full and row.method not in BASES]
            found = {row: [_gap_cut(grid, row, column, key) for column in columns] for row in measured}
            all_cuts = [cut for cuts in found.values() for cut in cuts]
            if not any(cut.comparable for cut in all_cuts):
                continue
            several = len(columns) > 1
            rows = [
                [Cell(grid.name(row)), *map(_gap_cell, cuts), *(_means(cuts) if several else ())]
                for row, cuts in found.items()
            ]
            header = ["method", *(column.dataset for column in columns)]
            header += ["mean", "mean, each at most 100"] if several else []
            title = f"{columns[0].title}: gap cut of test {title}, %"
            tables.append(Table(title, header, rows, _gap_note(all_cuts)))
    return tables


def _gap_cell(cut: GapCut) -> Cell:
    return Cell(f"{cut}, {cut.note}" if cut.value is not None else str(cut))


def _means(cuts: Sequence[GapCut]) -> list[Cell]:
    return [_gap_cell(mean_gap_cut(cuts)), _gap_cell(mean_gap_cut(cuts, cap=100.0))]


_COST = (
    "data set", "method", "numbers that train", "numbers stored", "epochs", "seconds", "peak memory, MB", "runs"
)  # fmt: skip


def _spread(values: Sequence[float], digits: int) -> str:
    mean = f"{statistics.fmean(values):,.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):,.{digits}f}" if len(values) > 1 else mean


def _numbers(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def cost_tables(grid: Grid) -> list[Table]:
    """One table for each task and split: what a run of each method costs on each data set.

    Args:
        grid: Records.
    """
    tables = []
    for columns in grid.together().values():
        groups = {(row, column): grid.runs(row, column) for column in columns for row in grid.rows}
        groups = {key: runs for key, runs in groups.items() if runs}
        rows = [
            [Cell(text) for text in (column.dataset, grid.name(row), *_cost(runs))]
            for (row, column), runs in groups.items()
        ]
        records = [record for runs in groups.values() for record in runs]
        tables.append(Table(f"{columns[0].title}: cost of a run", _COST, rows, _cost_note(records)))
    return tables


def _cost(runs: Sequence[Record]) -> list[str]:
    return [
        _numbers([run.trainable for run in runs]),
        _numbers([run.stored for run in runs]),
        _spread([run.epochs for run in runs], 0),
        _spread([run.seconds for run in runs], 1),
        _spread([run.peak_memory / 1e6 for run in runs], 0),
        str(len(runs)),
    ]


def _cost_note(records: Sequence[Record]) -> str:
    devices = ", ".join(dict.fromkeys(f"{record.device}, threads: {record.threads}" for record in records))
    note = (
        f"Mean ± sample standard deviation; evaluations count as time, and on a CPU the memory is that of the whole "
        f"process, Python and torch included. {devices}."
    )
    if any(record.together > 1 for record in records):
        note += (
            " Seeds were trained together: seconds are a run's share, memory is that of all of them at once"
            f" ({_numbers([record.together for record in records])} at a time)."
        )
    return note
