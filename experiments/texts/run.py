"""One run on texts: a model, its data and all that must be saved to go on."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import geoopt
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import hypersst
from hypersst.datasets import restore_tokenizer
from hypersst.errors import NonFiniteError
from hypersst.experiments.checkpoint import CheckpointError, check_same_run
from hypersst.experiments.finite import first_non_finite
from hypersst.experiments.methods import prepare
from hypersst.experiments.processes import ALONE, Processes
from hypersst.experiments.schedule import factor
from hypersst.experiments.texts.batch import TextBatch, negative_log_likelihood
from hypersst.experiments.texts.data import TextData
from hypersst.experiments.texts.model import build_model
from hypersst.experiments.texts.settings import ResolvedTextSettings
from hypersst.experiments.whole_state import (
    any_sharded,
    clip_gradients,
    load_optimizer_state,
    load_state,
    merged_state,
    shard,
    whole_optimizer_state,
    whole_state,
)
from hypersst.models.sequence.layer import TransformerLayer
from hypersst.sharding import can_shard_integers, can_shard_on_cpu, is_sharded
from hypersst.spectral.draws import named_generator

__all__ = ["TextRun", "average_states", "plain_state"]


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state that ``model`` would have with plain weights, on the CPU; ``model`` stays as it is."""
    if any_sharded(model.parameters()):
        return merged_state(model)
    plain = copy.deepcopy(model)
    if any(map(parametrize.is_parametrized, plain.modules())):
        hypersst.merge(plain)
    return {name: value.detach().cpu().as_subclass(Tensor).clone() for name, value in plain.state_dict().items()}


def average_states(states: Sequence[Mapping[str, Tensor]], model: nn.Module) -> dict[str, Tensor]:
    """Mean of plain states, entry by entry; points on manifolds are projected back onto them.

    Args:
        states: States of equal shapes, at least one.
        model: A plain model that says which parameters lie on manifolds.
    """
    points = {name: p.manifold for name, p in model.named_parameters() if isinstance(p, geoopt.ManifoldParameter)}
    mean: dict[str, Tensor] = {}
    for name, first in states[0].items():
        if not first.is_floating_point():
            mean[name] = states[-1][name]
            continue
        mean[name] = torch.stack([state[name] for state in states]).mean(dim=0)
        if name in points:
            mean[name] = points[name].projx(mean[name])
    return mean


