r"""The slow twin: HyboNet's training step written out plainly, as its authors' code computes it.

Features are dense and lifted anew in every step, dropout draws a number for every entry of the dense matrix, the
adjacency is a COO tensor whose product autograd differentiates, and a Python loop steps one parameter after another.
The mathematics is that of `hypersst.models.HyboNet` at curvature -1 (Chen et al., 2022, *Fully Hyperbolic Neural
Networks*), which the tests hold it to: equal loss and gradients from equal parameters, and equal losses in training.
"""

from __future__ import annotations

from typing import Any

import geoopt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.experiments.run import Run
from hypersst.models import HyboNet
from hypersst.nn import LorentzConv, PrototypeHead
from hypersst.nn.activation import resolve_activation

__all__ = ["LoopedAdam", "ReferenceHyboNet", "ReferenceStep"]


def _minkowski(x: Tensor, y: Tensor) -> Tensor:
    """The form -x₀y₀ + x₁y₁ + … of rows, shape ``(*, 1)``."""
    product = x * y
    return product.sum(dim=-1, keepdim=True) - 2.0 * product[..., :1]


def _expmap0(v: Tensor) -> Tensor:
    """Tangent vectors ``(*, d + 1)`` with zero time onto the hyperboloid, lengths held in [1e-8, 10]."""
    length = _minkowski(v, v).clamp_min(1e-16).sqrt()
    r = length.clamp_max(10.0)
    origin = torch.zeros_like(v)
    origin[..., 0] = 1.0
    x = r.cosh() * origin + r.sinh() * v / length
    space = x[..., 1:]
    return torch.cat(((1.0 + space.square().sum(dim=-1, keepdim=True)).sqrt(), space), dim=-1)


def _mean_of_neighbours(edge_index: Tensor, x: Tensor) -> Tensor:
    """The COO tensor of D⁻¹(A + I) for edges ``(2, E)`` without self-loops, of the type of ``x``."""
    nodes = torch.arange(x.shape[0], device=x.device)
    row, col = torch.cat((edge_index.flip(0), torch.stack((nodes, nodes))), dim=1)
    degree = torch.bincount(row, minlength=x.shape[0]).to(x.dtype)
    indices = torch.stack((row, col))
    return torch.sparse_coo_tensor(indices, 1.0 / degree[row], (x.shape[0],) * 2, check_invariants=False).coalesce()


class _Layer(nn.Module):
    """Linear layer with a gate for time, then the Lorentz centroid of the neighbours."""

    def __init__(self, weight: Tensor, bias: Tensor, scale: Tensor, dropout: float, activation: Any) -> None:
        super().__init__()
        self.weight, self.bias, self.scale = nn.Parameter(weight), nn.Parameter(bias), nn.Parameter(scale)
        self.dropout, self.activation = dropout, activation

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        if self.activation is not None:
            x = self.activation(x)
        z = F.linear(F.dropout(x, self.dropout, self.training), self.weight, self.bias)
        time = z[..., :1].sigmoid() * self.scale.exp() + 1.1
        space = z[..., 1:]
        factor = (time * time - 1.0) / (space * space).sum(dim=-1, keepdim=True).clamp_min(1e-8)
        h = torch.cat((time, space * factor.sqrt()), dim=-1)
        total = torch.sparse.mm(adjacency, h)
        return total / _minkowski(total, total).abs().clamp_min(1e-8).sqrt()


