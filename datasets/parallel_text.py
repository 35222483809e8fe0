"""Sentences and their translations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["ParallelText", "SentencePairs"]


@dataclass(frozen=True)
class SentencePairs:
    """Sentences, each beside its translation.

    Attributes:
        source: Sentences.
        target: As many translations.
        dropped: Pairs of the file that were left out because a side was empty.

    Raises:
        ValueError: If there are more on one side.

    Example:
        >>> list(SentencePairs(("ein ball",), ("a ball",)))
        [('ein ball', 'a ball')]
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    dropped: int = 0

    def __post_init__(self) -> None:
        if len(self.source) != len(self.target):
            raise ValueError(
                f"`source` and `target` must have equally many sentences, got {len(self.source):,} and "
                f"{len(self.target):,}."
            )

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return zip(self.source, self.target, strict=True)


@dataclass(frozen=True)
class ParallelText:
    """A set for translation.

    Attributes:
        name: Name of the set.
        source: Language that is translated.
        target: Language that it is translated into.
        train: Pairs to learn from.
        validation: Pairs to choose by.
        tests: Pairs to score on, by the test sets' names.
        note: What a table of scores must say of the set.
    """

    name: str
    source: str
    target: str
    train: SentencePairs
    validation: SentencePairs
    tests: Mapping[str, SentencePairs] = field(default_factory=dict)
    note: str = ""

    def describe(self) -> str:
        """One line for records."""
        parts = {"train": self.train, "validation": self.validation, **self.tests}
        counts = ", ".join(f"{part} {len(pairs):,}" for part, pairs in parts.items())
        dropped = sum(pairs.dropped for pairs in parts.values())
        left_out = f"; {dropped:,} left out with an empty side" if dropped else ""
        note = f"; {self.note}" if self.note else ""
        return f"{self.name} {self.source}-{self.target}, pairs: {counts}{left_out}{note}"
