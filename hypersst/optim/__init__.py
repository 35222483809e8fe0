"""Optimizers for parameters on manifolds and off them."""

from hypersst.optim.riemannian_adam import RiemannianAdam
from hypersst.optim.riemannian_adamw import RiemannianAdamW
from hypersst.optim.riemannian_sgd import RiemannianSGD

__all__ = ["RiemannianAdam", "RiemannianAdamW", "RiemannianSGD"]
