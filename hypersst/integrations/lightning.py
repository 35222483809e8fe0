"""Sparse Spectral Training in the Trainer of Lightning."""

from __future__ import annotations

from typing import Any

from hypersst.integrations.attachment import Attachment
from hypersst.spectral import SSTSampler

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:
    try:  # the same trainer, under its older name
        from pytorch_lightning import Callback, LightningModule, Trainer
    except ImportError as error:
        raise ImportError(
            "`hypersst.integrations.lightning` needs lightning: pip install hypersst[lightning]."
        ) from error

__all__ = ["SSTCallback"]


class SSTCallback(Callback):
    """Trains a spectral model with a Lightning `Trainer`.

    ``configure_optimizers`` builds the optimizer of ``hypersst.param_groups``, after ``spectralize``; of several
    optimizers the one with the singular values is meant. The sampler is made when training begins and counts the steps
    of that optimizer, whatever accumulation and loss scaling do. Lightning's checkpoints carry its state:
    ``fit(ckpt_path=...)`` draws what the unbroken run would have.

    Args:
        merge: Make the weights plain when fitting has ended; the checkpoints before hold the spectral model.
        telemetry: Log ``sst_effective_rank`` and ``sst_coverage``, means over the weights, at the end of each epoch.
        **settings: Those of `hypersst.SSTSampler`, such as ``steps_per_iteration``, ``warmup_steps`` and ``seed``.

    Raises:
        TypeError: If a setting is not one of the sampler's.

    Example:
        >>> SSTCallback(steps_per_iteration=50, warmup_steps=5).state_dict()  # until training begins
        {}
    """

    def __init__(self, *, merge: bool = False, telemetry: bool = True, **settings: Any) -> None:
        self._attachment = Attachment(settings)
        self._loaded: dict[str, Any] | None = None
        self.merge = merge
        self.telemetry = telemetry

    @property
    def sampler(self) -> SSTSampler | None:
        """The sampler, once training has begun."""
        return self._attachment.sampler

    def state_dict(self) -> dict[str, Any]:
        """The sampler's state, for the checkpoint."""
        return {} if self.sampler is None else self.sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until training begins, for then there is an optimizer."""
        self._loaded = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the sampler, and continue its draws where a checkpoint was loaded.

        Raises:
            ValueError: As `hypersst.SSTSampler` does, or if the checkpoint has no sampler's state.
        """
        state, self._loaded = self._loaded, None
        if trainer.ckpt_path is not None and state is None:
            raise ValueError(
                f"`ckpt_path` must name a checkpoint of a run with {type(self).__name__}, but "
                f"{str(trainer.ckpt_path)!r} has no state of a sampler."
            )
        self._attachment.begin(pl_module, trainer.optimizers, state)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the telemetry."""
        if self.telemetry:
            pl_module.log_dict(self._attachment.measures(pl_module))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the sampler off, and merge if asked to: now all checkpoints are written."""
        self._attachment.end(pl_module, merged=self.merge)
