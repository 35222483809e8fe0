"""``hypersst memory``: what a training step holds by each method, predicted and measured."""

from __future__ import annotations

from typing import Annotated

import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from hypersst.experiments.memory_measurement import measure as measured
from hypersst.experiments.memory_prediction import Forward, predict, trace
from hypersst.experiments.memory_settings import VARIANTS, Footprint, MemorySettings, Variant
from hypersst.experiments.training import resolve_device

__all__ = ["applicable", "footprint_table", "memory_command"]

_Settings = Annotated[MemorySettings, tyro.conf.arg(name="")]
_PARTS = ("weights", "gradients", "states", "activations")


def applicable(settings: MemorySettings, forward: Forward) -> tuple[dict[str, Variant], list[str]]:
    """Ways of training to look at by name, and what of ``all`` is left out or changed, and why.

    Raises:
        ValueError: If one that is named cannot train the model.
    """
    named = [name for name in settings.method if name != "all"]
    chosen = dict(VARIANTS) if "all" in settings.method else {name: VARIANTS[name] for name in named}
    reasons = []
    if not forward.plain:
        if "sst-recompute" in named:
            raise ValueError(
                f"`method` must not be sst-recompute for {settings.model}, some of whose layers are no plain linear "
                f"maps: use sst, with `checkpoint`."
            )
        chosen = {name: v.kept() if v.recompute else v for name, v in chosen.items() if name != "sst-recompute"}
        reasons.append("Composed weights are kept for the backward pass: some layers are no plain linear maps.")
    elif settings.checkpoint:
        chosen = {name: v.kept() if v.recompute and name != "sst-recompute" else v for name, v in chosen.items()}
        reasons.append("Composed weights are kept within a layer's backward pass, which runs its forward pass again.")
    if settings.accumulate > 1:
        if "galore-per-layer" in named:
            raise ValueError(
                f"`accumulate` must be 1 with galore-per-layer, which frees gradients at once, got "
                f"{settings.accumulate}."
            )
        if chosen.pop("galore-per-layer", None):
            reasons.append("galore-per-layer is left out: it frees the gradients that accumulate.")
    return chosen, reasons


def footprint_table(title: str, footprints: dict[str, Footprint]) -> Table:
    """One row per way of training, in MB (10⁶ bytes), with what share it is of the first row."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    measured = all(footprint.peak is not None for footprint in footprints.values())
    last = "peak" if measured else "total"
    first = next(iter(footprints.values()))
    for name in (*_PARTS, last, "share"):
        table.add_column(name, justify="right")
    for name, footprint in footprints.items():
        whole, base = ((f.peak if measured else f.total) or 0 for f in (footprint, first))
        cells = [f"{value / 1e6:,.1f}" for value in (*(getattr(footprint, part) for part in _PARTS), whole)]
        table.add_row(name, *cells, f"{whole / base:.1%}")
    return table


def memory_command(settings: _Settings, *, measure: bool = False, device: str = "cpu") -> int:
    """Predict the memory of a training step by each method, and measure it if asked for.

    Args:
        settings: The step.
        measure: Build the model, take a short step and a whole one by each method, and follow its memory.
        device: Where to measure: cpu, cuda, cuda:1.
    """
    target = resolve_device(device)
    forward = trace(settings)
    chosen, reasons = applicable(settings, forward)
    treated = sum(layer.report.dense for layer in forward.layers)
    numbers, size = forward.others
    console = Console()
    console.print(
        f"{settings.model}: {(treated + numbers) / 1e6:.1f} M parameters, {treated / 1e6:.1f} M of them in "
        f"{len(forward.layers)} weights that the methods treat; the other {numbers / 1e6:.1f} M (embeddings, heads, "
        f"norms) train at full rank in each: {4 * size / 1e6:,.1f} MB of weights, gradients and states."
    )
    for reason in reasons:
        console.print(reason)
    predicted = {name: predict(settings, variant, forward) for name, variant in chosen.items()}
    console.print(footprint_table("predicted, MB", predicted))
    if measure:
        found = {name: measured(settings, variant, target) for name, variant in chosen.items()}
        console.print(footprint_table(f"measured on {target}, MB", found))
    return 0
