"""Bytes of a training step, by what is allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

import hypersst
from hypersst.experiments.allocations import AllocationTracker
from hypersst.experiments.memory_settings import Footprint, MemorySettings, Variant
from hypersst.lowrank import GaLore, lora
from hypersst.lowrank.selected import selected
from hypersst.spectral import ALL_LINEAR, SSTSampler

__all__ = ["Training", "measure"]


class _Allocator:
    """Figures of the allocator of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __enter__(self) -> _Allocator:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    @property
    def live(self) -> int:
        return torch.cuda.memory_allocated(self._device)

    @property
    def peak(self) -> int:
        return torch.cuda.max_memory_allocated(self._device)

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self._device)


def _optimizer(params: Iterable[Any]) -> torch.optim.Optimizer:
    # Fused, so that no temporary of the size of all parameters is made.
    return torch.optim.AdamW(params, lr=1e-3, fused=True)


class Training:
    """A model with the optimizers of a way of training it.

    Args:
        settings: The step.
        variant: The way of training.
        device: Where to train.

    Attributes:
        model: The model.
        gradients: The most bytes of gradients that a step of an optimizer has found.
    """

    def __init__(self, settings: MemorySettings, variant: Variant, device: torch.device) -> None:
        self._settings = settings
        model = self.model = settings.build().to(device)
        self._per_layer = variant.per_layer
        self.gradients = 0
        self._clocks: list[Any] = []
        self._optimizers: list[torch.optim.Optimizer] = []
        rank = settings.rank
        names = {id(one.target.weight): one.target.weight_name for one in selected(model, rank, ALL_LINEAR, None)}
        if variant.method == "lora":
            lora(model, rank)
        if variant.method == "sst":
            hypersst.spectralize(model, rank=rank, **variant.options)
        trained = [p for p in model.parameters() if p.requires_grad]
        if variant.per_layer:
            for parameter in trained:
                optimizer = _optimizer([parameter])
                self._optimizers.append(optimizer)
                if id(parameter) in names:
                    self._clocks.append(GaLore(model, optimizer, rank, include=[names[id(parameter)]]))
                parameter.register_post_accumulate_grad_hook(self._step_at_once(optimizer))
            return
        groups = hypersst.param_groups(model, 1e-3) if variant.method == "sst" else trained
        self._optimizers.append(_optimizer(groups))
        if variant.method == "galore":
            self._clocks.append(GaLore(model, self._optimizers[0], rank))
        if variant.method == "sst":
            self._clocks.append(SSTSampler(model, self._optimizers[0]))

    def _step_at_once(self, optimizer: torch.optim.Optimizer) -> Callable[[Tensor], None]:
        def hook(parameter: Tensor) -> None:
            self._note_gradients()
            optimizer.step()
            optimizer.zero_grad()

        return hook

    def _note_gradients(self) -> None:
        held = (p.grad for p in self.model.parameters())
        self.gradients = max(self.gradients, sum(grad.nbytes for grad in held if grad is not None))

    def take_step(self, inputs: tuple[Tensor, ...], live: Callable[[], int] = lambda: 0) -> int:
        """Pass over ``inputs`` as often as the settings say, and step.

        Returns:
            What ``live`` grew by in the last forward pass.
        """
        kept = 0
        for _ in range(self._settings.accumulate):
            before = live()
            loss = self._settings.loss(self.model, inputs)
            kept = live() - before
            loss.backward()
            del loss
        self._step()
        return kept

    def _step(self) -> None:
        if not self._per_layer:
            self._note_gradients()
            self._optimizers[0].step()
            self._optimizers[0].zero_grad()

    @property
    def weights(self) -> int:
        """Bytes of parameters."""
        return _bytes(self.model.parameters())

    @property
    def states(self) -> int:
        """Bytes of Adam's moments and of GaLore's projections."""
        moments = [
            value
            for optimizer in self._optimizers
            for state in optimizer.state.values()
            for name, value in state.items()
            if name != "step"
        ]
        projections = [w.p for clock in self._clocks if isinstance(clock, GaLore) for w in clock._weights]
        return _bytes(moments) + _bytes(p for p in projections if p is not None)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def measure(settings: MemorySettings, variant: Variant, device: torch.device) -> Footprint:
    """Build the model, take a short step and a whole one, and read what the whole one holds.

    On a GPU the allocator is asked; elsewhere every tensor is followed, see `AllocationTracker`.
    """
    meter = _Allocator(device) if device.type == "cuda" else AllocationTracker()
    with torch.random.fork_rng(devices=[]), meter as memory:
        torch.manual_seed(0)
        training = Training(settings, variant, device)
        training.take_step(settings.inputs(device, rows=1))  # makes the states
        training.gradients = 0
        inputs = settings.inputs(device)
        memory.reset_peak()
        activations = training.take_step(inputs, lambda: memory.live)
        return Footprint(training.weights, training.gradients, training.states, activations, memory.peak)
