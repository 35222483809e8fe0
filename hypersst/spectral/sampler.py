"""The clock of Sparse Spectral Training: which vectors train, for how long, and when a layer is decomposed again.

After every optimizer step the singular values are clamped at 0, the active rows brought back to unit length (unless the
optimizer walks on the sphere itself) and written back. After ``steps_per_iteration`` steps an *iteration* ends: other
vectors are drawn, their optimizer state is cleared and the learning rate warms up again. After ``⌈k/r⌉`` iterations a
*round* ends: the layer is decomposed again, which does not move its weight (but see `hypersst.spectral.factors`).

Source: Zhao et al. (2025), Sparse Spectral Training, algorithm 1 and appendix F.
"""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from geoopt.optim.mixin import OptimMixin
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.utils.hooks import RemovableHandle

from hypersst.sharding import is_sharded, own, whole
from hypersst.spectral.decomposition import Decomposition, DecompositionError, EachRound, effective_rank
from hypersst.spectral.draws import named_generator, stable_name
from hypersst.spectral.optimizer_state import clear_state, keep_counts_exact
from hypersst.spectral.param_groups import steps_by_row
from hypersst.spectral.parametrization import Spectral
from hypersst.spectral.replicas import Replicas
from hypersst.spectral.selection import Multinomial, Selection
from hypersst.spectral.shared_decomposition import check_layout, decompose_shared
from hypersst.spectral.surgery import SpectralWeight, spectral_weights
from hypersst.spectral.telemetry import LayerTelemetry
from hypersst.spectral.warmup import RateFactor, linear_warmup

__all__ = ["SSTSampler"]

logger = logging.getLogger("hypersst")

_SIGMA = ("all", "active")


@dataclass
class _Layer:
    name: str
    sigma: nn.Parameter
    spectral: Spectral
    phase: int
    per_round: int
    normalize: bool
    seen: Tensor
    held: Tensor | None = None  # the singular values before the step, where the inactive ones are to stay

    def keep_inactive(self) -> None:
        """Undo what a step did to the inactive singular values: momentum and decay move them without a gradient."""
        assert self.held is not None, "`end_step` comes after `begin_step`"
        index, sigma = self.spectral.numbered_here(), own(self.sigma)
        sigma.copy_(self.held.index_copy_(0, index, sigma[index]))

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for p in (self.sigma, self.spectral.u_active, self.spectral.v_active) if p.requires_grad]


