"""How the results of `hypersst bench speed` are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

__all__ = ["line", "markdown_table", "print_tables"]

_COMPARED = ["case", "dividend, ms", "divisor, ms", "ratio (quartiles)", "asked", "met"]
_ALONE = ["case", "step, ms (quartiles)", "epoch, ms", "floor, ms", "step over floor", "peak, MB", "asked", "met"]
#: Templates of what can be asked, filled with the result and the sign of the bound.
_ASKED = {
    "ratio": "{sign} {bound:g}",
    "epoch_ms": "epoch {sign} {bound:g} ms",
    "peak_mb": "peak {sign} {bound:g} MB",
    "decomposition_share": "decompositions {sign} {bound:.0%} ({decomposition_share:.1%})",
}


def _asked(result: Mapping[str, Any]) -> list[str]:
    """What is asked of a result, and whether it is met."""
    texts = [
        _ASKED[ask["quantity"]].format(sign="≥" if ask["at_least"] else "≤", bound=ask["bound"], **result)
        for ask in result["asked"]
    ]
    return [", ".join(texts), ", ".join("yes" if ask["met"] else "no" for ask in result["asked"])]


def _compared_row(name: str, result: Mapping[str, Any]) -> list[str]:
    over, under = result["sides"]
    ms = [f"{side} {result['ms'][side]:.2f}" for side in (over, under)]
    return [name, *ms, "{ratio:.2f} ({low:.2f} to {high:.2f})".format(**result), *_asked(result)]


def _alone_row(name: str, result: Mapping[str, Any]) -> list[str]:
    cells = [
        "{step_ms:.2f} ({step_low_ms:.2f} to {step_high_ms:.2f})",
        "{epoch_ms:.2f}",
        "{floor_ms:.2f}",
        "{over_floor:.1f}",
        "{peak_mb:.0f}",
    ]
    return [name, *(cell.format(**result) for cell in cells), *_asked(result)]


def _tables(results: Mapping[str, Any]) -> list[tuple[list[str], list[list[str]]]]:
    """Headers and rows: of comparisons, and of networks alone."""
    compared = [_compared_row(name, result) for name, result in results.items() if len(result["sides"]) == 2]
    alone = [_alone_row(name, result) for name, result in results.items() if len(result["sides"]) == 1]
    return [(header, rows) for header, rows in ((_COMPARED, compared), (_ALONE, alone)) if rows]


def line(name: str, result: Mapping[str, Any]) -> str:
    """One result in one line."""
    [(header, [row])] = _tables({name: result})
    cells = [f"{title} {cell}" for title, cell in zip(header[1:], row[1:], strict=True) if cell]
    return f"{name}: {'; '.join(cells)}"


def print_tables(results: Mapping[str, Any], console: Console | None = None) -> None:
    """Show results by name in two tables, 120 columns wide where the output is no terminal."""
    console = console or Console(width=None if sys.stdout.isatty() else 120)
    for header, rows in _tables(results):
        table = Table(Column(header[0], no_wrap=True), *header[1:])
        for row in rows:
            table.add_row(*row)
        console.print(table)


def markdown_table(path: Path) -> str:
    """The record in ``path`` as Markdown: for each device a table of comparisons and one of networks alone."""
    parts = []
    for device, results in json.loads(path.read_text())["devices"].items():
        parts.append(f"{device}:")
        for header, rows in _tables(results):
            lines = [header, ["---"] * len(header), *rows]
            parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    return "\n\n".join(parts)
