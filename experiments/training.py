"""The training loop: full-batch, one graph, any model and method."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypersst.datasets import GraphTask, load
from hypersst.errors import DeviceError, NonFiniteError
from hypersst.experiments.checkpoint import check_same_run, load_checkpoint, save_checkpoint
from hypersst.experiments.finite import first_non_finite
from hypersst.experiments.interrupts import InterruptedRun, deferred_interrupt
from hypersst.experiments.methods import prepare
from hypersst.experiments.metrics import link_scores, node_scores
from hypersst.experiments.records import Record, device_name, peak_memory, versions
from hypersst.experiments.settings import ResolvedSettings, Settings
from hypersst.models import GraphModel, build
from hypersst.nn import CSRMatrix

__all__ = ["Report", "Run", "resolve_device", "train"]

#: Called after each evaluation with the epoch, the loss and the validation score.
Report = Callable[[int, float, float], None]

_SECONDS_BETWEEN_CHECKPOINTS = 20.0


def resolve_device(name: str) -> torch.device:
    """Turn a name such as ``"cpu"`` or ``"cuda:1"`` into a device that is there.

    Raises:
        DeviceError: If it is not, or the name is none.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        present = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise DeviceError(f"`device` must be one that is there ({', '.join(present)}), got {name!r}.") from error
    return device


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
        self.x: Tensor | CSRMatrix = task.x if task.x.layout == torch.strided else CSRMatrix.from_torch(task.x)
        self.adjacency = self.model.adjacency(task.edge_index, task.num_nodes)
        self._trained = [p for group in self.trainer.optimizer.param_groups for p in group["params"]]

    def loss(self) -> Tensor:
        """Loss of one pass over the training part, negative edges drawn anew."""
        out = self.model(self.x, self.adjacency)
        if self.settings.task == "nc":
            return self.model.node_loss(out[self.task.train], self.task.y[self.task.train])
        positive = self.task.train_pos
        negative = self.task.sample_negatives(positive.shape[1], self.generator).to(positive.device)
        return self.model.link_loss(self.model.decode(out, positive), self.model.decode(out, negative))

    def step(self) -> Tensor:
        """Train for one epoch.

        Returns:
            The loss, a scalar tensor on the device.

        Raises:
            NonFiniteError: If the loss or a gradient is not finite; the parameters are then as before.
        """
        self.model.train()
        self.trainer.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        clip = self.settings.grad_clip or math.inf
        norm = nn.utils.clip_grad_norm_(self._trained, clip)
        if not math.isfinite((loss.detach() + norm).item()):
            where = first_non_finite(self.model, self.loss)
            raise NonFiniteError(f"training became non-finite in epoch {self.epoch}, first in {where}.")
        self.trainer.optimizer.step()
        self.epoch += 1
        return loss.detach()

    @torch.no_grad()
    def evaluate(self) -> tuple[dict[str, float], dict[str, float]]:
        """Scores on the validation and on the test part, from one pass."""
        self.model.eval()
        out, task = self.model(self.x, self.adjacency), self.task
        if self.settings.task == "nc":
            return node_scores(out[task.val], task.y[task.val]), node_scores(out[task.test], task.y[task.test])
        decode = self.model.decode
        validation = link_scores(decode(out, task.val_pos), decode(out, task.val_neg))
        return validation, link_scores(decode(out, task.test_pos), decode(out, task.test_neg))

    def keep_if_best(self) -> float:
        """Evaluate, remember the model if its validation score is the best so far, and return that score.

        The score is F1 for nodes and the mean of ROC-AUC and average precision for links, as in the literature.
        """
        validation, test = self.evaluate()
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


def train(
    settings: Settings,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    checkpoint: Path | None = None,
    resume: Path | None = None,
    report: Report | None = None,
) -> Record:
    """Train one model and score it at the epoch with the best validation score.

    The caller's global random state is left as it was.

    Args:
        settings: What to train; recipes fill what is ``None``.
        data_dir: Folder to look for data files in first.
        device: Where to train.
        checkpoint: File to keep the state in: at the start, now and then, and at the end; ``None`` for none.
        resume: Checkpoint to continue from; its settings must equal ``settings``, but for epochs and patience.
        report: Called after each evaluation.

    Returns:
        The record.

    Raises:
        ValueError: If a setting, the data or the checkpoint is bad.
        NonFiniteError: If training becomes non-finite; the checkpoint then holds the last good state.
        InterruptedRun: After an interrupt; the checkpoint holds the state at the end of that epoch.
    """
    resolved = settings.resolve()
    target = resolve_device(device)
    saved = load_checkpoint(resume) if resume else None
    if saved:
        check_same_run(saved["settings"], resolved.to_dict())
    data = load(resolved.dataset, task=resolved.task, split=resolved.split, seed=resolved.split_seed, data_dir=data_dir)
    devices = [target] if target.type == "cuda" else []
    with torch.random.fork_rng(devices):
        run = Run(resolved, data.to(target))
        if saved:
            run.load_state_dict(saved)
        _loop(run, checkpoint, report)
        return run.record()


def _loop(run: Run, checkpoint: Path | None, report: Report | None) -> None:

    def save() -> None:
        if checkpoint is not None:
            save_checkpoint(checkpoint, run.state_dict())

    before = run.seconds
    start = last = time.perf_counter()
    if run.epoch == 0:
        save()
    with deferred_interrupt() as interrupted:
        while not run.finished:
            try:
                loss = run.step()
            except NonFiniteError as error:
                if all(torch.isfinite(p).all() for p in run.model.parameters()):
                    save()  # the bad step was not taken
                kept = f" The last good state is in {checkpoint}." if checkpoint else ""
                raise NonFiniteError(f"{error}{kept}") from None
            if run.epoch % run.settings.eval_every == 0 or run.finished:
                score = run.keep_if_best()
                if report:
                    report(run.epoch, loss.item(), score)
            now = time.perf_counter()
            run.seconds = before + now - start
            if interrupted():
                save()
                raise InterruptedRun(run.epoch, checkpoint)
            if now - last > _SECONDS_BETWEEN_CHECKPOINTS:
                save()
                last = now
    save()
