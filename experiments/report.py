"""Tables made of records, as Markdown and on a page, and pictures of traced runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypersst.experiments.bench import AnySettings, failed, failures_path, missing, recorded
from hypersst.experiments.grids import grid as runs_of
from hypersst.experiments.records import Record
from hypersst.experiments.reports.inserted import inserted
from hypersst.experiments.reports.pages import Section, page, results_sections, trace_sections
from hypersst.experiments.reports.result_tables import cost_tables, gap_tables, score_tables
from hypersst.experiments.reports.rows import SCORES, Grid, Row, changes, mean_and_deviation
from hypersst.experiments.reports.table import Cell, Table
from hypersst.experiments.reports.text_tables import text_tables
from hypersst.experiments.reports.traces import load_trace
from hypersst.experiments.texts.settings import TextSettings

__all__ = ["grid_report", "markdown_table", "report_command", "tables"]


def overview(records: Sequence[Record]) -> Table:
    """One row per method, rank and departure from the recipe, all tasks beside one another.

    Args:
        records: Runs of one data set, split and model, in the order in which the rows shall stand.
    """
    rows: dict[str, list[Record]] = {}
    for record in records:
        settings = record.settings
        rank = 0 if settings["method"] == "full" else settings["rank"]
        rows.setdefault(Row(settings["model"], settings["method"], rank, changes(record)).name, []).append(record)
    scores = [(task, key, f"{task}: test {title}") for task, found in SCORES.items() for key, title in found]
    lines = []
    for name, group in rows.items():
        cells = [
            mean_and_deviation([record.test[key] for record in group if record.settings["task"] == task])
            for task, key, _ in scores
        ]
        trainable = next((f"{record.trainable:,}" for record in group if record.settings["task"] == "nc"), "–")
        seeds = len({record.settings["seed"] for record in group})
        lines.append([Cell(text) for text in (name, *cells, trainable, str(seeds))])
    header = ["method", *(title for _, _, title in scores), "numbers that train (nc)", "seeds"]
    note = "Mean ± sample standard deviation over seeds, in percent."
    return Table("Test scores", header, lines, note)


def markdown_table(records: Sequence[Record]) -> str:
    """The `overview` as Markdown.

    Args:
        records: Runs of one data set, split and model, in the order in which the rows shall stand.

    Returns:
        A Markdown table; a column counts the numbers that train at a time in node classification.
    """
    return overview(records).markdown()


def tables(records: Sequence[Record]) -> list[Table]:
    """All tables of a grid: scores, gap cuts, costs.

    Args:
        records: Runs on graphs, in the order in which rows and columns shall stand.

    Returns:
        The `overview` and what is left to say of one data set, split and model; else a table for each task and score.
    """
    grid = Grid(records)
    alone = len({(column.dataset, column.split) for column in grid.columns}) <= 1
    single = alone and len({row.model for row in grid.rows}) <= 1
    scores = [overview(records)] if single else score_tables(grid)
    return _notes_once([*scores, *gap_tables(grid), *cost_tables(grid)])


def _notes_once(found: Sequence[Table]) -> list[Table]:
    """Let a note that several tables in a row share stand under the last of them."""
    shared = [one.note == other.note for one, other in itertools.pairwise(found)]
    return [replace(table, note="") if same else table for table, same in zip(found, [*shared, False], strict=True)]


def _lacking(grid: str, runs: Sequence[AnySettings], path: Path) -> str:
    """Which runs have no record, and why; empty if all have one."""
    noted, lacking = failed(runs, path), missing(runs, path)
    hopeless, without = [run for run in lacking if run in noted], [run for run in lacking if run not in noted]
    sentences = []
    if without:
        sentences.append(
            f"{len(without)} of {len(runs)} runs have no record in {path}: `hypersst bench {grid}` makes them."
        )
    if hopeless:
        seeds: dict[str, list[str]] = {}
        for run in hopeless:
            seeds.setdefault(run.run_name.rsplit("-s", 1)[0], []).append(str(run.seed))
        listed = "; ".join(f"{name} (seeds {', '.join(found)})" for name, found in seeds.items())
        sentences.append(f"Training became non-finite and has no score, see {failures_path(path)}: {listed}.")
    return " ".join(sentences)


def grid_report(grid: str, results: Path) -> tuple[list[Record], list[Table], str]:
    """What there is to say of a grid.

    Args:
        grid: Name of the grid.
        results: Folder of the records.

    Returns:
        Its records, its tables, and a note on runs that have no record, empty if all have one.

    Raises:
        ValueError: If the grid is unknown.
    """
    runs, path = runs_of(grid), results / f"{grid}.jsonl"
    records = recorded(runs, path)
    found = text_tables(records) if isinstance(runs[0], TextSettings) else tables(records)
    return records, found, _lacking(grid, runs, path)


def report_command(
    grid: str | None, *, results: Path, html: Path | None, into: Sequence[Path], trace: Sequence[Path]
) -> int:
    """Print the tables of a grid as Markdown, and write them with pictures to a page.

    Args:
        grid: Name of the grid; ``None`` for traces alone.
        results: Folder of the records.
        html: File of the page; if left out, ``report.html`` beside the first trace, or no page without a trace.
        into: Pages of text that keep places for the tables, see `inserted`.
        trace: Folders of traced runs.

    Returns:
        The exit status.

    Raises:
        ValueError: If there is neither grid nor trace, or pages without a grid, the grid is unknown, a page keeps no
            place for its tables, or a folder has no readable trace.
    """
    if grid is None and not trace:
        raise ValueError(
            "`grid` must be the name of a table, or `trace` name folders of traced runs; both are missing."
        )
    if grid is None and into:
        raise ValueError("`grid` must be the name of the table that `into` is to hold; it is missing.")
    sections: list[Section] = []
    if grid is not None:
        records, found, note = grid_report(grid, results)
        pages = {file: inserted(file.read_text(), grid, found, note) for file in into}
        for file, text in pages.items():
            file.write_text(text)
        print("\n\n".join(table.titled_markdown() for table in found))
        if note:
            print(f"\n{note}")
        sections += results_sections(records, found, note=note)
    sections += trace_sections([load_trace(folder) for folder in trace])
    if html is None and trace:
        html = trace[0] / "report.html"
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(page(f"hypersst: {grid or 'traces'}", sections))
        print(f"\nwritten to {html}")
    return 0
