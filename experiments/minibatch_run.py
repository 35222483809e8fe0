"""A run whose steps see a piece of the graph each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from hypersst.datasets import GraphTask
from hypersst.experiments.batches import Batch, BatchSource, ClusterBatches, NeighborBatches, neighbor_loader
from hypersst.experiments.run import Run
from hypersst.experiments.settings import ResolvedSettings

__all__ = ["MiniBatchRun", "run_for"]


class MiniBatchRun(Run):
    """Like `Run`, with many steps to an epoch: memory of a step grows with its batch, not with the graph.

    Which pieces of the graph are left in the running epoch belongs to the state, so a run continues exactly where it
    was stopped, in the middle of an epoch too. Evaluation passes over the whole graph at once, without gradients.

    Args:
        settings: Resolved settings.
        task: The whole graph, on the device to train on.
        source: Cuts epochs into batches.

    Raises:
        ValueError: As `Run`.
    """

    def __init__(self, settings: ResolvedSettings, task: GraphTask, source: BatchSource) -> None:
        super().__init__(settings, task)
        self._source = source
        self._left: list[Tensor] = []
        self._batch: Batch | None = None

    def batch(self) -> Batch:
        """The batch of the step that is under way, or of the next one."""
        if self._batch is None:
            if not self._left:
                self._left = self._source.order(self.generator)
            batch = self._source.batch(self._left[0], self.model, self.generator)
            self._batch = replace(batch, class_weight=self.class_weight)
        return self._batch

    def _count_step(self) -> None:
        self._batch, self._left = None, self._left[1:]
        self.epoch += not self._left

    @property
    def between_epochs(self) -> bool:
        """Whether all batches of the last epoch have had their step."""
        return not self._left

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        return {**super().state_dict(), "left": [pieces.clone() for pieces in self._left]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            CheckpointError: If it is of other settings.
        """
        super().load_state_dict(state)
        self._batch, self._left = None, state["left"]


def run_for(settings: ResolvedSettings, task: GraphTask) -> Run:
    """The kind of run that the settings ask for: one batch an epoch, parts of the graph, or sampled neighbours.

    Raises:
        ValueError: If a setting or the task is bad, or sampling neighbours needs what is not installed.
    """
    if settings.neighbors:
        sample = neighbor_loader(task, settings.neighbors)
        return MiniBatchRun(settings, task, NeighborBatches(task, sample, settings.batch_size))
    if settings.parts > 1:
        return MiniBatchRun(settings, task, ClusterBatches(task, settings.parts, settings.parts_per_batch))
    return Run(settings, task)
