"""Runs that differ in their seeds alone, trained as one batched network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hypersst.datasets import GraphTask
from hypersst.errors import NonFiniteError
from hypersst.experiments.checkpoint import check_same_run
from hypersst.experiments.finite import first_non_finite
from hypersst.experiments.passes import answers, scores, training_loss
from hypersst.experiments.records import Record
from hypersst.experiments.run import Run
from hypersst.experiments.settings import ResolvedSettings
from hypersst.experiments.shared_optimizer import SharedOptimizer
from hypersst.experiments.stack import Stack, StackedPass, clip_norms_, release
from hypersst.models import GraphModel

__all__ = ["Ensemble"]


class Ensemble:
    """Independently initialised copies of one run, one for each seed, trained at once.

    Each copy equals its single `Run` to rounding: initialisation, draws of the sampler, negative edges and (on a CPU)
    dropout come from generators of its own, in the order in which the single run draws. One recorded pass evaluates all
    copies by `torch.vmap`, in which products with a sparse matrix are one wide product, and one optimizer steps all
    parameters. A copy that is finished stays as it is.

    # Note [equal to rounding]

    Training amplifies rounding: on Cora in float32 losses of copy and single run differ by 1e-7 at first, 1e-5 after
    50 steps and 1e-2 after 150, as those of two single runs do whose first weights differ by 1e-7. And a weight with
    several equal singular values has more than one decomposition, and the single run may have taken another one.

    Args:
        settings: Resolved settings; their seed is replaced.
        seeds: Distinct seeds, at least one.
        task: The graph, on the device to train on.

    Raises:
        ValueError: If a seed comes twice, there is none, or the settings ask for batches of the graph.
    """

    unit = "epoch"

    def __init__(self, settings: ResolvedSettings, seeds: Sequence[int], task: GraphTask) -> None:
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(f"`seeds` must be distinct and at least one, got {list(seeds)}.")
        if settings.parts > 1 or settings.neighbors:
            asked = f"`parts` = {settings.parts}, `neighbors` = {settings.neighbors}"
            raise ValueError(f"`seeds` are trained together on whole graphs only: train them one by one with {asked}.")
        self.settings = replace(settings, seed=seeds[0])
        self.task = task
        self.runs: list[Run] = []
        self._dropout: list[torch.Generator] = []
        for seed in seeds:
            run = Run(replace(settings, seed=seed), task)
            if self.runs:  # one copy of the data is enough
                run.x, run.adjacency = self.runs[0].x, self.runs[0].adjacency
            self.runs.append(run)
            # Where torch's own generator stands now, the single run goes on to draw its dropout.
            self._dropout.append(torch.Generator())
            self._dropout[-1].set_state(torch.get_rng_state())
        self._places: list[int] = []
        self._running: list[int] = []
        self._join()

    def _join(self) -> None:
        """Make one batch of the copies that are not finished."""
        self._release(self._running)
        #: Numbers of the copies that have a place in the batch, and of those that still train.
        self._places = self._running = [i for i, run in enumerate(self.runs) if not run.finished]
        if not self._places:
            return
        first, task = self.runs[self._places[0]], self.task

        def loss(model: GraphModel, *negative: Tensor) -> Tensor:
            return training_loss(model, replace(self._batch, negative=negative[0]) if negative else self._batch)

        def said(model: GraphModel) -> tuple[Tensor, ...]:
            return answers(model, first.x, first.adjacency, task)

        self._stack = Stack([self.runs[i].model for i in self._places])
        self._loss = StackedPass(self._stack, loss, differentiate=True, compiled=self.settings.compile)
        self._answers = StackedPass(self._stack, said, differentiate=False)
        self._share_optimizer()

    def _share_optimizer(self) -> None:
        trainers = [self.runs[i].trainer for i in self._running]
        self._shared = SharedOptimizer(trainers, compiled=self.settings.compile)

    def _release(self, numbers: Sequence[int]) -> None:
        for i in numbers:
            release(self.runs[i].model)

    def _let_go(self) -> None:
        """Take finished copies out, once there are some; half-empty batches are made anew, others keep the places."""
        finished = [i for i in self._running if self.runs[i].finished]
        if not finished:
            return
        if 2 * (len(self._running) - len(finished)) <= len(self._places):
            self._join()
            return
        self._release(finished)
        self._running = [i for i in self._running if i not in finished]
        self._share_optimizer()

    @property
    def seeds(self) -> list[int]:
        """Seeds of the copies."""
        return [run.settings.seed for run in self.runs]

    @property
    def epoch(self) -> int:
        """Epochs of the copy that has been trained longest."""
        return max(run.epoch for run in self.runs)

    @property
    def finished(self) -> bool:
        """Whether every copy is."""
        return all(run.finished for run in self.runs)

    @property
    def evaluation_due(self) -> bool:
        """Whether a copy is to be evaluated now, by the rule of a single run."""
        return any(self.runs[i].evaluation_due for i in self._running)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the copies that still train."""
        for i in self._running:
            yield from self.runs[i].model.parameters()

    def spend(self, seconds: float) -> None:
        """Count time, in equal shares, for the copies that were trained in it."""
        for i in self._running:
            self.runs[i].spend(seconds / len(self._running))

    def step(self) -> Tensor:
        """Train every copy that is not finished for one epoch.

        Returns:
            Their losses, shape ``(copies,)``.

        Raises:
            NonFiniteError: If the loss or a gradient of one is not finite; the parameters are then as before.
        """
        self._let_go()
        runs = [self.runs[i] for i in self._places]
        runs[0].model.train()
        self._batch, negative = runs[0].batch(), None
        if self.task.task == "lp":
            negative = torch.stack([self._batch.negative, *(run.batch().negative for run in runs[1:])])
        losses, grads = self._loss(negative, [self._dropout[i] for i in self._places])
        norms = clip_norms_(grads, self.settings.grad_clip or math.inf)
        running = [self._places.index(i) for i in self._running]
        self._stack.hand_out(grads, running)
        losses = losses[running]
        finite = (losses + norms[running]).isfinite().tolist()
        if not all(finite):
            self._report_non_finite(self.runs[self._running[finite.index(False)]])
        for i in self._running:
            self.runs[i].set_rates()
        self._shared.step()
        for i in self._running:
            self.runs[i].epoch += 1
        return losses

    @staticmethod
    def _report_non_finite(run: Run) -> None:
        run.model.train()
        where, seed = first_non_finite(run.model, run.loss), run.settings.seed
        raise NonFiniteError(f"training of seed {seed} became non-finite in epoch {run.epoch}, first in {where}.")

    def keep_if_best(self) -> float:
        """Evaluate; each copy that is due remembers its model if its validation score is its best so far.

        Called when none is due, it does the same for all that still train.

        Returns:
            The mean score of these copies.
        """
        self.runs[self._places[0]].model.eval()
        parts = self._answers()
        due = [i for i in self._running if self.runs[i].evaluation_due] or self._running
        kept = []
        for i in due:
            answer = tuple(part[self._places.index(i)] for part in parts)
            kept.append(self.runs[i].keep(*scores(answer, self.task)))
        return sum(kept) / len(kept)

    @property
    def all_settings(self) -> dict[str, Any]:
        """The settings, and the seeds."""
        return self.settings.to_dict() | {"seeds": self.seeds}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of all runs depends on."""
        states = zip(self.runs, self._dropout, strict=True)
        runs = [run.state_dict() | {"rng": generator.get_state()} for run, generator in states]
        return {"settings": self.all_settings, "runs": runs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            CheckpointError: If it is of other settings or seeds.
        """
        check_same_run(state["settings"], self.all_settings)
        for run, generator, saved in zip(self.runs, self._dropout, state["runs"], strict=True):
            run.load_state_dict(saved)
            generator.set_state(saved["rng"])
        self._join()

    def records(self) -> list[Record]:
        """The results so far, one for each seed."""
        return [replace(run.record(), together=len(self.runs)) for run in self.runs]
