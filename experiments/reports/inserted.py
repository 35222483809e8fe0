"""Tables within a page of text, between two comments, so that they can be made anew from records.

A line ``<!-- report: GRID -->`` is followed by all tables of a grid, with titles and notes; a line
``<!-- report: GRID: TITLE -->`` by one of them without. Both end at ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypersst.errors import unknown
from hypersst.experiments.reports.table import Table

__all__ = ["inserted", "reported_grids"]

# What stands in a place has no other place in it, so that a missing end takes nothing else away.
_PLACE = re.compile(
    r"(<!-- report: (?P<grid>[\w-]+)(?:: (?P<title>[^\n]*?))? -->\n)(?:(?!<!-- report: ).)*?(<!-- end -->)", re.DOTALL
)


def reported_grids(text: str) -> list[str]:
    """Names of the grids whose tables stand in ``text``, in the order of their first places."""
    return list(dict.fromkeys(place["grid"] for place in _PLACE.finditer(text)))


def inserted(text: str, grid: str, tables: Sequence[Table], note: str = "") -> str:
    r"""Put tables of a grid into the places that a page keeps for them.

    Args:
        text: The page.
        grid: Name of the grid.
        tables: Its tables.
        note: What stands under all of them.

    Returns:
        The page; what is not between comments of this grid is as before.

    Raises:
        ValueError: If there is no place for the grid, or one for a table that it does not have.

    Example:
        >>> from hypersst.experiments.reports.table import Cell
        >>> table = Table("Scores", ["method", "F1"], [[Cell("sst"), Cell("74.5")]])
        >>> print(inserted("<!-- report: cora: Scores -->\nold\n<!-- end -->", "cora", [table]))
        <!-- report: cora: Scores -->
        | method | F1 |
        |---|---|
        | sst | 74.5 |
        <!-- end -->
    """
    if grid not in reported_grids(text):
        raise ValueError(f"`into` must have a line `<!-- report: {grid} -->` and after it one `<!-- end -->`.")
    by_title = {table.title: table for table in tables}

    def made(place: re.Match[str]) -> str:
        if place["grid"] != grid:
            return place[0]
        title = place["title"]
        if title is None:
            whole = [*(table.titled_markdown() for table in tables), note]
            return place[1] + "\n\n".join(part for part in whole if part) + f"\n{place[4]}"
        if title not in by_title:
            raise unknown("into", title, by_title)
        return place[1] + by_title[title].markdown() + f"\n{place[4]}"

    return _PLACE.sub(made, text)
