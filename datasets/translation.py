"""Sets for translation by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hypersst.datasets import text_sources
from hypersst.datasets.files import DataFile, find_file, read_files
from hypersst.datasets.parallel_text import ParallelText, SentencePairs
from hypersst.datasets.text_lines import decode_lines, undo_bpe
from hypersst.errors import unknown

__all__ = ["TRANSLATIONS", "TranslationSource", "load_translation", "pair_lines"]

Folder = str | os.PathLike[str] | None
Lines = Mapping[str, list[str]]


@dataclass(frozen=True)
class TranslationSource:
    """How a set for translation is read.

    Attributes:
        summary: One line for lists.
        languages: Languages that its sentences are in.
        read: Lines of the files by ``part.language``, looked for as `hypersst.datasets.files` says.
        parts: Names of training, validation and test parts in the keys of ``read``.
        tests: The test parts' own names.
        licence: As the source states it.
        source: Repository and commit.
        note: What a table of scores must say of the set.
    """

    summary: str
    languages: tuple[str, ...]
    read: Callable[[Folder], Lines]
    parts: tuple[str, str]
    tests: Mapping[str, str]
    licence: str
    source: str
    note: str = ""


def pair_lines(source: list[str], target: list[str], names: tuple[str, str]) -> SentencePairs:
    """Lay the lines of two files side by side; a pair with an empty side is left out and counted.

    Args:
        source: Lines of the one file.
        target: Lines of the other.
        names: What to call the files in the error.

    Raises:
        ValueError: If one has more lines.

    Example:
        >>> pair_lines(["ein ball", "", "tor"], ["a ball", "", ""], ("a.de", "a.en"))
        SentencePairs(source=('ein ball',), target=('a ball',), dropped=2)
    """
    if len(source) != len(target):
        raise ValueError(
            f"`source_file` and `target_file` must have equally many lines, got {len(source):,} in {names[0]} and "
            f"{len(target):,} in {names[1]}."
        )
    kept = [pair for pair in zip(source, target, strict=True) if pair[0] and pair[1]]
    return SentencePairs(tuple(s for s, _ in kept), tuple(t for _, t in kept), len(source) - len(kept))


def _lines(files: tuple[DataFile, ...], data_dir: Folder) -> dict[str, list[str]]:
    content = read_files(files, data_dir)
    return {name.removesuffix(".gz"): decode_lines(name, content[name]) for name in content}


def _multi30k(data_dir: Folder) -> Lines:
    return _lines(text_sources.MULTI30K, data_dir)


def _iwslt14(data_dir: Folder) -> Lines:
    joined = text_sources.IWSLT14_JOINED
    here = all(find_file(file, data_dir) is not None for file in joined)
    lines = _lines((*text_sources.IWSLT14, *(joined if here else text_sources.IWSLT14_SAMPLES)), data_dir)
    for language in ("de", "en"):
        if not here:
            lines[f"train-lr8800.{language}"] = [
                *lines.pop(f"train-lr4600.{language}"),
                *lines.pop(f"train-lr4200.{language}"),
            ]
    return {name: [undo_bpe(line) for line in found] for name, found in lines.items()}


TRANSLATIONS: Mapping[str, TranslationSource] = {
    "multi30k": TranslationSource(
        "29,000 captions of photographs, German and English",
        ("de", "en"),
        _multi30k,
        ("train", "val"),
        {
            "test2016": "test_2016_flickr",
            "test2017": "test_2017_flickr",
            "test2017-mscoco": "test_2017_mscoco",
            "test2018": "test_2018_flickr",
        },
        "none; README: non-commercial research or education (of the images)",
        text_sources.MULTI30K[0].source,
    ),
    "iwslt14": TranslationSource(
        "8,800 of the 160,239 training pairs of TED talks, German and English, lower case",
        ("de", "en"),
        _iwslt14,
        ("train-lr8800", "valid"),
        {"test": "test"},
        "none there; TED talks CC BY-NC-ND 3.0",
        text_sources.IWSLT14[0].source,
        note="8,800 of the 160,239 published training pairs, scores do not compare with published ones",
    ),
}
"""All sets for translation by the names that `load_translation` takes."""


def load_translation(name: str, *, source: str = "de", target: str = "en", data_dir: Folder = None) -> ParallelText:
    """Load a set for translation as plain sentences.

    Files come from ``data_dir`` or else ``HYPERSST_DATA``, then from the cache, then from their source, into the
    cache; see `hypersst.datasets.files`. ``"iwslt14"`` is in lower case and in Moses' tokens, as it is published; the
    BPE of its files is undone.

    Args:
        name: A key of `TRANSLATIONS`.
        source: Language that is translated.
        target: Language that it is translated into.
        data_dir: Folder to look in first.

    Raises:
        ValueError: If the set is unknown (for any two files that you have see `read_parallel`), or lacks a language.
        DataError: If files are missing and cannot be fetched, or have a wrong checksum (a `ValueError` too).
    """
    if name not in TRANSLATIONS:
        raise unknown("dataset", name, TRANSLATIONS)
    dataset = TRANSLATIONS[name]
    for argument, language in (("source", source), ("target", target)):
        if language not in dataset.languages:
            raise unknown(argument, language, dataset.languages)
    if source == target:
        raise ValueError(f"`target` must be another language than `source`, got {target!r} twice.")
    lines = dataset.read(data_dir)

    def part(key: str) -> SentencePairs:
        names = f"{key}.{source}", f"{key}.{target}"
        return pair_lines(lines[names[0]], lines[names[1]], names)

    train, validation = (part(key) for key in dataset.parts)
    tests = {test: part(key) for test, key in dataset.tests.items()}
    return ParallelText(name, source, target, train, validation, tests, dataset.note)