class ReferenceHyboNet(nn.Module):
    """The network, with copies of a `HyboNet`'s parameters.

    Args:
        model: Full-rank, with gated layers and biases, at the fixed curvature -1.
        dropout: Probability of dropping entries of each layer's input.
        activation: Name of the function before each layer but the first.

    Raises:
        ValueError: If the model is another one; the authors' code knows no other.
    """

    def __init__(self, model: HyboNet, dropout: float, activation: str) -> None:
        super().__init__()
        fixed = not any(p.requires_grad for p in model.manifold.parameters())
        if not (fixed and float(model.manifold.c) == 1.0):
            raise ValueError(f"`model` must have the fixed curvature -1, got {model.manifold}.")
        if any(nn.utils.parametrize.is_parametrized(m) for m in model.modules()):
            raise ValueError("`model` must be of full rank, got one with parametrized weights.")
        self.margin = model.margin
        function = resolve_activation(activation)
        self.layers = nn.ModuleList()
        for i, conv in enumerate(model.layers):
            assert isinstance(conv, LorentzConv)
            parts = (conv.lin.weight, conv.lin.bias, conv.lin.scale)
            if any(part is None for part in parts):
                raise ValueError(f"`model` must have gated layers with biases, got {conv.lin}.")
            weight, bias, scale = (part.detach().clone() for part in parts)
            self.layers.append(_Layer(weight, bias, scale, dropout, function if i else None))
        self.prototypes: geoopt.ManifoldParameter | None = None
        if model.head is not None:
            assert isinstance(model.head, PrototypeHead) and model.head.bias is not None
            points = model.head.prototypes.detach().as_subclass(Tensor).clone()
            self.prototypes = geoopt.ManifoldParameter(points, manifold=geoopt.Lorentz().to(points))
            self.bias = nn.Parameter(model.head.bias.detach().clone())

    def named_like_ours(self) -> dict[str, nn.Parameter]:
        """Parameters by the names that they have in `HyboNet`."""
        names = {
            f"layers.{i}.lin.{name}": p for i, layer in enumerate(self.layers) for name, p in layer.named_parameters()
        }
        if self.prototypes is None:
            return names
        return names | {"head.prototypes": self.prototypes, "head.bias": self.bias}

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Map dense features ``(N, d)`` to class scores ``(N, K)``, or to embeddings if there are no classes."""
        h = _expmap0(torch.cat((torch.zeros_like(x[:, :1]), x), dim=1))
        for layer in self.layers:
            h = layer(h, adjacency)
        if self.prototypes is None:
            return h
        mirrored = torch.cat((-h[:, :1], h[:, 1:]), dim=1)
        return 2.0 + 2.0 * mirrored @ self.prototypes.t() + self.bias

    def node_loss(self, scores: Tensor, y: Tensor) -> Tensor:
        """Mean over nodes and classes of max(0, margin - right score + score)."""
        return (self.margin - scores.gather(1, y[:, None]) + scores).clamp_min(0.0).mean()

    def link_loss(self, z: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Mean of max(0, margin - score of an edge + score of its partner), pairs of shape ``(2, n)``."""
        scores = [2.0 + 2.0 * _minkowski(z[i], z[j]).squeeze(-1) for i, j in (positive, negative)]
        return (self.margin - scores[0] + scores[1]).clamp_min(0.0).mean()


class LoopedAdam(geoopt.optim.RiemannianAdam):
    """geoopt's Riemannian Adam, a Python loop over parameters, with HyboNet's decoupled weight decay.

    geoopt's own ``weight_decay`` is L2 in the gradient, which with HyboNet's numbers trains to another result.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Decay, then step."""
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(1.0 - group["lr"] * group["decay"])
        return super().step(closure)


class ReferenceStep:
    """One training step of the twin after another, from the parameters and the data of a `Run`.

    For link prediction the authors list every non-edge once and draw from the list: 190 million pairs on PubMed. Here
    negatives are drawn by `GraphTask.sample_negatives`, which favours the reference.

    Args:
        run: A full-rank run of HyboNet; it is not changed.

    Raises:
        ValueError: If it is of another model or method.
    """

    def __init__(self, run: Run) -> None:
        settings, model = run.settings, run.model
        if not isinstance(model, HyboNet) or settings.method != "full":
            raise ValueError(f"`run` must train hybonet by full, got {settings.model} by {settings.method}.")
        self.task, self.grad_clip = run.task, settings.grad_clip
        self.x = run.task.x if run.task.x.layout == torch.strided else run.task.x.to_dense()
        self.adjacency = _mean_of_neighbours(run.task.edge_index, self.x)
        self.model = ReferenceHyboNet(model, settings.dropout, settings.activation).to(run.task.device)
        parameters = self.model.named_like_ours()
        decayed = {name for name in parameters if name.endswith("weight")}
        groups = [
            {"params": [parameters[name] for name in parameters if name in decayed], "decay": settings.weight_decay},
            {"params": [parameters[name] for name in parameters if name not in decayed], "decay": 0.0},
        ]
        self.optimizer = LoopedAdam(groups, lr=settings.lr, stabilize=10)
        self.generator = torch.Generator().manual_seed(settings.seed)

    def loss(self) -> Tensor:
        """Loss of one pass over the training part, negative edges drawn anew."""
        out, task = self.model(self.x, self.adjacency), self.task
        if task.task == "nc":
            return self.model.node_loss(out[task.train], task.y[task.train])
        positive = task.train_pos
        negative = task.sample_negatives(positive.shape[1], self.generator).to(positive.device)
        return self.model.link_loss(out, positive, negative)

    def step(self) -> Tensor:
        """Train for one epoch; returns the loss."""
        self.model.train()
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        if self.grad_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip)
        self.optimizer.step()
        return loss.detach()
