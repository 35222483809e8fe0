"""Riemannian Adam with decoupled weight decay."""

from __future__ import annotations

from hypersst.optim.riemannian_adam import RiemannianAdam

__all__ = ["RiemannianAdamW"]


class RiemannianAdamW(RiemannianAdam):
    r"""`RiemannianAdam` with :math:`w \leftarrow (1 - \eta\lambda)\,w` in place of L2 in the gradient.

    The decay concerns plain parameters only: a point of a manifold has no "towards zero", so a group that holds one
    must have no decay (`hypersst.param_groups` sees to that). Plain parameters are stepped as by `torch.optim.AdamW`.

    Source: I. Loshchilov, F. Hutter, *Decoupled weight decay regularization*, 2019, algorithm 2.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decay rates of the two moments, in [0, 1).
        eps: Added to the denominator.
        weight_decay: The factor :math:`\lambda` of plain parameters; 0 by default, as in `RiemannianAdam`.
        amsgrad: As in `RiemannianAdam`, and so for every option that follows.

    Raises:
        ValueError: As `RiemannianAdam` does.
    """

    _decoupled = True
