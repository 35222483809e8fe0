"""The settings of one training run: what the command line takes, a checkpoint keeps and a record prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, ClassVar

import tyro

from hypersst.datasets import DATASETS, SPLITS
from hypersst.errors import unknown
from hypersst.experiments.methods import METHODS
from hypersst.experiments.recipes import batches_for, published_recipe, recipe_for
from hypersst.experiments.schedule import GRAPH_SCHEDULES
from hypersst.models import MODELS

__all__ = ["LATER", "OWN_GRAPH", "ResolvedSettings", "Settings", "is_edge_file", "with_later"]

_TASKS = ("nc", "lp")

CLASS_WEIGHTS = ("none", "balanced")
"""How much each class counts in the loss: by its nodes, or all the same."""

#: Settings of runs on graphs that came later, with the values that older records and checkpoints stand for.
LATER: Mapping[str, Any] = {
    "features": "",
    "labels": "",
    "nodes": 0,
    "parts": 1,
    "parts_per_batch": 1,
    "neighbors": [],
    "batch_size": 1024,
    "compile": False,
    "reset": "all",
    "sigma": "all",
    "factors": "svd",
    "galore_scale": 0.25,
    "class_weights": "none",
    "schedule": "constant",
}


def with_later(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Complete the settings of an older record or checkpoint by those that came later."""
    later = LATER if "task" in settings else {}  # texts name no task
    return {**later, "sigma_lr": settings["lr"], "balanced": False, **settings}


#: What `Settings.dataset` says of a graph that was handed over in memory.
OWN_GRAPH = "own"


