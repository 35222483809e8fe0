"""Finding, fetching and checking data files.

A file's bytes are read once, their SHA-256 is compared, and the *same bytes* are parsed: some of these files are
pickles, which can run code when opened, so nothing is opened that is not the file it should be.

Order of search: the folder given as ``data_dir`` or by ``HYPERSST_DATA`` (never written to), then the cache, then
the source repository, from which the file goes into the cache.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hypersst.errors import DataError

__all__ = ["DataFile", "cache_dir", "find_file", "read_files", "whole_file"]

_log = logging.getLogger(__name__)

_TIMEOUT = 30.0


@dataclass(frozen=True)
class DataFile:
    """One file of a data set.

    Attributes:
        path: Where it lies in a data folder, with forward slashes.
        url: Address to download it from.
        sha256: Its checksum, in hexadecimal.
        copies: Checksums of other archives of the same content, which are accepted in its place.
    """

    path: str
    url: str
    sha256: str
    copies: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def source(self) -> str:
        """Repository and commit that the address is pinned to."""
        _, _, _, owner, repository, commit, *_ = self.url.split("/")
        return f"{owner}/{repository}, {commit[:12]}"


def cache_dir() -> Path:
    """Folder for downloads: ``HYPERSST_CACHE``, else ``XDG_CACHE_HOME/hypersst``, else ``~/.cache/hypersst``."""
    if own := os.environ.get("HYPERSST_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "hypersst"
    return Path.home() / ".cache" / "hypersst"


def read_files(files: Sequence[DataFile], data_dir: str | os.PathLike[str] | None = None) -> dict[str, bytes]:
    """Read the files of one data set, downloading those that are nowhere.

    In a folder, a file may lie at its ``path`` or at any tail of it: of ``planetoid/Cora/raw/ind.cora.x`` also
    ``raw/ind.cora.x`` or plain ``ind.cora.x`` will do.

    Args:
        files: The files.
        data_dir: Folder to look in first; ``None`` for the one that ``HYPERSST_DATA`` names, if any.

    Returns:
        Content by file name, checksums verified.

    Raises:
        DataError: If a folder that was named does not exist, a checksum is wrong, or files are in no folder and
            cannot be downloaded. The message names files, addresses and folders.
    """
    folders = _folders(data_dir)
    found = {file.name: _locate(file, folders) for file in files}
    missing = [file for file in files if found[file.name] is None]
    content = {}
    for file in files:
        path = found[file.name]
        content[file.name] = _download(file, missing, folders) if path is None else _read(file, path)
    return content


def find_file(file: DataFile, data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """Where `read_files` would read a file from, unchecked; ``None`` if it would be downloaded."""
    return _locate(file, _folders(data_dir))


def _folders(data_dir: str | os.PathLike[str] | None) -> list[Path]:
    return [folder for folder in (_local_folder(data_dir), cache_dir()) if folder is not None]


def _local_folder(data_dir: str | os.PathLike[str] | None) -> Path | None:
    source, value = "data_dir", data_dir
    if value is None:
        source, value = "HYPERSST_DATA", os.environ.get("HYPERSST_DATA") or None
    if value is None:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DataError(f"`{source}` must name an existing folder, got {str(folder)!r}.")
    return folder


def _locate(file: DataFile, folders: Sequence[Path]) -> Path | None:
    parts = PurePosixPath(file.path).parts
    for folder in folders:
        for start in range(len(parts)):
            path = folder.joinpath(*parts[start:])
            if path.is_file():
                return path
    return None


def _read(file: DataFile, path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"Data file {path} cannot be read: {error.strerror or error}.") from error
    _check(file, content, f"Data file {path}", "it is truncated, corrupt or another file: replace or delete it")
    return content


def _check(file: DataFile, content: bytes, what: str, advice: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    known = (file.sha256, *file.copies)
    if found not in known:
        raise DataError(
            f"{what} must have SHA-256 {' or '.join(known)}, got {found} ({len(content):,} bytes); {advice}."
        )


def _download(file: DataFile, missing: Sequence[DataFile], folders: Sequence[Path]) -> bytes:
    target = folders[-1].joinpath(*PurePosixPath(file.path).parts)
    _log.info("downloading %s to %s", file.url, target)
    try:
        with urllib.request.urlopen(file.url, timeout=_TIMEOUT) as response:
            content: bytes = response.read()
    except (OSError, http.client.HTTPException) as error:
        names = ", ".join(sorted({other.name for other in missing}))
        looked = " or ".join(str(folder) for folder in folders)
        raise DataError(
            f"Data files {names} are not in {looked}, and {file.url} cannot be downloaded ({error}). "
            f"Without network, put them into {target.parent} or into a folder named by `data_dir` "
            "or HYPERSST_DATA."
        ) from error
    _check(file, content, f"The download from {file.url}", "nothing was kept: try again")
    with whole_file(target) as part:
        part.write_bytes(content)
    return content


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Write under another name, then rename: a crash or a second process never leaves half a file.

    Args:
        target: Where the file is to lie; folders on the way are made.

    Yields:
        Path to write under in the meantime.

    Raises:
        DataError: If it cannot be written.
    """
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"Data file {target} cannot be written ({error.strerror or error}): name a folder that can be by "
            "HYPERSST_CACHE."
        ) from error
