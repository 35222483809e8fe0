"""Numbers that every tokenizer gives to the same marks."""

from __future__ import annotations

__all__ = ["BOS", "EOS", "PAD", "UNK"]

PAD = 0
"""Fills rows up; losses ignore it (``F.cross_entropy(..., ignore_index=PAD)``)."""

UNK = 1
"""What the vocabulary does not have."""

BOS = 2
"""Before the first token of a translation."""

EOS = 3
"""After the last token of a sentence, or of a line of running text."""