class SSTSampler:
    r"""Attach Sparse Spectral Training to an optimizer; the training loop stays as it is.

    It works through the optimizer's step hooks, so nobody can forget to call it, and steps that a ``GradScaler`` skips
    do not count. Draws depend on (seed, name of the weight, iteration) and the singular values alone.

    Where `torch.distributed` is initialised, its processes are taken to train replicas of this model, as under
    `torch.nn.parallel.DistributedDataParallel`: weight i is decomposed by process i mod world, which sends its factors
    to the others. Nothing else is sent: equal gradients and equal draws keep the replicas equal.

    A model whose parameters `torch.distributed.fsdp.fully_shard` has sharded trains alike; build the optimizer and then
    the sampler after that. Rows of one layer at a time are gathered: the active ones after each step, all of them at
    draws and decompositions. Steps, `load_state_dict` and `telemetry` are then calls that all processes make together.

    Args:
        model: A model that went through `hypersst.spectralize`; it may be wrapped.
        optimizer: Any optimizer that holds the singular values and active vectors; build it from
            `hypersst.param_groups`. geoopt's walk along the sphere; with any other the rows are normalised after it.
        steps_per_iteration: Optimizer steps between draws (T3 of the paper).
        iterations_per_round: Draws between decompositions (T2); by default :math:`\lceil k/r\rceil` of each layer.
        warmup_steps: Steps over which the learning rate of the spectral groups rises linearly after each draw, as a
            factor around the step: schedulers never see it.
        selection: Which vectors: `Multinomial`, `Uniform`, `Sequential`, `TopR`, or your own.
        decomposition: When to decompose: `EachRound`, `EveryIterations`, `OnDefect`, `Never`, or your own.
        reset_sigma: Clear the state of the singular values at each draw too, as the paper does. After a decomposition
            it is cleared too, because their order has changed, unless ``reset_vectors`` is False as well.
        reset_vectors: Clear the state of the active vectors at each draw. With both False no state is ever cleared (an
            ablation: moments are then those of the vectors and values that were in the same places before).
        sigma: Which singular values move: ``"all"`` in every step, or the ``"active"`` ones alone (an ablation).
        stagger: Layer ``j`` begins its iterations ``j * stagger`` steps later, so that decompositions of many layers do
            not stall one step. A group's warm-up then follows the layer of it that drew last.
        seed: Seed of all draws.
        process_group: The processes that hold replicas of the model; all if left out. For a model that each process
            trains by itself, give a group of that process alone.

    Raises:
        ValueError: If the model has no spectral weight, a number is out of range, the optimizer lacks a spectral
            parameter, or a group mixes spectral with other parameters while ``warmup_steps`` is positive; or if
            parameters are flattened, sharded over another axis than 0, or stepped by an optimizer that takes sharded
            vectors on the sphere for plain ones.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        steps_per_iteration: int = 200,
        iterations_per_round: int | None = None,
        warmup_steps: int = 20,
        selection: Selection | None = None,
        decomposition: Decomposition | None = None,
        reset_sigma: bool = True,
        reset_vectors: bool = True,
        sigma: str = "all",
        stagger: int = 0,
        seed: int = 0,
        process_group: ProcessGroup | None = None,
    ) -> None:
        for name, value, low in (
            ("steps_per_iteration", steps_per_iteration, 1),
            ("iterations_per_round", 1 if iterations_per_round is None else iterations_per_round, 1),
            ("warmup_steps", warmup_steps, 0),
            ("stagger", stagger, 0),
        ):
            if value < low:
                raise ValueError(f"`{name}` must be at least {low}, got {value}.")
        if sigma not in _SIGMA:
            raise ValueError(f"`sigma` must be one of {', '.join(_SIGMA)}, got {sigma!r}.")
        self.optimizer = optimizer
        self.steps_per_iteration = steps_per_iteration
        self.iterations_per_round = iterations_per_round
        self.warmup_steps = warmup_steps
        self.selection: Selection = Multinomial() if selection is None else selection
        self.decomposition: Decomposition = EachRound() if decomposition is None else decomposition
        self.reset_sigma = reset_sigma
        self.reset_vectors = reset_vectors
        self.sigma = sigma
        self.stagger = stagger
        self.seed = seed
        self.process_group = process_group
        self._step = 0
        weights = spectral_weights(model)
        if not weights:
            raise ValueError(
                f"`model` must have spectral weights, but {type(model).__name__} has none: `spectralize` it."
            )
        self._layers = [self._layer(weight, j) for j, weight in enumerate(weights)]
        self._check_points()
        self._group_layers = self._find_groups()
        self._rates = RateFactor(optimizer)
        for layer in self._layers:
            # The state is left alone: it is empty, or a checkpoint's whose draw `load_state_dict` brings back.
            self._draw(layer, 0)
        self._handles: list[RemovableHandle] = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
            keep_counts_exact(optimizer),
        ]
        logger.info("%r", self)

    def _layer(self, weight: SpectralWeight, position: int) -> _Layer:
        p = weight.spectral
        check_layout(weight.name, weight.sigma, p)
        return _Layer(
            name=stable_name(weight.name),
            sigma=weight.sigma,
            spectral=p,
            phase=position * self.stagger,
            per_round=self.iterations_per_round or math.ceil(p.k / p.rank),
            normalize=not (self._steps_by_row(weight, p.u_active) and self._steps_by_row(weight, p.v_active)),
            seen=torch.zeros(p.k, dtype=torch.bool),
        )

    def _steps_by_row(self, weight: SpectralWeight, vectors: nn.Parameter) -> bool:
        """Whether the optimizer keeps ``vectors`` at unit length itself."""
        groups = (group for group in self.optimizer.param_groups if any(p is vectors for p in group["params"]))
        by_row = steps_by_row(self.optimizer, vectors, next(groups, {}).get("manifold"))
        lost = is_sharded(vectors) and weight.spectral.on_sphere(vectors)
        if lost and not by_row and isinstance(self.optimizer, OptimMixin):
            kind = type(self.optimizer).__name__
            raise ValueError(
                f"`optimizer` must know that the sharded vectors of {weight.name!r} lie on the sphere, but {kind} "
                f"would step each entry by itself: use one of `hypersst.optim` with groups from "
                f"`hypersst.param_groups`, or `spectralize` with `vectors='ambient'`."
            )
        return by_row

    def _check_points(self) -> None:
        """Refuse optimizers that would take sharded points for plain parameters."""
        kind = type(self.optimizer)
        if not isinstance(self.optimizer, OptimMixin) or getattr(kind, "reads_manifold", False):
            return
        for number, group in enumerate(self.optimizer.param_groups):
            if group.get("manifold") is not None:
                raise ValueError(
                    f"`optimizer` must read the manifold that group {number} names for sharded points, which "
                    f"{kind.__name__} does not: use one of `hypersst.optim`."
                )

    def _find_groups(self) -> dict[int, list[_Layer]]:
        """Number of each group with spectral parameters, and the layers they belong to."""
        owner = {id(p): layer for layer in self._layers for p in layer.parameters}
        groups: dict[int, list[_Layer]] = {}
        met: set[int] = set()
        for number, group in enumerate(self.optimizer.param_groups):
            trained = [p for p in group["params"] if p.requires_grad]
            layers = {id(owner[id(p)]): owner[id(p)] for p in trained if id(p) in owner}
            met.update(id(p) for p in trained)
            if not layers:
                continue
            if self.warmup_steps and any(id(p) not in owner for p in trained):
                raise ValueError(
                    f"`optimizer` must not mix spectral and other parameters in group {number}, because the former "
                    f"warm up: build it from `hypersst.param_groups(model, lr=...)`, or set `warmup_steps=0`."
                )
            groups[number] = list(layers.values())
        for layer in self._layers:
            if any(id(p) not in met for p in layer.parameters):
                raise ValueError(
                    f"`optimizer` must hold the singular values and active vectors of {layer.name!r}: build it after "
                    f"`spectralize` (and `fully_shard`), from `hypersst.param_groups(model, lr=...)`. One that holds "
                    f"flattened copies of them, as DeepSpeed's ZeRO, cannot be used."
                )
        return groups

    # -- the clock -------------------------------------------------------------------------------------------

    @property
    def step_count(self) -> int:
        """Optimizer steps seen so far."""
        return self._step

    @property
    def iteration(self) -> int:
        """Number of the present iteration, from 0."""
        return self._step // self.steps_per_iteration

    def _warmup_factor(self, layer: _Layer) -> float:
        since = self._step - layer.phase
        # Iteration 0 began with step 0, also for a layer whose phase makes it longer.
        position = since % self.steps_per_iteration if since >= self.steps_per_iteration else self._step
        return linear_warmup(position, self.warmup_steps)

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.begin_step()

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.end_step()

    def begin_step(self) -> None:
        """What the optimizer's hook does before a step; to be called where other code takes that step."""
        self._rates.apply({n: min(map(self._warmup_factor, layers)) for n, layers in self._group_layers.items()})
        if self.sigma == "active":
            for layer in self._layers:
                layer.held = own(layer.sigma).detach().clone()

    @torch.no_grad()
    def end_step(self) -> None:
        """What the optimizer's hook does after a step."""
        self._rates.restore()
        self._step += 1
        if self.sigma == "active":
            for layer in self._layers:
                layer.keep_inactive()
        torch._foreach_clamp_min_([own(layer.sigma) for layer in self._layers], 0.0)
        beginning: dict[int, int] = {}
        for position, layer in enumerate(self._layers):
            layer.spectral.write_back(normalize=layer.normalize)
            since = self._step - layer.phase
            if since > 0 and since % self.steps_per_iteration == 0:
                beginning[position] = since // self.steps_per_iteration
        if beginning:
            self._begin(beginning)

    def _begin(self, beginning: dict[int, int]) -> None:
        """Begin an iteration of the layers at the given positions."""
        self._decompose(beginning)
        for position, iteration in beginning.items():
            layer = self._layers[position]
            self._draw(layer, iteration)
            if self.reset_vectors:
                clear_state(self.optimizer, layer.spectral.u_active)
                clear_state(self.optimizer, layer.spectral.v_active)
            if self.reset_sigma:
                clear_state(self.optimizer, layer.sigma)

    def _decompose(self, beginning: dict[int, int]) -> None:
        """Decompose again which of the layers are due, each in one of the processes."""
        replicas = Replicas(self.process_group)
        device = self._layers[0].sigma.device

        def due(position: int) -> bool:
            layer = self._layers[position]
            return self.decomposition.due(beginning[position], layer.per_round, lambda: max(layer.spectral.defect()))

        def generator(position: int) -> torch.Generator:
            return named_generator(self.seed, f"{self._layers[position].name}/factors", beginning[position])

        def failed(position: int, error: DecompositionError) -> None:
            message = f"{self._layers[position].name} keeps its factors: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)

        # All measure a sharded layer, since they have to gather its rows together.
        flags = replicas.each(list(beginning), due, device, by_all=is_sharded(self._layers[0].sigma))
        wanted = [position for position, flag in zip(beginning, flags, strict=True) if flag]
        weights = {position: (self._layers[position].sigma, self._layers[position].spectral) for position in wanted}
        for position in decompose_shared(weights, replicas, generator, failed):
            layer = self._layers[position]
            if self.reset_sigma or self.reset_vectors:
                clear_state(self.optimizer, layer.sigma)
            layer.seen.zero_()

    def _draw(self, layer: _Layer, iteration: int) -> None:
        generator = named_generator(self.seed, layer.name, iteration)
        rank = layer.spectral.rank
        index = self.selection(whole(layer.sigma).detach().cpu(), rank, iteration, generator)
        if index.shape != (rank,) or index.unique().numel() != rank:
            raise ValueError(f"`selection` must return {rank} distinct rows, got {index.tolist()}.")
        layer.spectral.activate(index.to(layer.spectral.index.device))
        layer.seen[index] = True

    # -- state -----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Counters, seed and present draws: all that a resumed run needs beside model and optimizer."""
        return {
            "step": self._step,
            "seed": self.seed,
            "index": {layer.name: layer.spectral.index.detach().cpu().clone() for layer in self._layers},
            "seen": {layer.name: layer.seen.clone() for layer in self._layers},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; load model and optimizer too, in any order.

        Raises:
            ValueError: If the state is of a model with other spectral weights or ranks.
        """
        mine, theirs = {layer.name for layer in self._layers}, set(state["index"])
        if mine != theirs:
            odd = ", ".join(sorted(mine ^ theirs))
            raise ValueError(f"`state` must be of a sampler of the same weights, but differs in {odd}.")
        for layer in self._layers:
            index = state["index"][layer.name]
            if index.shape != layer.spectral.index.shape or state["seen"][layer.name].shape != layer.seen.shape:
                raise ValueError(
                    f"`state` must be of the same ranks, but {layer.name!r} has rank {index.numel()} "
                    f"there and {layer.spectral.rank} here."
                )
        self._step = int(state["step"])
        self.seed = int(state["seed"])
        for layer in self._layers:
            layer.spectral.activate(state["index"][layer.name].to(layer.spectral.index.device))
            layer.seen.copy_(state["seen"][layer.name])

    def detach(self) -> None:
        """Take the hooks off the optimizer; the model stays spectral."""
        self._rates.restore()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @torch.no_grad()
    def telemetry(self) -> dict[str, LayerTelemetry]:
        """Measure every layer now, by name of its weight."""
        result = {}
        for layer in self._layers:
            defect_u, defect_v = layer.spectral.defect()
            sigma = whole(layer.sigma).detach().cpu().clone()
            result[layer.name] = LayerTelemetry(
                sigma=sigma,
                index=layer.spectral.index.cpu().clone(),
                defect_u=defect_u,
                defect_v=defect_v,
                effective_rank=effective_rank(sigma).item(),
                coverage=layer.seen.double().mean().item(),
            )
        return result

    def __repr__(self) -> str:
        kind = type(self.optimizer).__name__
        normalized = sum(layer.normalize for layer in self._layers)
        how = []
        if normalized < len(self._layers):
            how.append(f"{len(self._layers) - normalized} stepped along the sphere by {kind}")
        if normalized:
            orthogonal = sum(layer.spectral.vectors in ("stiefel", "polar") for layer in self._layers)
            done = {0: "normalised", normalized: "orthogonalised"}.get(orthogonal, "normalised or orthogonalised")
            how.append(f"{normalized} stepped in the ambient space by {kind} and {done} afterwards")
        settings = {
            "steps_per_iteration": self.steps_per_iteration,
            "iterations_per_round": self.iterations_per_round or "k/r",
            "warmup_steps": self.warmup_steps,
            "selection": self.selection,
            "decomposition": self.decomposition,
            "reset_sigma": self.reset_sigma,
            "reset_vectors": self.reset_vectors,
            "sigma": self.sigma,
            "stagger": self.stagger,
            "seed": self.seed,
        }
        listed = ", ".join(f"{name}={value}" for name, value in settings.items())
        return f"SSTSampler({len(self._layers)} weights: {', '.join(how)}; step {self._step}; {listed})"
