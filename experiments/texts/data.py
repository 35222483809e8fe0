"""Texts as a run sees them: in tokens and batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypersst.datasets import (
    LANGUAGES,
    TRANSLATIONS,
    SentencePairs,
    Subwords,
    TokenBatches,
    TokenBlocks,
    Tokenizer,
    TokenStream,
    Words,
    encode_pairs,
    load_language,
    load_translation,
    ordered_batches,
    read_parallel,
)
from hypersst.datasets.token_file import map_tokens
from hypersst.errors import unknown
from hypersst.experiments.processes import ALONE, Processes
from hypersst.experiments.texts.batch import TextBatch
from hypersst.experiments.texts.settings import ResolvedTextSettings

__all__ = ["TextData", "TrainingBatches", "load_text_data"]

_EVALUATION_TOKENS = 4096
_HELD_OUT = 0.05


class TrainingBatches:
    """An endless row of training batches that can be stopped and gone on with anywhere.

    Args:
        source: Batches of pairs or blocks of running text.
    """

    def __init__(self, source: TokenBatches | TokenStream) -> None:
        self._source = source
        self._left: Iterator[Any] = iter(())

    @property
    def epoch(self) -> int:
        """Passes over the training text that are complete."""
        return self._source.epoch

    def next(self) -> TextBatch:
        """The next batch."""
        while True:
            for batch in self._left:
                return _text_batch(batch)
            self._left = iter(self._source)

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch is."""
        return self._source.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ValueError: If it is of other texts or batches.
        """
        self._source.load_state_dict(state)
        self._left = iter(())


def _text_batch(batch: Any) -> TextBatch:
    if isinstance(batch, TokenBlocks):
        return TextBatch((batch.tokens,), batch.targets)
    return TextBatch((batch.source, batch.target_in), batch.target_out)


@dataclass(frozen=True, eq=False)
class TextData:
    """Texts in tokens and batches.

    Attributes:
        tokenizer: That of all texts.
        train: Training batches.
        validation: All of the validation part.
        test: All of the (first) test part.
        test_pairs: Sentences of the test parts with their translations, for scores of what is written; none of a text
            without translation.
        description: One line for records.
    """

    tokenizer: Tokenizer
    train: TrainingBatches
    validation: list[TextBatch]
    test: list[TextBatch]
    test_pairs: Mapping[str, SentencePairs]
    description: str

    @property
    def vocabulary(self) -> int:
        """Size of the vocabulary, marks included."""
        return len(self.tokenizer)


def load_text_data(
    settings: ResolvedTextSettings, data_dir: Path | None = None, processes: Processes = ALONE
) -> TextData:
    """Load the texts that resolved settings name, and train their tokenizer on the training part.

    Args:
        settings: What to train.
        data_dir: Folder to look for data files in first.
        processes: Those that share the rows of each training batch; of the other parts each gets all.

    Raises:
        ValueError: If there is no such text, it does not go with the model, its files are bad, or a batch cannot be
            shared.
    """
    load = _translation if settings.translates else _language
    return load(settings, data_dir, processes)


def _translation(settings: ResolvedTextSettings, data_dir: Path | None, processes: Processes) -> TextData:
    source, _, target = settings.direction.partition("-")
    if settings.target:
        text = read_parallel(
            settings.dataset,
            settings.target,
            source=source,
            target=target,
            validation=_HELD_OUT,
            tests={"test": _HELD_OUT},
        )
    elif settings.dataset in TRANSLATIONS:
        text = load_translation(settings.dataset, source=source, target=target, data_dir=data_dir)
    elif Path(settings.dataset).is_file():
        raise ValueError("`target` must be the file of translations of `dataset`, line by line, got none.")
    else:
        raise unknown("dataset", settings.dataset, (*TRANSLATIONS, "a file with its `target`"))
    tokenizer = Subwords.train((*text.train.source, *text.train.target), settings.vocabulary)
    pairs = encode_pairs(text.train, tokenizer, tokenizer)

    def whole(part: SentencePairs) -> list[TextBatch]:
        found = ordered_batches(encode_pairs(part, tokenizer, tokenizer), _EVALUATION_TOKENS, by_length=True)
        return [_text_batch(batch) for batch in found]

    batches = TokenBatches(pairs, settings.tokens, seed=settings.seed, rank=processes.rank, world=processes.world)
    return TextData(
        tokenizer,
        TrainingBatches(batches),
        whole(text.validation),
        whole(next(iter(text.tests.values()))),
        text.tests,
        f"{text.describe()}; {len(tokenizer):,} subwords",
    )


def _language(settings: ResolvedTextSettings, data_dir: Path | None, processes: Processes) -> TextData:
    if settings.dataset not in LANGUAGES and not Path(settings.dataset).exists():
        raise unknown("dataset", settings.dataset, (*LANGUAGES, "a text file"))
    text = load_language(settings.dataset, data_dir=data_dir)
    lines: Iterable[str] = text.train.lines()
    tokenizer: Tokenizer = Subwords.train(lines, settings.vocabulary) if settings.vocabulary else Words.train(lines)
    rows = settings.tokens // settings.length
    rank, world = processes.rank, processes.world
    if rows % world:
        raise ValueError(
            f"`tokens` must fill a multiple of {world} rows of `length` {settings.length}, for as many processes, got "
            f"{settings.tokens:,} for {rows}."
        )
    seen = map_tokens(text.train, tokenizer)
    stream = TokenStream(seen, rows, settings.length, seed=settings.seed, rank=rank, world=world)

    def whole(part: Any) -> list[TextBatch]:
        return [_text_batch(b) for b in TokenStream(map_tokens(part, tokenizer), rows, settings.length, ordered=True)]

    validation, test = whole(text.validation), whole(text.test)
    kind = "subwords" if settings.vocabulary else "words"
    return TextData(
        tokenizer, TrainingBatches(stream), validation, test, {}, f"{text.describe()}; {len(tokenizer):,} {kind}"
    )
