"""Lines of text files, one sentence each, in the formats that translation sets come in."""

from __future__ import annotations

import gzip
import html
import os
import re
from pathlib import Path

from hypersst.errors import DataError

__all__ = ["decode_lines", "read_text_lines", "undo_bpe"]

_SEGMENT = re.compile(r"<seg\b[^>]*>(.*?)</seg>", re.DOTALL)


def decode_lines(name: str, content: bytes) -> list[str]:
    r"""Cut the bytes of a text file into lines, without spaces at their ends.

    The name tells the format: ``*.gz`` is unpacked first; ``*.xml`` holds its sentences in ``<seg>`` elements, as
    development and test sets of IWSLT do; in ``train.tags.*``, their training sets, lines of markup become empty.
    Anything else is plain UTF-8.

    Args:
        name: The file's name.
        content: The file.

    Raises:
        DataError: If it is no gzip archive though named so, or not UTF-8.

    Example:
        >>> decode_lines("a.txt", b"one \n\ntwo\n")
        ['one', '', 'two']
    """
    inner = name.removesuffix(".gz")
    try:
        text = (gzip.decompress(content) if inner != name else content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"Text file {name} must be UTF-8, got byte {error.object[error.start]:#x}.") from error
    except (OSError, EOFError) as error:
        raise DataError(f"Text file {name} must be a gzip archive: {error}.") from error
    if inner.endswith(".xml"):
        return [html.unescape(" ".join(segment.split())) for segment in _SEGMENT.findall(text)]
    # Not splitlines: it also cuts at U+2028, U+0085 and the like, and one such character would shift a whole language.
    lines = [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []
    if inner.startswith("train.tags."):
        return ["" if line.startswith("<") else line for line in lines]
    return lines


def read_text_lines(path: str | os.PathLike[str]) -> list[str]:
    """Lines of a file, see `decode_lines`.

    Raises:
        DataError: If the file cannot be read or is of another format than its name says.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"Text file {path} cannot be read: {error.strerror or error}.") from error
    return decode_lines(path.name, content)


def undo_bpe(line: str, mark: str = "@@") -> str:
    """Join subwords to words: those that end in the mark go on in the next.

    Args:
        line: Subwords between spaces.
        mark: The mark, as subword-nmt writes it.

    Example:
        >>> undo_bpe("durch die mil@@ ch .")
        'durch die milch .'
    """
    return f"{line} ".replace(f"{mark} ", "").rstrip()
