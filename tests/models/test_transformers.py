"""Encoder and decoder, Euclidean and Lorentz: what they equal, what they must not see, how they train."""

from __future__ import annotations

import io
import math
import re

import geoopt
import pytest
import torch
import torch.nn.functional as F
from layer_cases import off_manifold, points, shake
from sequence_cases import TRANSFORMERS, make_transformer, pairs, riemannian, texts, train_to_copy
from torch import nn

import hypersst
from hypersst.manifolds import Lorentz
from hypersst.models.sequence import (
    SIZES,
    DistanceAttention,
    EuclideanParts,
    LorentzParts,
    LorentzTransformer,
    SoftmaxAttention,
    Transformer,
    TransformerLayer,
    build_sequence,
)
from hypersst.nn import (
    LorentzMultiheadAttention,
    LorentzTransformerDecoderLayer,
    LorentzTransformerEncoderLayer,
    PrototypeHead,
)
from hypersst.spectral import find_targets

both = pytest.mark.parametrize("name", TRANSFORMERS)
either_order = pytest.mark.parametrize("norm_first", [False, True])
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


def renamed(layer, memory):
    """The state of a `TransformerLayer` under the names of torch's layers."""
    names = {"feed_forward.": "", "cross_attn": "multihead_attn"}
    if not memory:
        names["norm3"] = "norm2"
    state = {}
    for name, value in layer.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        state[name] = value
    return state


@either_order
@pytest.mark.parametrize("memory", [False, True])
def test_the_euclidean_layer_is_that_of_torch(memory, norm_first):
    layer = TransformerLayer(EuclideanParts(), 8, 2, 12, norm_first=norm_first, memory=memory).double()
    shake(layer, 0.5)
    kind = nn.TransformerDecoderLayer if memory else nn.TransformerEncoderLayer
    twin = kind(8, 2, 12, 0.0, batch_first=True, norm_first=norm_first, dtype=torch.float64)
    state = renamed(layer, memory)
    for attention in ("self_attn", "multihead_attn")[: 1 + memory]:
        for kind in ("weight", "bias"):
            parts = [state.pop(f"{attention}.{projection}.{kind}") for projection in PROJECTIONS[:3]]
            state[f"{attention}.in_proj_{kind}"] = torch.cat(parts)
    twin.load_state_dict(state)
    x, m = torch.randn(3, 5, 8, dtype=torch.float64), torch.randn(3, 4, 8, dtype=torch.float64)
    causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
    hidden = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1]], dtype=torch.bool)
    if memory:
        expected = twin(x, m, tgt_mask=causal, memory_key_padding_mask=hidden)
        found = layer(x, causal=True, memory=m, memory_hidden=hidden[:, None, None])
    else:
        hidden = torch.cat((hidden, hidden[:, -1:]), dim=1)
        expected = twin(x, causal, hidden)
        found = layer(x, hidden[:, None, None], causal=True)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@either_order
