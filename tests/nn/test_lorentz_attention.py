"""Attention on Lorentz points against the paper's formula in loops, its masks, and rows that see nothing."""

from __future__ import annotations

import copy
import inspect
import math
import re

import pytest
import torch
from layer_cases import CURVATURES, points, shake
from torch import nn

from hypersst.experiments.conformance.points import isometry, off_manifold
from hypersst.manifolds import Lorentz
from hypersst.manifolds.lorentz_math import from_space, normalize
from hypersst.nn import LorentzMultiheadAttention, lorentz_attention
from hypersst.nn.lorentz_attention import _WideSum

TAU = torch.tensor(1.5, dtype=torch.float64)


def slow_attention(q, k, v, masked, tau, c):
    """Chen et al., one number after the other; ``masked`` says whether query i must not see key j."""
    result, weights = [], []
    for i, x in enumerate(q):
        product = [-x[0] * y[0] + sum(a * b for a, b in zip(x[1:], y[1:], strict=True)) for y in k]
        score = [-(-2 / c - 2 * p) / tau for p in product]
        seen = [0.0 if masked(i, j) else math.exp(s) for j, s in enumerate(score)]
        weights.append([w / sum(seen) for w in seen])
        total = [sum(w * y[n] for w, y in zip(weights[-1], v, strict=True)) for n in range(len(v[0]))]
        length = math.sqrt(abs(-(total[0] ** 2) + sum(a * a for a in total[1:])))
        result.append([a / (math.sqrt(c) * length) for a in total])
    return result, weights


def slow_module(module, x, masked):
    """Heads are slices of the space parts, with time recomputed."""
    c, size = float(module.manifold.c), module.head_dim
    rows = [layer(x)[:, 1:].tolist() for layer in (module.q_proj, module.k_proj, module.v_proj)]
    space, weights = [[] for _ in x], []
    for head in range(module.num_heads):
        cut = [[row[head * size : (head + 1) * size] for row in part] for part in rows]
        q, k, v = ([[math.sqrt(1 / c + sum(a * a for a in row)), *row] for row in part] for part in cut)
        y, w = slow_attention(q, k, v, masked, math.exp(module.log_scale.item()), c)
        space = [left + right[1:] for left, right in zip(space, y, strict=True)]
        weights.append(w)
    joined = [[math.sqrt(1 / c + sum(a * a for a in row)), *row] for row in space]
    return module.out_proj(x.new_tensor(joined)), x.new_tensor(weights)


def qkv(c=0.7, shapes=((4, 3), (5, 3), (5, 2)), radius=1.0, dtype=torch.float64):
    manifold = Lorentz(c).to(dtype)
    return manifold, [points(manifold, *s, radius=radius, dtype=dtype, seed=i) for i, s in enumerate(shapes)]


def make(embed_dim=6, num_heads=2, c=0.75, **options):
    torch.manual_seed(0)
    module = LorentzMultiheadAttention(embed_dim, num_heads, manifold=Lorentz(c), **options)
    shake(module)
    return module.double()


def sequence(module, *shape, seed=0, radius=1.0, dtype=torch.float64):
    return points(module.manifold, *shape, module.embed_dim, seed=seed, radius=radius, dtype=dtype)


