r"""The two executions of a weight held as :math:`W = U^\top\!\operatorname{diag}(\Sigma)V`, with exact gradients.

``u`` of shape ``(k, m)`` and ``v`` of shape ``(k, n)`` hold one singular vector per *row*, so
:math:`W = \sum_i \Sigma_i\, u_i v_i^\top`. With :math:`G = \partial L/\partial W`

.. math::
    \partial\Sigma_i = u_i^\top G\, v_i, \qquad
    \tilde\partial u_i = G\, v_i, \qquad \tilde\partial v_i = G^\top u_i .

:math:`\tilde\partial` is the *enhanced* gradient (Zhao et al., 2025, Sparse Spectral Training, sec. 3): autograd's
divided by :math:`\Sigma_i`, and still defined where :math:`\Sigma_i = 0`. The *plain* gradient is
:math:`\partial u_i = \Sigma_i \tilde\partial u_i`. None of these formulas needs orthonormal vectors, so they stay
exact while the vectors drift. Only active rows get a gradient; the others are frozen.

*Composed*: build ``W``, let the layer use it, form ``G`` once and throw it away.
*Factored*: ``y = ((x vᵀ) ∘ Σ) u`` for a plain linear map; no ``m × n`` object exists in either direction.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["compose", "factored_linear"]


def _cast(dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t if t.dtype == dtype else t.to(dtype) for t in tensors)


def _matrix(sigma: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """``uᵀ diag(Σ) v``, scaling whichever factor is smaller."""
    if u.shape[-1] <= v.shape[-1]:
        return (u * sigma.unsqueeze(-1)).mT @ v
    return u.mT @ (v * sigma.unsqueeze(-1))


def _active(rows: Tensor, index: Tensor) -> Tensor:
    """The numbered rows, shapes ``(*, k, n)`` and ``(*, r)`` to ``(*, r, n)``."""
    return rows.index_select(0, index) if index.dim() == 1 else torch.take_along_dim(rows, index.unsqueeze(-1), -2)


def _leading(info: Any, in_dims: tuple[int | None, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Inputs of a function under `torch.vmap`, the copies along their first axis."""
    return [
        t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip(tensors, in_dims, strict=False)
    ]


def _refuse_second_order() -> None:
    # Grad mode is on during backward under `create_graph=True` alone. The vectors are read from `u` and `v`, which
    # carry no gradient, so a second derivative would silently miss them.
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError(
            "Spectral weights have first derivatives only: `create_graph` must be False, or `merge` first."
        )


