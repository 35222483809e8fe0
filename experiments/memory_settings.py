"""What a training step is, whose memory is predicted or measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypersst.errors import unknown
from hypersst.experiments.texts.settings import LANGUAGE_MODELS, PRECISIONS, TRANSLATORS
from hypersst.models.sequence import LanguageModel, build_sequence
from hypersst.spectral.config import check_rank

__all__ = ["VARIANTS", "Footprint", "MemorySettings", "Variant"]

_PIECE = 512


@dataclass(frozen=True)
class Variant:
    """A way of training.

    Args:
        method: full, lora, galore or sst.
        per_layer: Step each parameter as soon as its gradient is there, and free that.
        options: Of `hypersst.spectralize`.
    """

    method: str
    per_layer: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recompute(self) -> bool:
        """Whether it needs plain linear maps."""
        return bool(self.options.get("recompute"))

    @property
    def storage(self) -> str:
        """How it holds frozen vectors."""
        return str(self.options.get("storage", "float32"))

    def kept(self) -> Variant:
        """The same with composed weights kept between forward and backward pass."""
        return replace(self, options={**self.options, "recompute": False})


VARIANTS: Mapping[str, Variant] = {
    "full": Variant("full"),
    "lora": Variant("lora"),
    "galore": Variant("galore"),
    "galore-per-layer": Variant("galore", per_layer=True),
    "sst": Variant("sst"),
    "sst-recompute": Variant("sst", options={"recompute": True}),
    "sst-bfloat16": Variant("sst", options={"recompute": True, "storage": "bfloat16"}),
    "sst-int8": Variant("sst", options={"recompute": True, "storage": "int8"}),
}


@dataclass(frozen=True)
class Footprint:
    """Bytes of one step.

    Args:
        weights: Parameters of every kind, frozen vectors included.
        gradients: At their most.
        states: Adam's moments, and GaLore's projections.
        activations: What the forward pass of one part leaves for the backward pass, above all else.
        peak: The most that was held at once; measured only.
    """

    weights: int
    gradients: int
    states: int
    activations: int
    peak: int | None = None

    @property
    def total(self) -> int:
        """The four together: the peak of steps that accumulate gradients, but for what lives shortly."""
        return self.weights + self.gradients + self.states + self.activations


@dataclass(frozen=True, kw_only=True)
class MemorySettings:
    """A step of training on texts.

    Args:
        model: llama, opt, lorentz-llama, transformer or lorentz-transformer.
        size: Named size of the model, such as 100m; the options below go before its numbers.
        dim: Intrinsic dimensions between layers.
        layers: Layers (of a translator, of encoder and decoder each).
        heads: Heads of each attention.
        feedforward: Dimensions within the feed-forward networks.
        vocabulary: Number of words.
        tokens: Tokens in a step.
        length: Tokens in a row.
        accumulate: Parts that a step's batch is cut into, one pass each.
        rank: Of LoRA, GaLore and SST: an integer, or a share of the full rank in (0, 1].
        precision: float32, or bf16 (autocast; parameters and states stay in float32).
        checkpoint: Keep only the input of each layer for the backward pass, and run the layer again there; likewise
            the scores of words and the loss of language models, 512 tokens at a time.
        method: Ways of training, or all.
    """

    model: Annotated[str, tyro.conf.Positional] = "llama"
    size: str | None = None
    dim: int | None = None
    layers: int | None = None
    heads: int | None = None
    feedforward: int | None = None
    vocabulary: int = 32_000
    tokens: int = 8_192
    length: int = 256
    accumulate: int = 1
    rank: int | float = 0.125
    precision: str = "float32"
    checkpoint: bool = False
    method: tuple[str, ...] = ("all",)

    def __post_init__(self) -> None:
        for name, value, known in (
            ("model", self.model, (*LANGUAGE_MODELS, *TRANSLATORS)),
            ("precision", self.precision, PRECISIONS),
            *(("method", method, ("all", *VARIANTS)) for method in self.method),
        ):
            if value not in known:
                raise unknown(name, value, known)
        for name in ("vocabulary", "tokens", "length", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if not self.method:
            raise ValueError("`method` must name a way of training, or all, got none.")
        check_rank(self.rank)
        if self.tokens % (self.length * self.accumulate):
            raise ValueError(
                f"`tokens` must be a multiple of `length` * `accumulate` = {self.length * self.accumulate}, "
                f"got {self.tokens}."
            )

    @property
    def hyperbolic(self) -> bool:
        """Whether the model's parameters are points, some of them."""
        return self.model.startswith("lorentz")

    def build(self) -> nn.Module:
        """The model, with its layers checkpointed if asked for."""
        layers = {"encoder_layers": self.layers, "decoder_layers": self.layers}
        shape = {"dim": self.dim, "heads": self.heads, "feedforward": self.feedforward}
        shape |= layers if self.model in TRANSLATORS else {"layers": self.layers}
        words = (self.vocabulary,) * (2 if self.model in TRANSLATORS else 1)
        given = {name: value for name, value in shape.items() if value is not None}
        model = build_sequence(self.model, *words, size=self.size, max_length=self.length, dropout=0.0, **given)
        if self.checkpoint:
            for stack in (m for m in model.modules() if isinstance(m, nn.ModuleList)):
                for layer in stack:
                    layer.forward = _Checkpointed(layer.forward)
        return model.train()

    def inputs(self, device: torch.device, rows: int | None = None) -> tuple[Tensor, ...]:
        """Tokens of one part of a step, shapes ``(rows, length)``: what the model takes, and last what it is to say."""
        rows = self.tokens // (self.length * self.accumulate) if rows is None else rows
        generator = torch.Generator(device).manual_seed(0)
        several = 3 if self.model in TRANSLATORS else 2
        draw = torch.randint(
            1, max(2, self.vocabulary), (several, rows, self.length), generator=generator, device=device
        )
        return tuple(draw.unbind())

    def loss(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        """Cross-entropy of one part, divided by the number of parts."""
        *given, target = inputs
        with torch.autocast(target.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if self.checkpoint and isinstance(model, LanguageModel):
                loss = _loss_by_pieces(model, model.states(given[0]).flatten(0, 1), target.flatten())
            else:
                loss = F.cross_entropy(model(*given).flatten(0, 1).float(), target.flatten())
        return loss / self.accumulate


def _loss_by_pieces(model: LanguageModel, states: Tensor, target: Tensor) -> Tensor:
    """Without the scores of all words for all states at once, which would be more than a layer's activations."""

    def piece(states: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(model.logits(states).float(), target, reduction="sum")

    pairs = zip(states.split(_PIECE), target.split(_PIECE), strict=True)
    return torch.stack([checkpoint(piece, *pair, use_reentrant=False) for pair in pairs]).sum() / len(target)


class _Checkpointed:
    """A layer's forward, without reentry."""

    def __init__(self, forward: Any) -> None:
        self.forward = forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return checkpoint(self.forward, *args, use_reentrant=False, **kwargs)
