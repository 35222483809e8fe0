"""Processes for tests: started as torchrun starts them, from a server that has imported everything once."""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import geoopt
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard

import hypersst
from hypersst.experiments.cli import main
from hypersst.experiments.processes import ALONE, Processes, joined_processes
from hypersst.experiments.texts import run as text_run
from hypersst.experiments.texts.data import load_text_data
from hypersst.experiments.texts.run import TextRun, plain_state
from hypersst.experiments.texts.settings import TextSettings
from hypersst.experiments.training import bring_to_end
from hypersst.experiments.whole_state import whole_optimizer_state, whole_state
from hypersst.nn import HyperbolicEmbedding, LorentzOrthogonal
from hypersst.optim import RiemannianAdam, RiemannianAdamW, RiemannianSGD
from hypersst.sharding import can_shard_integers, can_shard_on_cpu, own, whole
from hypersst.spectral import DecompositionError, EveryIterations, OnDefect, Spectral, SSTSampler, spectral_weights

TIMEOUT = 100.0
"""Seconds after which processes count as hung."""

needs_sharding = pytest.mark.skipif(not can_shard_on_cpu(), reason="before 2.7 torch shards on GPUs alone")
needs_sharded_integers = pytest.mark.skipif(
    not can_shard_integers(), reason="2.8 and earlier torch shards no integers, 2.11 does"
)


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


# -- sharded weights -----------------------------------------------------------------------------------------


ADAMW, SGD = torch.optim.AdamW, torch.optim.SGD
SHARDED: dict[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, Any], dict[str, Any]]] = {
    "adamw": (ADAMW, {"vectors": "sphere"}, {"stagger": 1}),
    "adamw-fused": (partial(ADAMW, fused=True), {"execution": "factored"}, {}),
    "sgd": (partial(SGD, momentum=0.9), {"recompute": True}, {"reset_sigma": False, "reset_vectors": False}),
    # Of one active row and two processes one has none.
    "sphere-adam": (RiemannianAdam, {"vectors": "sphere", "rank": 1}, {}),
    "sphere-sgd": (partial(RiemannianSGD, momentum=0.9, dampening=0.1), {"vectors": "sphere"}, {}),
    "ambient-adamw": (RiemannianAdamW, {"rank": 8}, {}),
    "stiefel": (ADAMW, {"vectors": "stiefel", "rank": 2}, {"sigma": "active"}),
    "polar": (ADAMW, {"vectors": "polar"}, {}),
    "bfloat16": (ADAMW, {"storage": "bfloat16"}, {"decomposition": OnDefect(1e-4)}),
    "int8": (ADAMW, {"storage": "int8"}, {}),
}
"""Optimizer, options of `hypersst.spectralize` and of `hypersst.SSTSampler`; see `train_with`."""

WAYS = [pytest.param(name, marks=needs_sharded_integers if name == "int8" else ()) for name in SHARDED]
"""Names of `SHARDED`, those marked that this torch cannot train."""


def train_with(name: str, processes: Processes = ALONE, shard: Callable[[nn.Module], Any] = list) -> dict[str, Any]:
    """Train in one way of `SHARDED` over four draws and two decompositions, and return whole tensors."""
    make, options, settings = SHARDED[name]
    model = _small_model().double()
    hypersst.spectralize(model, **{"rank": 3, "vectors": "ambient", **options})
    shard(model)
    optimizer = make(hypersst.param_groups(model, lr=1e-2))
    decomposed: list[int] = []
    held = [weight.spectral for weight in spectral_weights(model)]
    original = Spectral.refactored

    def refactored(self: Spectral, *given: Any) -> Any:
        decomposed.append(held.index(self))
        return original(self, *given)

    Spectral.refactored = refactored  # type: ignore[method-assign]
    generator = torch.Generator().manual_seed(0)
    try:
        settings = {"steps_per_iteration": 3, "warmup_steps": 1, "decomposition": EveryIterations(2), **settings}
        sampler = SSTSampler(model, optimizer, **settings)
        for _ in range(14):
            x = torch.randn(16, 6, generator=generator, dtype=torch.float64)[processes.rank :: processes.world]
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    finally:
        Spectral.refactored = original  # type: ignore[method-assign]
    return {
        "model": {key: whole(value).as_subclass(Tensor) for key, value in model.state_dict().items()},
        "optimizer": whole_optimizer_state(optimizer)["state"],
        "here": {key: own(value).shape for key, value in model.state_dict().items()},
        "telemetry": {key: (layer.defect_u, layer.coverage) for key, layer in sampler.telemetry().items()},
        "normalized": "normalised" in repr(sampler),
        "decomposed": decomposed,
    }


def _fully_shard(model: nn.Module) -> None:
    for layer in (*(layer for layer in model if isinstance(layer, nn.Linear)), model):
        fully_shard(layer)


def train_sharded(folder: Path) -> None:
    """Train sharded models in every way of `SHARDED`."""
    with joined_processes("cpu") as (processes, _):
        names = [name for name in SHARDED if name != "int8" or can_shard_integers()]
        found = {name: train_with(name, processes, _fully_shard) for name in names}
        torch.save(found, folder / f"sharded-{processes.rank}.pt")


