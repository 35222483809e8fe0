"""The errors that several parts of the library raise in the same words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["DataError", "DeviceError", "NonFiniteError", "nearest", "unknown"]


class DataError(ValueError):
    """A data file is missing, cannot be fetched, or is not the file it should be."""


class DeviceError(ValueError):
    """The device that was asked for is not there."""


class NonFiniteError(ArithmeticError):
    """Training produced a NaN or an infinity; the message names layer and epoch."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Names among ``known`` that look like ``name``, best first, separated by commas.

    Args:
        name: What the user wrote; upper and lower case count as equal.
        known: The names that exist.

    Returns:
        Up to three names, or the empty string if none is close.

    Example:
        >>> nearest("Coar", ["cora", "citeseer", "pubmed"])
        'cora'
    """
    by_lower = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    return ", ".join(by_lower[other] for other in close)


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Build (not raise) the error for a name that is not in a table.

    Args:
        kind: The argument that held the name, such as ``"dataset"``.
        name: What the user gave.
        known: The names that exist.

    Returns:
        An error that names argument, rule and value, and the nearest names if there are any.

    Example:
        >>> unknown("dataset", "coar", ["cora", "pubmed"])
        ValueError("`dataset` must be one of cora, pubmed, got 'coar'; did you mean cora?")
    """
    known = list(known)
    close = nearest(str(name), known)
    hint = f"; did you mean {close}?" if close else "."
    return ValueError(f"`{kind}` must be one of {', '.join(known)}, got {name!r}{hint}")