@pytest.mark.parametrize("masked", [lambda i, j: False, lambda i, j: j > i], ids=["all", "causal"])
@pytest.mark.parametrize("c", CURVATURES)
def test_the_function_equals_its_slow_twin(masked, c):
    _, (q, k, v) = qkv(c)
    mask = torch.tensor([[masked(i, j) for j in range(5)] for i in range(4)])
    y, weights = lorentz_attention(q, k, v, mask, TAU, torch.tensor(c).double())
    slow = slow_attention(q.tolist(), k.tolist(), v.tolist(), masked, float(TAU), c)
    torch.testing.assert_close((y, weights), tuple(map(q.new_tensor, slow)), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("time", ["gated", "recomputed", "hyperplane"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_the_layer_equals_its_slow_twin(is_causal, time):
    module = make(time=time)
    x = sequence(module, 5)
    with torch.no_grad():
        found = module(x, x, x, is_causal=is_causal, average_attn_weights=False)
        expected = slow_module(module, x, lambda i, j: is_causal and j > i)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_half_precision_is_computed_and_returned_in_float32():
    manifold, (q, k, v) = qkv(dtype=torch.float32)
    y, weights = lorentz_attention(*(x.bfloat16() for x in (q, k, v)), None, TAU, manifold.c)
    assert y.dtype == weights.dtype == torch.float32
    assert off_manifold(y, manifold) < 1e-6


def test_an_isometry_of_queries_and_keys_changes_no_weight_and_one_of_the_values_moves_the_result():
    manifold, (q, k, v) = qkv()
    y, weights = lorentz_attention(q, k, v, None, TAU, manifold.c)
    move, other = isometry(manifold), isometry(manifold, seed=1)
    found, same = lorentz_attention(move(q), move(k), other(v), None, TAU, manifold.c)
    torch.testing.assert_close(same, weights)
    torch.testing.assert_close(found, other(y))


def test_without_curvature_it_averages_with_weights_from_euclidean_distances():
    manifold, (q, k, v) = qkv(1e-8, radius=1e-4)
    y, weights = lorentz_attention(q, k, v, None, TAU, manifold.c)
    flat = (-torch.cdist(q[:, 1:], k[:, 1:]).square() / TAU).softmax(-1)
    torch.testing.assert_close(weights, flat, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(y[:, 1:], flat @ v[:, 1:], rtol=1e-6, atol=1e-6)


def test_gradients_agree_with_finite_differences_for_scale_curvature_and_mask_too():
    _, (q, k, v) = qkv()
    mask = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask[1, 2] = -torch.inf

    def run(q, k, v, bias, scale, c):
        q, k, v = (from_space(x, c) for x in (q, k, v))
        return lorentz_attention(q, k, v, mask + bias, scale, c)

    free = [x[:, 1:].clone() for x in (q, k, v)]
    free += [torch.zeros_like(mask[:, :1]), TAU.clone(), torch.tensor(0.7).double()]
    assert torch.autograd.gradcheck(run, [x.requires_grad_() for x in free])


def test_the_wide_sum_can_be_differentiated_twice():
    weight = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_WideSum.apply, (weight, x))
    assert torch.autograd.gradgradcheck(_WideSum.apply, (weight, x))


def test_a_map_over_the_batch_equals_the_batch():
    manifold, (q, k, v) = qkv(shapes=((3, 4, 2), (3, 5, 2), (3, 5, 2)))

    def run(q, k, v):
        return lorentz_attention(q, k, v, None, TAU, manifold.c)[0]

    torch.testing.assert_close(torch.func.vmap(run)(q, k, v), run(q, k, v))


def test_of_the_weights_only_their_narrow_form_is_kept():
    _, (q, k, v) = qkv(shapes=((40, 3), (50, 3), (50, 2)), dtype=torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        y, _ = lorentz_attention(q.requires_grad_(), k, v.requires_grad_(), None, TAU, torch.tensor(0.7))
    assert y.requires_grad
    assert {x.dtype for x in kept if x.shape == (40, 50)} == {torch.float32}


@pytest.mark.parametrize("radius", [1.0, 3.0, 5.0, 7.0])
def test_float32_is_as_good_far_from_the_origin_as_near_it(radius):
    _, (q, _, v) = qkv(1.0, ((64, 8), (1, 1), (64, 8)), radius, torch.float32)
    c = torch.tensor(1.0)
    noise = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    k = from_space(q[:, 1:] * (1.0 + 0.01 * noise), c)

    def error(y):
        wide = [from_space(x[:, 1:].double(), c.double()) for x in (q, k, v)]
        expected, _ = lorentz_attention(*wide, None, torch.tensor(3.0).double(), c.double())
        return float(((y.double() - expected).norm(dim=-1) / expected.norm(dim=-1)).max())

    assert error(lorentz_attention(q, k, v, None, torch.tensor(3.0), c)[0]) < 2e-7
    score = (2.0 / 3.0) * (q[:, 1:] @ k[:, 1:].mT - q[:, :1] @ k[:, :1].mT)
    naive = normalize(score.softmax(-1) @ v, c)
    assert radius < 7.0 or error(naive) > 1e-3


@pytest.mark.parametrize(("radius", "bound"), [(2.0, 5e-6), (3.0, 5e-5)])
@pytest.mark.parametrize("autocast", [False, True])
def test_float32_suffices_near_the_origin_where_it_is_asked_for(radius, bound, autocast):
    _, (q, k, v) = qkv(1.0, ((4, 32, 16),) * 3, radius, torch.float32)
    tau, c = torch.tensor(4.0), torch.tensor(1.0)
    expected, _ = lorentz_attention(q, k, v, None, tau, c)
    results = []
    for tensors in ((q, k, v), (q.double(), k.double(), v.double())):
        leaves = [x.requires_grad_() for x in tensors]
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found, _ = lorentz_attention(*leaves, None, tau.to(q), c.to(q), precision=torch.float32)
        results.append((found, torch.autograd.grad(found[..., 1:].square().sum(), leaves)))
    (found, grads), (exact, exact_grads) = results
    assert found.dtype == torch.float32
    assert exact.dtype == torch.float64
    torch.testing.assert_close(expected.double(), exact, rtol=1e-6, atol=1e-6)
    assert ((found - exact).norm(dim=-1) / exact.norm(dim=-1)).max() < bound
    for grad, exact_grad in zip(grads, exact_grads, strict=True):
        assert (grad - exact_grad).abs().max() < 1e-3 * exact_grad.abs().max()


def test_its_forward_is_called_as_that_of_torch():
    ours = inspect.signature(LorentzMultiheadAttention.forward).parameters
    theirs = inspect.signature(nn.MultiheadAttention.forward).parameters
    assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in theirs.values()]


def test_weights_sum_to_one_and_have_the_shapes_of_torch():
    module, theirs = make(), nn.MultiheadAttention(6, 2)
    q, k = sequence(module, 4, 3), sequence(module, 5, 3, seed=1)
    for cut in (lambda x: x, lambda x: x[:, 0]):
        for average in (True, False):
            x, y = cut(q), cut(k)
            _, weights = module(x, y, y, average_attn_weights=average)
            x, y = x[..., 1:].float(), y[..., 1:].float()
            assert weights.shape == theirs(x, y, y, average_attn_weights=average)[1].shape
            torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    y, weights = module(q, k, k, need_weights=False)
    assert weights is None
    torch.testing.assert_close(y, module(q, k, k)[0], rtol=0, atol=0)


def test_the_order_of_axes_and_a_batch_of_one_change_nothing():
    module = make()
    first = copy.deepcopy(module)
    first.batch_first = True
    q, k = sequence(module, 4, 3), sequence(module, 5, 3, seed=1)
    y, weights = module(q, k, k)
    swapped, same = first(*(x.transpose(0, 1) for x in (q, k, k)))
    torch.testing.assert_close((swapped.transpose(0, 1), same), (y, weights))
    for layer in (module, first):
        torch.testing.assert_close(layer(q[:, 1], k[:, 1], k[:, 1]), (y[:, 1], weights[1]))


def test_the_future_is_hidden():
    module = make()
    x, other = sequence(module, 5, 2), sequence(module, 5, 2, seed=1)
    changed = torch.cat((x[:3], other[3:]))
    torch.testing.assert_close(
        module(changed, changed, changed, is_causal=True)[0][:3], module(x, x, x, is_causal=True)[0][:3]
    )
    assert not torch.allclose(module(changed, changed, changed)[0][:3], module(x, x, x)[0][:3])


def test_a_causal_mask_boolean_or_added_or_left_out_is_one():
    module = make()
    x = sequence(module, 5, 2)
    expected = module(x, x, x, is_causal=True)
    added = nn.Transformer.generate_square_subsequent_mask(5)
    for mask in (added, added.isinf()):
        for is_causal in (False, True):
            torch.testing.assert_close(module(x, x, x, attn_mask=mask, is_causal=is_causal), expected)
        for_each_head = mask.expand(4, 5, 5)
        torch.testing.assert_close(module(x, x, x, attn_mask=for_each_head), expected)


def test_a_mask_may_differ_from_head_to_head_and_sequence_to_sequence():
    module = make(c=1.0)
    x = sequence(module, 5, 3)
    mask = torch.rand(6, 5, 5, generator=torch.Generator().manual_seed(0)) < 0.4
    mask[:, :, 0] = False
    y, weights = module(x, x, x, attn_mask=mask, average_attn_weights=False)
    assert torch.equal(weights.flatten(0, 1) == 0, mask)
    alone, _ = module(x[:, 1], x[:, 1], x[:, 1], attn_mask=mask[2:4])
    torch.testing.assert_close(alone, y[:, 1])


@pytest.mark.parametrize("boolean", [True, False])
def test_padding_counts_as_if_the_keys_were_not_there(boolean):
    module = make()
    q, k = sequence(module, 4, 2), sequence(module, 5, 2, seed=1)
    padding = torch.tensor([[False, False, False, True, True], [False] * 5])
    given = padding if boolean else torch.zeros(2, 5).masked_fill(padding, -torch.inf)
    y, weights = module(q, k, k, given)
    for kind in (torch.zeros(4, 5), torch.zeros(4, 5, dtype=torch.bool)):
        torch.testing.assert_close(module(q, k, k, given, attn_mask=kind)[0], y)
    torch.testing.assert_close(y[:, 1], module(q, k, k)[0][:, 1])
    torch.testing.assert_close(y[:, :1], module(q[:, :1], k[:3, :1], k[:3, :1])[0])
    torch.testing.assert_close(module(q[:, 0], k[:, 0], k[:, 0], given[0])[0], y[:, 0])
    assert (weights[0, :, 3:] == 0).all()


def test_padding_and_a_causal_mask_add_up():
    module = make()
    x = sequence(module, 5, 2)
    padding = torch.tensor([[True, False, False, False, False], [False] * 5])
    expected = torch.ones(5, 5, dtype=torch.bool).triu(1) | padding[:, None]
    y, weights = module(x, x, x, padding, is_causal=True)
    assert torch.equal(weights == 0, expected)
    # The first row sees itself only, which is padding.
    torch.testing.assert_close(y[0, 0], module.out_proj(module.manifold.origin(7).double()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fill", [True, -math.inf], ids=["boolean", "added"])
def test_where_everything_is_masked_is_the_origin_with_finite_gradients(fill, dtype):
    manifold, (q, k, v) = qkv(shapes=((2, 4, 3), (2, 5, 3), (2, 5, 2)), dtype=dtype)
    mask = torch.zeros(4, 5, dtype=torch.bool if fill is True else dtype)
    mask[1] = fill
    free = [x.requires_grad_() for x in (q, k, v)]
    scale = TAU.to(dtype).requires_grad_()
    y, weights = lorentz_attention(*free, mask, scale, manifold.c)
    torch.testing.assert_close(y[:, 1], manifold.origin(2, 3, dtype=dtype).as_subclass(torch.Tensor))
    assert (weights[:, 1] == 0).all()
    assert off_manifold(y, manifold) < 16 * torch.finfo(dtype).eps
    # Not of squares, whose gradient at the origin is zero.
    found = torch.autograd.grad(y.sum() + weights.square().sum(), (*free, scale))
    assert all(g.isfinite().all() for g in found)
    assert (found[0][:, 1] == 0).all()
    assert (found[0][:, 0] != 0).any()


def test_where_everything_is_dropped_is_the_origin_with_finite_gradients():
    manifold, (q, k, v) = qkv(shapes=((200, 3), (3, 3), (3, 2)), dtype=torch.float32)
    torch.manual_seed(0)
    free = [x.requires_grad_() for x in (q, k, v)]
    y, weights = lorentz_attention(*free, None, TAU.float(), manifold.c, dropout=0.5)
    nothing = (weights == 0).all(-1)
    assert 0 < nothing.sum() < 60  # an eighth of 200
    assert (y[nothing][:, 1:] == 0).all()
    assert (y[~nothing][:, 1:] != 0).any(-1).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), free))


def test_dropout_keeps_the_mean_of_the_weights_in_training_and_does_nothing_else():
    module = make(dropout=0.25)
    x = sequence(module, 60)
    torch.manual_seed(0)
    _, dropped = module(x, x, x, average_attn_weights=False)
    _, weights = module.eval()(x, x, x, average_attn_weights=False)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], weights[kept] / 0.75)
    # 7200 draws: five deviations are 5 √(0.25 · 0.75 / 7200) = 0.026.
    assert abs(kept.double().mean() - 0.75) < 0.026


