"""Tokens of a text in a file that is mapped into memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypersst.datasets.files import cache_dir, whole_file
from hypersst.datasets.text_part import TextPart
from hypersst.datasets.tokenizer import Tokenizer, encode_lines

__all__ = ["map_tokens"]


def map_tokens(text: TextPart, tokenizer: Tokenizer, folder: Path | None = None) -> NDArray[Any]:
    """Tokens of a text, each line with `hypersst.datasets.EOS` after it, mapped into memory.

    They are made once, line by line, so neither text nor tokens are ever whole in memory, and kept in
    ``folder/tokens`` under a name that depends on tokenizer, paths, sizes and times of change; the text's own folder is
    never written to. The file gets its name when it is complete, so any number of processes may ask for it at once.

    Args:
        text: The text.
        tokenizer: The tokenizer.
        folder: Folder for the tokens; ``None`` for `hypersst.datasets.cache_dir`.

    Returns:
        Tokens, shape ``(N,)``, read-only: 16 bits each if the vocabulary allows, else 32.

    Raises:
        DataError: If the text cannot be read or the tokens not be written.
        ValueError: If the text has no lines.
    """
    dtype = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32)
    key = hashlib.sha256(f"{tokenizer.fingerprint}\0{text.fingerprint}".encode()).hexdigest()[:32]
    path = (cache_dir() if folder is None else folder) / "tokens" / f"{key}.{dtype.name}"
    if not path.is_file():
        if text.size == 0:
            raise ValueError("`text` must have at least one line, got none.")
        with whole_file(path) as part, part.open("wb") as file:
            for line in encode_lines(tokenizer, text.lines()):
                np.array(line, dtype=dtype).tofile(file)
    return np.memmap(path, dtype=dtype, mode="r")
