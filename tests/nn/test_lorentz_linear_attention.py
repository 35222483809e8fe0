"""Linear attention against the quadratic form of the paper's formula, and what it costs."""

from __future__ import annotations

import inspect
import math
import re

import pytest
import torch
from layer_cases import CURVATURES, points, shake
from torch.utils._python_dispatch import TorchDispatchMode

from hypersst.experiments.conformance.points import off_manifold
from hypersst.manifolds import Lorentz
from hypersst.nn import LorentzLinearAttention, LorentzMultiheadAttention, focused_attention
from hypersst.nn.lorentz_linear_attention import focused


def slow_focused(x, power):
    """Hypformer's φ, one number after the other."""
    floor = max(1e-3 * max(abs(a) for a in x), 1e-6)
    x = [max(a, floor) for a in x]
    raised = [a**power for a in x]
    ratio = math.sqrt(sum(a * a for a in x)) / math.sqrt(sum(a * a for a in raised))
    return [ratio * a for a in raised]


def slow_attention(q, k, v, power, seen):
    """Each query with each key; ``seen`` says whether query i sees key j."""
    q, k = ([slow_focused(row, power) for row in part] for part in (q, k))
    result = []
    for i, x in enumerate(q):
        weights = [sum(a * b for a, b in zip(x, y, strict=True)) * seen(i, j) for j, y in enumerate(k)]
        total = sum(weights)
        result.append([sum(w * y[n] for w, y in zip(weights, v, strict=True)) / total for n in range(len(v[0]))])
    return result


def slow_module(module, x, seen):
    """Heads are slices of the space parts; the residual is that of the paper."""
    c, size = float(module.manifold.c), module.head_dim
    rows = [layer(x)[:, 1:] for layer in (module.q_proj, module.k_proj, module.v_proj)]
    space = [[] for _ in x]
    for head in range(module.num_heads):
        q, k, v = (part[:, head * size : (head + 1) * size] for part in rows)
        y = slow_attention(q.tolist(), k.tolist(), v.tolist(), module.power, seen)
        own = (v @ module.residual.weight.t() + module.residual.bias).tolist()
        y = [[a + b for a, b in zip(*both, strict=True)] for both in zip(y, own, strict=True)]
        space = [left + right for left, right in zip(space, y, strict=True)]
    return module.out_proj(x.new_tensor([[math.sqrt(1 / c + sum(a * a for a in row)), *row] for row in space]))


def qkv(*shapes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, dtype=dtype, generator=generator) for shape in shapes or ((4, 3), (5, 3), (5, 2))]


def make(embed_dim=6, num_heads=2, c=0.75, **options):
    torch.manual_seed(0)
    module = LorentzLinearAttention(embed_dim, num_heads, manifold=Lorentz(c), **options)
    shake(module)
    return module.double()


def sequence(module, *shape, seed=0):
    return points(module.manifold, *shape, module.embed_dim, seed=seed)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.0])
def test_the_function_equals_its_quadratic_twin(power):
    q, k, v = qkv()
    slow = slow_attention(q.tolist(), k.tolist(), v.tolist(), power, lambda i, j: True)
    torch.testing.assert_close(focused_attention(q, k, v, power), q.new_tensor(slow), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 130])