class TextRun:
    """A model, its data and all that must be saved to go on: one step of the optimizer at a time.

    Args:
        settings: Resolved settings.
        data: The texts in tokens, their training batches shared among the processes.
        device: Where to train.
        processes: Those that train this model together, see `step`.

    Raises:
        ValueError: If model or method refuse the settings, or a single process is to share out the weights.
    """

    unit = "step"

    def __init__(
        self,
        settings: ResolvedTextSettings,
        data: TextData,
        device: torch.device | str = "cpu",
        processes: Processes = ALONE,
    ) -> None:
        self.settings, self.data, self.processes = settings, data, processes
        self.device = torch.device(device)
        self.steps = 0
        self.seconds = 0.0
        #: Steps at the best evaluation, and its perplexity.
        self.best_step, self.best_perplexity = -1, math.inf
        self.best_state: dict[str, Tensor] = {}
        #: Plain states of the last evaluations, oldest first.
        self.recent: list[dict[str, Tensor]] = []
        torch.manual_seed(settings.seed)
        self.model = build_model(settings, data.vocabulary).to(self.device)
        self._sharded = settings.sharding == "fsdp2"
        if self._sharded and processes.world == 1:
            raise ValueError("`sharding` must be ddp for a single process, got 'fsdp2': start several by torchrun.")
        if self._sharded and self.device.type == "cpu" and not can_shard_on_cpu():
            raise ValueError("`sharding` must be ddp on a CPU before torch 2.7, got 'fsdp2'.")
        if self._sharded and settings.storage == "int8" and not can_shard_integers():
            raise ValueError("`sharding` must be ddp with `storage` int8 before torch 2.11, got 'fsdp2'.")
        self.trainer = prepare(self.model, settings, self._shard if self._sharded else None)
        groups = self.trainer.optimizer.param_groups
        self._replica = self.model if self._sharded else processes.replicate(self.model)
        self._rates = [group["lr"] for group in groups]
        self._trained = [p for group in groups for p in group["params"]]

    def _shard(self, model: nn.Module) -> None:
        shard(model, [m for m in model.modules() if isinstance(m, TransformerLayer)], self.device)

    def _autocast(self) -> torch.autocast:
        enabled = self.settings.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def loss(self, batch: TextBatch, tokens: Tensor, model: nn.Module | None = None) -> Tensor:
        """Smoothed loss of some rows as a share of a batch of ``tokens`` tokens."""
        with self._autocast():
            smoothing = self.settings.label_smoothing
            return negative_log_likelihood(model or self.model, batch, smoothing) / tokens

    def step(self) -> Tensor:
        """Take one step of the optimizer.

        Several processes have some of the batch's rows each. Each divides by their mean number of tokens, since
        gradients are averaged over the processes: together that is the mean over all tokens.

        Returns:
            The loss of a token, a scalar on the device.

        Raises:
            NonFiniteError: If the loss or a gradient is not finite in any process; in all of them then, with one
                message, and the parameters are as before.
        """
        settings, processes = self.settings, self.processes
        self._replica.train()
        if processes.world > 1:
            # Dropout of each process by itself, and the same after a resume without a saved state for each.
            purpose = f"dropout of process {processes.rank}"
            torch.manual_seed(named_generator(settings.seed, purpose, self.steps).initial_seed())
        batch = self.data.train.next().to(self.device)
        tokens = processes.mean(batch.count())
        self.trainer.optimizer.zero_grad()
        own = torch.zeros((), device=self.device)
        parts = batch.chunks(settings.accumulate)
        for part in parts:
            with self._reduced(part is parts[-1]):
                loss = self.loss(part, tokens, self._replica)
                loss.backward()
            own += loss.detach()
        if self._sharded:
            self._average_scalars()
        total = processes.mean(own)
        clip: Callable[..., Tensor] = clip_gradients if self._sharded else nn.utils.clip_grad_norm_
        norm = clip(self._trained, settings.grad_clip or math.inf)
        if not math.isfinite((total + norm).item()):
            where = self._first_non_finite(own, lambda: self.loss(batch, tokens))
            raise NonFiniteError(f"training became non-finite in step {self.steps + 1}, first in {where}.")
        share = factor(settings.schedule, self.steps + 1, settings.lr_warmup, settings.steps)
        for group, rate in zip(self.trainer.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * share
        self.trainer.optimizer.step()
        self.steps += 1
        return total

    def _reduced(self, reduced: bool) -> contextlib.AbstractContextManager[None]:
        """Whether the gradients of a pass are averaged over the processes, or added to those of the next one."""
        if isinstance(self._replica, nn.parallel.DistributedDataParallel) and not reduced:
            return self._replica.no_sync()
        if self._sharded:
            self._replica.set_requires_gradient_sync(reduced)  # type: ignore[operator]
        return contextlib.nullcontext()

    def _average_scalars(self) -> None:
        """Average the gradients of parameters that are in every process."""
        grads = [p.grad for p in self._trained if p.grad is not None and not is_sharded(p)]
        if grads:
            means = self.processes.mean(torch.stack(grads))
            torch._foreach_copy_(grads, list(means.unbind()))

    def _first_non_finite(self, own: Tensor, loss: Callable[[], Tensor]) -> str:
        """Where a value is not finite in the first process whose own loss is not."""
        found = self.processes.gather((bool(own.isfinite()), first_non_finite(self.model, loss)))
        return min(found, key=lambda answer: answer[0])[1]

    @torch.no_grad()
    def perplexity(self, model: nn.Module | None = None, part: Sequence[TextBatch] | None = None) -> float:
        """Exponential of the mean negative log-likelihood of a token, without label smoothing.

        Several processes evaluate some of the batches each, and all get the same result.

        Args:
            model: What to evaluate; the model in training if left out.
            part: What to evaluate on; the validation part if left out.
        """
        sharded = self._sharded and model is None
        model = self.model if model is None else model
        model.eval()
        processes = self.processes
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        batches = self.data.validation if part is None else part
        own = batches[processes.rank :: processes.world]
        # A pass of sharded weights needs all processes: those that have no batch left repeat the last one.
        passes = -(-len(batches) // processes.world) if sharded else len(own)
        for i in range(passes):
            batch = own[i] if i < len(own) else batches[-1]
            with self._autocast():
                loss = negative_log_likelihood(model, batch.to(self.device))
            if i < len(own):
                sums[0] += loss
                sums[1] += batch.count()
        total, tokens = processes.sum(sums).tolist()
        return math.exp(min(total / tokens, 700.0))

    def keep_if_best(self) -> float:
        """Evaluate, remember the weights if they are the best so far, and return the perplexity."""
        perplexity = self.perplexity()
        state = plain_state(self.model)
        self.recent = [*self.recent, state][-self.settings.average :]
        if perplexity < self.best_perplexity:
            self.best_step, self.best_perplexity, self.best_state = self.steps, perplexity, state
        return perplexity

    def final(self) -> tuple[nn.Module, float]:
        """The plain model that training gives, and its perplexity.

        It is the mean of the last evaluations' weights, or the best evaluation's if their perplexity is lower.
        """
        model = build_model(self.settings, self.data.vocabulary).to(self.device)
        model.load_state_dict(average_states(self.recent, model))
        perplexity = self.perplexity(model)
        if not perplexity < self.best_perplexity:
            model.load_state_dict(self.best_state)
            perplexity = self.best_perplexity
        return model.eval(), perplexity

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the model."""
        return self.model.parameters()

    @property
    def epoch(self) -> int:
        """Steps: what a run on texts is counted in."""
        return self.steps

    @property
    def evaluation_due(self) -> bool:
        """Whether the loop is to evaluate now: every so many steps, and at the end."""
        return self.steps % self.settings.eval_every == 0 or self.finished

    @property
    def finished(self) -> bool:
        """Whether the last step is taken."""
        return self.steps >= self.settings.steps

    def spend(self, seconds: float) -> None:
        """Count time."""
        self.seconds += seconds

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on; of sharded weights for all processes to ask together."""
        clock = self.trainer.clock
        return {
            "settings": self.settings.to_dict(),
            "tokenizer": self.data.tokenizer.state_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
            "best": (self.best_step, self.best_perplexity),
            "best_state": self.best_state,
            "recent": self.recent,
            "model": whole_state(self.model),
            "optimizer": whole_optimizer_state(self.trainer.optimizer),
            "clock": clock.state_dict() if clock else None,
            "batches": self.data.train.state_dict(),
            "rng": torch.get_rng_state(),
            "device_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            CheckpointError: If it is of other settings, or of other words: the text or sentencepiece has changed.
        """
        check_same_run(state["settings"], self.settings.to_dict())
        if restore_tokenizer(state["tokenizer"]).fingerprint != self.data.tokenizer.fingerprint:
            raise CheckpointError("`resume` must be a checkpoint of the same words, but its tokenizer is another one.")
        self.steps, self.seconds = state["steps"], state["seconds"]
        self.best_step, self.best_perplexity = state["best"]
        self.best_state, self.recent = state["best_state"], state["recent"]
        load_state(self.model, state["model"])
        load_optimizer_state(self.trainer.optimizer, state["optimizer"])
        if self.trainer.clock:
            self.trainer.clock.load_state_dict(state["clock"])
        self.data.train.load_state_dict(state["batches"])
        torch.set_rng_state(state["rng"])
        if state["device_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_rng"], self.device)
