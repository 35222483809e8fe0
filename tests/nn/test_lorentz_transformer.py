"""Transformer layers on Lorentz points against a slow composition of their parts, and in the stacks of torch."""

from __future__ import annotations

import inspect
import re

import pytest
import torch
import torch.nn.functional as F
from layer_cases import CURVATURES, points, shake
from torch import nn

from hypersst.experiments.conformance.points import off_manifold
from hypersst.manifolds import Lorentz
from hypersst.nn import (
    HyperbolicEmbedding,
    HyperbolicLayerNorm,
    LorentzMLR,
    LorentzTransformerDecoderLayer,
    LorentzTransformerEncoderLayer,
)

PAIRS = [
    (LorentzTransformerEncoderLayer, nn.TransformerEncoderLayer),
    (LorentzTransformerDecoderLayer, nn.TransformerDecoderLayer),
]
both = pytest.mark.parametrize("kind", [ours for ours, _ in PAIRS], ids=["encoder", "decoder"])
either_order = pytest.mark.parametrize("norm_first", [False, True])


def make(kind, c=0.75, **options):
    torch.manual_seed(0)
    layer = kind(6, 2, 10, **{"dropout": 0.0, "manifold": Lorentz(c), **options})
    shake(layer)
    return layer.double()


def sequence(layer, *shape, seed=0):
    return points(layer.manifold, *shape, 6, seed=seed)


class Slow:
    """The blocks of a layer, one point after the other, from nothing but its linear and attention layers."""

    def __init__(self, layer):
        self.layer, self.manifold = layer, layer.manifold

    def point(self, space):
        return torch.cat(((1 / self.manifold.c + space.square().sum(-1, keepdim=True)).sqrt(), space), dim=-1)

    def add(self, x, y):
        total = x + y
        square = total[..., :1].square() - total[..., 1:].square().sum(-1, keepdim=True)
        return total / (self.manifold.c * square).sqrt()

    def norm(self, x, norm):
        space = x[..., 1:]
        centred = space - space.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
        return self.point(scaled * norm.weight + norm.bias)

    def attend(self, x, memory, attention, mask=None):
        return attention(x, memory, memory, attn_mask=mask)[0]

    def network(self, x, function=torch.relu):
        hidden = self.layer.linear1(x)
        return self.layer.linear2(self.point(function(hidden[..., 1:])))


@either_order
@pytest.mark.parametrize("c", CURVATURES)
def test_the_encoder_layer_equals_its_slow_twin(c, norm_first):
    layer = make(LorentzTransformerEncoderLayer, c, norm_first=norm_first)
    slow, x = Slow(layer), sequence(layer, 4, 3)
    first, second = (lambda x: slow.norm(x, layer.norm1)), (lambda x: slow.norm(x, layer.norm2))
    if norm_first:
        z = slow.add(x, slow.attend(first(x), first(x), layer.self_attn))
        expected = slow.add(z, slow.network(second(z)))
    else:
        z = first(slow.add(x, slow.attend(x, x, layer.self_attn)))
        expected = second(slow.add(z, slow.network(z)))
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)


@either_order
@pytest.mark.parametrize("c", CURVATURES)
def test_the_decoder_layer_equals_its_slow_twin(c, norm_first):
    layer = make(LorentzTransformerDecoderLayer, c, norm_first=norm_first, activation="gelu")
    slow, x, m = Slow(layer), sequence(layer, 4, 3), sequence(layer, 5, 3, seed=1)
    causal = torch.ones(4, 4, dtype=torch.bool).triu(1)
    first, second, third = (lambda x, n=n: slow.norm(x, n) for n in (layer.norm1, layer.norm2, layer.norm3))
    if norm_first:
        z = slow.add(x, slow.attend(first(x), first(x), layer.self_attn, causal))
        u = slow.add(z, slow.attend(second(z), m, layer.multihead_attn))
        expected = slow.add(u, slow.network(third(u), F.gelu))
    else:
        z = first(slow.add(x, slow.attend(x, x, layer.self_attn, causal)))
        u = second(slow.add(z, slow.attend(z, m, layer.multihead_attn)))
        expected = third(slow.add(u, slow.network(u, F.gelu)))
    torch.testing.assert_close(layer(x, m, tgt_is_causal=True), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=["encoder", "decoder"])
def test_it_is_made_called_and_taken_apart_as_that_of_torch(ours, theirs):
    # torch gives the function relu in place of its name, and has device and dtype in place of a manifold.
    made, model = (inspect.signature(kind.__init__).parameters for kind in (ours, theirs))
    assert [*made][:-1] == [name for name in model if name not in ("device", "dtype")]
    assert all(made[n].default == model[n].default for n in [*made][:-1] if n != "activation")
    called, model = (inspect.signature(kind.forward).parameters for kind in (ours, theirs))
    assert [(p.name, p.default) for p in called.values()] == [(p.name, p.default) for p in model.values()]
    parts = dict(theirs(6, 2, 10).named_children())
    assert {*parts} <= {name for name, _ in ours(6, 2, 10).named_children()}


