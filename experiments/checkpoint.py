"""Checkpoints that a crash cannot spoil and that say whose they are."""

from __future__ import annotations

import os
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from hypersst.experiments.settings import with_later

__all__ = ["CheckpointError", "check_same_run", "load_checkpoint", "save_checkpoint"]

_FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or is of another run."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` whole or not at all: a crash in the middle leaves the old file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({"format": _FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, on the CPU, executing nothing from the file.

    Raises:
        CheckpointError: If the file is missing, damaged, or no checkpoint of ours.
    """
    if not path.is_file():
        raise CheckpointError(f"`resume` must be a checkpoint file, but {str(path)!r} is not there.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"`resume` must be an undamaged checkpoint, but {str(path)!r} is not: {reason}"
        ) from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise CheckpointError(f"`resume` must be a checkpoint of `hypersst train`, but {str(path)!r} is not.")
    return state


# What may differ between a run and its continuation: how long it goes on and who holds it, not what it computes.
_MAY_DIFFER = frozenset({"epochs", "patience", "sharding"})


def check_same_run(saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse to continue a run with other settings.

    Args:
        saved: Settings in the checkpoint.
        wanted: Settings asked for.

    Raises:
        CheckpointError: Naming each setting that differs, with both values.
    """
    saved = {name: value for name, value in with_later(saved).items() if name in saved or name in wanted}
    names = [n for n in wanted | saved if n not in _MAY_DIFFER and saved.get(n) != wanted.get(n)]
    if names:
        listed = ", ".join(f"`{n}` is {saved.get(n)!r} there and {wanted.get(n)!r} here" for n in names)
        raise CheckpointError(f"`resume` must be a checkpoint of the same run, but {listed}.")
