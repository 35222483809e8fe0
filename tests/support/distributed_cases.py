"""Processes for tests: started as torchrun starts them, from a server that has imported everything once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import hypersst
from hypersst.experiments.cli import main
from hypersst.experiments.processes import Processes, joined_processes
from hypersst.experiments.texts import run as text_run
from hypersst.experiments.texts.data import load_text_data
from hypersst.experiments.texts.run import TextRun, plain_state
from hypersst.experiments.texts.settings import TextSettings
from hypersst.experiments.training import bring_to_end
from hypersst.spectral import DecompositionError, EveryIterations, OnDefect, Spectral, SSTSampler, spectral_weights

TIMEOUT = 100.0
"""Seconds after which processes count as hung."""


def spawn(function: Callable[..., None], world: int, *arguments: Any) -> list[int]:
    """Run a function of this module in some processes, and return their exit statuses.

    Processes that are not done in time are killed: their status is -9.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        context.Process(target=_worker, args=(function, rank, world, port, arguments), daemon=True)
        for rank in range(world)
    ]
    path = os.environ.get("PYTHONPATH")
    # Python 3.11's server does not look where its parent does, and would leave the imports to each process.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), path]))
    try:
        for process in started:
            process.start()
    finally:
        if path is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = path
    end = time.monotonic() + TIMEOUT
    for process in started:
        process.join(max(0.0, end - time.monotonic()))
    for process in started:
        if process.is_alive():
            process.kill()
            process.join()
    return [int(process.exitcode or 0) for process in started]


def _worker(function: Callable[..., None], rank: int, world: int, port: int, arguments: Sequence[Any]) -> None:
    torch.set_num_threads(1)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    function(*arguments)


# -- the sampler ---------------------------------------------------------------------------------------------


def _small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 5))


SAMPLERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "float32": ({}, {}),
    "sphere": ({"vectors": "sphere"}, {}),
    "bfloat16": ({"storage": "bfloat16"}, {}),
    "int8": ({"storage": "int8"}, {}),
    "defect": ({}, {"decomposition": OnDefect(1e-4)}),
    "failing": ({}, {}),
    "alone": ({}, {}),
}
"""Options of `hypersst.spectralize` and `hypersst.SSTSampler`; see `train_replicas`."""


def train_replicas(folder: Path) -> None:
    """Train replicas in every way of `SAMPLERS`, as if the second process had another decomposition than the first.

    In ``failing`` it has none, and in ``alone`` the processes have nothing to do with each other.
    """
    with joined_processes("cpu") as (processes, _):
        groups = [dist.new_group([rank]) for rank in range(processes.world)]
        torch.save(
            {
                name: _train_replica(name, processes, groups[processes.rank] if name == "alone" else None)
                for name in SAMPLERS
            },
            folder / f"replica-{processes.rank}.pt",
        )


def _train_replica(name: str, processes: Processes, group: dist.ProcessGroup | None) -> dict[str, Any]:
    options, settings = SAMPLERS[name]
    model = _small_model()
    hypersst.spectralize(model, rank=2, **{"vectors": "ambient", **options})
    optimizer = torch.optim.AdamW(hypersst.param_groups(model, lr=1e-2))
    replica = model if group else nn.parallel.DistributedDataParallel(model)
    settings = {"steps_per_iteration": 3, "warmup_steps": 1, "decomposition": EveryIterations(2), **settings}
    sampler = SSTSampler(replica, optimizer, process_group=group, **settings)
    decomposed: list[int] = []
    held = [weight.spectral for weight in spectral_weights(model)]
    original = Spectral.redecompose

    def redecompose(self: Spectral, sigma: Tensor, generator: torch.Generator | None = None) -> None:
        decomposed.append(held.index(self))
        if processes.rank == 1 and name == "failing":
            raise DecompositionError("as the test wants it")
        original(self, sigma, generator)
        if processes.rank == 1:
            u, v = self.rows
            self._load(-u, -v)

    Spectral.redecompose = redecompose  # type: ignore[method-assign]
    generator = torch.Generator().manual_seed(processes.rank)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(8):  # one decomposition, after step 6
                optimizer.zero_grad()
                replica(torch.randn(16, 6, generator=generator)).square().mean().backward()
                optimizer.step()
    finally:
        Spectral.redecompose = original  # type: ignore[method-assign]
    return {
        "model": {key: value.as_subclass(Tensor) for key, value in model.state_dict().items()},
        "optimizer": optimizer.state_dict()["state"],
        "index": sampler.state_dict()["index"],
        "decomposed": decomposed,
        "warnings": [str(w.message) for w in caught if "keeps its factors" in str(w.message)],
    }


# -- runs on texts -------------------------------------------------------------------------------------------


def train_texts(
    settings: TextSettings,
    result: Path,
    checkpoint: Path | None = None,
    resume: Path | None = None,
    killed_in: int | None = None,
) -> None:
    """Train in float64, saving after every step, and write the weights; or be killed within a step.

    In float32 the runs would differ by rounding, which Adam makes as large as its steps where a gradient is rounding
    alone, as those of the biases of attention's keys are.
    """
    torch.set_default_dtype(torch.float64)
    resolved = settings.resolve()
    with joined_processes("cpu") as (processes, device):
        run = TextRun(resolved, load_text_data(resolved, None, processes), device, processes)
        if resume:
            run.load_state_dict(torch.load(resume, weights_only=True))
        if killed_in is not None:

            def kill(*_: Any) -> None:
                if run.steps + 1 == killed_in:
                    os.kill(os.getpid(), signal.SIGKILL)

            run.trainer.optimizer.register_step_post_hook(kill)
        bring_to_end(run, checkpoint, None, save_every=0.0, processes=processes)
        perplexity = run.final()[1]
        model = {name: value.as_subclass(Tensor) for name, value in run.model.state_dict().items()}
        state = {
            "plain": plain_state(run.model),
            "model": model,
            "perplexity": perplexity,
            "epoch": run.data.train.epoch,
        }
        torch.save(state, result.with_name(f"{result.name}-{processes.rank}.pt"))


def command(folder: Path, arguments: Sequence[str], spoiled: bool = False) -> None:
    """Run a command line; where it is to be spoiled, the second process's loss is infinite from the third pass on."""
    rank, passes = os.environ["RANK"], 0
    if spoiled and rank == "1":
        original = text_run.negative_log_likelihood

        def spoil(*given: Any) -> Tensor:
            nonlocal passes
            passes += 1
            return original(*given) * (torch.inf if passes >= 3 else 1.0)

        text_run.negative_log_likelihood = spoil  # type: ignore[assignment]
    for name, number in (("out", 1), ("err", 2)):
        file = os.open(folder / f"{name}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    sys.exit(main(list(arguments)))
