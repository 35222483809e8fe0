"""Embed a hierarchy as Nickel and Kiela do: find the broader nodes of a node among the points near it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from hypersst.datasets.non_neighbours import NonNeighbours
from hypersst.datasets.wordnet import HIERARCHIES, Hierarchy, load_hierarchy
from hypersst.errors import NonFiniteError, unknown
from hypersst.experiments.interrupts import InterruptedRun, deferred_interrupt
from hypersst.experiments.records import Record, device_name, peak_memory, versions, write_record
from hypersst.experiments.settings import Settings
from hypersst.experiments.training import resolve_device
from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.metrics import Reconstruction, reconstruction
from hypersst.nn import HyperbolicEmbedding, distance_softmax_loss
from hypersst.optim import RiemannianSGD

__all__ = [
    "Embedded",
    "EmbeddingSettings",
    "embed",
    "embed_command",
    "result_line",
]

MODELS = {"lorentz": Lorentz, "ball": PoincareBall}

#: Called after each evaluation with the epoch, the mean loss of a pair in that epoch, and the scores.
Report = Callable[[int, float, Reconstruction], None]


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings:
    """One embedding.

    The recipe begins from that of Nickel and Kiela's public code for mammals: rate 0.3 for the mean over batches of 10
    pairs, which is 0.03 for a pair, 50 negatives, gradient descent without momentum, float64. It departs in larger
    batches (``lr`` counts per pair, so that it does not depend on them), 200 epochs instead of 300, a burn-in of 10
    epochs instead of 20, at a tenth of the rate as in their paper (a hundredth in the code), and uniform negatives
    throughout (in the code those of the burn-in follow the nodes' frequency).

    Args:
        dataset: Name of a hierarchy.
        model: lorentz or ball.
        dim: Intrinsic dimensions.
        seed: Seed of initial points, order of pairs and negatives.
        epochs: Epochs to train, burn-in included.
        burn_in: Epochs at the beginning with a lower learning rate, in which points find their direction.
        burn_in_factor: The lower rate as a share of ``lr``.
        batch_size: Pairs in a step.
        negatives: Non-neighbours that a pair competes with.
        lr: Learning rate of one pair.
        c: Curvature parameter: the sectional curvature is -c.
        std: Standard deviation of the initial points.
        eval_every: Epochs between evaluations.
    """

    dataset: str = "mammals"
    model: str = "lorentz"
    dim: int = 5
    seed: int = 0
    epochs: int = 200
    burn_in: int = 10
    burn_in_factor: float = 0.1
    batch_size: int = 256
    negatives: int = 50
    lr: float = 0.03
    c: float = 1.0
    std: float = 1e-3
    eval_every: int = 20

    def __post_init__(self) -> None:
        """Check the names and numbers.

        Raises:
            ValueError: If a name is unknown (with the nearest ones) or a number is out of range.
        """
        for name, known in (("dataset", HIERARCHIES), ("model", MODELS)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        lowest = {"dim": 1, "epochs": 1, "burn_in": 0, "batch_size": 1, "negatives": 1, "eval_every": 1}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise ValueError(f"`{name}` must be at least {low}, got {getattr(self, name)}.")
        for name in ("lr", "burn_in_factor"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")

    @classmethod
    def of(cls, settings: Settings) -> EmbeddingSettings:
        """Take from the settings of the command line what applies here.

        Raises:
            ValueError: If a setting was changed that has no meaning for embeddings.
        """
        own = {field.name for field in dataclasses.fields(cls)}
        given: dict[str, Any] = {}
        for field in dataclasses.fields(settings):
            value = getattr(settings, field.name)
            # The default model of graph tasks is no model of hyperbolic space: left alone, it means ours.
            if value == field.default and field.name != "dataset":
                continue
            if field.name in own:
                given[field.name] = value
            elif field.name != "task":
                raise ValueError(f"`{field.name}` must be left out for the task embed, got {value!r}.")
        return cls(**given)

    @property
    def run_name(self) -> str:
        """A folder name that tells runs apart."""
        return f"{self.dataset}-embed-{self.model}-d{self.dim}-s{self.seed}"


@dataclass(frozen=True)
class Embedded:
    """A trained embedding.

    Attributes:
        record: Settings and scores.
        table: The points.
        hierarchy: Whose nodes they are.
    """

    record: Record
    table: HyperbolicEmbedding
    hierarchy: Hierarchy


def embed(
    settings: EmbeddingSettings, *, data_dir: Path | None = None, device: str = "cpu", report: Report | None = None
) -> Embedded:
    """Embed a hierarchy and score the reconstruction of its pairs at the end.

    Points are in float64: where they end, some ten radii of curvature from the origin, float32 has no digits left.

    Args:
        settings: What to train.
        data_dir: Folder to look for data files in first.
        device: Where to train.
        report: Called after each evaluation.

    Returns:
        Record, points and hierarchy.

    Raises:
        ValueError: If a setting or the data is bad.
        NonFiniteError: If the loss becomes non-finite.
        InterruptedRun: After an interrupt, at the end of that epoch.
    """
    target = resolve_device(device)
    hierarchy = load_hierarchy(settings.dataset, data_dir=data_dir)
    generator = torch.Generator().manual_seed(settings.seed)
    manifold = MODELS[settings.model](torch.tensor(settings.c, dtype=torch.float64))
    table = HyperbolicEmbedding(
        hierarchy.num_nodes, settings.dim, manifold=manifold, std=settings.std, generator=generator
    ).to(target)
    start = time.perf_counter()
    scores = _train(settings, table, hierarchy.pairs.to(target), generator, report)
    numbers = table.weight.numel()
    record = Record(
        settings={"task": "embed", **dataclasses.asdict(settings)},
        versions=versions(),
        device=device_name(target),
        threads=torch.get_num_threads(),
        data=hierarchy.describe(),
        validation={},
        test=dataclasses.asdict(scores),
        best_epoch=settings.epochs,
        epochs=settings.epochs,
        seconds=time.perf_counter() - start,
        peak_memory=peak_memory(target),
        trainable=numbers,
        stored=numbers,
    )
    return Embedded(record, table, hierarchy)


def _train(
    settings: EmbeddingSettings,
    table: HyperbolicEmbedding,
    pairs: Tensor,
    generator: torch.Generator,
    report: Report | None,
) -> Reconstruction:
    outside = NonNeighbours(pairs, table.num_embeddings)
    optimizer = RiemannianSGD(table.parameters(), lr=settings.lr)
    scores = Reconstruction(float("nan"), float("nan"))
    with deferred_interrupt() as interrupted:
        for epoch in range(1, settings.epochs + 1):
            factor = settings.burn_in_factor if epoch <= settings.burn_in else 1.0
            optimizer.param_groups[0]["lr"] = factor * settings.lr
            order = torch.randperm(pairs.size(1), generator=generator).to(pairs.device)
            total = table.weight.new_zeros(())
            for batch in order.split(settings.batch_size):
                narrower, broader = pairs[:, batch]
                others = outside.sample(narrower, settings.negatives, generator)
                near, points = table(narrower), table(torch.cat((broader.unsqueeze(1), others), dim=1))
                loss = distance_softmax_loss(
                    near, points[:, 0], points[:, 1:], manifold=table.manifold, reduction="sum"
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach()
            mean_loss = total.item() / pairs.size(1)
            if not mean_loss < float("inf"):
                raise NonFiniteError(f"The loss became {mean_loss} in epoch {epoch}: try a smaller `lr`.")
            if epoch % settings.eval_every == 0 or epoch == settings.epochs:
                scores = reconstruction(table.weight.detach().as_subclass(Tensor), pairs, table.manifold.dist)
                if report:
                    report(epoch, mean_loss, scores)
            if interrupted():
                raise InterruptedRun(epoch, None)
    return scores


def result_line(record: Record) -> str:
    """One line that says what was embedded and how well."""
    s = record.settings
    return (
        f"{s['dataset']} embed {s['model']} dim {s['dim']} seed {s['seed']}: mean rank {record.test['mean_rank']:.2f}, "
        f"MAP {record.test['mean_average_precision']:.3f} ({record.epochs} epochs, {record.seconds:.1f} s)"
    )


def embed_command(
    settings: Settings, *, data_dir: Path | None, device: str, output: Path | None, resume: Path | None
) -> int:
    """Embed a hierarchy with a progress bar, print the result, and write ``record.json`` and ``embedding.pt``.

    The latter opens with ``torch.load(path, weights_only=True)``: ``names``, ``points``, ``model`` and ``c``.

    Args:
        settings: Those of the command line.
        data_dir: Folder to look for data files in first.
        device: Where to train.
        output: Folder of the run; runs/NAME by default.
        resume: Must be ``None``: a run takes minutes and keeps no checkpoint.
    """
    if resume is not None:
        raise ValueError(f"`resume` must be left out for the task embed, whose runs are short, got {str(resume)!r}.")
    own = EmbeddingSettings.of(settings)
    folder = output or Path("runs") / own.run_name
    console = Console(stderr=True)
    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TextColumn("loss {task.fields[loss]:.4f}, mean rank {task.fields[rank]:.2f}, left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(own.run_name, total=own.epochs, loss=float("nan"), rank=float("nan"))

        def show(epoch: int, loss: float, scores: Reconstruction) -> None:
            progress.update(bar, completed=epoch, loss=loss, rank=scores.mean_rank)

        done = embed(own, data_dir=data_dir, device=device, report=show)
    write_record(folder / "record.json", done.record)
    points = done.table.weight.detach().as_subclass(Tensor).cpu()
    names = list(done.hierarchy.names)
    torch.save({"names": names, "points": points, "model": own.model, "c": own.c}, folder / "embedding.pt")
    print(result_line(done.record))
    return 0
