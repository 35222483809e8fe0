"""Sparse Spectral Training in the Trainer of Hugging Face transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hypersst.integrations.attachment import Attachment
from hypersst.spectral import SSTSampler

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import ExportableState
except ImportError as error:
    raise ImportError(
        "`hypersst.integrations.transformers` needs transformers and accelerate: pip install hypersst[transformers]."
    ) from error

__all__ = ["SSTCallback"]


def _to_json(state: dict[str, Any]) -> dict[str, Any]:
    """A sampler's state in numbers and text: one short line a weight, where a list would take one line a number."""
    return {
        "step": state["step"],
        "seed": state["seed"],
        "index": {name: " ".join(map(str, rows.tolist())) for name, rows in state["index"].items()},
        "seen": {name: "".join("01"[flag] for flag in rows.tolist()) for name, rows in state["seen"].items()},
    }


def _from_json(state: dict[str, Any]) -> dict[str, Any]:
    return {
        "step": state["step"],
        "seed": state["seed"],
        "index": {name: torch.tensor([int(row) for row in rows.split()]) for name, rows in state["index"].items()},
        "seen": {name: torch.tensor([flag == "1" for flag in flags]) for name, flags in state["seen"].items()},
    }


class SSTCallback(TrainerCallback, ExportableState):
    """Trains a spectral model with a `transformers.Trainer`.

    Give the Trainer an optimizer of ``hypersst.param_groups`` by ``optimizers=(optimizer, None)``; it makes the
    schedule of its arguments around it. The sampler is made when training begins and counts optimizer steps, whatever
    accumulation and loss scaling do. Its state lies in ``trainer_state.json`` of each checkpoint, from where
    ``train(resume_from_checkpoint=...)`` takes it again: a resumed run draws what the unbroken one would have.

    Args:
        merge: Make the weights plain when training has ended, after the best model was loaded. `Trainer.save_model`
            then writes what ``from_pretrained`` reads; the checkpoints before hold the spectral model.
        telemetry: Add ``sst_effective_rank`` and ``sst_coverage``, means over the weights, to the logs that have a
            loss. Of callbacks before this one, such as reporters that the Trainer itself adds, none sees them.
        **settings: Those of `hypersst.SSTSampler`, such as ``steps_per_iteration``, ``warmup_steps`` and ``seed``.

    Raises:
        TypeError: If a setting is not one of the sampler's.

    Example:
        >>> SSTCallback(steps_per_iteration=50, warmup_steps=5).sampler is None  # until training begins
        True
    """

    def __init__(self, *, merge: bool = False, telemetry: bool = True, **settings: Any) -> None:
        self._attachment = Attachment(settings)
        self.merge = merge
        self.telemetry = telemetry

    @property
    def sampler(self) -> SSTSampler | None:
        """The sampler, once training has begun."""
        return self._attachment.sampler

    def state(self) -> dict[str, Any]:
        """What the Trainer puts into ``trainer_state.json``."""
        attributes = {} if self.sampler is None else {"sampler": _to_json(self.sampler.state_dict())}
        return {"args": {}, "attributes": attributes}

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        **kwargs: Any,
    ) -> None:
        """Make the sampler, and continue its draws where a checkpoint was loaded.

        Raises:
            ValueError: As `hypersst.SSTSampler` does, if the checkpoint has no sampler's state, or if the Trainer is
                to make the callback anew.
        """
        if args.restore_callback_states_from_checkpoint:
            raise ValueError(
                "`restore_callback_states_from_checkpoint` must be False: it makes callbacks anew, SSTCallback without "
                "its settings. SSTCallback resumes without it."
            )
        saved = state.stateful_callbacks.get(type(self).__name__, {}).get("attributes", {}).get("sampler")
        if state.global_step and saved is None:
            raise ValueError(
                f"`resume_from_checkpoint` must name a checkpoint of a run with {type(self).__name__}, but that of "
                f"step {state.global_step} has no state of a sampler."
            )
        resumed = _from_json(saved) if state.global_step and saved is not None else None
        self._attachment.begin(model, [optimizer], resumed)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: nn.Module,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Add the telemetry to the line, and to the history that the Trainer keeps."""
        if self.telemetry and self.sampler is not None and "loss" in logs:
            measured = self._attachment.measures(model)
            logs.update(measured)
            state.log_history[-1].update(measured)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: nn.Module,
        **kwargs: Any,
    ) -> None:
        """Take the sampler off, and merge if asked to."""
        self._attachment.end(model, merged=self.merge)
