r"""Translations of high probability, searched for in many sentences at once.

# Note [beam search]

A beam holds K unfinished hypotheses for each sentence. Each is continued by every word, and the continuations are
ranked by their log-probability. Those among the K best that end are finished; the K best that do not end go on.
Finished ones are compared by their log-probability over

    lp(n) = ((5 + n) / 6)^α                                            (Wu et al. 2016, eq. 14)

with n words, the end counted. A search stops for a sentence when K hypotheses are finished, or when the best of them
cannot be beaten: log-probabilities only fall and lp grows with n, so nothing that an unfinished hypothesis of
log-probability s becomes is better than s / lp(limit). At the limit only the end may follow. Hence K = 1 is greedy
decoding, and with K as large as the number of all hypotheses the result is the best one there is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hypersst.manifolds.stable import at_least_float32
from hypersst.models.sequence.tokens import check_rows
from hypersst.models.sequence.transformer import EncoderDecoder
from hypersst.nn.shapes import check_channels

__all__ = ["Hypothesis", "beam_search", "evaluating", "greedy"]


@dataclass(frozen=True)
class Hypothesis:
    """A translation that was found.

    Attributes:
        tokens: Its words, without beginning and end.
        score: Log-probability, the end included, over the length penalty.
    """

    tokens: tuple[int, ...]
    score: float


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout and no gradients in here; each module is as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def beam_search(
    model: EncoderDecoder,
    source: Tensor,
    beam: int = 4,
    *,
    length_penalty: float = 0.6,
    max_length: int | None = None,
    begin: int = 2,
    end: int = 3,
) -> list[Hypothesis]:
    r"""Translate sentences, see Note [beam search].

    The states of what was read are kept (`KeyValueCache`), and sentences that are done leave the batch.

    Source: Wu et al. (2016), *Google's Neural Machine Translation System*, eq. 14, for the penalty, without coverage.
    Departure: their search prunes by a threshold as well.

    Args:
        model: A model that translates, in either geometry.
        source: Tokens, shape ``(N, S)``, rows filled up on the right with the model's ``pad``.
        beam: Number K of hypotheses.
        length_penalty: :math:`\alpha`, not negative: 0 compares log-probabilities, 1 nearly their means.
        max_length: Largest number of words, the end counted; if left out, twice a sentence's tokens and 10 more. Never
            more than the model's own limit.
        begin: Token that begins a target.
        end: Token that ends one.

    Returns:
        The best hypothesis for each sentence.

    Raises:
        ValueError: If a number is out of its range.
    """
    check_rows("source", source)
    check_channels(beam=beam)
    if not 0.0 <= length_penalty < math.inf:
        raise ValueError(f"`length_penalty` must be finite and not negative, got {length_penalty}.")
    if max_length is not None:
        check_channels(max_length=max_length)
    if source.numel() == 0:
        return []
    with evaluating(model):
        search = _Search(model, source, beam, length_penalty, max_length, begin, end)
        while search.sentences.numel():
            search.step()
    return search.found()


def greedy(
    model: EncoderDecoder, source: Tensor, *, max_length: int | None = None, begin: int = 2, end: int = 3
) -> list[Hypothesis]:
    """Translate sentences by the likeliest word at each place: `beam_search` with one hypothesis, same arguments."""
    return beam_search(model, source, 1, length_penalty=0.0, max_length=max_length, begin=begin, end=end)


class _Search:
    """The beams of those sentences that are not done, and the best finished hypothesis of each.

    Of n sentences and k hypotheses each: ``tokens (n, k, t)`` with the beginning, ``scores (n, k)``.
    """

    def __init__(
        self,
        model: EncoderDecoder,
        source: Tensor,
        beam: int,
        penalty: float,
        max_length: int | None,
        begin: int,
        end: int,
    ) -> None:
        count, device = len(source), source.device
        self.model, self.beam, self.penalty, self.pad, self.end = model, beam, penalty, model.pad, end
        words = (source != model.pad).sum(dim=1)
        wanted = 2 * words + 10 if max_length is None else torch.full_like(words, max_length)
        self.limits = wanted.clamp_max(model.max_length)
        self.memory: Tensor | None = model.encode(source)
        self.padding = model.padding(source)
        self.cache = model.cache(int(self.limits.max()))
        self.sentences = torch.arange(count, device=device)
        self.tokens = torch.full((count, 1, 1), begin, device=device)
        self.scores = self.memory.new_zeros((count, 1), dtype=torch.float64)
        self.finished = torch.zeros(count, dtype=torch.int64, device=device)
        self.best_score = torch.full((count,), -math.inf, dtype=torch.float64, device=device)
        self.best: list[tuple[int, ...]] = [()] * count
        self.barred = [token for token in {model.pad, begin} if token != end]

    def _lp(self, length: Tensor | int) -> Tensor | float:
        return ((5.0 + length) / 6.0) ** self.penalty

    def step(self) -> None:
        """Read the last words, rank all continuations, keep what goes on."""
        ranked, parent, word = self._rank()
        length = self.tokens.shape[2]
        place = torch.arange(ranked.shape[1], device=word.device)
        ends = (word == self.end) & ranked.isfinite()
        self._finish(ranked, parent, ends & (place < self.beam), length)
        # Continuations that do not end come first, in their order.
        going = (place + ends * len(place)).topk(min(self.beam, len(place)), largest=False, sorted=True).indices
        scores, parent, word = ranked.gather(1, going), parent.gather(1, going), word.gather(1, going)
        scores = scores.masked_fill(ends.gather(1, going), -math.inf)
        bound = scores[:, 0] / self._lp(self.limits)
        over = (self.finished >= self.beam) | (self.best_score[self.sentences] >= bound) | (length >= self.limits)
        self._go_on(scores, parent, word, ~over)

    def _rank(self) -> tuple[Tensor, Tensor, Tensor]:
        """The 2K best continuations of each sentence: log-probability, hypothesis and word, ``(n, 2K)`` each."""
        count, k, length = self.tokens.shape
        states = self.model.decode(self.tokens[:, :, -1].reshape(-1, 1), self.memory, self.padding, self.cache)
        self.memory = None  # The cache has read it.
        logits = at_least_float32(self.model.logits(states).squeeze(1))
        total = logits.logsumexp(dim=-1, keepdim=True)
        logits[:, self.barred] = -math.inf
        last = (length >= self.limits).repeat_interleave(k)
        if last.any():
            logits[last.unsqueeze(1) & (torch.arange(logits.shape[1], device=logits.device) != self.end)] = -math.inf
        # The 2K best of all are among the 2K best of each hypothesis.
        best, words = logits.topk(min(2 * self.beam, logits.shape[1]))
        scores = self.scores.unsqueeze(-1) + (best.double() - total).view(count, k, -1)
        # At most one continuation of each hypothesis ends, so K of the best 2K go on.
        ranked, index = scores.flatten(1).topk(min(2 * self.beam, scores[0].numel()))
        return ranked, index // best.shape[1], words.view(count, -1).gather(1, index)

    def _finish(self, ranked: Tensor, parent: Tensor, ends: Tensor, length: int) -> None:
        """Compare hypotheses that end now with the best before."""
        self.finished = self.finished + ends.sum(dim=1)
        score, place = (ranked.masked_fill(~ends, -math.inf) / self._lp(length)).max(dim=1)
        better = (score > self.best_score[self.sentences]).nonzero().squeeze(1)
        if better.numel():
            rows = self.tokens[better, parent[better, place[better]], 1:]
            sentences = self.sentences[better]
            self.best_score[sentences] = score[better]
            for sentence, row in zip(sentences.tolist(), rows.tolist(), strict=True):
                self.best[sentence] = tuple(row)

    def _go_on(self, scores: Tensor, parent: Tensor, word: Tensor, live: Tensor) -> None:
        """Move tokens, scores and cache to the hypotheses that go on, of the sentences that do."""
        count, k, _ = self.tokens.shape
        first = k * torch.arange(count, device=word.device).unsqueeze(1)
        alone = bool(live.all())
        rows = (first + parent)[live].flatten()
        # Within a sentence the memory is the same, so it moves only when sentences leave or hypotheses multiply.
        moves = not alone or word.shape[1] != k
        self.cache.reorder(rows, memory=moves)
        tokens = self.tokens.flatten(0, 1)[rows].unflatten(0, (-1, word.shape[1]))
        self.tokens = torch.cat((tokens, word[live].unsqueeze(-1)), dim=-1)
        self.scores = scores[live]
        if moves:
            self.padding = self.padding[rows]
        self.sentences, self.finished, self.limits = self.sentences[live], self.finished[live], self.limits[live]

    def found(self) -> list[Hypothesis]:
        """The best of each sentence."""
        return [Hypothesis(tokens, score) for tokens, score in zip(self.best, self.best_score.tolist(), strict=True)]
