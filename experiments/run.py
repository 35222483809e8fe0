"""One run: a model, its data and all that must be saved to go on."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from hypersst.datasets import GraphTask
from hypersst.errors import NonFiniteError
from hypersst.experiments.batches import Batch, features, part_to_learn
from hypersst.experiments.checkpoint import check_same_run
from hypersst.experiments.compiled_loss import CompiledLoss
from hypersst.experiments.finite import first_non_finite
from hypersst.experiments.methods import prepare
from hypersst.experiments.passes import answers, scores, training_loss
from hypersst.experiments.records import Record, device_name, peak_memory, versions
from hypersst.experiments.schedule import factor
from hypersst.experiments.settings import ResolvedSettings
from hypersst.models import GraphModel, build
from hypersst.optim import RiemannianAdam

__all__ = ["Best", "Run"]


@dataclass
class Best:
    """The epoch with the best validation score so far."""

    epoch: int = -1
    score: float = -math.inf
    validation: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)


class Run:
    """A model, its data and all that must be saved to go on: one epoch at a time.

    Args:
        settings: Resolved settings.
        task: The graph, on the device to train on.

    Raises:
        ValueError: If model or method refuse the settings.
    """

    unit = "epoch"

    def __init__(self, settings: ResolvedSettings, task: GraphTask) -> None:
        self.settings = settings
        self.task = task
        self.epoch = 0
        self.seconds = 0.0
        self.best = Best()
        self.best_state: dict[str, Tensor] = {}
        device = task.edge_index.device
        torch.manual_seed(settings.seed)
        self.model = _build_model(settings, task).to(device)
        self.trainer = prepare(self.model, settings)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.x = self.model.features(features(task.x))
        self.adjacency = self.model.adjacency(task.edge_index, task.num_nodes)
        self._compiled = CompiledLoss(self.model, self._largest_norm) if settings.compile else None
        if settings.compile and isinstance(self.trainer.optimizer, RiemannianAdam):
            self.trainer.optimizer.compile()
        self._rates = [group["lr"] for group in self.trainer.optimizer.param_groups]
        self._trained = [p for group in self.trainer.optimizer.param_groups for p in group["params"]]

    def batch(self) -> Batch:
        """What the next step sees: here the whole graph, negative edges drawn anew."""
        if self.task.task == "nc":
            return self._part_to_learn
        positive = self.task.train_pos
        negative = self.task.sample_negatives(positive.shape[1], self.generator).to(positive.device)
        nodes = self.task.train
        return Batch(self.x, self.adjacency, nodes, self.task.y[nodes], positive, negative)

    @cached_property
    def _part_to_learn(self) -> Batch:
        part = part_to_learn(self.model, features(self.task.x), self.adjacency, self.task)
        return replace(part, class_weight=self.class_weight)

    @cached_property
    def class_weight(self) -> Tensor | None:
        """Weights of the classes in the loss: ``None`` if all are the same, else one over their training nodes."""
        if self.settings.task != "nc" or self.settings.class_weights == "none":
            return None
        counts = torch.bincount(self.task.y[self.task.train], minlength=self.task.num_classes)
        return counts.sum() / (self.task.num_classes * counts.clamp_min(1))

    def loss(self) -> Tensor:
        """Loss of one pass over the training part of a batch."""
        return training_loss(self.model, self.batch())

    def step(self) -> Tensor:
        """Take one step of the optimizer: here an epoch.

        Returns:
            The loss, a scalar tensor on the device.

        Raises:
            NonFiniteError: If the loss or a gradient is not finite; the parameters are then as before.
        """
        if not self.model.training:  # going through the modules takes as long as a layer
            self.model.train()
        self.trainer.optimizer.zero_grad()
        loss, norm = self._loss_and_gradients()
        if not math.isfinite((loss + norm).item()):
            where = first_non_finite(self.model, self.loss)
            raise NonFiniteError(f"training became non-finite in epoch {self.epoch}, first in {where}.")
        self.set_rates()
        self.trainer.optimizer.step()
        self._count_step()
        return loss

    def set_rates(self) -> None:
        """Give the optimizer the learning rates of this epoch."""
        if self.settings.schedule == "constant":
            return
        share = factor(self.settings.schedule, self.epoch + 1, 0, self.settings.epochs)
        for group, rate in zip(self.trainer.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * share

    @property
    def _largest_norm(self) -> float:
        return self.settings.grad_clip or math.inf

    def _loss_and_gradients(self) -> tuple[Tensor, Tensor]:
        """Loss and length of the gradient for the step's batch; the clipped gradients are left in the parameters."""
        if self._compiled is not None:
            return self._compiled(self.batch())
        loss = self.loss()
        loss.backward()
        return loss.detach(), nn.utils.clip_grad_norm_(self._trained, self._largest_norm)

    def _count_step(self) -> None:
        self.epoch += 1

    @property
    def between_epochs(self) -> bool:
        """Whether an epoch has just ended, so that it can be evaluated."""
        return True

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the model."""
        return self.model.parameters()

    @property
    def evaluation_due(self) -> bool:
        """Whether the loop is to evaluate now: every few epochs, and before it ends."""
        return self.between_epochs and (self.epoch % self.settings.eval_every == 0 or self.finished)

    def spend(self, seconds: float) -> None:
        """Count time."""
        self.seconds += seconds

    def train_epoch(self) -> Tensor:
        """Take steps until an epoch is over; returns the mean of their losses."""
        losses = [self.step()]
        while not self.between_epochs:
            losses.append(self.step())
        return torch.stack(losses).mean()

    @torch.no_grad()
    def evaluate(self) -> tuple[dict[str, float], dict[str, float]]:
        """Scores on the validation and on the test part, from one pass."""
        self.model.eval()
        return scores(answers(self.model, self.x, self.adjacency, self.task), self.task)

    def keep_if_best(self) -> float:
        """Evaluate, remember the model if its validation score is the best so far, and return that score.

        The score is F1 for nodes and the mean of ROC-AUC and average precision for links, as in the literature.
        """
        return self.keep(*self.evaluate())

    def keep(self, validation: dict[str, float], test: dict[str, float]) -> float:
        """Remember the model with these scores if they are the best so far, as `keep_if_best` does."""
        score = validation["f1"] if self.settings.task == "nc" else (validation["roc_auc"] + validation["ap"]) / 2
        if score > self.best.score:
            self.best = Best(self.epoch, score, validation, test)
            self.best_state = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}
        return score

    @property
    def finished(self) -> bool:
        """Whether the last epoch is reached or patience is at its end."""
        settings = self.settings
        return self.epoch >= settings.epochs or self.epoch - max(self.best.epoch, 0) >= settings.patience

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        clock, device = self.trainer.clock, self.task.edge_index.device
        return {
            "settings": self.settings.to_dict(),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "best": copy.copy(vars(self.best)),
            "best_state": self.best_state,
            "model": self.model.state_dict(),
            "optimizer": self.trainer.optimizer.state_dict(),
            "clock": clock.state_dict() if clock else None,
            "generator": self.generator.get_state(),
            "rng": torch.get_rng_state(),
            "device_rng": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            CheckpointError: If it is of other settings.
        """
        check_same_run(state["settings"], self.settings.to_dict())
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.best, self.best_state = Best(**state["best"]), state["best_state"]
        self.model.load_state_dict(state["model"])
        self.trainer.optimizer.load_state_dict(state["optimizer"])
        if self.trainer.clock:
            self.trainer.clock.load_state_dict(state["clock"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["rng"])
        if state["device_rng"] is not None and self.task.edge_index.is_cuda:
            torch.cuda.set_rng_state(state["device_rng"], self.task.edge_index.device)

    def record(self) -> Record:
        """The result so far."""
        report, device = self.trainer.report, self.task.edge_index.device
        parameters = list(self.model.parameters())
        spectral = self.settings.method == "sst" and report is not None
        return Record(
            settings=self.settings.to_dict(),
            versions=versions(),
            device=device_name(device),
            threads=torch.get_num_threads(),
            data=self.task.describe(),
            validation=self.best.validation,
            test=self.best.test,
            best_epoch=self.best.epoch,
            epochs=self.epoch,
            seconds=self.seconds,
            peak_memory=peak_memory(device),
            trainable=sum(p.numel() for p in parameters if p.requires_grad),
            stored=report.stored if spectral and report else sum(p.numel() for p in parameters),
        )


def _build_model(settings: ResolvedSettings, task: GraphTask) -> GraphModel:
    options = {"margin": settings.margin} if settings.model == "hybonet" else {}
    if settings.task == "nc" and not task.num_classes:
        raise ValueError(f"`task` must be 'lp' for {task.name!r}, whose nodes have no labels, got 'nc'.")
    return build(
        settings.model,
        task.num_features,
        settings.dim,
        settings.layers,
        task.num_classes if settings.task == "nc" else None,
        dropout=settings.dropout,
        activation=settings.activation,
        c=settings.c,
        learnable_c=settings.learnable_c,
        **options,
    )
