"""One JSON object per run: what was asked for, with what versions, and what came out.

A table's file has one a line, the first one complete. Lines that begin with ``"as_first": true`` leave out what
settings, versions, device, threads and data have in common with the first.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import hypersst
from hypersst.experiments.settings import with_later

__all__ = [
    "Record",
    "append_line",
    "append_record",
    "device_name",
    "peak_memory",
    "read_records",
    "versions",
    "write_record",
]


_GIVEN = ("settings", "versions", "device", "threads", "data")


@dataclass(frozen=True)
class Record:
    """The result of one run.

    Args:
        settings: All settings, recipes resolved.
        versions: Versions of the packages, and the commit of the checkout if there is one.
        device: Name of the processor that trained.
        threads: Threads of the CPU that torch used.
        data: One line about the graph and its split.
        validation: Scores on the validation part at the best epoch.
        test: Scores on the test part at the same epoch.
        best_epoch: The epoch with the best validation score.
        epochs: Epochs trained.
        seconds: Wall time of training, evaluations included.
        peak_memory: Largest memory of the process (on a GPU: of torch's allocator), in bytes.
        trainable: Numbers that train at a time.
        stored: Numbers held in parameters.
        together: Seeds that were trained at once; ``seconds`` is this one's share.
    """

    settings: dict[str, Any]
    versions: dict[str, str]
    device: str
    threads: int
    data: str
    validation: dict[str, float]
    test: dict[str, float]
    best_epoch: int
    epochs: int
    seconds: float
    peak_memory: int
    trainable: int
    stored: int
    together: int = 1


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, the packages that matter, and the commit of the checkout that runs."""
    found = {"python": platform.python_version(), "hypersst": hypersst.__version__}
    found |= {name: version(name) for name in ("torch", "geoopt", "torch-geometric", "numpy")}
    # Not __file__ itself: the folder's link would be followed out of the package.
    folder = Path(hypersst.__file__).parent
    answer = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    ) if (folder.parent / ".git").exists() else None  # fmt: skip
    if answer is not None and answer.returncode == 0:
        found["commit"] = answer.stdout.strip()
    return found


def device_name(device: torch.device) -> str:
    """Name of the processor behind ``device``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> int:
    """Bytes at the highest: of torch's allocator on a GPU, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        # Not ru_maxrss where there is this: a process inherits that from the one that started it.
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def write_record(path: Path, record: Record) -> None:
    """Write one record to a file of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(record), indent=2) + "\n")


def append_record(path: Path, record: Record) -> None:
    """Add one line to a table's file; lines of several processes do not mix."""
    line = asdict(record)
    if path.exists():
        with path.open() as file:
            first = file.readline()
        if first.strip():
            line = _shortened(line, json.loads(first))
    append_line(path, json.dumps(line))


def _shortened(line: dict[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what ``first`` says too; a line that lacks a name of its settings or versions stays complete."""
    line = json.loads(json.dumps(line))  # tuples are lists there
    if any(first[name].keys() - line[name].keys() for name in ("settings", "versions")):
        return line
    return {"as_first": True} | {
        name: _difference(value, first[name]) if isinstance(value, dict) and name in _GIVEN else value
        for name, value in line.items()
        if name not in _GIVEN or value != first[name]
    }


def _difference(values: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in first or value != first[name]}


def _completed(line: dict[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `_shortened`."""
    if not line.pop("as_first", False):
        return line
    for name in _GIVEN:
        if isinstance(first[name], dict):
            line[name] = {**first[name], **line.get(name, {})}
        else:
            line.setdefault(name, first[name])
    return line


def append_line(path: Path, line: str) -> None:
    """Add one line to a file in one go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)


def read_records(path: Path) -> list[Record]:
    """Read a table's file, one record a line, with the settings that came later; a missing file has none."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    found = [_completed(line, lines[0]) for line in lines]
    return [Record(**{**record, "settings": with_later(record["settings"])}) for record in found]
