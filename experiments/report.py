"""Tables made of records."""

from __future__ import annotations

import statistics

from hypersst.experiments.recipes import recipe_for
from hypersst.experiments.records import Record

__all__ = ["markdown_table"]

_COLUMNS = (
    ("nc", "f1", "nc: test F1"),
    ("lp", "roc_auc", "lp: test ROC-AUC"),
    ("lp", "ap", "lp: test AP"),
)


def _row_name(record: Record) -> str:
    settings = record.settings
    rank = "" if settings["method"] == "full" else f", rank {settings['rank']}"
    recipe = recipe_for(settings["dataset"], settings["task"], settings["model"], settings["method"])
    changes = "".join(f", {name} {settings[name]}" for name in recipe if settings[name] != recipe[name])
    return f"{settings['method']}{rank}{changes}"


def _cell(values: list[float]) -> str:
    if not values:
        return "–"
    mean = f"{100 * statistics.fmean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def markdown_table(records: list[Record]) -> str:
    """One row per method, rank and departure from the recipe; mean and standard deviation over seeds, in percent.

    Args:
        records: Runs of one data set and model, in the order in which the rows shall stand.

    Returns:
        A Markdown table; a column counts the numbers that train at a time in node classification.
    """
    rows: dict[str, list[Record]] = {}
    for record in records:
        rows.setdefault(_row_name(record), []).append(record)
    header = ["method", *(title for _, _, title in _COLUMNS), "numbers that train (nc)", "seeds"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for name, group in rows.items():
        cells = [
            _cell([record.test[key] for record in group if record.settings["task"] == task])
            for task, key, _ in _COLUMNS
        ]
        trainable = next((f"{record.trainable:,}" for record in group if record.settings["task"] == "nc"), "–")
        seeds = len({record.settings["seed"] for record in group})
        lines.append("| " + " | ".join([name, *cells, trainable, str(seeds)]) + " |")
    return "\n".join(lines)
