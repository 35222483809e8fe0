"""Tables of runs on texts: scores, gap cuts and costs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypersst.experiments.records import Record
from hypersst.experiments.reports.gap_cut import BASES, GapCut, mean_gap_cut, measured_gap_cut
from hypersst.experiments.reports.table import Cell, Table

__all__ = ["text_tables"]


@dataclass(frozen=True)
class _Score:
    """A score of the test part: its key in records, its heading, and whether less is better."""

    key: str
    title: str
    lower: bool = False


_TRANSLATION = (_Score("bleu", "BLEU"), _Score("chrf", "chrF"), _Score("perplexity", "perplexity", lower=True))
_LANGUAGE = (_Score("perplexity", "perplexity", lower=True),)

_Column = tuple[str, str, int]
_Row = tuple[str, int | float]


def _column(record: Record) -> _Column:
    return record.settings["dataset"], record.settings["model"], record.settings["dim"]


def _row(record: Record) -> _Row:
    method = record.settings["method"]
    return method, 0 if method == "full" else record.settings["rank"]


def _name(row: _Row) -> str:
    method, rank = row
    if method == "full":
        return method
    return f"{method}, rank {rank}" if isinstance(rank, int) else f"{method}, rank dim × {rank:g}"


def _seeds(records: Sequence[Record], row: _Row, column: _Column, key: str) -> dict[int, float]:
    found = [record for record in records if (_row(record), _column(record)) == (row, column)]
    return {record.settings["seed"]: record.test[key] for record in found}


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else f"{mean} (one seed)"


def text_tables(records: Sequence[Record]) -> list[Table]:
    """All tables of a grid of runs on texts: a table for each score, gap cuts, costs.

    Args:
        records: Runs on texts, translation or language models, in the order in which rows and columns shall stand.
    """
    scores = _TRANSLATION if records and "bleu" in records[0].test else _LANGUAGE
    rows, columns = list(dict.fromkeys(map(_row, records))), list(dict.fromkeys(map(_column, records)))
    header = ["method", *(f"{model}, dim {dim}" for _, model, dim in columns)]
    dataset = ", ".join(dict.fromkeys(dataset for dataset, _, _ in columns))
    found = []
    for score in scores:
        values = {(r, c): list(_seeds(records, r, c, score.key).values()) for r in rows for c in columns}
        best = {column: _best(values, rows, column, score) for column in columns}
        cells = [
            [Cell(_name(row)), *(Cell(_spread(values[row, c]), bold=best[c] == row) for c in columns)] for row in rows
        ]
        note = "Mean ± sample standard deviation over seeds. Bold: the best mean of the methods other than full rank."
        found.append(Table(f"{dataset}: test {score.title}", header, cells, note))
    cuts = _gap_table(records, rows, columns, scores[0], [*header, "mean"])
    return [*found, *([cuts] if cuts else []), _cost_table(records, rows, columns)]


def _best(
    values: Mapping[tuple[_Row, _Column], list[float]], rows: Sequence[_Row], column: _Column, score: _Score
) -> _Row | None:
    there = [row for row in rows if row[0] != "full" and values[row, column]]
    choose = min if score.lower else max
    return choose(there, key=lambda row: statistics.fmean(values[row, column])) if there else None


def _gap_table(
    records: Sequence[Record], rows: Sequence[_Row], columns: Sequence[_Column], score: _Score, header: Sequence[str]
) -> Table | None:
    def signed(row: _Row, column: _Column) -> dict[int, float]:
        sign = -1.0 if score.lower else 1.0
        return {seed: sign * value for seed, value in _seeds(records, row, column, score.key).items()}

    def cut(row: _Row, column: _Column) -> GapCut:
        bases = {base: signed((base, row[1]), column) for base in BASES}
        name = f"{row[1]}/{column}/{score.key}"
        return measured_gap_cut(signed(row, column), bases, signed(("full", 0), column), name=name)

    lines = []
    for row in rows:
        if row[0] == "full" or row[0] in BASES:
            continue
        cuts = [cut(row, column) for column in columns]
        if any(found.comparable for found in cuts):
            lines.append([Cell(_name(row)), *(Cell(str(found)) for found in (*cuts, mean_gap_cut(cuts)))])
    if not lines:
        return None
    note = (
        "(method − base) / (full − base) in percent, base the better mean of LoRA and ReLoRA* of the same rank; in "
        "brackets the 95 % percentile interval of resamples over seeds, where there are several."
    )
    return Table(f"Gap cut of test {score.title}, %", header, lines, note)


def _cost_table(records: Sequence[Record], rows: Sequence[_Row], columns: Sequence[_Column]) -> Table:
    header = ["model", "method", "numbers that train", "numbers stored", "steps", "seconds", "runs"]
    lines = []
    for column in columns:
        for row in rows:
            runs = [record for record in records if (_row(record), _column(record)) == (row, column)]
            if not runs:
                continue
            _, model, dim = column
            first, seconds = runs[0], statistics.fmean(run.seconds for run in runs)
            texts = (
                f"{first.trainable:,}",
                f"{first.stored:,}",
                f"{first.epochs:,}",
                f"{seconds:,.0f}",
                str(len(runs)),
            )
            lines.append([Cell(text) for text in (f"{model}, dim {dim}", _name(row), *texts)])
    devices = ", ".join(dict.fromkeys(f"{record.device}, threads: {record.threads}" for record in records))
    return Table("Cost of a run", header, lines, f"Trained on {devices}; several runs at a time, so seconds vary.")
