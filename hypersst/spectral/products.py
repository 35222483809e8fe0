r"""The executions of a weight held as :math:`W = U^\top\!\operatorname{diag}(\Sigma)V`, with exact gradients.

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
*Recomputed*: the same for a plain linear map, but ``W`` is thrown away too, and built again in the backward pass.
*Factored*: ``y = ((x vᵀ) ∘ Σ) u`` for a plain linear map; no ``m × n`` object exists in either direction.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypersst.spectral.storage import Factors

__all__ = ["compose", "factored_linear", "recomputed_linear"]

# Tensors of `Factors`, which come first, or after the input, among the arguments of a function.
_N = len(Factors._fields)


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


def _leading(info: Any, in_dims: tuple[int | None, ...], tensors: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """Inputs of a function under `torch.vmap`, the copies along their first axis."""
    return [
        t if t is None else t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip(tensors, in_dims, strict=False)
    ]


def _refuse_second_order() -> None:
    # Grad mode is on during backward under `create_graph=True` alone. The vectors are read from `u` and `v`, which
    # carry no gradient, so a second derivative would silently miss them.
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError(
            "Spectral weights have first derivatives only: `create_graph` must be False, or `merge` first."
        )


def _composed(factors: Factors, dtype: torch.dtype) -> Tensor:
    (sigma,) = _cast(dtype, factors.sigma)
    return _matrix(sigma, *factors.rows(dtype))


def _reduce(factors: Factors, u: Tensor, v: Tensor, grad: Tensor, enhanced: bool) -> tuple[Tensor, ...]:
    """Gradients of singular values and active rows from that of the weight, shape ``(*, m, n)``."""
    sigma, index = factors.sigma, factors.drawn
    # One product over all k rows gives dΣ; those of its rows that are active are a vector's gradient
    # already. The shorter side keeps the k × min(m, n) by-product small.
    if u.shape[-1] <= v.shape[-1]:
        h = v @ grad.mT
        d_sigma, d_u = torch.linalg.vecdot(u, h), _active(h, index)
        d_v = _active(u, index) @ grad
    else:
        h = u @ grad
        d_sigma, d_v = torch.linalg.vecdot(h, v), _active(h, index)
        d_u = _active(v, index) @ grad.mT
    if not enhanced:
        scale = _active(sigma.unsqueeze(-1), index).to(grad.dtype)
        d_u, d_v = d_u * scale, d_v * scale
    return _cast(sigma.dtype, d_sigma, d_u, d_v)


class _Compose(torch.autograd.Function):
    """Takes `Factors`, each with the same leading axes, ``enhanced`` and the type of the product."""

    @staticmethod
    def forward(
        sigma: Tensor,
        u_active: Tensor,
        v_active: Tensor,
        u: Tensor,
        v: Tensor,
        u_scale: Tensor | None,
        v_scale: Tensor | None,
        drawn: Tensor,
        enhanced: bool,
        dtype: torch.dtype,
    ) -> Tensor:
        return _composed(Factors(sigma, u_active, v_active, u, v, u_scale, v_scale, drawn), dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.enhanced = inputs[_N]
        ctx.save_for_backward(*Factors(*inputs[:_N]).needed())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_order()
        factors = Factors(*ctx.saved_tensors)
        return (*_reduce(factors, *factors.rows(grad.dtype), grad, ctx.enhanced), *(None,) * (_N - 1))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        return _Compose.apply(*_leading(info, in_dims, args[:_N]), *args[_N:]), 0


class _RecomputedLinear(torch.autograd.Function):
    """Takes rows ``(B, n)``, `Factors`, each with the same leading axes, and ``enhanced``."""

    @staticmethod
    def forward(
        x: Tensor,
        sigma: Tensor,
        u_active: Tensor,
        v_active: Tensor,
        u: Tensor,
        v: Tensor,
        u_scale: Tensor | None,
        v_scale: Tensor | None,
        drawn: Tensor,
        enhanced: bool,
    ) -> Tensor:
        return x @ _composed(Factors(sigma, u_active, v_active, u, v, u_scale, v_scale, drawn), x.dtype).mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.enhanced = inputs[-1]
        ctx.save_for_backward(inputs[0], *Factors(*inputs[1:-1]).needed())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_order()
        x, *saved = ctx.saved_tensors
        factors = Factors(*saved)
        u, v = factors.rows(grad.dtype)
        d_x = None
        if ctx.needs_input_grad[0]:
            (sigma,) = _cast(grad.dtype, factors.sigma)
            d_x = grad @ _matrix(sigma, u, v)  # the weight is gone before its gradient comes
        return (d_x, *_reduce(factors, u, v, grad.mT @ x, ctx.enhanced), *(None,) * (_N - 2))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        return _RecomputedLinear.apply(*_leading(info, in_dims, args[:-1]), args[-1]), 0


class _FactoredLinear(torch.autograd.Function):
    """Takes rows ``(B, n)``, `Factors`, each with the same leading axes, ``enhanced`` and ``recompute``.

    Gives ``x vᵀ`` too.
    """

    @staticmethod
    def forward(
        x: Tensor,
        sigma: Tensor,
        u_active: Tensor,
        v_active: Tensor,
        u: Tensor,
        v: Tensor,
        u_scale: Tensor | None,
        v_scale: Tensor | None,
        drawn: Tensor,
        enhanced: bool,
        recompute: bool,
    ) -> tuple[Tensor, Tensor]:
        left, right = Factors(sigma, u_active, v_active, u, v, u_scale, v_scale, drawn).rows(x.dtype)
        (scale,) = _cast(x.dtype, sigma)
        p = x @ right.mT
        return (p * scale.unsqueeze(-2)) @ left, p

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *_, ctx.enhanced, recompute = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        p = None if recompute else output[1]
        ctx.save_for_backward(inputs[0], p, *Factors(*inputs[1 : _N + 1]).needed())

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor | None, ...]:
        _refuse_second_order()
        x, p, *saved = ctx.saved_tensors
        factors = Factors(*saved)
        sigma, index = factors.sigma, factors.drawn
        u, v = factors.rows(grad.dtype)
        (scale,) = _cast(grad.dtype, sigma)
        if p is None:
            p = x @ v.mT
        q = grad @ u.mT
        d_sigma = torch.linalg.vecdot(p, q, dim=-2)
        d_u = _active(p.mT, index) @ grad
        d_v = _active(q.mT, index) @ x
        if not ctx.enhanced:
            own = _active(scale.unsqueeze(-1), index)
            d_u, d_v = d_u * own, d_v * own
        d_x = (q * scale.unsqueeze(-2)) @ v if ctx.needs_input_grad[0] else None
        return (d_x, *_cast(sigma.dtype, d_sigma, d_u, d_v), *(None,) * (_N - 1))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        return _FactoredLinear.apply(*_leading(info, in_dims, args[: _N + 1]), *args[_N + 1 :]), (0, 0)


#: Scales of ``u`` and ``v`` where they are stored as integers, see `hypersst.spectral.storage.encode`.
Scales = tuple[Tensor | None, Tensor | None]


def compose(
    sigma: Tensor,
    u_active: Tensor,
    v_active: Tensor,
    u: Tensor,
    v: Tensor,
    index: Tensor,
    *,
    scales: Scales = (None, None),
    enhanced: bool = True,
    dtype: torch.dtype | None = None,
) -> Tensor:
    r"""Build :math:`W = \sum_i \Sigma_i\, u_i v_i^\top`, differentiable in ``sigma`` and the active rows.

    Args:
        sigma: Singular values, shape ``(k,)``.
        u_active: Active left vectors, shape ``(r, m)``; receives a gradient. Its values are read from ``u`` where that
            is of the same type.
        v_active: Active right vectors, shape ``(r, n)``, likewise.
        u: All left vectors, shape ``(k, m)``, active ones included if it is of their type.
        v: All right vectors, shape ``(k, n)``, likewise.
        index: Which rows of ``u`` and ``v`` are active, shape ``(r,)``.
        scales: Of ``u`` and ``v``, where they are stored as integers.
        enhanced: Return the gradient of the vectors without the factor :math:`\Sigma_i`.
        dtype: Type of the product (autocast's), ``sigma``'s if left out. Gradients keep ``sigma``'s.

    Returns:
        The weight, shape ``(m, n)``.
    """
    dtype = sigma.dtype if dtype is None else dtype
    weight: Tensor = _Compose.apply(sigma, u_active, v_active, u, v, *scales, index, enhanced, dtype)
    return weight


def recomputed_linear(
    x: Tensor,
    sigma: Tensor,
    u_active: Tensor,
    v_active: Tensor,
    u: Tensor,
    v: Tensor,
    index: Tensor,
    *,
    scales: Scales = (None, None),
    enhanced: bool = True,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Compute ``x Wᵀ`` for rows ``x`` of shape ``(*, n)`` with ``W`` built twice, and kept neither time.

    The other arguments are those of `compose`. Only ``x`` is kept for the backward pass; there ``W`` is built again for
    the gradient of ``x``, and freed before its own gradient is formed and reduced to those of the factors.

    Returns:
        Rows of shape ``(*, m)``.
    """
    dtype = sigma.dtype if dtype is None else dtype
    rows = x.reshape(-1, x.shape[-1]).to(dtype)
    y: Tensor = _RecomputedLinear.apply(rows, sigma, u_active, v_active, u, v, *scales, index, enhanced)
    return y.reshape(*x.shape[:-1], y.shape[-1])


def factored_linear(
    x: Tensor,
    sigma: Tensor,
    u_active: Tensor,
    v_active: Tensor,
    u: Tensor,
    v: Tensor,
    index: Tensor,
    *,
    scales: Scales = (None, None),
    enhanced: bool = True,
    dtype: torch.dtype | None = None,
    recompute: bool = False,
) -> Tensor:
    """Compute ``x Wᵀ`` for rows ``x`` of shape ``(*, n)`` without building ``W``.

    The other arguments are those of `compose`. It keeps ``x`` and ``x vᵀ`` for the backward pass; with ``recompute``
    only ``x``.

    Returns:
        Rows of shape ``(*, m)``.
    """
    dtype = sigma.dtype if dtype is None else dtype
    rows = x.reshape(-1, x.shape[-1])
    y: Tensor = _FactoredLinear.apply(
        rows.to(dtype), sigma, u_active, v_active, u, v, *scales, index, enhanced, recompute
    )[0]
    return y.reshape(*x.shape[:-1], y.shape[-1])
