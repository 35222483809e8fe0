"""Language models: what they must not see, their parts, their sizes and how they train."""

from __future__ import annotations

import io
import math
import re

import geoopt
import pytest
import torch
import torch.nn.functional as F
from layer_cases import off_manifold, points
from sequence_cases import WRITERS, make_writer, riemannian, texts
from torch import nn

import hypersst
from hypersst.manifolds import Lorentz
from hypersst.models.sequence import (
    OPT,
    SIZES,
    EuclideanParts,
    Llama,
    LorentzLanguageModel,
    LorentzParts,
    TransformerLayer,
    build_sequence,
)
from hypersst.models.sequence.feed_forward import GatedFeedForward, LorentzGatedFeedForward
from hypersst.models.sequence.rotary import RotaryPositions
from hypersst.nn.positional_encoding import HyperbolicPositionalEncoding
from hypersst.spectral import find_targets

writers = pytest.mark.parametrize("name", WRITERS)


@writers
@torch.no_grad()
def test_later_words_change_no_earlier_score(name):
    model, text = make_writer(name), texts(length=9)
    other = text.clone()
    other[:, 5:] = texts(length=4, seed=1)
    torch.testing.assert_close(model(other)[:, :5], model(text)[:, :5])
    assert not torch.allclose(model(other)[:, 5:], model(text)[:, 5:])


@writers
@torch.no_grad()
def test_every_earlier_word_and_its_place_matter(name):
    model, text = make_writer(name), texts(1, 5)
    scores = model(text)[:, -1]
    for place in range(5):
        other = text.clone()
        other[0, place] = 4 + (text[0, place] - 3) % 7
        assert not torch.allclose(model(other)[:, -1], scores, atol=1e-6)
    turned = text[:, [1, 0, 2, 3, 4]]
    assert not torch.allclose(model(turned)[:, -1], scores, atol=1e-6)


