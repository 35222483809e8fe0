"""Ctrl-C that waits for the end of an epoch, so that what is saved is whole."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

__all__ = ["InterruptedRun", "deferred_interrupt"]


class InterruptedRun(Exception):
    """A run was interrupted after ``epoch`` (or what its ``unit`` is); ``checkpoint`` continues it, if one was kept."""

    def __init__(self, epoch: int, checkpoint: Path | None, unit: str = "epoch") -> None:
        self.epoch, self.checkpoint = epoch, checkpoint
        super().__init__(f"interrupted after {unit} {epoch}")


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Within this context the first SIGINT only makes the yielded function return ``True``; a second one interrupts.

    Outside the main thread, where Python delivers no signals, the function always returns ``False``.
    """
    pending = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal pending
        if pending:
            raise KeyboardInterrupt
        pending = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: pending
    finally:
        signal.signal(signal.SIGINT, previous)
