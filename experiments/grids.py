"""Which runs make up each table."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypersst.datasets import DATASETS
from hypersst.errors import unknown
from hypersst.experiments.search import candidates
from hypersst.experiments.settings import ResolvedSettings, Settings
from hypersst.experiments.texts.settings import TRANSLATORS, ResolvedTextSettings, TextSettings

__all__ = ["GRIDS", "grid"]


def _cora() -> list[Settings]:
    methods: list[tuple[str, int]] = [("full", 1), ("sst", 1), ("sst", 2), ("lora", 1)]
    return [
        Settings(dataset="cora", task=task, method=method, rank=rank, seed=seed)
        for task in ("nc", "lp")
        for method, rank in methods
        for seed in range(3)
    ]


_PAPER = tuple(itertools.product(("disease", "airport", "cora", "pubmed"), ("nc", "lp")))  # of the SST paper
_LOW_RANK = ("lora", "relora", "galore", "refactor", "sst")


def _hgnn() -> list[Settings]:
    methods = {"hgcn": ("full", *_LOW_RANK), "clean": ("full", "lora", "sst")}
    return [
        Settings(dataset=dataset, task=task, method=method, rank=rank, split=split, seed=seed)
        for split in methods
        for dataset, task in _PAPER
        for method in methods[split]
        for rank in ((1,) if method == "full" else (1, 2))
        for seed in range(10)
    ]


def _hgnn_search() -> list[Settings]:
    return [
        Settings(dataset=dataset, task=task, method=method, split="hgcn", seed=seed, patience=patience, **candidate)
        for dataset, task in _PAPER
        for method in ("full", *_LOW_RANK)
        for candidate in candidates(dataset, task, "hybonet", method)
        # Where rates fall, a run is as long as their fall.
        for patience in ([300] if candidate["schedule"] == "constant" else [None])
        for seed in (100, 101)  # none of the table's
    ]


def _ablation() -> list[Settings]:
    variants: list[dict[str, Any]] = [
        {},
        {"gradient": "plain"},
        {"selection": "multinomial"},
        {"selection": "uniform"},
        {"selection": "sequential"},
        {"selection": "top"},
        {"decomposition": "round"},
        {"decomposition": "never"},
        {"decomposition": "round", "reset": "vectors"},
        {"decomposition": "round", "reset": "none"},
        {"warmup_steps": 0},
        {"steps_per_iteration": 10, "warmup_steps": 5},
        {"steps_per_iteration": 50, "warmup_steps": 20},
        {"steps_per_iteration": 100, "warmup_steps": 100, "decomposition": "round"},  # the SST paper's
        {"vectors": "ambient"},
        {"vectors": "sphere"},
        {"vectors": "stiefel"},
        {"vectors": "polar"},
        {"sigma": "active"},
        {"sigma_lr": 0.001},
        {"sigma_lr": 0.02},
        {"balanced": False},
        {"balanced": True},
        {"factors": "random"},
    ]
    return [
        Settings(dataset=dataset, task=task, method="sst", rank=1, seed=seed, **variant)
        for dataset in ("cora", "airport")
        for task in ("nc", "lp")
        for variant in variants
        for seed in range(5)
    ]


_GEOMETRIES = (
    *("mlp", "gcn", "gat", "sage", "gps", "sgformer"),
    *("hybonet", "hgcn", "poincare-gcn", "kappa-gcn", "lgcn", "lorentz-gat", "hypformer"),
)


def _geometry() -> list[Settings]:
    return [
        Settings(dataset=dataset, task=task, model=model, method=method, rank=1, seed=seed)
        for dataset, task in _PAPER
        for model in _GEOMETRIES
        # Softmax attention of all pairs takes a quarter of a minute a step there.
        if (dataset, model) != ("pubmed", "gps")
        for method in ("full", "sst")
        for seed in range(5)
    ]


def _geometry_search() -> list[Settings]:
    return [
        Settings(dataset=dataset, task=task, model=model, seed=seed, patience=200, **{**candidate, "epochs": 2000})
        for dataset, task in _PAPER
        for model in _GEOMETRIES
        # HyboNet's recipes are those of `hgnn-search`.
        if model != "hybonet" and (dataset, model) != ("pubmed", "gps")
        for candidate in candidates(dataset, task, model, "full")
        if candidate["schedule"] == "constant"
        for seed in (100, 101)
    ]


def _others() -> list[Settings]:
    elsewhere = {dataset for dataset, _ in _PAPER}
    return [
        Settings(dataset=name, task=dataset.tasks[0], model=model, seed=0, epochs=500, patience=500)
        for name, dataset in DATASETS.items()
        if name not in elsewhere
        for model in ("hybonet", "gcn")
    ]


_RIVALS = {"lora": 3, "sst": 3, "relora": 1, "galore": 1}  # seeds of each where there is no GPU


def _multi30k() -> list[TextSettings]:
    def runs(model: str, dim: int, method: str, rank: float, seeds: range) -> list[TextSettings]:
        return [
            TextSettings(model=model, dim=dim, method=method, rank=rank, precision="bf16", seed=seed) for seed in seeds
        ]

    first: list[TextSettings] = []  # what a computer without a GPU can do
    later: list[TextSettings] = []
    for dim, model in itertools.product((64, 128, 256), TRANSLATORS):
        of_all = later if dim == 256 else first
        of_all += runs(model, dim, "full", 0.125, range(3))
        for rank, (method, seeds) in itertools.product((0.125, 0.0625), _RIVALS.items()):
            now = 0 if rank < 0.125 or dim == 256 else seeds
            first += runs(model, dim, method, rank, range(now))
            later += runs(model, dim, method, rank, range(now, 3))
    return [*first, *later]


def _wikitext2() -> list[TextSettings]:
    return [
        TextSettings(dataset="wikitext2", model="llama", method=method, precision="bf16", seed=0)
        for method in ("full", *_LOW_RANK)
    ]


#: Tables by name.
#:
#: - ``cora``: HyboNet by some methods; ``hgnn``: by all of them, on the SST paper's graphs; ``hgnn-search``: the runs
#:   by which its recipes are chosen;
#: - ``geometry``: all models, full-rank and by SST; ``geometry-search``: the runs that choose their full-rank recipes;
#:   ``ablation``: what each of SST's settings is worth at rank 1;
#:   ``others``: the data sets of no other table, once each by HyboNet and GCN;
#: - ``multi30k``: translation; ``wikitext2``: language models.
GRIDS: Mapping[str, Callable[[], Sequence[Settings | TextSettings]]] = {
    "cora": _cora,
    "hgnn": _hgnn,
    "hgnn-search": _hgnn_search,
    "geometry": _geometry,
    "geometry-search": _geometry_search,
    "ablation": _ablation,
    "others": _others,
    "multi30k": _multi30k,
    "wikitext2": _wikitext2,
}


def grid(name: str) -> list[ResolvedSettings | ResolvedTextSettings]:
    """The runs of table ``name``, recipes resolved.

    Raises:
        ValueError: If there is no such table.
    """
    if name not in GRIDS:
        raise unknown("grid", name, GRIDS)
    # A variant may be what the recipe of another data set says anyway.
    return list(dict.fromkeys(settings.resolve() for settings in GRIDS[name]()))
