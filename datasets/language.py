"""Texts for language models, by name or from one's own files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hypersst.datasets import text_sources
from hypersst.datasets.files import DataFile, find_file, read_files
from hypersst.datasets.text_part import TextPart, cut_text
from hypersst.errors import DataError, unknown

__all__ = ["LANGUAGES", "LanguageSource", "LanguageText", "load_language"]

Folder = str | os.PathLike[str] | None


@dataclass(frozen=True)
class LanguageText:
    """A text in three parts.

    Attributes:
        name: Name of the set.
        train: What to learn from.
        validation: What to choose by.
        test: What to score on.
    """

    name: str
    train: TextPart
    validation: TextPart
    test: TextPart

    def describe(self) -> str:
        """One line for records."""
        return (
            f"{self.name}, bytes: train {self.train.size:,}, validation {self.validation.size:,}, test "
            f"{self.test.size:,}"
        )


@dataclass(frozen=True)
class LanguageSource:
    """Where a text comes from.

    Attributes:
        summary: One line for lists.
        files: Training, validation and test file, or one for all.
        licence: As the source states it.
    """

    summary: str
    files: tuple[DataFile, ...]
    licence: str

    @property
    def source(self) -> str:
        """Repository and commit."""
        return self.files[0].source


LANGUAGES: Mapping[str, LanguageSource] = {
    "wikitext2": LanguageSource(
        "2,088,628 words of encyclopedia articles (WikiText-2), rare ones as <unk>",
        text_sources.WIKITEXT2,
        "CC BY-SA (text); BSD-3-Clause (repository)",
    ),
    "tinyshakespeare": LanguageSource(
        "40,000 lines of plays", (text_sources.SHAKESPEARE,), "public domain (text); MIT (repository)"
    ),
}
"""All texts by the names that `load_language` takes, besides paths."""

_SHARES = (0.05, 0.05)


def load_language(
    name: str | os.PathLike[str], *, shares: tuple[float, float] | None = None, data_dir: Folder = None
) -> LanguageText:
    """Load a text for a language model.

    ``"wikitext2"`` comes in three files, whose words are left as they are (``<unk>``, ``@-@``). ``"tinyshakespeare"``
    and your own text are cut where they stand: the beginning for training, the end for testing, at ends of lines.
    Texts stay on the disk; a line must fit into memory.

    Args:
        name: A key of `LANGUAGES`, a plain text file, or a folder of ``.txt`` files (in the order of their names,
            folders within it included).
        shares: Shares of validation and test part, by bytes; 0.05 each if left out.
        data_dir: Folder to look in first for the sets that have names.

    Raises:
        ValueError: If there is neither a set nor a file of that name, or shares do not go with the text.
        DataError: If files are missing and cannot be fetched, or have a wrong checksum (a `ValueError` too).
    """
    if isinstance(name, str) and name in LANGUAGES:
        return _load_named(name, shares, data_dir)
    path = Path(name)
    if path.is_dir():
        paths = sorted(path.rglob("*.txt"))
        if not paths:
            raise DataError(f"Folder {path} must hold files *.txt, got none.")
    elif path.is_file():
        paths = [path]
    else:
        raise unknown("dataset", os.fspath(name), (*LANGUAGES, "a file", "a folder of .txt files"))
    if any(file.suffix == ".gz" for file in paths):
        raise ValueError(f"`name` must be of plain text, which is read in slices: unpack {path} first.")
    return LanguageText(path.stem, *cut_text(paths, _SHARES if shares is None else shares))


def _load_named(name: str, shares: tuple[float, float] | None, data_dir: Folder) -> LanguageText:
    files = LANGUAGES[name].files
    if len(files) == 3 and shares is not None:
        raise ValueError(f"`shares` must be left out for {name}, which has three files, got {shares}.")
    read_files(files, data_dir)  # to download what is missing and to compare checksums
    paths = [path for file in files if (path := find_file(file, data_dir)) is not None]
    if len(files) == 3:
        return LanguageText(name, *(cut_text([path])[0] for path in paths))
    return LanguageText(name, *cut_text(paths, _SHARES if shares is None else shares))