def resume_sharded(folder: Path) -> None:
    """Train sharded, save by torch's state dictionaries, and go on from these, sharded and alone."""
    with joined_processes("cpu") as (processes, _):
        model, optimizer, sampler = _resumable(_fully_shard)
        _steps(model, optimizer, range(8), processes)
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        saved = [*get_state_dict(model, optimizer, options=options), sampler.state_dict()]
        dist.broadcast_object_list(saved, 0)  # the first process alone has the whole state
        for name, shard, together in (("sharded", _fully_shard, processes), ("alone", list, ALONE)):
            model, optimizer, sampler = _resumable(shard)
            loaded = copy.deepcopy(saved)
            set_state_dict(model, optimizer, model_state_dict=loaded[0], optim_state_dict=loaded[1], options=options)
            sampler.load_state_dict(loaded[2])
            _steps(model, optimizer, range(8, 16), together)
            state = {key: whole(value).as_subclass(Tensor) for key, value in model.state_dict().items()}
            torch.save(state, folder / f"{name}-{processes.rank}.pt")


def train_unbroken() -> dict[str, Tensor]:
    """What `resume_sharded` should end with."""
    model, optimizer, _ = _resumable(list)
    _steps(model, optimizer, range(16), ALONE)
    return {key: value.as_subclass(Tensor) for key, value in model.state_dict().items()}


def _resumable(shard: Callable[[nn.Module], Any]) -> tuple[nn.Module, torch.optim.Optimizer, SSTSampler]:
    model = _small_model().double()
    hypersst.spectralize(model, rank=3)
    shard(model)
    optimizer = RiemannianAdamW(hypersst.param_groups(model, lr=1e-2))
    options: dict[str, Any] = {"steps_per_iteration": 3, "warmup_steps": 2, "decomposition": EveryIterations(2)}
    return model, optimizer, SSTSampler(model, optimizer, **options)


def _steps(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range, processes: Processes) -> None:
    for step in steps:
        x = torch.randn(16, 6, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        optimizer.zero_grad()
        model(x[processes.rank :: processes.world]).square().mean().backward()
        optimizer.step()


def refuse_sharded(folder: Path) -> None:
    """Do what must be refused, and write down the errors by name."""
    with joined_processes("cpu") as (processes, _):
        errors: dict[str, str] = {}
        for name, attempt in _REFUSED.items():
            try:
                attempt()
            except (RuntimeError, ValueError) as error:
                errors[name] = f"{type(error).__name__}: {error}"
        torch.save(errors, folder / f"errors-{processes.rank}.pt")


def _sharded_model(*, shard: Callable[[nn.Module], Any] = _fully_shard, **options: Any) -> nn.Module:
    model = _small_model()
    hypersst.spectralize(model, rank=2, **options)
    shard(model)
    return model


def _sampled(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> SSTSampler:
    return SSTSampler(model, optimizer or torch.optim.AdamW(hypersst.param_groups(model, lr=1e-2)))


def _geoopt() -> None:
    model = _sharded_model(vectors="sphere")
    _sampled(model, geoopt.optim.RiemannianAdam(hypersst.param_groups(model, lr=1e-2)))


def _without_groups() -> None:
    model = _sharded_model(vectors="sphere")
    _sampled(model, RiemannianAdam(model.parameters()))


def _without_sampler() -> None:
    _sharded_model()(torch.randn(4, 6))


def _left_whole() -> None:
    model = _sharded_model()
    sampler = _sampled(model)
    with torch.no_grad():
        model(torch.randn(4, 6))
    model.unshard()
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.unshard()
    sampler.end_step()


def _cast() -> None:
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
    model = _sharded_model(storage="bfloat16", shard=partial(fully_shard, mp_policy=policy))
    _sampled(model)
    model(torch.randn(4, 6))


def _across() -> None:
    def placement(parameter: nn.Parameter) -> Shard:
        return Shard(int(parameter.dim() > 1 and parameter.shape[1] % 2 == 0))

    _sampled(_sharded_model(shard=partial(fully_shard, shard_placement_fn=placement)))


def _in_part() -> None:
    def shard(model: nn.Module) -> None:
        fully_shard(model, ignored_params={weight.sigma for weight in spectral_weights(model)})

    _sampled(_sharded_model(shard=shard))


def _flat() -> None:
    _sampled(_sharded_model(shard=partial(FullyShardedDataParallel, use_orig_params=True, device_id="cpu")))


def _points() -> None:
    layer = LorentzOrthogonal(4, 4)
    fully_shard(layer, ignored_params={p for p in layer.parameters() if p.dim() == 0})
    RiemannianAdam(hypersst.param_groups(layer, lr=1e-2))


def _geoopt_points() -> None:
    model = nn.Sequential(HyperbolicEmbedding(6, 4), *_small_model())
    hypersst.spectralize(model, rank=2, vectors="ambient")
    fully_shard(model)
    _sampled(model, geoopt.optim.RiemannianSGD(hypersst.param_groups(model, lr=1e-2), lr=1e-2))


def _spectralize() -> None:
    model = _small_model()
    _fully_shard(model)
    hypersst.spectralize(model, rank=1)


_REFUSED: dict[str, Callable[[], Any]] = {
    "geoopt": _geoopt,
    "without groups": _without_groups,
    "without sampler": _without_sampler,
    "left whole": _left_whole,
    "cast": _cast,
    "across": _across,
    "in part": _in_part,
    "flat": _flat,
    "points": _points,
    "geoopt's points": _geoopt_points,
    "spectralize": _spectralize,
    "merge": lambda: hypersst.merge(_sharded_model()),
    "truncate": lambda: hypersst.truncate(_sharded_model(), rank=1),
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
        model = {name: value.as_subclass(Tensor) for name, value in whole_state(run.model).items()}
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
