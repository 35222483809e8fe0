"""What compact storage of frozen vectors costs: how far weights move, and the loss of training with it.

A weight is rounded when it becomes spectral, its released rows at a draw (after they have turned by about 0.3 rad), all
rows at a decomposition. Trained is a small language model on characters, with a draw every 10 steps and so a
decomposition every 80: ten to twenty times as often as in use.

    OMP_NUM_THREADS=1 python experiments/benchmarks/storage.py
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

import hypersst
from hypersst.datasets import Characters, encode_lines, load_language
from hypersst.experiments.records import device_name, versions
from hypersst.models.sequence import Llama
from hypersst.optim import RiemannianAdamW
from hypersst.spectral import SSTSampler, spectral
from hypersst.spectral.spectral_weight import spectral_of
from hypersst.spectral.storage import STORAGES

__all__ = ["KINDS", "Settings", "loss_table", "losses", "main", "movement", "movement_table", "run"]

KINDS = ("random", "trained", "outliers")
SHAPES = ((256, 256), (512, 512), (384, 1024), (1024, 1024))


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Args:
        steps: Training steps; 0 for no training.
        seeds: Trainings of each storage.
        data_dir: Folder to look for the text in first.
        output: File of the record.
    """

    steps: int = 300
    seeds: int = 3
    data_dir: Path | None = None
    output: Path = Path("experiments/results/storage.json")


def weight_of(kind: str, shape: tuple[int, int]) -> Tensor:
    """Gaussian; with singular values that fall as in trained weights; or with a few large rows and columns."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator) / shape[1] ** 0.5
    if kind == "trained":
        u, s, v = torch.linalg.svd(weight, full_matrices=False)
        return (u * torch.arange(1, len(s) + 1).pow(-0.7)) @ v
    if kind == "outliers":
        rows, columns = (torch.randn(n, generator=generator) for n in shape)
        return weight * rows.exp()[:, None] * (1.5 * columns).exp()
    return weight


@torch.no_grad()
def movement(kind: str, shape: tuple[int, int], storage: str) -> dict[str, float]:
    """Relative change of a weight, an eighth of its pairs active, where it is made, at a draw, at a decomposition."""
    weight, generator = weight_of(kind, shape), torch.Generator().manual_seed(1)
    layer = nn.Linear(shape[1], shape[0])
    layer.weight.copy_(weight)
    spectral(layer, rank=min(shape) // 8, storage=storage)
    p = spectral_of(layer)
    assert p is not None
    moves = {"made": _relative(layer.weight, weight)}
    p.activate(torch.randperm(p.k, generator=generator)[: p.rank])
    for rows in (p.u_active, p.v_active):
        rows.add_(0.3 * torch.randn(rows.shape, generator=generator) / rows.shape[1] ** 0.5)
    p.write_back(normalize=True)
    before = layer.weight.clone()
    p.activate(torch.randperm(p.k, generator=generator)[: p.rank])
    moves["draw"] = _relative(layer.weight, before)
    before = layer.weight.clone()
    p.redecompose(layer.parametrizations.weight.original)  # type: ignore[union-attr,arg-type]
    moves["decomposition"] = _relative(layer.weight, before)
    return moves


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


def _batches(ids: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """16 rows of 64 characters, and what comes after each."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(0, len(ids) - 65, (16,), generator=generator)
        rows = torch.stack([ids[i : i + 65] for i in starts])
        yield rows[:, :-1], rows[:, 1:]


def losses(settings: Settings, storage: str, seed: int) -> dict[str, float]:
    """Mean loss of the last 50 training steps, and of 40 validation batches after them."""
    text = load_language("tinyshakespeare", data_dir=settings.data_dir)
    words = Characters.train(text.train.lines())
    parts = [encode_lines(words, part.lines()) for part in (text.train, text.validation)]
    train, valid = (torch.tensor([number for line in part for number in line]) for part in parts)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Llama(len(words), dim=128, heads=4, layers=2, max_length=64)
    hypersst.spectralize(model, rank=16, recompute=True, storage=storage)
    optimizer = RiemannianAdamW(hypersst.param_groups(model, 3e-3, vector_lr=0.02), lr=3e-3)
    SSTSampler(model, optimizer, steps_per_iteration=10, warmup_steps=2, seed=seed)
    batches, seen = _batches(train, seed), []
    for _ in range(settings.steps):
        x, y = next(batches)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    model.eval()
    batches = _batches(valid, 99)
    with torch.no_grad():
        found = [
            F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item() for x, y in (next(batches) for _ in range(40))
        ]
    return {"train": statistics.mean(seen[-50:]), "validation": statistics.mean(found)}


def run(settings: Settings) -> dict[str, Any]:
    """Measure all, and write the record."""
    record: dict[str, Any] = {
        "settings": {**dataclasses.asdict(settings), "output": str(settings.output), "data_dir": None},
        "versions": versions(),
        "device": device_name(torch.device("cpu")),
        "movement": [
            {"kind": kind, "shape": list(shape), "storage": storage, **movement(kind, shape, storage)}
            for kind in KINDS
            for shape in SHAPES
            for storage in STORAGES
        ],
        "losses": [
            {"storage": storage, "seed": seed, **losses(settings, storage, seed)}
            for seed in range(settings.seeds if settings.steps else 0)
            for storage in STORAGES
        ],
    }
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    settings.output.write_text(json.dumps(record, indent=1) + "\n")
    return record


def movement_table(path: Path) -> str:
    """The largest changes over the shapes, as a Markdown table."""
    record = json.loads(path.read_text())["movement"]
    lines = ["| weight | storage | made spectral | draw | decomposition |", "|---|---|---|---|---|"]
    for kind in KINDS:
        for storage in STORAGES:
            rows = [row for row in record if (row["kind"], row["storage"]) == (kind, storage)]
            cells = [max(row[when] for row in rows) for when in ("made", "draw", "decomposition")]
            lines.append(f"| {kind} | {storage} | " + " | ".join(f"{cell:.1e}" for cell in cells) + " |")
    return "\n".join(lines)


def loss_table(path: Path) -> str:
    """Losses as a Markdown table, with the differences from float32 by seed."""
    record = json.loads(path.read_text())["losses"]
    lines = ["| storage | training loss | validation loss | validation, less float32's, by seed |", "|---|---|---|---|"]
    exact = {row["seed"]: row["validation"] for row in record if row["storage"] == "float32"}
    for storage in STORAGES:
        rows = [row for row in record if row["storage"] == storage]
        means = [statistics.mean(row[part] for row in rows) for part in ("train", "validation")]
        changes = ", ".join(f"{row['validation'] - exact[row['seed']]:+.4f}" for row in rows)
        lines.append(f"| {storage} | {means[0]:.4f} | {means[1]:.4f} | {changes if storage != 'float32' else ''} |")
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    """Read the settings from the command line, measure, and print the tables."""
    settings = tyro.cli(Settings, args=args, description=__doc__)
    run(settings)
    print(movement_table(settings.output))
    print(loss_table(settings.output))


if __name__ == "__main__":
    main()
