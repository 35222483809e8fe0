"""Positions: the formulas, and what rotations leave alone."""

from __future__ import annotations

import math

import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, points
from torch import Tensor

from hypersst.manifolds import Lorentz, lorentz_to_poincare
from hypersst.nn import HyperbolicPositionalEncoding

FORMS = ("sinusoidal", "learned", "rotary")
both_models = pytest.mark.parametrize("name", MANIFOLDS)
every_form = pytest.mark.parametrize("form", FORMS)


def make(name: str, form: str, channels: int = 5, c: float = 0.75, **options) -> HyperbolicPositionalEncoding:
    torch.manual_seed(0)
    options = {"max_len": 12, **options}
    encode = HyperbolicPositionalEncoding(channels, manifold=MANIFOLDS[name](c), form=form, **options).double()
    if encode.residual is not None:
        torch.nn.init.constant_(encode.residual.log_weight, math.log(0.7))
    return encode


def vaswani_of_2017(position: int, channels: int) -> list[float]:
    """The sinusoids, entry by entry."""
    waves = (math.sin, math.cos)
    return [waves[k % 2](position / 10000 ** (2 * (k // 2) / channels)) for k in range(channels)]


@pytest.mark.parametrize("channels", [1, 4, 5])
@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("form", ["sinusoidal", "learned"])
def test_offsets_are_exponentiated_and_averaged_in_by_hand(form, c, channels):
    encode = make("lorentz", form, channels, c)
    x = points(encode.manifold, 6, channels, radius=2.0)
    expected, root = [], math.sqrt(c)
    for i, row in enumerate(x.tolist()):
        if form == "learned":
            p = encode.offsets[i].tolist()
        else:
            p = [math.sqrt(2 / channels) * a for a in vaswani_of_2017(i, channels)]
        r = root * math.hypot(*p)
        e = [math.cosh(r) / root, *((math.sinh(r) / r if r else 1.0) * a for a in p)]
        s = [a + 0.7 * b for a, b in zip(row, e, strict=True)]
        length = root * math.sqrt(s[0] ** 2 - sum(a * a for a in s[1:]))
        expected.append([a / length for a in s])
    torch.testing.assert_close(encode(x), torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels", [1, 4, 5])
@both_models
def test_pairs_are_rotated_by_hand(name, channels):
    encode = make(name, "rotary", channels)
    x = points(encode.manifold, 6, channels)
    first = int(name == "lorentz")
    expected = x.tolist()
    for i, row in enumerate(x.tolist()):
        for k in range(channels // 2):
            angle = i / 10000 ** (2 * k / channels)
            even, odd = first + 2 * k, first + 2 * k + 1
            expected[i][even] = math.cos(angle) * row[even] - math.sin(angle) * row[odd]
            expected[i][odd] = math.sin(angle) * row[even] + math.cos(angle) * row[odd]
    torch.testing.assert_close(encode(x), torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)


@both_models
def test_distances_of_rotated_points_depend_on_the_difference_of_positions_only(name):
    encode = make(name, "rotary")
    q, k = points(encode.manifold, 5, radius=2.0), points(encode.manifold, 5, radius=2.0, seed=1)
    queries, keys = encode(q.expand(12, -1)), encode(k.expand(12, -1))
    distances = encode.manifold.dist(queries.unsqueeze(1), keys.unsqueeze(0))
    for shift in range(-11, 12):
        along = distances.diagonal(shift)
        torch.testing.assert_close(along, along[:1].expand_as(along))
    assert float(distances[0].std()) > 1e-2


@both_models
def test_rotations_keep_distances_within_a_position(name):
    encode = make(name, "rotary")
    x = points(encode.manifold, 6, 2, 5, radius=2.0)
    y = encode(x)
    torch.testing.assert_close(encode.manifold.dist(y[:, 0], y[:, 1]), encode.manifold.dist(x[:, 0], x[:, 1]))


@every_form
def test_both_models_encode_the_same_points(form):
    lorentz, ball = make("lorentz", form), make("ball", form)
    x, c = points(lorentz.manifold, 6, 5, radius=2.0), lorentz.manifold.c
    torch.testing.assert_close(ball(lorentz_to_poincare(x, c)), lorentz_to_poincare(lorentz(x), c))


@both_models
@every_form
def test_positions_are_counted_along_the_right_axis_and_from_the_offset(form, name):
    encode, batch_first = make(name, form), make(name, form, batch_first=True)
    x = points(encode.manifold, 6, 2, 5)
    y = encode(x)
    torch.testing.assert_close(y[:, 1], encode(x[:, 1]))
    torch.testing.assert_close(batch_first(x.transpose(0, 1)), y.transpose(0, 1))
    torch.testing.assert_close(batch_first(x.transpose(0, 1).unsqueeze(0))[0], y.transpose(0, 1))
    torch.testing.assert_close(encode(x.unsqueeze(1))[:, 0], y)
    torch.testing.assert_close(encode(x[2:], offset=2), y[2:])
    assert not torch.allclose(encode(x[2:]), y[2:])


@pytest.mark.parametrize("form", ["sinusoidal", "rotary"])
def test_late_positions_keep_their_digits_in_float32(form):
    encode = make("lorentz", form, 64, max_len=5000)
    x = points(encode.manifold, 10, 64)
    exact = encode(x, offset=4990)
    found = encode.float()(x.float(), offset=4990)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


@both_models
@every_form
def test_float32_points_at_radius_7_are_encoded_right(form, name):
    encode = make(name, form, 8, 1.0, max_len=100).float()
    x = points(encode.manifold, 100, 8, radius=7.0, dtype=torch.float32)
    found = encode(x)
    encode.double()
    exact = encode(encode.manifold.from_space(x[:, 1:].double()) if name == "lorentz" else x.double())
    found, exact = found.detach(), exact.detach()
    error = (found - exact).norm(dim=-1) / exact.norm(dim=-1)
    assert float(error.max()) < 1e-3


@both_models
@every_form
def test_the_origin_has_finite_gradients(form, name):
    encode = make(name, form).float()
    x = encode.manifold.origin(6, 5 + (name == "lorentz")).as_subclass(Tensor).requires_grad_()
    encode(x).square().sum().backward()
    assert x.grad.isfinite().all()
    for parameter in encode.parameters():
        assert parameter.grad.isfinite().all()


def test_parameters_are_drawn_anew():
    encode = make("ball", "learned", 64, max_len=200)
    before = encode.offsets.detach().clone()
    encode.reset_parameters()
    assert not torch.equal(encode.offsets, before)
    assert 0.9 < float(encode.offsets.detach().norm(dim=-1).mean()) < 1.1
    assert float(encode.residual.weight.detach()) == 1.0
    assert not list(make("ball", "rotary").parameters())
    manifold = Lorentz()
    with torch.device("meta"):
        shell = HyperbolicPositionalEncoding(4, max_len=3, manifold=manifold, form="learned")
    assert shell.offsets.is_meta


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match="`form` must be one of sinusoidal, learned, rotary, got 'rotory'; did you mean"
    ):
        HyperbolicPositionalEncoding(4, form="rotory")
    with pytest.raises(ValueError, match="`num_channels` must be at least 1, got 0"):
        HyperbolicPositionalEncoding(0)
    with pytest.raises(ValueError, match="`weight` must be positive"):
        HyperbolicPositionalEncoding(4, weight=0.0)
    encode = HyperbolicPositionalEncoding(4, max_len=3, manifold=Lorentz())
    with pytest.raises(ValueError, match=r"`x` must have num_channels \+ 1 = 5 columns"):
        encode(torch.zeros(2, 4))
    x = Lorentz().from_space(torch.zeros(4, 4))
    with pytest.raises(ValueError, match=r"`x` must have positions within max_len = 3, got shape \(4, 5\) from 0 on"):
        encode(x)
    with pytest.raises(ValueError, match="from 2 on"):
        encode(x[:2], offset=2)
    with pytest.raises(ValueError, match="from -1 on"):
        encode(x[:2], offset=-1)
    with pytest.raises(ValueError, match=r"got shape \(5,\)"):
        encode(x[0])
    assert "form='sinusoidal'" in repr(encode)
