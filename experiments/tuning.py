"""What ``hypersst tune`` does."""

from __future__ import annotations

import json
from pathlib import Path

from hypersst.errors import unknown
from hypersst.experiments import grids
from hypersst.experiments.bench import failed, missing, recorded
from hypersst.experiments.search import SEARCHED
from hypersst.experiments.tuned_recipes import RECIPES, choose, combination, write_recipes

__all__ = ["tune_command"]

_SEARCH = "-search"


def tune_command(grid: str, *, results: Path, recipes: Path = RECIPES) -> int:
    """Freeze the recipes of all combinations whose search is complete, and print them.

    Args:
        grid: Name of a search.
        results: Folder of the records.
        recipes: File to write.

    Raises:
        ValueError: If ``grid`` is no search.
    """
    searches = [name for name in grids.GRIDS if name.endswith(_SEARCH)]
    if grid not in searches:
        raise unknown("grid", grid, searches)
    runs, path = grids.grid(grid), results / f"{grid}.jsonl"
    hopeless = failed(runs, path)  # candidates with such a run are not chosen
    lacking = {combination(run.to_dict()) for run in missing(runs, path) if run not in hopeless}
    complete = [record for record in recorded(runs, path) if combination(record.settings) not in lacking]
    found = choose(complete, SEARCHED)
    write_recipes(found, recipes)
    for recipe in found:
        print(json.dumps(recipe))
    if lacking:
        print(f"{len(lacking)} combinations lack runs in {path}: `hypersst bench {grid}` makes them.")
    return 0
