"""Bytes of a training step, counted without allocating them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from hypersst.experiments.memory_settings import Footprint, MemorySettings, Variant
from hypersst.lowrank.selected import selected
from hypersst.spectral import ALL_LINEAR, LayerReport, SpectralReport
from hypersst.spectral.execution import factors_win
from hypersst.spectral.spectral_weight import is_plain_linear

__all__ = ["Forward", "predict", "trace"]


@dataclass(frozen=True)
class _Layer:
    """A selected weight: its row of the report, whether its layer is a plain linear map, the rows of each input."""

    report: LayerReport
    plain: bool
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Forward:
    """What a forward pass at full rank needs.

    Args:
        kept: Bytes that it leaves for the backward pass, weights left out.
        layers: Weights that the other methods treat.
        largest: Bytes of the largest parameter.
        others: Numbers in parameters that no method treats, and their bytes.
    """

    kept: int
    layers: tuple[_Layer, ...]
    largest: int
    others: tuple[int, int]

    @property
    def plain(self) -> bool:
        """Whether every selected layer is a plain linear map."""
        return all(layer.plain for layer in self.layers)


def trace(settings: MemorySettings) -> Forward:
    """Run a forward pass on tensors without memory."""
    kept: dict[int, Tensor] = {}
    rows: dict[str, list[int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor  # held on to, so that no other gets its address
        return tensor

    fake = FakeTensorMode(allow_non_fake_inputs=True)
    # geoopt cannot make points of tensors without memory: hyperbolic weights are real at first.
    with torch.random.fork_rng(devices=[]), nullcontext() if settings.hyperbolic else fake:
        model = settings.build()
    chosen = selected(model, settings.rank, ALL_LINEAR, None)
    _forget_values(model, fake)
    with fake:
        inputs = settings.inputs(torch.device("cpu"))
        for one in chosen:
            name = one.target.weight_name
            rows[name] = []
            one.target.module.register_forward_pre_hook(_note_rows(rows[name], one.shape[1]))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = settings.loss(model, inputs)
        for tensor in (*model.parameters(), *model.buffers(), *inputs, loss):
            kept.pop(tensor.untyped_storage()._cdata, None)
        own = {id(one.target.weight) for one in chosen}
        rest = [p for p in model.parameters() if id(p) not in own]
        layers = tuple(
            _Layer(
                one.layer,
                one.target.tensor == "weight" and is_plain_linear(one.target.module),
                tuple(rows[one.target.weight_name]),
            )
            for one in chosen
        )
        return Forward(
            kept=sum(tensor.untyped_storage().nbytes() for tensor in kept.values()),
            layers=layers,
            largest=max(p.nbytes for p in model.parameters()),
            others=(sum(p.numel() for p in rest), sum(p.nbytes for p in rest)),
        )


def _forget_values(model: nn.Module, fake: FakeTensorMode) -> None:
    """Put parameters without memory in place of real ones; points become plain ones, which torch 2.11 asks for."""
    plain: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            if not isinstance(p, FakeTensor):
                # A tied one stays one.
                plain.setdefault(id(p), nn.Parameter(fake.from_tensor(p.detach()), p.requires_grad))
                module._parameters[name] = plain[id(p)]


def _note_rows(into: list[int], columns: int) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        into.append(args[0].numel() // columns)

    return hook


def predict(settings: MemorySettings, variant: Variant, forward: Forward) -> Footprint:
    """Count weights, gradients, states and activations of a step of ``variant``, in bytes.

    Weights, gradients and states are those of `hypersst.spectral.SpectralReport`. Activations are those of full rank
    with what the method adds or leaves out: a composed weight, a thin product, a copy of the weight in bfloat16. Within
    a checkpointed layer these are gone with all the rest.

    Args:
        settings: The step.
        variant: The way of training.
        forward: What `trace` found.
    """
    reports = [replace(layer.report, storage=variant.storage) for layer in forward.layers]
    memory = SpectralReport(tuple(reports), *forward.others).memory(variant.method)
    kept = forward.kept
    if not settings.checkpoint:
        kept += sum(_added(layer, settings, variant) for layer in forward.layers)
    gradients = forward.largest if variant.per_layer else memory.gradients
    return Footprint(memory.weights, gradients, memory.states, kept)


def _added(layer: _Layer, settings: MemorySettings, variant: Variant) -> int:
    """Bytes of activations of one layer above those of full rank."""
    (m, n), k, r = layer.report.shape, layer.report.k, layer.report.rank
    half = settings.precision == "bf16"
    item = 2 if half else layer.report.itemsize
    weight, rows = m * n * item, sum(layer.inputs)
    copy = weight if half else 0  # autocast keeps one, which full rank has too
    if variant.method == "lora":
        thin = rows * r * item + (r * (m + n) * item if half else 0)
        return thin if layer.plain else weight - copy
    if variant.method != "sst":
        return 0
    added = -copy
    for each in layer.inputs:
        factored = layer.plain and factors_win((m, n), k, r, each, recompute=variant.recompute)
        if not variant.recompute:
            added += each * k * item if factored else weight
    return added
