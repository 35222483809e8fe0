"""The settings of one training run on texts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import tyro

from hypersst.errors import unknown
from hypersst.experiments.methods import METHODS
from hypersst.experiments.schedule import SCHEDULES
from hypersst.experiments.texts.recipes import text_recipe

__all__ = ["LANGUAGE_MODELS", "PRECISIONS", "SHARDINGS", "TRANSLATORS", "ResolvedTextSettings", "TextSettings"]

TRANSLATORS = ("transformer", "lorentz-transformer")
"""Models of one text given another."""

LANGUAGE_MODELS = ("llama", "opt", "lorentz-llama")
"""Models of one text."""

PRECISIONS = ("float32", "bf16")
"""Of matrix products: bf16 is torch's autocast, with parameters, optimizer and geometry in float32."""

SHARDINGS = ("ddp", "fsdp2")
"""What several processes hold: replicas, or shards."""

_SHARDED_METHODS = ("full", "sst", "lora")


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """One run on texts. ``None`` means: take the recipe's value for this data set, model and method.

    Args:
        dataset: multi30k, iwslt14, wikitext2, tinyshakespeare, or a file of text, one sentence or line a line.
        target: The other language's file, line by line beside ``dataset``, if that is a file to translate; a
            twentieth of the pairs is held out for validation, another for testing.
        direction: Which language is translated into which, for sets that have two.
        model: transformer or lorentz-transformer (translation), llama, opt or lorentz-llama (language models).
        method: full, sst, lora, relora, galore, or refactor (weights of low rank, factored anew now and then).
        rank: Rank of all methods but full: an integer, or a share of the full rank in (0, 1].
        seed: Seed of initialisation, dropout, order of batches and draws.
        vocabulary: Subwords, shared by both languages; the set's own words for wikitext2 if 0.
        dim: Intrinsic dimensions between layers.
        heads: Heads of each attention.
        layers: Layers; of a translator, of encoder and decoder each.
        feedforward: Dimensions within the feed-forward networks.
        norm_first: Translators: norms before attention and network instead of after the sums.
        dropout: Probability of dropping entries of what layers add.
        attention_dropout: Probability of dropping attention weights.
        steps: Steps of the optimizer.
        tokens: Tokens in a step, padding included.
        accumulate: Parts that a step's batch is cut into, one pass each.
        length: Language models: tokens in a row, at most ``tokens``.
        eval_every: Steps between evaluations.
        average: Evaluations whose weights are averaged at the end; 1 for the best alone.
        lr: Largest learning rate.
        schedule: constant, cosine or noam, after a linear warm-up.
        lr_warmup: Steps of that warm-up.
        betas: Decay rates of Adam's moments.
        weight_decay: Decoupled weight decay.
        grad_clip: Largest norm of the gradient over all parameters; 0 for no limit.
        label_smoothing: Share of the right word's probability that is spread over all words.
        precision: Of matrix products: float32 or bf16.
        beam: Hypotheses kept in translation.
        length_penalty: Exponent of the length by which hypotheses' scores are divided.
        c: Curvature parameter of the Lorentz models: the sectional curvature is -c.
        vector_lr: Learning rate of sst's singular vectors; if left out, it goes with lr.
        sigma_lr: Learning rate of sst's singular values; if left out, it goes with lr.
        vectors: sst: ambient, stiefel, polar or sphere, as for graphs.
        steps_per_iteration: sst: steps between draws; relora and refactor: between restarts; galore: between
            projections.
        warmup_steps: sst, relora and refactor: steps of learning-rate warm-up after each.
        decomposition: sst: round, never, or a number of iterations between decompositions.
        selection: sst: multinomial, uniform, sequential or top.
        gradient: sst: enhanced or plain.
        reset: sst: whose optimizer state a draw clears: all (vectors and singular values), vectors, or none.
        sigma: sst: which singular values train: all, or the active ones.
        factors: sst: svd, or random.
        balanced: sst: factor Lorentz weights in coordinates of equal size, the time as large as the others.
        galore_scale: galore: factor of the projected steps.
        execution: sst: auto, composed or factored.
        recompute: sst: compose weights again in the backward pass instead of keeping them; not for Lorentz layers.
        storage: sst: type of the vectors that are not active: float32, bfloat16 or int8.
        sharding: What several processes hold: all weights each (ddp), or a share each (fsdp2; with methods full, sst
            and lora). The result is the same but for rounding.
    """

    dataset: tyro.conf.Positional[str] = "multi30k"
    target: str = ""
    direction: str = "de-en"
    model: str | None = None
    method: str = "full"
    rank: int | float = 0.125
    seed: int = 0
    vocabulary: int | None = None
    dim: int | None = None
    heads: int | None = None
    layers: int | None = None
    feedforward: int | None = None
    norm_first: bool | None = None
    dropout: float | None = None
    attention_dropout: float | None = None
    steps: int | None = None
    tokens: int | None = None
    accumulate: int = 1
    length: int | None = None
    eval_every: int | None = None
    average: int | None = None
    lr: float | None = None
    schedule: str | None = None
    lr_warmup: int | None = None
    betas: tuple[float, float] | None = None
    weight_decay: float | None = None
    grad_clip: float | None = None
    label_smoothing: float | None = None
    precision: str = "float32"
    beam: int = 4
    length_penalty: float = 1.0
    c: float = 1.0
    vector_lr: float | None = None
    sigma_lr: float | None = None
    vectors: str = "ambient"
    steps_per_iteration: int | None = None
    warmup_steps: int | None = None
    decomposition: str | None = None
    selection: str = "multinomial"
    gradient: str = "enhanced"
    reset: str = "all"
    sigma: str = "all"
    factors: str = "svd"
    balanced: bool = False
    galore_scale: float | None = None
    execution: str = "auto"
    recompute: bool = False
    storage: str = "float32"
    sharding: str = "ddp"

    def resolve(self) -> ResolvedTextSettings:
        """Check the names and fill every ``None`` from the recipe.

        Raises:
            ValueError: If a name is unknown (with the nearest ones) or a number is out of range.
        """
        if self.model is None:
            raise ValueError("`model` must be given for a text: one of " + ", ".join(TRANSLATORS + LANGUAGE_MODELS))
        for name, known in (("model", TRANSLATORS + LANGUAGE_MODELS), ("method", METHODS)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        if not self.translates:
            for name, given in (("target", self.target), ("norm_first", self.norm_first is False)):
                if given:
                    raise ValueError(f"`{name}` must be left out for a language model, got {getattr(self, name)!r}.")
        recipe = text_recipe(self.model, self.dim)
        if self.lr is not None:
            recipe["vector_lr"] *= self.lr / recipe["lr"]
            recipe["sigma_lr"] = recipe["sigma_lr"] / recipe["lr"] * self.lr
        missing = {f.name: recipe[f.name] for f in dataclasses.fields(self) if getattr(self, f.name) is None}
        full = ResolvedTextSettings(**{**dataclasses.asdict(self), **missing})
        for name, names in (("schedule", SCHEDULES), ("precision", PRECISIONS), ("sharding", SHARDINGS)):
            if getattr(full, name) not in names:
                raise unknown(name, getattr(full, name), names)
        if full.sharding == "fsdp2" and full.method not in _SHARDED_METHODS:
            raise ValueError(
                f"`sharding` must be ddp with `method` {full.method}, which rewrites matrices as a whole, got 'fsdp2': "
                f"that is for {', '.join(_SHARDED_METHODS)}."
            )
        lowest: dict[str, float] = dict.fromkeys(
            ("dim", "heads", "layers", "feedforward", "steps", "tokens", "accumulate", "length", "eval_every"), 1
        )
        lowest |= dict.fromkeys(("average", "beam"), 1)
        lowest |= dict.fromkeys(("lr", "vector_lr", "sigma_lr", "weight_decay", "grad_clip"), 0)
        lowest |= dict.fromkeys(("lr_warmup", "length_penalty"), 0)
        for name, low in lowest.items():
            value = getattr(full, name)
            if not value >= low:
                raise ValueError(f"`{name}` must be at least {low}, got {value}.")
        if full.tokens < full.length:
            raise ValueError(f"`tokens` must be at least `length` = {full.length}, one row, got {full.tokens}.")
        return full

    @property
    def translates(self) -> bool:
        """Whether the model is one of two texts."""
        return self.model in TRANSLATORS

    @property
    def run_name(self) -> str:
        """A folder name that tells runs of a table apart."""
        rank = "" if self.method == "full" else f"-r{self.rank}"
        return f"{PurePath(self.dataset).stem}-{self.model}-d{self.dim}-{self.method}{rank}-s{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, as JSON holds them."""
        settings = dataclasses.asdict(self)
        if self.betas is not None:
            settings["betas"] = list(self.betas)
        if self.sharding == "ddp":
            del settings["sharding"]  # as of a single process, and of records made before there was a choice
        return settings


@dataclass(frozen=True, kw_only=True)
class ResolvedTextSettings(TextSettings):
    """Settings of which every one has a value."""

    model: str
    vocabulary: int
    dim: int
    heads: int
    layers: int
    feedforward: int
    norm_first: bool
    dropout: float
    attention_dropout: float
    steps: int
    tokens: int
    length: int
    eval_every: int
    average: int
    lr: float
    schedule: str
    lr_warmup: int
    betas: tuple[float, float]
    weight_decay: float
    grad_clip: float
    label_smoothing: float
    vector_lr: float
    sigma_lr: float
    steps_per_iteration: int
    warmup_steps: int
    decomposition: str
    galore_scale: float