@pytest.mark.parametrize("memory", [False, True])
def test_the_lorentz_layer_is_that_of_the_library(memory, norm_first):
    torch.manual_seed(0)
    manifold = Lorentz(0.75)
    layer = TransformerLayer(
        LorentzParts(manifold, residual_weight=1.0), 8, 2, 12, norm_first=norm_first, memory=memory
    ).double()
    shake(layer)
    for name, parameter in layer.named_parameters():
        if name.startswith("residual"):
            nn.init.zeros_(parameter)
    kind = LorentzTransformerDecoderLayer if memory else LorentzTransformerEncoderLayer
    twin = kind(8, 2, 12, 0.0, batch_first=True, norm_first=norm_first, manifold=manifold).double()
    missing = twin.load_state_dict(renamed(layer, memory), strict=False).missing_keys
    assert not {name for name in missing if name in dict(twin.named_parameters())}
    x, m = points(manifold, 3, 5, 8), points(manifold, 3, 4, 8, seed=1)
    hidden = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1]], dtype=torch.bool)
    if memory:
        expected = twin(x, m, tgt_is_causal=True, memory_key_padding_mask=hidden)
        found = layer(x, causal=True, memory=m, memory_hidden=hidden[:, None, None])
    else:
        hidden = torch.cat((hidden, hidden[:, -1:]), dim=1)
        expected = twin(x, src_key_padding_mask=hidden, is_causal=True)
        found = layer(x, hidden[:, None, None], causal=True)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_distance_attention_has_the_parameters_of_the_library_s():
    ours, theirs = DistanceAttention(8, 2), LorentzMultiheadAttention(8, 2, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x = points(ours.manifold, 3, 5, 8, dtype=torch.float32)
    torch.testing.assert_close(ours(x, ours.keys_and_values(x)), theirs(x, x, x)[0], rtol=1e-5, atol=1e-5)
    exact = DistanceAttention(8, 2, manifold=ours.manifold, precision=torch.float64)
    exact.load_state_dict(ours.state_dict())
    torch.testing.assert_close(exact(x, exact.keys_and_values(x)), theirs(x, x, x)[0], rtol=1e-7, atol=1e-7)


@both
@torch.no_grad()
def test_later_words_change_no_earlier_score(name):
    model, (source, target, _) = make_transformer(name), pairs()
    other = target.clone()
    other[:, 4:] = texts(len(target), target.shape[1] - 4, seed=9)
    torch.testing.assert_close(model(source, other)[:, :4], model(source, target)[:, :4])
    assert not torch.allclose(model(source, other)[:, 4:], model(source, target)[:, 4:])


@both
@torch.no_grad()
def test_padding_changes_no_score(name):
    model, (source, target, ended) = make_transformer(name), pairs()
    scores = model(source, target)
    wider = model(F.pad(source, (0, 3)), F.pad(target, (0, 2)))[:, :-2]
    for row in range(len(source)):
        words, length = source[row] != 0, int((ended[row] != 0).sum())
        alone = model(source[row : row + 1, words], target[row : row + 1, :length])
        torch.testing.assert_close(scores[row : row + 1, :length], alone)
        torch.testing.assert_close(wider[row : row + 1, :length], alone)


@both
@torch.no_grad()
def test_every_word_of_the_source_and_its_place_matter(name):
    model, source = make_transformer(name), texts(1, 5)
    begin = torch.tensor([[2]])
    scores = model(source, begin)
    for place in range(5):
        other = source.clone()
        other[0, place] = 4 + (source[0, place] - 3) % 7
        assert not torch.allclose(model(other, begin), scores, atol=1e-6)
    assert not torch.allclose(model(source.flip(1), begin), scores, atol=1e-6)


@both
@torch.no_grad()
def test_untrained_all_words_are_about_equally_likely(name):
    torch.manual_seed(0)
    words = 8000
    model = build_sequence(name, words, words, encoder_layers=1, decoder_layers=1)
    source = texts(8, 12, words=words)
    loss = F.cross_entropy(model(source, source).flatten(0, 1), source.flatten())
    assert abs(loss.item() - math.log(words)) < 0.2


@both
def test_default_targets_are_attention_and_networks_alone(name):
    model = make_transformer(name)
    found = {target.weight_name for target in find_targets(model)}
    network = {"feed_forward.linear1.weight", "feed_forward.linear2.weight"}
    attention = {f"self_attn.{p}.weight" for p in PROJECTIONS}
    recall = {f"cross_attn.{p}.weight" for p in PROJECTIONS}
    expected = {f"encoder.{i}.{n}" for i in range(2) for n in network | attention}
    expected |= {f"decoder.{i}.{n}" for i in range(2) for n in network | attention | recall}
    assert found == expected
    tied = find_targets(make_transformer("transformer", tied_head=True, shared_embedding=True))
    assert len(tied) == len(found)


@both
@torch.no_grad()
def test_spectral_and_merged_models_give_the_scores_of_the_plain_one(name):
    model, (source, target, _) = make_transformer(name), pairs()
    scores = model(source, target)
    hypersst.spectralize(model, rank=3)
    torch.testing.assert_close(model(source, target), scores)
    hypersst.merge(model)
    torch.testing.assert_close(model(source, target), scores)
    assert not [n for n, _ in model.named_parameters() if "parametrizations" in n]


@both
@either_order
def test_it_learns_to_copy(name, norm_first):
    sizes = {"dim": 16, "feedforward": 32, "encoder_layers": 1, "decoder_layers": 1}
    model = make_transformer(name, double=False, norm_first=norm_first, **sizes).train()
    losses = train_to_copy(model, 70, lr=0.02, rows=16)
    # Of words drawn evenly from seven a guess costs log 7 = 1.95, and the end is one word in five.
    assert sum(losses[-5:]) / 5 < 1.75 < losses[0]
    for parameter in model.parameters():
        assert parameter.isfinite().all()
        if isinstance(parameter, geoopt.ManifoldParameter):
            assert off_manifold(parameter, parameter.manifold) < 1e-6


@both
def test_a_spectral_model_learns(name):
    model = make_transformer(name, double=False, dim=16, feedforward=32).train()
    hypersst.spectralize(model, rank=4)
    losses = train_to_copy(model, 15, rows=16)
    assert losses[-1] < losses[0] - 0.2


@pytest.mark.parametrize("learnable", [False, True])
def test_states_lie_on_the_manifold(learnable):
    model, (source, target, _) = make_transformer("lorentz-transformer", c=0.5, learnable_c=learnable), pairs()
    manifold = model.source_embedding.manifold
    assert {id(m) for m in model.modules() if isinstance(m, Lorentz)} == {id(manifold)}
    memory = model.encode(source)
    states = model.decode(target, memory, model.padding(source))
    for found in (memory, states):
        assert off_manifold(found, manifold) < 1e-14
    model.logits(states).logsumexp(-1).sum().backward()
    if learnable:
        assert manifold.log_c.grad.abs() > 0


@both
def test_a_saved_state_is_loaded_without_pickle(name):
    model, (source, target, _) = make_transformer(name, shared_embedding=True), pairs()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = make_transformer(name, seed=1, shared_embedding=True)
    assert not torch.allclose(other(source, target), model(source, target))
    other.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(other(source, target), model(source, target), rtol=0, atol=0)


@both
def test_under_bfloat16_autocast_results_are_finite_and_near(name):
    model, (source, target, ended) = make_transformer(name, double=False), pairs()
    expected = model(source, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        memory = model.encode(source)
        states = model.decode(target, memory, model.padding(source))
        logits = model.logits(states)
    if name == "lorentz-transformer":
        assert memory.dtype == states.dtype == logits.dtype == torch.float32
        assert off_manifold(states, model.source_embedding.manifold) < 1e-6
    F.cross_entropy(logits.float().flatten(0, 1), ended.flatten(), ignore_index=0).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    # Eight bits, through four layers.
    assert (logits.float() - expected).abs().max() < 0.1 * expected.detach().std() + 0.1


@both
def test_dropout_acts_in_training_only(name):
    model, (source, target, _) = make_transformer(name, dropout=0.3, attention_dropout=0.3), pairs()
    torch.testing.assert_close(model(source, target), model(source, target), rtol=0, atol=0)
    model.train()
    assert not torch.allclose(model(source, target), model(source, target))


@both
@torch.no_grad()
def test_one_table_serves_both_languages_where_told(name):
    model = make_transformer(name, shared_embedding=True)
    tables = [n for n, m in model.named_modules() if n.endswith("embedding")]
    assert tables == ["source_embedding"]
    assert model(texts(), texts()).shape == (3, 7, 13)


@torch.no_grad()
def test_a_tied_head_is_the_table():
    model = make_transformer("transformer", tied_head=True)
    assert not [n for n, _ in model.named_parameters() if n.startswith("head")]
    states = torch.randn(2, 8, dtype=torch.float64)
    torch.testing.assert_close(model.logits(states), states @ model.target_embedding.weight.t())


@torch.no_grad()
def test_scores_of_words_are_those_of_prototypes():
    manifold = Lorentz(0.5)
    model = LorentzTransformer(9, 9, dim=8, heads=2, encoder_layers=1, decoder_layers=1, c=0.5)
    twin = PrototypeHead(8, 9, manifold=manifold)
    shake(model.head, 1.0)
    for radius in (1.0, 3.0):
        # The words' points are moved out to radius 2.
        model.head.prototypes.copy_(points(manifold, 9, 8, radius=2.0, dtype=torch.float32))
        twin.load_state_dict({n: v for n, v in model.head.state_dict().items() if n in twin.state_dict()}, strict=False)
        x = points(manifold, 20, 8, radius=radius, dtype=torch.float32)
        torch.testing.assert_close(model.head(x), twin(x), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("parts", [EuclideanParts(), LorentzParts()], ids=TRANSFORMERS)
def test_a_layer_is_one_graph(parts):
    layer = TransformerLayer(parts, 8, 2, 12)
    x = points(Lorentz(), 2, 4, 8, dtype=torch.float32)
    x = x if isinstance(parts, LorentzParts) else x[..., 1:]
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, causal=True), layer(x, causal=True))


@pytest.mark.parametrize("size", SIZES["transformer"])
def test_lorentz_sizes_count_what_euclidean_ones_do(size):
    with torch.device("meta"):
        plain, lorentz = (build_sequence(name, 8000, 8000, size=size) for name in TRANSFORMERS)
    assert plain.dim == lorentz.dim
    numbers = [sum(p.numel() for p in model.parameters()) for model in (plain, lorentz)]
    # Time coordinates, gates and the words' biases are what the Lorentz model has more.
    assert numbers[0] < numbers[1] < 1.05 * numbers[0]


def test_the_paper_s_smallest_model_has_the_parameters_that_a_count_by_hand_gives():
    d, f, words = 64, 256, 8000
    attention, network, norm = 4 * (d * d + d), 2 * d * f + f + d, 2 * d
    encoder, decoder = attention + network + 2 * norm, 2 * attention + network + 3 * norm
    with torch.device("meta"):
        model = Transformer(words, words, dim=d, feedforward=f)
    assert sum(p.numel() for p in model.parameters()) == 3 * words * d + 6 * (encoder + decoder) + 2 * norm


@both
def test_attention_refuses_what_it_cannot_split(name):
    kind = {"transformer": SoftmaxAttention, "lorentz-transformer": DistanceAttention}[name]
    with pytest.raises(ValueError, match=re.escape("`heads` must divide `dim` = 8, got 3.")):
        kind(8, 3)


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "`heads` must divide `dim` = 8, got 3."),
        ({"dropout": 1.0}, "`dropout` must be at least 0 and below 1, got 1.0."),
        ({"decoder_layers": 0}, "`decoder_layers` must be at least 1, got 0."),
        ({"pad": 11}, "`pad` must be at least 0 and below `target_vocab` = 11, got 11."),
    ],
)
def test_impossible_models_are_refused(name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_transformer(name, **options)


def test_contradictions_are_refused():
    with pytest.raises(ValueError, match=re.escape("`target_vocab` must be `source_vocab` = 9")):
        Transformer(9, 8, shared_embedding=True)
    with pytest.raises(ValueError, match=re.escape("`tied_head` must be False for a Lorentz model")):
        LorentzTransformer(9, 9, tied_head=True)
    with pytest.raises(ValueError, match=re.escape("`learnable_c` must be False for a Euclidean model")):
        Transformer(9, 9, learnable_c=True)
    with pytest.raises(ValueError, match=re.escape("`norm` must be one of layer, rms")):
        EuclideanParts("batch")
    with pytest.raises(ValueError, match=re.escape("`network` must be one of relu, swiglu")):
        LorentzParts(network="gelu")
    with pytest.raises(ValueError, match=re.escape("`model` must be one of")):
        build_sequence("transfromer", 9, 9)
    with pytest.raises(ValueError, match=re.escape("`size` must be one of")):
        build_sequence("transformer", 9, 9, size="65")


@both
def test_what_are_no_rows_of_words_is_refused(name):
    model = make_transformer(name)
    with pytest.raises(TypeError, match=re.escape("`source` must hold whole numbers, got torch.float32.")):
        model(torch.zeros(1, 3), texts())
    with pytest.raises(ValueError, match=re.escape("`target_in` must have shape (rows, length), got (7,).")):
        model(texts(), texts()[0])
    with pytest.raises(ValueError, match=re.escape("max_len")):
        model(texts(1, 17), texts())
    with pytest.raises(ValueError, match=re.escape("`memory` must be given")):
        model.decode(texts(), None, None)


def test_riemannian_optimizers_find_the_words_points():
    model = make_transformer("lorentz-transformer")
    found = [n for n, p in model.named_parameters() if isinstance(p, geoopt.ManifoldParameter)]
    assert found == ["source_embedding.weight", "target_embedding.weight", "head.prototypes"]
    assert riemannian(model, 0.1).param_groups[0]["lr"] == 0.1


def test_a_model_in_bfloat16_computes_without_autocast():
    model, tokens = (
        Transformer(20, 20, dim=8, encoder_layers=1, decoder_layers=1, feedforward=8),
        torch.ones(2, 3).long(),
    )
    logits = model.bfloat16()(tokens, tokens)
    assert logits.dtype == torch.bfloat16
    logits.float().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
