"""Spectral layers off their first factors, optimizers, and the naive formulas that they are compared with."""

from __future__ import annotations

import copy
from collections.abc import Callable

import geoopt
import torch
from torch import Tensor, nn

import hypersst
from hypersst.spectral import Spectral, SpectralWeight, SSTSampler, spectral_weights

SHAPES = {"square": (12, 12), "tall": (20, 7), "wide": (7, 20), "cora": (16, 1433)}

# Step sizes at which 500 steps stay finite, moments and momentum in use.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda groups: torch.optim.Adam(groups, lr=1e-2),
    "adam-amsgrad": lambda groups: torch.optim.Adam(groups, lr=1e-2, amsgrad=True),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=1e-2),
    "adamw-foreach": lambda groups: torch.optim.AdamW(groups, lr=1e-2, foreach=True),
    "adamw-fused": lambda groups: torch.optim.AdamW(groups, lr=1e-2, fused=True),
    "nadam": lambda groups: torch.optim.NAdam(groups, lr=1e-2),
    "sgd-momentum": lambda groups: torch.optim.SGD(groups, lr=1e-2, momentum=0.9),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, lr=1e-3, momentum=0.9, centered=True),
    "adagrad": lambda groups: torch.optim.Adagrad(groups, lr=1e-2, initial_accumulator_value=0.1),
    "adamax": lambda groups: torch.optim.Adamax(groups, lr=1e-2),
    "rprop": lambda groups: torch.optim.Rprop(groups, lr=1e-3),
    "riemannian-adam": lambda groups: geoopt.optim.RiemannianAdam(groups, lr=1e-2),
    "riemannian-amsgrad": lambda groups: geoopt.optim.RiemannianAdam(groups, lr=1e-2, amsgrad=True),
    "riemannian-sgd": lambda groups: geoopt.optim.RiemannianSGD(groups, lr=1e-2, momentum=0.9),
}
ON_SPHERE = tuple(name for name in OPTIMIZERS if name.startswith("riemannian"))


def without_rates(groups: list[dict]) -> list[dict]:
    """Parameter groups that leave the learning rate to the optimizer."""
    return [{key: value for key, value in group.items() if key != "lr"} for group in groups]


def build_optimizer(name: str, model: nn.Module, **options) -> torch.optim.Optimizer:
    """An optimizer of `OPTIMIZERS` over the parameter groups of ``model``."""
    return OPTIMIZERS[name](without_rates(hypersst.param_groups(model, lr=0.0, **options)))


def small_model(rank: int = 2, seed: int = 0, dtype: torch.dtype = torch.float32, **options) -> nn.Sequential:
    """Two spectral linear layers of six and five singular values, with a nonlinearity between them."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5)).to(dtype)
    hypersst.spectralize(model, rank=rank, **options)
    return model


def batch(step: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Input and target of `small_model` for one step."""
    generator = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(16, 8, generator=generator, dtype=dtype)
    return x, torch.stack([x.sum(1).sin(), *x[:, :4].cos().unbind(1)], dim=1)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Steps of regression on the batches of their numbers."""
    dtype = next(model.parameters()).dtype
    for step in steps:
        x, target = batch(step, dtype)
        optimizer.zero_grad()
        (model(x) - target).square().mean().backward()
        optimizer.step()


def rates_seen(optimizer: torch.optim.Optimizer) -> list[list[float]]:
    """Learning rates of each group as every later step sees them; the hook runs after the sampler's."""
    seen: list[list[float]] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append([float(group["lr"]) for group in optimizer.param_groups]))
    return seen


def trained(
    name: str = "adamw", steps: int = 5, rank: int = 2, model: nn.Module | None = None, **options
) -> tuple[nn.Module, torch.optim.Optimizer, SSTSampler]:
    """Model, optimizer and sampler after ``steps`` steps."""
    model = small_model(rank) if model is None else model
    optimizer = build_optimizer(name, model)
    sampler = SSTSampler(model, optimizer, **{"warmup_steps": 0, "steps_per_iteration": 3} | options)
    train(model, optimizer, range(steps))
    return model, optimizer, sampler


def only(model: nn.Module) -> SpectralWeight:
    """The one spectral weight of ``model``."""
    [weight] = spectral_weights(model)
    return weight


@torch.no_grad()
def unsettle(weight: SpectralWeight, size: float = 0.3, seed: int = 0) -> None:
    """Give a weight arbitrary singular values, vectors far from orthonormal, and scattered active rows."""
    generator = torch.Generator().manual_seed(seed)
    p: Spectral = weight.spectral
    p.activate(torch.randperm(p.k, generator=generator)[: p.rank])
    for rows in dict.fromkeys((*p.rows, p.u_active, p.v_active)):
        noise = torch.randn(rows.shape, generator=generator, dtype=torch.float64)
        rows.add_(size * noise.to(rows))
    p.write_back()
    weight.sigma.copy_(0.1 + torch.rand(p.k, generator=generator, dtype=torch.float64))


class DenseTwin:
    r"""The same weight in the most naive form: leaves ``U, S, V`` with vectors as columns, W = U diag(S) Vᵀ."""

    def __init__(self, weight: SpectralWeight) -> None:
        p = weight.spectral
        u, v = p.rows
        self.index = p.index.clone()
        self.left = u.detach().clone().as_subclass(Tensor).t().contiguous().requires_grad_()
        self.right = v.detach().clone().as_subclass(Tensor).t().contiguous().requires_grad_()
        self.values = weight.sigma.detach().clone().requires_grad_()
        self.shape = p.weight_shape

    def weight(self) -> Tensor:
        """The product, by autograd's own operations."""
        return (self.left @ torch.diag(self.values) @ self.right.t()).reshape(self.shape)

    def vector_gradients(self, gradient: str) -> tuple[Tensor, Tensor]:
        """Gradients of the active vectors as rows; the enhanced ones are autograd's divided by the singular values."""
        scale = self.values.detach()[self.index, None] if gradient == "enhanced" else 1.0
        return self.left.grad.t()[self.index] / scale, self.right.grad.t()[self.index] / scale


def relative(a: Tensor, b: Tensor) -> float:
    """Frobenius norm of the difference as a share of that of ``b``, in float64."""
    return float((a.detach().double() - b.detach().double()).norm() / b.detach().double().norm().clamp_min(1e-300))


def weights_of(model: nn.Module) -> list[Tensor]:
    """The dense weights that the spectral layers of ``model`` have now."""
    with torch.no_grad():
        return [getattr(w.module, w.tensor).clone() for w in spectral_weights(model)]


def clone(model: nn.Module) -> nn.Module:
    """A deep copy."""
    return copy.deepcopy(model)