@pytest.mark.parametrize("parts", [EuclideanParts("rms", "swiglu"), LorentzParts(Lorentz(0.75), "rms", "swiglu")])
@torch.no_grad()
def test_turned_attention_depends_on_differences_of_positions(parts):
    torch.manual_seed(0)
    attention = parts.attention(8, 2, 0.0, RotaryPositions(4, 20)).double()
    x = points(Lorentz(0.75), 2, 5, 8)
    x = x if isinstance(parts, LorentzParts) else x[..., 1:]
    early, late = (attention(x, attention.keys_and_values(x, start), start=start) for start in (0, 7))
    apart = attention(x, attention.keys_and_values(x, 0), start=7)
    # Cosines and sines are held in float32.
    torch.testing.assert_close(late, early, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(apart, early, atol=1e-4)


def test_rotary_positions_are_those_of_points():
    manifold = Lorentz()
    x = points(manifold, 2, 5, 6, dtype=torch.float32)
    expected = HyperbolicPositionalEncoding(6, manifold=manifold, form="rotary", batch_first=True)(x, 3)[..., 1:]
    torch.testing.assert_close(RotaryPositions(6, 10)(x[..., 1:], 3), expected)


def test_gated_networks_are_their_formulas():
    torch.manual_seed(0)
    plain, lorentz = GatedFeedForward(6, 10), LorentzGatedFeedForward(6, 10, manifold=Lorentz(0.75))
    x = torch.randn(4, 6)
    inner = F.silu(x @ plain.linear1.weight.t()) * (x @ plain.linear3.weight.t())
    torch.testing.assert_close(plain(x), inner @ plain.linear2.weight.t())
    x = points(lorentz.manifold, 4, 6, dtype=torch.float32)
    one, three = lorentz.linear1(x)[:, 1:], lorentz.linear3(x)[:, 1:]
    space = one * one.sigmoid() * three
    time = (1 / 0.75 + space.square().sum(-1, keepdim=True)).sqrt()
    torch.testing.assert_close(lorentz(x), lorentz.linear2(torch.cat((time, space), dim=1)))


@torch.no_grad()
def test_llama_is_its_formulas():
    model, text = make_writer("llama", layers=1), texts(1, 5)
    (layer,), x = model.layers, model.embedding(text)[0]

    def normed(x, norm):
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight

    def turned(x):
        place, pair = torch.arange(5).double().unsqueeze(1), torch.arange(2).double()
        turn = torch.polar(torch.ones(5, 2).double(), place * 10000.0 ** (-pair / 2))
        return torch.view_as_real(torch.view_as_complex(x.reshape(5, 2, 2).contiguous()) * turn).flatten(1)

    attention, h, heads = layer.self_attn, normed(x, layer.norm1), []
    q, k, v = (h @ p.weight.t() for p in (attention.q_proj, attention.k_proj, attention.v_proj))
    for part in (slice(0, 4), slice(4, 8)):
        scores = turned(q[:, part]) @ turned(k[:, part]).t() / 2.0
        scores = scores.masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), -torch.inf)
        heads.append(scores.softmax(-1) @ v[:, part])
    x = x + torch.cat(heads, dim=1) @ attention.out_proj.weight.t()
    x = x + layer.feed_forward(normed(x, layer.norm3))
    expected = normed(x, model.norm) @ model.head.weight.t()
    # Cosines and sines are held in float32.
    torch.testing.assert_close(model(text)[0], expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_opt_is_its_layers_between_one_table():
    model, text = make_writer("opt"), texts()
    x = model.embedding(text) + model.positions.table.weight[:7]
    for layer in model.layers:
        x = layer(x, causal=True)
    expected = F.layer_norm(x, (8,), model.norm.weight, model.norm.bias) @ model.embedding.weight.t()
    torch.testing.assert_close(model(text), expected)


@writers
@torch.no_grad()
def test_untrained_all_words_are_about_equally_likely(name):
    torch.manual_seed(0)
    model, text = build_sequence(name, 8000, layers=2, dim=64), texts(8, 12, words=8000)
    loss = F.cross_entropy(model(text)[:, :-1].flatten(0, 1), text[:, 1:].flatten())
    assert abs(loss.item() - math.log(8000)) < 0.2


@writers
def test_default_targets_are_attention_and_networks_alone(name):
    found = {target.weight_name for target in find_targets(make_writer(name))}
    network = ("linear1", "linear2") if name == "opt" else ("linear1", "linear2", "linear3")
    expected = {f"feed_forward.{n}" for n in network}
    expected |= {f"self_attn.{p}_proj" for p in ("q", "k", "v", "out")}
    assert found == {f"layers.{i}.{n}.weight" for i in range(2) for n in expected}


@writers
@torch.no_grad()
def test_spectral_and_merged_models_give_the_scores_of_the_plain_one(name):
    model, text = make_writer(name), texts()
    scores = model(text)
    hypersst.spectralize(model, rank=3)
    torch.testing.assert_close(model(text), scores)
    hypersst.merge(model)
    torch.testing.assert_close(model(text), scores)


@writers
@pytest.mark.parametrize("spectral", [False, True])
def test_it_learns_to_repeat(name, spectral):
    model = make_writer(name, double=False, dim=16, feedforward=32).train()
    if spectral:
        hypersst.spectralize(model, rank=4)
    optimizer = riemannian(model, 0.01)
    losses = []
    for step in range(40):
        text = texts(16, 4, seed=step).repeat(1, 3)
        loss = F.cross_entropy(model(text)[:, 3:-1].flatten(0, 1), text[:, 4:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Of words drawn evenly from seven a guess costs log 7 = 1.95.
    assert losses[-1] < 1.7 < losses[0]
    for parameter in model.parameters():
        assert parameter.isfinite().all()
        if isinstance(parameter, geoopt.ManifoldParameter) and isinstance(parameter.manifold, Lorentz):
            assert off_manifold(parameter, parameter.manifold) < 1e-6


@pytest.mark.parametrize("learnable", [False, True])
def test_states_lie_on_the_manifold(learnable):
    model = make_writer("lorentz-llama", c=0.5, learnable_c=learnable)
    states = model.states(texts())
    assert off_manifold(states, model.embedding.manifold) < 1e-14
    assert {id(m) for m in model.modules() if isinstance(m, Lorentz)} == {id(model.embedding.manifold)}
    model.logits(states).logsumexp(-1).sum().backward()
    if learnable:
        assert model.embedding.manifold.log_c.grad.abs() > 0


@writers
@torch.no_grad()
def test_a_saved_state_is_loaded_without_pickle(name):
    model, text, file = make_writer(name), texts(), io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = make_writer(name, seed=1)
    assert not torch.allclose(other(text), model(text))
    other.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(other(text), model(text), rtol=0, atol=0)


@writers
def test_under_bfloat16_autocast_results_are_finite_and_near(name):
    model, text = make_writer(name, double=False), texts()
    expected = model(text).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = model.states(text)
        logits = model.logits(states)
    if name == "lorentz-llama":
        assert states.dtype == logits.dtype == torch.float32
        assert off_manifold(states, model.embedding.manifold) < 1e-6
    logits.float().logsumexp(-1).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    # Eight bits, through two layers.
    assert (logits.float() - expected).abs().max() < 0.1 * expected.std() + 0.1


def test_a_layer_is_one_graph():
    # For what else is in a Lorentz layer see tests/models/test_transformers.py.
    layer = TransformerLayer(EuclideanParts("rms", "swiglu"), 8, 2, 12, rotary=RotaryPositions(4, 8))
    x = points(Lorentz(), 2, 4, 8, dtype=torch.float32)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x[..., 1:], causal=True), layer(x[..., 1:], causal=True))
    network = LorentzGatedFeedForward(8, 12)
    torch.testing.assert_close(torch.compile(network, fullgraph=True, backend="eager")(x), network(x))


@pytest.mark.parametrize(
    ("name", "size", "words", "millions"),
    [
        # ReLoRA's and GaLore's configurations; OPT's published counts have two more, unused positions.
        ("llama", "60m", 32000, 58.0736),
        ("llama", "130m", 32000, 134.105856),
        ("llama", "350m", 32000, 367.96928),
        ("llama", "1b", 32000, 1339.082752),
        ("llama", "100m", 32000, 100.08128),
        ("llama", "10m", 8000, 10.424576),
        ("opt", "10m", 8000, 10.208256),
        ("opt", "125m", 50272, 125.239296 - 2 * 768e-6),
        ("opt", "1.3b", 50272, 1315.75808 - 2 * 2048e-6),
    ],
)
def test_named_sizes_have_the_parameters_that_they_are_named_for(name, size, words, millions):
    options = {"max_length": 2048} if name == "opt" and size != "10m" else {}
    with torch.device("meta"):
        model = build_sequence(name, words, size=size, **options)
    assert sum(p.numel() for p in model.parameters()) == round(millions * 1e6)


@pytest.mark.parametrize("size", ["tiny", "10m", "60m"])
def test_lorentz_sizes_count_what_euclidean_ones_do(size):
    with torch.device("meta"):
        plain, lorentz = (build_sequence(name, 32000, size=size) for name in ("llama", "lorentz-llama"))
    numbers = [sum(p.numel() for p in model.parameters()) for model in (plain, lorentz)]
    assert numbers[0] < numbers[1] < 1.05 * numbers[0]


def test_networks_are_as_wide_as_is_customary_unless_told():
    assert Llama.default_feedforward(256) == LorentzLanguageModel.default_feedforward(256) == 688
    assert Llama.default_feedforward(768) == 2048
    assert OPT(20, 8, 2, 1).layers[0].feed_forward.linear1.out_features == 32
    assert Llama(20, 8, 2, 1, 20).layers[0].feed_forward.linear1.out_features == 20
    assert {*SIZES} == {"transformer", "lorentz-transformer", *WRITERS}


@writers
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "`heads` must divide `dim` = 8, got 3."),
        ({"dropout": 1.0}, "`dropout` must be at least 0 and below 1, got 1.0."),
        ({"layers": 0}, "`layers` must be at least 1, got 0."),
        ({"feedforward": 0}, "`feedforward` must be at least 1, got 0."),
    ],
)
def test_impossible_models_are_refused(name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_writer(name, **options)


def test_contradictions_are_refused():
    with pytest.raises(ValueError, match=re.escape("`dim` of a head must be even for rotary positions, got 3.")):
        Llama(20, 9, 3, 1)
    for kind in (Llama, OPT):
        with pytest.raises(ValueError, match=re.escape("`learnable_c` must be False for a Euclidean model")):
            kind(20, 8, 2, 1, learnable_c=True)


@writers
def test_what_are_no_texts_within_the_limit_is_refused(name):
    model = make_writer(name)
    with pytest.raises(ValueError, match=re.escape("`max_length` = 16 must not be exceeded, got 17 positions.")):
        model(texts(1, 17))
    with pytest.raises(ValueError, match=re.escape("`tokens` must have shape (rows, length), got (7,).")):
        model(texts()[0])


def test_heads_and_tables_are_of_their_geometry():
    assert isinstance(make_writer("llama").head, nn.Linear)
    assert make_writer("opt").head is None
    found = [n for n, p in make_writer("lorentz-llama").named_parameters() if isinstance(p, geoopt.ManifoldParameter)]
    assert found == ["embedding.weight", "head.prototypes"]