class _Compose(torch.autograd.Function):
    """Shapes as in `compose`, each with the same leading axes."""

    @staticmethod
    def forward(
        sigma: Tensor,
        u_active: Tensor,
        v_active: Tensor,
        u: Tensor,
        v: Tensor,
        index: Tensor,
        enhanced: bool,
        dtype: torch.dtype,
    ) -> Tensor:
        return _matrix(*_cast(dtype, sigma, u, v))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        sigma, _, _, u, v, index, ctx.enhanced, _ = inputs
        ctx.save_for_backward(sigma, u, v, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_order()
        sigma, u, v, index = ctx.saved_tensors
        uc, vc = _cast(grad.dtype, u, v)
        # One product over all k rows gives dΣ; those of its rows that are active are a vector's gradient
        # already. The shorter side keeps the k × min(m, n) by-product small.
        if u.shape[-1] <= v.shape[-1]:
            h = vc @ grad.mT
            d_sigma, d_u = torch.linalg.vecdot(uc, h), _active(h, index)
            d_v = _active(uc, index) @ grad
        else:
            h = uc @ grad
            d_sigma, d_v = torch.linalg.vecdot(h, vc), _active(h, index)
            d_u = _active(vc, index) @ grad.mT
        if not ctx.enhanced:
            scale = _active(sigma.unsqueeze(-1), index).to(grad.dtype)
            d_u, d_v = d_u * scale, d_v * scale
        return (*_cast(sigma.dtype, d_sigma, d_u, d_v), None, None, None, None, None)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        return _Compose.apply(*_leading(info, in_dims, args[:6]), *args[6:]), 0


class _FactoredLinear(torch.autograd.Function):
    """Shapes as in `factored_linear`, each with the same leading axes; rows ``(B, n)``. Gives ``x vᵀ`` too."""

    @staticmethod
    def forward(
        x: Tensor,
        sigma: Tensor,
        u_active: Tensor,
        v_active: Tensor,
        u: Tensor,
        v: Tensor,
        index: Tensor,
        enhanced: bool,
    ) -> tuple[Tensor, Tensor]:
        sc, uc, vc = _cast(x.dtype, sigma, u, v)
        p = x @ vc.mT
        return (p * sc.unsqueeze(-2)) @ uc, p

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, sigma, _, _, u, v, index, ctx.enhanced = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, output[1], sigma, u, v, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor | None, ...]:
        _refuse_second_order()
        x, p, sigma, u, v, index = ctx.saved_tensors
        uc, vc, sc = _cast(grad.dtype, u, v, sigma)
        q = grad @ uc.mT
        d_sigma = torch.linalg.vecdot(p, q, dim=-2)
        d_u = _active(p.mT, index) @ grad
        d_v = _active(q.mT, index) @ x
        if not ctx.enhanced:
            scale = _active(sc.unsqueeze(-1), index)
            d_u, d_v = d_u * scale, d_v * scale
        d_x = (q * sc.unsqueeze(-2)) @ vc if ctx.needs_input_grad[0] else None
        return (d_x, *_cast(sigma.dtype, d_sigma, d_u, d_v), None, None, None, None)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        return _FactoredLinear.apply(*_leading(info, in_dims, args[:7]), *args[7:]), (0, 0)


def compose(
    sigma: Tensor,
    u_active: Tensor,
    v_active: Tensor,
    u: Tensor,
    v: Tensor,
    index: Tensor,
    *,
    enhanced: bool = True,
    dtype: torch.dtype | None = None,
) -> Tensor:
    r"""Build :math:`W = \sum_i \Sigma_i\, u_i v_i^\top`, differentiable in ``sigma`` and the active rows.

    Args:
        sigma: Singular values, shape ``(k,)``.
        u_active: Active left vectors, shape ``(r, m)``; receives a gradient, its values are read from ``u``.
        v_active: Active right vectors, shape ``(r, n)``, likewise.
        u: All left vectors, active ones included, shape ``(k, m)``.
        v: All right vectors, active ones included, shape ``(k, n)``.
        index: Which rows of ``u`` and ``v`` are active, shape ``(r,)``.
        enhanced: Return the gradient of the vectors without the factor :math:`\Sigma_i`.
        dtype: Type of the product (autocast's), ``sigma``'s if left out. Gradients keep ``sigma``'s.

    Returns:
        The weight, shape ``(m, n)``.
    """
    dtype = sigma.dtype if dtype is None else dtype
    weight: Tensor = _Compose.apply(sigma, u_active, v_active, u, v, index, enhanced, dtype)
    return weight


def factored_linear(
    x: Tensor,
    sigma: Tensor,
    u_active: Tensor,
    v_active: Tensor,
    u: Tensor,
    v: Tensor,
    index: Tensor,
    *,
    enhanced: bool = True,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Compute ``x Wᵀ`` for rows ``x`` of shape ``(*, n)`` without building ``W``.

    The other arguments are those of `compose`. It keeps ``x`` and ``x vᵀ`` for the backward pass.

    Returns:
        Rows of shape ``(*, m)``.
    """
    dtype = sigma.dtype if dtype is None else dtype
    rows = x.reshape(-1, x.shape[-1])
    y: Tensor = _FactoredLinear.apply(rows.to(dtype), sigma, u_active, v_active, u, v, index, enhanced)[0]
    return y.reshape(*x.shape[:-1], y.shape[-1])