def test_causal_sums_equal_their_quadratic_twin_across_blocks(length):
    q, k, v = qkv((2, length, 3), (2, length, 3), (2, length, 2))
    weights = (focused(q, 2.0) @ focused(k, 2.0).mT).tril()
    expected = weights @ v / weights.sum(-1, keepdim=True)
    torch.testing.assert_close(focused_attention(q, k, v, 2.0, is_causal=True), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("c", CURVATURES)
def test_the_layer_equals_its_quadratic_twin(c, is_causal):
    module = make(c=c)
    x = sequence(module, 5)
    with torch.no_grad():
        expected = slow_module(module, x, lambda i, j: j <= i or not is_causal)
        torch.testing.assert_close(module(x, x, x, is_causal=is_causal), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("is_causal", [False, True])
def test_gradients_agree_with_finite_differences(is_causal):
    q, k, v = qkv((4, 3), (4, 3), (4, 2))
    bias = torch.zeros(4, dtype=torch.float64)

    def run(q, k, v, bias):
        return focused_attention(q, k, v, 2.5, bias, is_causal=is_causal)

    assert torch.autograd.gradcheck(run, [x.requires_grad_() for x in (q, k, v, bias)])


def test_a_common_factor_of_queries_or_keys_cancels():
    # So there is nothing to learn in the number by which the authors' code divides them.
    q, k, v = (x + 0.1 for x in qkv())
    q, k = q.abs(), k.abs()
    torch.testing.assert_close(
        focused_attention(3.0 * q, 0.5 * k, v, 2.0), focused_attention(q, k, v, 2.0), rtol=1e-5, atol=1e-5
    )


def test_a_larger_power_sharpens_directions_and_keeps_lengths():
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    spread = [focused(x, power) for power in (1.0, 2.0, 8.0)]
    for y in spread:
        torch.testing.assert_close(y.norm(), x.norm(), rtol=1e-5, atol=0)
    assert spread[0][2] < spread[1][2] < spread[2][2]


class Sizes(TorchDispatchMode):
    """The largest tensor that any operation returns."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for x in result if isinstance(result, tuple | list) else (result,):
            if isinstance(x, torch.Tensor):
                self.largest = max(self.largest, x.numel())
        return result


@pytest.mark.parametrize("is_causal", [False, True])
def test_no_tensor_grows_with_the_square_of_the_length_forward_or_backward(is_causal):
    module = make().float()
    largest = []
    for length in (640, 1280):
        x = sequence(module, length).float().requires_grad_()
        with Sizes() as sizes:
            module(x, x, x, is_causal=is_causal).sum().backward()
        largest.append(sizes.largest)
    assert largest[0] < 640 * 640 / 2
    assert largest[1] == 2 * largest[0]


def test_it_is_called_as_attention_with_weights_is():
    ours = inspect.signature(LorentzLinearAttention.forward).parameters
    theirs = inspect.signature(LorentzMultiheadAttention.forward).parameters
    assert [*ours] == [name for name in theirs if name in ours]
    assert all(ours[name].default == theirs[name].default for name in ours)


def test_the_order_of_axes_and_a_batch_of_one_change_nothing():
    module, first = make(), make(batch_first=True)
    x = sequence(module, 4, 3)
    padding = torch.tensor([[False] * 4, [False, True, False, True], [False] * 4])
    y = module(x, x, x, padding)
    swapped = first(*[x.transpose(0, 1)] * 3, padding)
    torch.testing.assert_close(swapped.transpose(0, 1), y)
    for layer in (module, first):
        torch.testing.assert_close(layer(x[:, 1], x[:, 1], x[:, 1], padding[1]), y[:, 1])


def test_permuting_the_nodes_permutes_the_result():
    module = make()
    x = sequence(module, 7)
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    y = module(x, x, x)
    x = x[order]
    torch.testing.assert_close(module(x, x, x), y[order])


def test_the_future_is_hidden():
    module = make()
    x, other = sequence(module, 70, 2), sequence(module, 70, 2, seed=1)
    changed = torch.cat((x[:66], other[66:]))
    torch.testing.assert_close(
        module(changed, changed, changed, is_causal=True)[:66], module(x, x, x, is_causal=True)[:66]
    )
    assert not torch.allclose(module(changed, changed, changed)[:66], module(x, x, x)[:66])


def test_without_residual_queries_need_not_be_as_many_as_keys_and_padding_drops_keys():
    module = make(residual=False)
    q, k = sequence(module, 4, 2), sequence(module, 5, 2, seed=1)
    padding = torch.tensor([[False, False, False, True, True], [False] * 5])
    y = module(q, k, k, padding)
    torch.testing.assert_close(module(q, k, k, torch.zeros(2, 5).masked_fill(padding, -torch.inf)), y)
    torch.testing.assert_close(y[:, :1], module(q[:, :1], k[:3, :1], k[:3, :1]))
    torch.testing.assert_close(y[:, 1], module(q, k, k)[:, 1])


def test_an_added_logarithm_of_two_counts_a_key_twice():
    q, k, v = qkv()
    mask = torch.tensor([0.0, math.log(2.0), 0.0, 0.0, 0.0], dtype=torch.float64)
    twice = [torch.cat((x, x[1:2])) for x in (k, v)]
    torch.testing.assert_close(focused_attention(q, k, v, 2.0, mask), focused_attention(q, *twice, 2.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("is_causal", [False, True])
def test_a_query_without_keys_gets_zero_and_finite_gradients(is_causal, dtype):
    # Large enough that a quotient by the smallest number would overflow on the way back.
    q, k, v = ((100.0 * x).requires_grad_() for x in qkv((2, 4, 3), (2, 4, 3), (2, 4, 2), dtype=dtype))
    padding = torch.tensor([[True] * 4, [True, False, False, False]])
    y = focused_attention(q, k, v, 2.0, padding, is_causal=is_causal)
    assert (y[0] == 0).all()
    assert (y[1, 0] == 0).all() == is_causal
    assert (y[1, 1:] != 0).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), (q, k, v)))


@pytest.mark.parametrize("power", [1.0, 2.0, 8.0])
def test_features_without_a_positive_entry_weigh_all_keys_alike(power):
    # In float32, 1e-6 to the eighth power is zero: the largest entry is divided out first.
    q, k, v = qkv((2, 3), (4, 3), (4, 2), dtype=torch.float32)
    q, k = -q.abs().requires_grad_(), k.abs() * 0.0
    y = focused_attention(q, k, v, power)
    torch.testing.assert_close(y, v.mean(0).expand(2, 2), rtol=1e-5, atol=1e-6)
    large = 500.0 * torch.rand(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = focused_attention(large, large, large, power)
    assert y.isfinite().all()
    assert torch.autograd.grad(y.sum(), large)[0].isfinite().all()


@pytest.mark.parametrize("time", ["gated", "recomputed", "hyperplane"])
def test_points_at_the_origin_and_zero_weights_give_finite_gradients(time):
    module = LorentzLinearAttention(6, 2, time=time)
    for zero in (False, True):
        if zero:
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.zero_()
        x = module.manifold.origin(1, 1, 7).as_subclass(torch.Tensor).requires_grad_()
        y = module(x, x, x)
        y.square().sum().backward()
        assert x.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in module.parameters())
        assert off_manifold(y, module.manifold) < 1e-6


def test_it_can_be_made_without_memory_and_reset():
    manifold = Lorentz()
    with torch.device("meta"):
        module = LorentzLinearAttention(6, 2, manifold=manifold)
    assert all(p.is_meta for p in module.parameters())
    for module in (make(), make(residual=False)):
        before = module.q_proj.weight.detach().clone()
        module.reset_parameters()
        assert not torch.equal(module.q_proj.weight, before)


def test_it_says_what_it_is():
    assert repr(LorentzLinearAttention(6, 2)).startswith("LorentzLinearAttention(\n  6, 2, power=2.0\n")
    assert "6, 2, power=3.0, batch_first=True\n" in repr(LorentzLinearAttention(6, 2, power=3.0, batch_first=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 4}, "`num_heads` must divide `embed_dim` = 6, got 4."),
        ({"num_heads": 0}, "`num_heads` must be at least 1, got 0."),
        ({"power": 0.0}, "`power` must be positive and finite, got 0.0."),
        ({"power": math.inf}, "`power` must be positive and finite, got inf."),
    ],
)
def test_impossible_layers_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        LorentzLinearAttention(6, **{"num_heads": 2, **options})


@pytest.mark.parametrize("options", [{}, {"residual": False, "is_causal": True}])
def test_other_lengths_are_refused_where_rows_are_paired(options):
    is_causal = options.pop("is_causal", False)
    module = LorentzLinearAttention(6, 2, **options)
    message = (
        "`key` must have a row for each row of `query` with `is_causal` or `residual`, got shapes (5, 7) and (4, 7)"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        module(torch.zeros(4, 7), torch.zeros(5, 7), torch.zeros(5, 7), is_causal=is_causal)


def test_masks_that_do_not_fit_are_refused():
    module, x = LorentzLinearAttention(6, 2), torch.zeros(4, 3, 7)
    with pytest.raises(ValueError, match=re.escape("`key_padding_mask` must have shape (3, 4), got (4, 3).")):
        module(x, x, x, torch.zeros(4, 3))
    with pytest.raises(TypeError, match="`key_padding_mask` must be boolean or of floating point"):
        module(x, x, x, torch.zeros(3, 4).long())
