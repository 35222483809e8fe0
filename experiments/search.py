"""Candidates among which recipes are chosen: as many for each method, and the recipe that it starts from among them.

Eight of constant rates, from three choices between two alternatives each; and four of rates that fall to zero over the
epochs, from two such choices: the last two, for SST those of balance and of a higher rate of the singular values.

Each candidate says every setting that the search decides, so that it stays what it is when a recipe has been chosen.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from hypersst.experiments.recipes import published_recipe

__all__ = ["BUDGET", "SEARCHED", "candidates"]

BUDGET = 12
"""Candidates for each method."""

SEARCHED = (
    "lr",
    "schedule",
    "epochs",
    "dropout",
    "weight_decay",
    "vector_lr",
    "sigma_lr",
    "steps_per_iteration",
    "warmup_steps",
    "decomposition",
    "selection",
    "vectors",
    "balanced",
    "galore_scale",
)
"""What the search decides."""

# Epochs over which rates fall; on Airport SST still gains beyond 3,000 of them (docs/decisions.md).
_FALL = {"airport": 5000}

_SHORT: Mapping[str, Any] = {"steps_per_iteration": 20, "warmup_steps": 5}
"""Short iterations, beside those of a rival's recipe."""

_BALANCES = [{"balanced": False}, {"balanced": True}]


def _axes(base: Mapping[str, Any], dropout: float, task: str, method: str) -> Sequence[Sequence[Mapping[str, Any]]]:
    """Three choices between two alternatives each, the recipe ``base`` among their combinations.

    Args:
        base: The method's recipe.
        dropout: That of full-rank training.
        task: ``"nc"`` or ``"lp"``.
        method: Name of the method.
    """
    lr, decay = base["lr"], base["weight_decay"]
    # Less of it for networks that fit less; where there is none, a little.
    less = round(0.8 * dropout, 2) if dropout >= 0.2 else (0.0 if dropout else 0.1)
    dropouts = [{"dropout": base["dropout"]}, {"dropout": less}]
    faster, slower = ([{"lr": lr}, {"lr": factor * lr}] for factor in (2.5, 0.4))
    decays = [{"weight_decay": decay}, {"weight_decay": 0.1 * decay if decay else 1e-3}]
    restarts: list[Mapping[str, Any]] = [
        {"steps_per_iteration": base["steps_per_iteration"], "warmup_steps": base["warmup_steps"]},
        _SHORT,
    ]
    slow = {"selection": "sequential", "sigma_lr": 0.05 * lr}
    # Where slow values are the recipe, links had higher scores with them in trials (docs/decisions.md).
    settled = task == "lp" and base["sigma_lr"] < lr
    axes: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]] = {
        "full": [dropouts, slower, decays],
        "lora": [dropouts, faster, decays],
        "relora": [dropouts, faster, restarts],
        "refactor": [dropouts, slower, restarts],
        "galore": [dropouts, faster, [{"galore_scale": base["galore_scale"]}, {"galore_scale": 1.0}]],
        "sst": [
            dropouts,
            _vector_rates(base),
            [slow, {**slow, "vectors": "polar"}] if settled else [_drawn(lr), slow],
        ],
    }
    return axes[method]


def _vector_rates(base: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [{"vector_lr": base["vector_lr"]}, {"vector_lr": 2 * base["vector_lr"]}]


def _drawn(sigma_lr: float) -> dict[str, Any]:
    """Vectors that are drawn by size, and a rate of the values."""
    return {"selection": "multinomial", "sigma_lr": sigma_lr}


def candidates(dataset: str, task: str, model: str, method: str) -> list[dict[str, Any]]:
    """Settings to try, `BUDGET` sets of them, each with a value for all of `SEARCHED`.

    Args:
        dataset: Name of a data set.
        task: ``"nc"`` or ``"lp"``.
        model: Name of a model.
        method: Name of a method.
    """
    base = published_recipe(dataset, task, model, method)
    dropout = published_recipe(dataset, task, model, "full")["dropout"]
    axes = _axes(base, dropout, task, method)
    falling = {"schedule": "linear", "epochs": _FALL.get(dataset, 2000)}
    last = axes[1:]
    if method == "sst":
        *_, faster = _vector_rates(base)
        falling |= faster
        last = [_BALANCES, [_drawn(base["lr"]), _drawn(5 * base["lr"])]]
    choices = [*itertools.product(*axes), *itertools.product([falling], *last)]
    found = []
    for choice in choices:
        changed = {name: value for part in choice for name, value in part.items()}
        changed.setdefault("sigma_lr", changed.get("lr", base["lr"]))
        found.append({name: changed.get(name, base[name]) for name in SEARCHED})
    return found
