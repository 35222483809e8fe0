"""Optimizers for parameters on manifolds and off them."""

from hypersst.optim.riemannian_adamw import RiemannianAdamW

__all__ = ["RiemannianAdamW"]