@either_order
@pytest.mark.parametrize("batch_first", [False, True])
def test_torch_stacks_encoder_and_decoder_layers(batch_first, norm_first):
    options = {"batch_first": batch_first, "norm_first": norm_first}
    layer = make(LorentzTransformerEncoderLayer, **options)
    norm = HyperbolicLayerNorm(6, manifold=layer.manifold).double()
    encoder = nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False)
    decoder = nn.TransformerDecoder(make(LorentzTransformerDecoderLayer, **options), 2, norm)
    x, y = sequence(layer, 4, 4), sequence(layer, 4, 4, seed=1)
    padding = torch.zeros(4, 4, dtype=torch.bool)
    padding[0, 2:] = True
    mask = nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
    for training in (True, False):
        encoder.train(training)
        memory = encoder(x, src_key_padding_mask=padding)
        z = decoder.train(training)(y, memory, tgt_mask=mask, memory_key_padding_mask=padding)
        for found in (memory, z):
            assert found.shape == x.shape
            assert off_manifold(found, layer.manifold) < 1e-14
    by_hand = encoder.layers[0](x, src_key_padding_mask=padding)
    by_hand = norm(encoder.layers[1](by_hand, src_key_padding_mask=padding))
    torch.testing.assert_close(memory, by_hand)


def test_every_mask_of_the_encoder_hides_what_it_says():
    layer = make(LorentzTransformerEncoderLayer)
    x, other = sequence(layer, 5, 2), sequence(layer, 5, 2, seed=1)
    changed = torch.cat((x[:3], other[3:]))
    padding = torch.tensor([[False, False, False, True, True]]).expand(2, 5)
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[:3, 3:] = True
    for options in ({"is_causal": True}, {"src_mask": mask}, {"src_key_padding_mask": padding}):
        torch.testing.assert_close(layer(changed, **options)[:3], layer(x, **options)[:3])
    assert not torch.allclose(layer(changed)[:3], layer(x)[:3])


def test_every_mask_of_the_decoder_hides_what_it_says():
    layer = make(LorentzTransformerDecoderLayer)
    x, other = sequence(layer, 5, 2), sequence(layer, 5, 2, seed=1)
    changed = torch.cat((x[:3], other[3:]))
    padding = torch.tensor([[False, False, False, True, True]]).expand(2, 5)
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[:3, 3:] = True
    for options in ({"is_causal": True}, {"mask": mask}, {"key_padding_mask": padding}):
        of_targets = {f"tgt_{name}": value for name, value in options.items()}
        torch.testing.assert_close(layer(changed, x, **of_targets)[:3], layer(x, x, **of_targets)[:3])
        of_memory = {f"memory_{name}": value for name, value in options.items()}
        torch.testing.assert_close(layer(x, changed, **of_memory)[:3], layer(x, x, **of_memory)[:3])
    assert not torch.allclose(layer(changed, x)[:3], layer(x, x)[:3])
    assert not torch.allclose(layer(x, changed)[:3], layer(x, x)[:3])


@both
def test_dropout_acts_in_training_only_and_leaves_points_on_the_manifold(kind):
    layer = make(kind, dropout=0.5)
    inputs = [sequence(layer, 4, 3)] * (1 if kind is LorentzTransformerEncoderLayer else 2)
    y = layer(*inputs)
    assert not torch.allclose(layer(*inputs), y)
    assert off_manifold(y, layer.manifold) < 1e-14
    layer.eval()
    torch.testing.assert_close(layer(*inputs), layer(*inputs), rtol=0, atol=0)
    torch.testing.assert_close(layer(*inputs), make(kind)(*inputs))


@both
def test_its_parts_share_one_manifold_and_bias_can_be_left_out(kind):
    layer = kind(6, 2, 10, bias=False, manifold=Lorentz(0.5, learnable=True))
    assert {id(m) for m in layer.modules() if isinstance(m, Lorentz)} == {id(layer.manifold)}
    assert not [name for name, _ in layer.named_parameters() if name.endswith("bias")]


@both
def test_points_at_the_origin_give_finite_gradients(kind):
    layer = kind(6, 2, 10, dropout=0.0)
    x = layer.manifold.origin(1, 1, 7).as_subclass(torch.Tensor).requires_grad_()
    y = layer(x) if kind is LorentzTransformerEncoderLayer else layer(x, x)
    y.square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@either_order
def test_it_learns_to_say_the_symbol_before(norm_first):
    torch.manual_seed(0)
    manifold, symbols, length = Lorentz(), 5, 8
    embed = HyperbolicEmbedding(symbols, 16, manifold=manifold, std=0.5)
    place = nn.Parameter(0.5 * torch.randn(length, 16))
    layer = LorentzTransformerEncoderLayer(16, 2, 32, 0.0, norm_first=norm_first, batch_first=True, manifold=manifold)
    head = LorentzMLR(16, symbols, manifold=manifold)
    parameters = [*embed.parameters(), place, *layer.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    losses = []
    for _ in range(60):
        text = torch.randint(symbols, (32, length))
        points_of_text = manifold.from_space(embed(text)[..., 1:] + place)
        logits = head(layer(points_of_text, is_causal=True))
        loss = F.cross_entropy(logits[:, 1:].flatten(0, 1), text[:, :-1].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Guessing costs log 5 = 1.6.
    assert losses[0] > 1.5
    assert losses[-1] < 0.5


def test_it_says_what_it_is():
    assert repr(LorentzTransformerEncoderLayer(6, 2, 10)).startswith(
        "LorentzTransformerEncoderLayer(\n  norm_first=False\n"
    )


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nhead": 4}, "`nhead` must divide `d_model` = 6, got 4."),
        ({"dim_feedforward": 0}, "`dim_feedforward` must be at least 1, got 0."),
        ({"dropout": 1.0}, "`dropout` must be at least 0 and below 1, got 1.0."),
        ({"activation": "rleu"}, "`activation` must be"),
    ],
)
def test_impossible_layers_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        kind(6, **{"nhead": 2, **options})
