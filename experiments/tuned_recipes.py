"""Recipes that were chosen among recorded runs by their validation scores, frozen in a file beside the records.

``hypersst tune hgnn-search`` reads the records of a search, takes for each data set, task, model and method the
candidate with the best mean validation score, and writes ``results/recipes.json``, which is part of the package.
"""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypersst.experiments.records import Record

__all__ = ["RECIPES", "choose", "combination", "tuned_recipe", "write_recipes"]

RECIPES = Path(__file__).parent / "results" / "recipes.json"
"""The file of frozen recipes."""

_KEY = ("dataset", "task", "model", "method")


@functools.cache
def _frozen() -> Mapping[tuple[str, ...], Mapping[str, Any]]:
    recipes = json.loads(RECIPES.read_text()) if RECIPES.exists() else []
    return {combination(recipe): recipe["settings"] for recipe in recipes}


def combination(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What a recipe is for: data set, task, model and method."""
    return tuple(settings[name] for name in _KEY)


def tuned_recipe(dataset: str, task: str, model: str, method: str) -> dict[str, Any]:
    """The frozen settings of a combination, empty if none were searched."""
    return dict(_frozen().get((dataset, task, model, method), {}))


def choose(records: Sequence[Record], searched: Sequence[str]) -> list[dict[str, Any]]:
    """Take the best candidate of each combination.

    Args:
        records: Runs of a search; candidates differ in the settings ``searched`` alone, and each has the same seeds.
        searched: Names of the settings that the search decides.

    Returns:
        One recipe for each data set, task, model and method: these names, the ``settings``, the mean ``validation``
        score by which runs keep their best epoch, and the number of ``candidates`` and ``seeds``. Of equal candidates
        the first one is taken; one that lacks a seed, which became non-finite, is not.
    """
    scores: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for record in records:
        settings = {name: record.settings[name] for name in searched}
        tried = scores.setdefault(combination(record.settings), {})
        tried.setdefault(json.dumps(settings), []).append(validation_score(record))
    recipes = []
    for key, tried in scores.items():
        most = max(map(len, tried.values()))
        whole = [settings for settings in tried if len(tried[settings]) == most]
        best = max(whole, key=lambda settings: statistics.fmean(tried[settings]))
        recipes.append(
            {
                **dict(zip(_KEY, key, strict=True)),
                "settings": json.loads(best),
                "validation": round(statistics.fmean(tried[best]), 5),
                "candidates": len(tried),
                "seeds": len(tried[best]),
            }
        )
    return recipes


def validation_score(record: Record) -> float:
    """F1 of nodes, the mean of ROC-AUC and average precision of links."""
    found = record.validation
    return found["f1"] if record.settings["task"] == "nc" else (found["roc_auc"] + found["ap"]) / 2


def write_recipes(recipes: Sequence[Mapping[str, Any]], path: Path = RECIPES) -> None:
    """Freeze recipes; those of other combinations stay."""
    kept = json.loads(path.read_text()) if path.exists() else []
    new = {combination(recipe) for recipe in recipes}
    kept = [recipe for recipe in kept if combination(recipe) not in new]
    lines = ",\n".join(json.dumps(recipe) for recipe in [*kept, *recipes])
    path.write_text(f"[\n{lines}\n]\n")
    _frozen.cache_clear()
