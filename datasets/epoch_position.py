"""Where a run stands in its data, to go on there exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from hypersst.spectral.draws import named_generator

__all__ = ["EpochPosition", "check_shard"]


class EpochPosition:
    """Epoch and step of the batch that comes next.

    Args:
        seed: Seed of the epochs' orders.
        settings: What the order depends on besides; a state of other settings is refused.
    """

    def __init__(self, seed: int, **settings: int | bool | str) -> None:
        self.seed, self.epoch, self.step = seed, 0, 0
        self._settings = {"seed": seed, **settings}

    def generator(self, purpose: str) -> torch.Generator:
        """A generator that depends on seed, purpose and epoch alone."""
        return named_generator(self.seed, purpose, self.epoch)

    def walk(self, steps: int) -> Iterator[int]:
        """Steps of this epoch that are still to come; the position moves on before each is handed out.

        After the last step the position is the beginning of the next epoch.
        """
        for step in range(self.step, steps):
            self.epoch, self.step = (self.epoch, step + 1) if step + 1 < steps else (self.epoch + 1, 0)
            yield step

    def state_dict(self) -> dict[str, Any]:
        """The position, and the settings that it belongs to."""
        return {"epoch": self.epoch, "step": self.step, "settings": dict(self._settings)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a position.

        Raises:
            ValueError: If it belongs to other settings.
        """
        for name, value in self._settings.items():
            if state["settings"].get(name) != value:
                raise ValueError(
                    f"`state` must be of the same batches, got {name} {state['settings'].get(name)} for {value}."
                )
        self.epoch, self.step = int(state["epoch"]), int(state["step"])


def check_shard(rank: int, world: int) -> None:
    """Refuse a rank that is not among ``world`` processes."""
    if world < 1 or not 0 <= rank < world:
        raise ValueError(f"`rank` must be between 0 and `world` - 1 = {world - 1}, got {rank}.")
