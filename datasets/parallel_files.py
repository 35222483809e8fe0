"""Any two aligned text files as a set for translation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from hypersst.datasets.parallel_text import ParallelText, SentencePairs
from hypersst.datasets.text_lines import read_text_lines, undo_bpe
from hypersst.datasets.translation import pair_lines

__all__ = ["read_parallel"]

File = str | os.PathLike[str]


def read_parallel(
    source_file: File,
    target_file: File,
    *,
    source: str = "de",
    target: str = "en",
    validation: int | float | tuple[File, File] = 1000,
    tests: Mapping[str, int | float | tuple[File, File]] | None = None,
    seed: int = 0,
    bpe_mark: str | None = None,
    name: str | None = None,
) -> ParallelText:
    """Read a set for translation from text files whose lines translate each other.

    Files are UTF-8, plain or ``.gz``; the ``.xml`` and ``train.tags.*`` files of IWSLT's archives are read as they are.
    Pairs with an empty side (in ``train.tags.*`` also lines of markup) are left out and counted.

    Args:
        source_file: Training sentences.
        target_file: Their translations, line by line.
        source: Language of the first file, for records.
        target: Language of the second.
        validation: Training pairs to hold out, drawn at random: their number, or their share in (0, 1); or two files.
        tests: The same for each test set, by its name.
        seed: Seed of the draw of these pairs.
        bpe_mark: Undo BPE that marks what goes on in the next subword, such as ``"@@"``.
        name: Name of the set; ``None`` for the first file's without its endings.

    Raises:
        ValueError: If files have unequal numbers of lines, or ``validation`` leaves nothing.
        DataError: If a file cannot be read or has another format than its name says (a `ValueError` too).
    """

    def pairs(files: tuple[File, File]) -> SentencePairs:
        lines = [read_text_lines(file) for file in files]
        if bpe_mark is not None:
            lines = [[undo_bpe(line, bpe_mark) for line in column] for column in lines]
        return pair_lines(lines[0], lines[1], (os.fspath(files[0]), os.fspath(files[1])))

    whole = train = pairs((source_file, target_file))
    wanted = {"validation": validation, **{f"tests[{test!r}]": part for test, part in (tests or {}).items()}}
    parts: list[SentencePairs] = []
    for argument, part in wanted.items():
        if isinstance(part, tuple):
            parts.append(pairs(part))
            continue
        if isinstance(part, float) and not 0.0 < part < 1.0:
            raise ValueError(f"`{argument}` as a share must lie in (0, 1), got {part}.")
        number = part if isinstance(part, int) else max(1, round(part * len(whole)))
        train, held_out = _hold_out(train, number, seed, argument)
        parts.append(held_out)
    return ParallelText(
        name=Path(source_file).name.split(".")[0] if name is None else name,
        source=source,
        target=target,
        train=train,
        validation=parts[0],
        tests=dict(zip(tests or {}, parts[1:], strict=True)),
    )


def _hold_out(pairs: SentencePairs, number: int, seed: int, argument: str) -> tuple[SentencePairs, SentencePairs]:
    """Both parts in the order of the file."""
    if not 1 <= number < len(pairs):
        raise ValueError(f"`{argument}` must be between 1 and {len(pairs) - 1}, one less than the pairs, got {number}.")
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))

    def select(places: torch.Tensor, dropped: int) -> SentencePairs:
        chosen = places.sort().values.tolist()
        return SentencePairs(tuple(pairs.source[i] for i in chosen), tuple(pairs.target[i] for i in chosen), dropped)

    return select(order[number:], pairs.dropped), select(order[:number], 0)
