"""What a step on texts sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from hypersst.datasets import PAD
from hypersst.experiments.texts.cross_entropy import cross_entropy_sum

__all__ = ["TextBatch", "negative_log_likelihood"]


@dataclass(frozen=True, eq=False)
class TextBatch:
    """Rows of tokens.

    Attributes:
        inputs: What the model is called with, shape ``(rows, length)`` each: source and target so far, or the text.
        targets: The tokens that come next, shape ``(rows, length)``, `PAD` where there is none.
    """

    inputs: tuple[Tensor, ...]
    targets: Tensor

    def chunks(self, number: int) -> list[TextBatch]:
        """Cut the rows into at most ``number`` parts."""
        parts = zip(*(x.chunk(number) for x in (*self.inputs, self.targets)), strict=True)
        return [TextBatch(tuple(inputs), targets) for *inputs, targets in parts]

    def to(self, device: Any) -> TextBatch:
        """Move to a device."""
        return TextBatch(tuple(x.to(device) for x in self.inputs), self.targets.to(device))

    def count(self) -> Tensor:
        """Number of tokens to predict, a scalar."""
        return (self.targets != PAD).sum()


def negative_log_likelihood(model: nn.Module, batch: TextBatch, label_smoothing: float = 0.0) -> Tensor:
    """Sum of the negative log-likelihoods of a batch's targets, in nats, a scalar.

    Args:
        model: Maps ``inputs`` to logits of shape ``(rows, length, V)``.
        batch: Rows of tokens.
        label_smoothing: Share of each target's probability that is spread over all words, in [0, 1).
    """
    logits = model(*batch.inputs).flatten(0, 1)
    return cross_entropy_sum(logits, batch.targets.flatten(), ignore=PAD, label_smoothing=label_smoothing)