def is_edge_file(dataset: str) -> bool:
    """Whether ``dataset`` is a file and not a name."""
    return PurePath(dataset).suffix in (".csv", ".tsv", ".txt")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One run. ``None`` means: take the recipe's value for this data set, task, model and method.

    Args:
        dataset: Name of a data set, or a file of edges (.csv, .tsv or .txt): two numbers of nodes a line.
        task: nc (node classification), lp (link prediction), or embed for a hierarchy such as mammals.
        model: hybonet, hgcn, gcn, mlp, or another of `hypersst.models.MODELS`; for embed lorentz or ball.
        method: full, sst, lora, relora, galore, or refactor (weights of low rank, factored anew now and then).
        rank: Rank of all methods but full: an integer, or a share of the full rank in (0, 1].
        seed: Seed of initialisation, dropout, negative edges and draws.
        split: clean, hgcn (the literature's; leaky for Airport's nodes) or public.
        features: For a file of edges: NumPy file of the nodes' features; one indicator column per node if left out.
        labels: For a file of edges: NumPy file of the nodes' classes, needed for nc.
        split_seed: Seed of the split; one for all seeds of a table, as in the literature.
        epochs: Most epochs to train.
        patience: Stop after so many epochs without a better validation score.
        eval_every: Epochs between evaluations.
        dim: Intrinsic dimensions of the hidden layers.
        layers: Layers as HGCN counts them: the head is one of them.
        lr: Learning rate.
        schedule: constant, or how all learning rates fall over the epochs: cosine or linear. A fall is trained to its
            end unless patience is given.
        weight_decay: Decoupled weight decay.
        dropout: Probability of dropping entries of each layer's input.
        activation: none, or the name of a function.
        class_weights: nc: none, or balanced (rare classes count as much as frequent ones in the loss).
        margin: Margin of HyboNet's losses.
        c: Curvature parameter: the sectional curvature is -c.
        learnable_c: Train the curvature.
        grad_clip: Largest norm of the gradient over all parameters; 0 for no limit.
        vector_lr: Learning rate of sst's singular vectors; if left out, it goes with lr.
        sigma_lr: Learning rate of sst's singular values; if left out, it goes with lr.
        vectors: sst: ambient (element-wise steps, then normalised), stiefel (then made orthonormal to the frozen ones),
            polar (then all made orthonormal), or sphere (steps along the sphere, in radians).
        steps_per_iteration: sst: steps between draws; relora and refactor: between restarts; galore: between
            projections.
        warmup_steps: sst, relora and refactor: steps of learning-rate warm-up after each.
        decomposition: sst: round, never, or a number of iterations between decompositions.
        selection: sst: multinomial, uniform, sequential or top.
        gradient: sst: enhanced or plain.
        reset: sst: whose optimizer state a draw clears: all (vectors and singular values), vectors, or none.
        sigma: sst: which singular values train: all, or the active ones.
        factors: sst: svd, or random (vectors at random in place of each decomposition; the weight moves).
        balanced: sst: factor Lorentz weights in coordinates of equal size, the time as large as the others.
        galore_scale: galore: factor of the projected steps.
        execution: sst: auto, composed or factored.
        nodes: Number of nodes of the sets synthetic and disease-tree; 0 for those that come in one size.
        parts: Parts that the graph is cut into for training in batches; 1 for no batches.
        parts_per_batch: Parts, drawn at random, that make up a batch.
        neighbors: Neighbours to draw of each node, one number for each step away, for batches of sampled
            neighbourhoods (needs pyg-lib or torch-sparse); none for no sampling.
        batch_size: With neighbors: nodes or edges that a batch learns from.
        compile: Compile the training step; worth its half a minute or so beyond some thousand epochs.
    """

    dataset: tyro.conf.Positional[str] = "disease-tree"
    task: str = "nc"
    model: str = "hybonet"
    method: str = "full"
    rank: int | float = 1
    seed: int = 0
    split: str = "clean"
    split_seed: int = 1234
    features: str = ""
    labels: str = ""
    epochs: int | None = None
    patience: int | None = None
    eval_every: int | None = None
    dim: int | None = None
    layers: int | None = None
    lr: float | None = None
    schedule: str | None = None
    weight_decay: float | None = None
    dropout: float | None = None
    activation: str | None = None
    class_weights: str | None = None
    margin: float | None = None
    c: float | None = None
    learnable_c: bool | None = None
    grad_clip: float | None = None
    vector_lr: float | None = None
    sigma_lr: float | None = None
    vectors: str | None = None
    steps_per_iteration: int | None = None
    warmup_steps: int | None = None
    decomposition: str | None = None
    selection: str | None = None
    gradient: str | None = None
    reset: str | None = None
    sigma: str | None = None
    factors: str | None = None
    balanced: bool | None = None
    galore_scale: float | None = None
    execution: str | None = None
    nodes: int | None = None
    parts: int | None = None
    parts_per_batch: int | None = None
    neighbors: tuple[int, ...] | None = None
    batch_size: int | None = None
    compile: bool = False

    def resolve(self) -> ResolvedSettings:
        """Check the names and fill every ``None`` from the recipe.

        Raises:
            ValueError: If a name is unknown (with the nearest ones) or a number is out of range.
        """
        own = self.dataset == OWN_GRAPH or is_edge_file(self.dataset)
        for name in () if is_edge_file(self.dataset) else ("features", "labels"):
            if getattr(self, name):
                raise ValueError(f"`{name}` must be left out but for a file of edges, got {getattr(self, name)!r}.")
        choices = {
            "dataset": [self.dataset] if own else DATASETS,
            "task": _TASKS,
            "model": MODELS,
            "method": METHODS,
            "split": SPLITS,
        }
        for name, known in choices.items():
            value = getattr(self, name)
            if value not in known:
                raise unknown(name, value, known)
        recipe = recipe_for(self.dataset, self.task, self.model, self.method)
        recipe |= batches_for(self.dataset, self.nodes, self.parts, self.neighbors)
        if self.lr is not None:
            recipe["vector_lr"] *= self.lr / recipe["lr"]
            recipe["sigma_lr"] = recipe["sigma_lr"] / recipe["lr"] * self.lr
        if (self.schedule or recipe["schedule"]) != "constant":
            recipe["patience"] = self.epochs or recipe["epochs"]
        elif recipe["schedule"] != "constant":
            recipe["patience"] = published_recipe(self.dataset, self.task, self.model, self.method)["patience"]
        missing = {f.name: recipe[f.name] for f in dataclasses.fields(self) if getattr(self, f.name) is None}
        full = ResolvedSettings(**{**dataclasses.asdict(self), **missing})
        lowest = {"epochs": 1, "patience": 1, "eval_every": 1, "dim": 1, "layers": 1, "lr": 0.0}
        lowest |= {"weight_decay": 0.0, "grad_clip": 0.0, "vector_lr": 0.0, "sigma_lr": 0.0}
        lowest |= {"parts": 1, "parts_per_batch": 1, "batch_size": 1}
        for name, low in lowest.items():
            value = getattr(full, name)
            if not value >= low:
                raise ValueError(f"`{name}` must be at least {low}, got {value}.")
        if full.class_weights not in CLASS_WEIGHTS:
            raise unknown("class_weights", full.class_weights, CLASS_WEIGHTS)
        if full.schedule not in GRAPH_SCHEDULES:
            raise unknown("schedule", full.schedule, GRAPH_SCHEDULES)
        if full.parts_per_batch > full.parts:
            raise ValueError(f"`parts_per_batch` must be at most `parts` = {full.parts}, got {full.parts_per_batch}.")
        if min(full.neighbors, default=1) < 1:
            raise ValueError(f"`neighbors` must hold numbers of at least 1, got {full.neighbors}.")
        if full.compile and (full.neighbors or full.parts > 1):
            raise ValueError("`compile` must be False with `parts` or `neighbors`, whose batches differ in shape.")
        if full.neighbors and full.parts > 1:
            raise ValueError(f"`parts` must be 1 with `neighbors`, which makes its own batches, got {full.parts}.")
        return full

    @property
    def run_name(self) -> str:
        """A folder name that tells runs of a table apart."""
        rank = "" if self.method == "full" else f"-r{self.rank}"
        size = f"-{self.nodes}" if self.nodes else ""
        name = PurePath(self.dataset).stem if is_edge_file(self.dataset) else self.dataset
        return f"{name}{size}-{self.task}-{self.model}-{self.method}{rank}-{self.split}-s{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, as JSON holds them."""
        settings = dataclasses.asdict(self)
        if self.neighbors is not None:
            settings["neighbors"] = list(self.neighbors)
        return settings


@dataclass(frozen=True, kw_only=True)
class ResolvedSettings(Settings):
    """Settings of which every one has a value."""

    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    """Decay rates of Adam's moments: torch's, for every run on graphs."""
    recompute: ClassVar[bool] = False
    storage: ClassVar[str] = "float32"

    epochs: int
    patience: int
    eval_every: int
    dim: int
    layers: int
    lr: float
    schedule: str
    weight_decay: float
    dropout: float
    activation: str
    class_weights: str
    margin: float
    c: float
    learnable_c: bool
    grad_clip: float
    vector_lr: float
    sigma_lr: float
    vectors: str
    steps_per_iteration: int
    warmup_steps: int
    decomposition: str
    selection: str
    gradient: str
    reset: str
    sigma: str
    factors: str
    balanced: bool
    galore_scale: float
    execution: str
    nodes: int
    parts: int
    parts_per_batch: int
    neighbors: tuple[int, ...]
    batch_size: int
