"""A sampler that is made when a foreign trainer has model and optimizer ready, and taken off when it is done."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from hypersst.spectral import Spectral, SSTSampler, merge, spectral_weights
from hypersst.spectral.decomposition import effective_rank

__all__ = ["Attachment", "inner_optimizer"]


def inner_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer that steps, inside wrappers that keep it as ``optimizer`` (accelerate, Lightning).

    A wrapper's own step does not always step: hooks belong on the one within.
    """
    while isinstance(inner := getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = inner
    return optimizer


def _holder(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """The optimizer of the singular values; the first one where none holds them, for the sampler to refuse."""
    if not optimizers:
        raise ValueError("The trainer must have an optimizer, but it has none: build one from `hypersst.param_groups`.")
    inner = [inner_optimizer(optimizer) for optimizer in optimizers]
    sigmas = {id(weight.sigma) for weight in spectral_weights(model)}
    for optimizer in inner:
        if any(id(p) in sigmas for group in optimizer.param_groups for p in group["params"]):
            return optimizer
    return inner[0]


def _compact(model: nn.Module) -> list[tuple[Spectral, dict[str, torch.Tensor]]]:
    """Copies of the factors that a draw rounds, see `hypersst.spectral.storage`."""
    held = [weight.spectral for weight in spectral_weights(model) if weight.spectral.storage != "float32"]
    return [(p, {name: tensor.clone() for name, tensor in p.state_dict().items()}) for p in held]


class Attachment:
    """Holds the settings of an `hypersst.SSTSampler` until there is an optimizer, then the sampler.

    Args:
        settings: Keywords of `hypersst.SSTSampler`.

    Attributes:
        sampler: The sampler, once training has begun; afterwards the last one, off its optimizer.

    Raises:
        TypeError: If a keyword is not one of the sampler's.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        inspect.signature(SSTSampler).bind(None, None, **settings)
        self.settings = settings
        self.sampler: SSTSampler | None = None

    def begin(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        state: dict[str, Any] | None = None,
    ) -> None:
        """Make the sampler; with ``state``, for a model and an optimizer that a checkpoint has filled already.

        Raises:
            ValueError: As `hypersst.SSTSampler` and its ``load_state_dict`` do, or if there is no optimizer.
        """
        optimizer = _holder(model, optimizers)
        if self.sampler is not None:  # a training that was interrupted never came to its end
            self.sampler.detach()
        loaded = _compact(model) if state is not None else []
        self.sampler = SSTSampler(model, optimizer, **self.settings)
        if state is not None:
            self.sampler.load_state_dict(state)
        for spectral, tensors in loaded:  # the first draw has rounded what was active
            spectral.load_state_dict(tensors)

    def end(self, model: nn.Module, *, merged: bool) -> None:
        """Take the sampler off its optimizer and, if asked to, make the weights plain."""
        if self.sampler is not None:
            self.sampler.detach()
        if merged:
            merge(model)

    @torch.no_grad()
    def measures(self, model: nn.Module) -> dict[str, float]:
        """Means over the weights: effective rank, and share of vectors active since the last decomposition.

        Unlike ``SSTSampler.telemetry`` it reads the singular values alone, and fetches one number from the device.
        """
        assert self.sampler is not None, "`measures` comes after `begin`"
        ranks = torch.stack([effective_rank(weight.sigma).double() for weight in spectral_weights(model)])
        seen = [rows.double().mean() for rows in self.sampler.state_dict()["seen"].values()]
        return {"sst_effective_rank": ranks.mean().item(), "sst_coverage": torch.stack(seen).mean().item()}
