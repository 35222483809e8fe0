"""A stretch of text on the disk that is read line by line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from hypersst.errors import DataError

__all__ = ["FileSlice", "TextPart", "cut_text"]


@dataclass(frozen=True)
class FileSlice:
    """Bytes ``start`` to ``stop`` of a file, from the beginning of a line to the end of one."""

    path: Path
    start: int
    stop: int


@dataclass(frozen=True)
class TextPart:
    """Slices of plain text files, one after the other; only the line that is being read is in memory.

    Attributes:
        slices: The slices.
    """

    slices: tuple[FileSlice, ...]

    def lines(self) -> Iterator[str]:
        """The lines, without the characters that end them.

        Raises:
            DataError: If a file cannot be read or is not UTF-8.
        """
        for piece in self.slices:
            place = piece.start
            try:
                with piece.path.open("rb") as file:
                    file.seek(place)
                    while place < piece.stop:
                        # The limit makes a file that has grown since give no more than its slice.
                        raw = file.readline(piece.stop - place)
                        if not raw:
                            raise DataError(f"Text file {piece.path} must have {piece.stop:,} bytes, got {place:,}.")
                        yield raw.decode().rstrip("\r\n")
                        place += len(raw)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"Text file {piece.path} must be UTF-8, got byte {error.object[error.start]:#x} at "
                    f"{place + error.start:,}."
                ) from error
            except OSError as error:
                raise DataError(f"Text file {piece.path} cannot be read: {error.strerror or error}.") from error

    @property
    def size(self) -> int:
        """Number of bytes."""
        return sum(piece.stop - piece.start for piece in self.slices)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the files' paths, sizes and times of change and of the slices' bounds; contents are not read."""
        digest = hashlib.sha256()
        for piece in self.slices:
            found = piece.path.stat()
            digest.update(
                f"{piece.path.resolve()}\0{found.st_size}\0{found.st_mtime_ns}\0{piece.start}\0{piece.stop}\0".encode()
            )
        return digest.hexdigest()


def cut_text(paths: Sequence[Path], shares: Sequence[float] = ()) -> tuple[TextPart, ...]:
    """Cut files, taken as one text, into contiguous parts at ends of lines.

    Args:
        paths: The files in their order.
        shares: Shares of the bytes for all parts but the first, which has the rest. A cut is at the first end of a
            line, or of a file, that is not before its share.

    Raises:
        ValueError: If a share is not in (0, 1), they leave nothing for the first part, or a part is empty.
    """
    if not all(0 < share < 1 for share in shares) or sum(shares) >= 1:
        raise ValueError(f"`shares` must be positive with a sum below 1, got {tuple(shares)}.")
    starts = [0, *accumulate(path.stat().st_size for path in paths)]
    total = starts[-1]
    kept = accumulate((1 - sum(shares), *shares[:-1])) if shares else iter(())
    bounds = [0, *(_line_end(paths, starts, round(share * total)) for share in kept), total]
    parts = []
    for begin, end in pairwise(bounds):
        slices = [
            FileSlice(path, max(begin - start, 0), min(end, stop) - start)
            for path, (start, stop) in zip(paths, pairwise(starts), strict=True)
            if max(begin, start) < min(end, stop)
        ]
        if not slices:
            raise ValueError(
                f"`shares` must leave at least a line in each part, got {tuple(shares)} for {total:,} bytes."
            )
        parts.append(TextPart(tuple(slices)))
    return tuple(parts)


def _line_end(paths: Sequence[Path], starts: Sequence[int], place: int) -> int:
    """First end of a line or file at ``place`` or after it, counted over all files."""
    for path, (start, stop) in zip(paths, pairwise(starts), strict=True):
        if start < place <= stop:
            with path.open("rb") as file:
                file.seek(place - start - 1)
                file.readline()
                return start + file.tell()
    return place