@pytest.mark.parametrize("time", ["gated", "recomputed", "hyperplane"])
def test_points_at_the_origin_and_zero_weights_give_finite_gradients(time):
    module = LorentzMultiheadAttention(6, 2, time=time)
    for zero in (False, True):
        if zero:
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.zero_()
        x = module.manifold.origin(1, 1, 7).as_subclass(torch.Tensor).requires_grad_()
        y, _ = module(x, x, x)
        y.square().sum().backward()
        assert x.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in module.parameters())


def test_layers_share_one_learned_curvature():
    module = LorentzMultiheadAttention(6, 2, manifold=Lorentz(0.5, learnable=True))
    assert [n for n, _ in module.named_parameters() if "log_c" in n] == ["manifold.log_c"]


def test_it_can_be_made_without_memory_and_reset():
    manifold = Lorentz()
    with torch.device("meta"):
        module = LorentzMultiheadAttention(6, 2, manifold=manifold)
    assert all(p.is_meta for p in module.parameters())
    module = make()
    module.reset_parameters()
    assert module.log_scale.item() == pytest.approx(math.log(3.0) / 2)
    assert (module.q_proj.bias == 0).all()


def test_it_says_what_it_is():
    assert repr(LorentzMultiheadAttention(6, 2)).startswith("LorentzMultiheadAttention(\n  6, 2\n")
    text = repr(LorentzMultiheadAttention(6, 2, 0.1, kdim=3, vdim=4, batch_first=True))
    assert "6, 2, dropout=0.1, kdim=3, vdim=4, batch_first=True\n" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 4}, "`num_heads` must divide `embed_dim` = 6, got 4."),
        ({"num_heads": 0}, "`num_heads` must be at least 1, got 0."),
        ({"kdim": 0}, "`kdim` must be at least 1, got 0."),
        ({"dropout": 1.0}, "`dropout` must be at least 0 and below 1, got 1.0."),
    ],
)
def test_impossible_layers_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        LorentzMultiheadAttention(6, **{"num_heads": 2, **options})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((4, 7), (5, 2, 7), (5, 2, 7)), "`key` must have 2 axes for one sequence or 3 for a batch"),
        (((7,), (7,), (7,)), "`query` must have 2 axes for one sequence or 3 for a batch"),
        (((4, 6), (5, 7), (5, 7)), "`query` must have its 6 dimensions + 1 = 7 columns, got shape (4, 6)."),
        (((4, 7), (5, 7), (4, 7)), "`value` must have a row for each row of `key`, of shape (5, 7), got shape (4, 7)."),
        (((4, 2, 7), (5, 3, 7), (5, 3, 7)), "`key` must have the batch size 2 of `query` on axis 1"),
    ],
)
def test_sequences_that_do_not_go_together_are_refused(shapes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        LorentzMultiheadAttention(6, 2)(*map(torch.zeros, shapes))


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        ({"attn_mask": torch.zeros(5, 4)}, ValueError, "`attn_mask` must have shape (4, 5) or (6, 4, 5), got (5, 4)."),
        ({"attn_mask": torch.zeros(4, 5).long()}, TypeError, "`attn_mask` must be boolean or of floating point"),
        ({"key_padding_mask": torch.zeros(5, 3)}, ValueError, "`key_padding_mask` must have shape (3, 5), got (5, 3)."),
        ({"key_padding_mask": torch.zeros(3, 5).int()}, TypeError, "`key_padding_mask` must be boolean or of floating"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, error, message):
    module = LorentzMultiheadAttention(6, 2)
    with pytest.raises(error, match=re.escape(message)):
        module(torch.zeros(4, 3, 7), torch.zeros(5, 3, 7), torch.zeros(5, 3, 7), **masks)
