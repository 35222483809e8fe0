"""Models of Hugging Face transformers become spectral or low-rank, and plain again."""

from __future__ import annotations

import io

import pytest
import torch
from hf_cases import MODELS, build, gpt2, llama, tokens
from torch import nn
from transformers.pytorch_utils import Conv1D

import hypersst
from hypersst.lowrank import GaLore, lora, low_rank
from hypersst.spectral import SSTSampler, find_targets, spectral, spectral_weights

ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-10}


def logits(model):
    with torch.no_grad():
        return model(tokens()).logits


def train(model, optimizer, steps=4):
    losses = []
    model.train()
    x = tokens()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(x, labels=x).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


def close(a, b, dtype=torch.float64):
    torch.testing.assert_close(a, b, rtol=0.0, atol=ROUNDING[dtype])


@pytest.mark.parametrize("name", MODELS)
def test_all_linear_is_every_projection_without_embeddings_and_head(name):
    assert [target.weight_name for target in find_targets(build(name))] == MODELS[name][1]


@pytest.mark.parametrize("name", ["opt", "gpt2"])
@pytest.mark.parametrize(
    "method", [lambda m, **o: hypersst.spectralize(m, rank=2, **o), lambda m, **o: lora(m, 2, **o)]
)
def test_a_head_that_shares_the_embedding_is_refused_by_its_name(name, method):
    model = build(name)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    with pytest.raises(ValueError, match=r"must not select tied weights, but '.*' and 'lm_head.weight' are one"):
        method(model, include=["lm_head"])
    assert not spectral_weights(model)


def test_a_head_of_its_own_may_be_asked_for_and_one_that_is_tied_may_not():
    free, tied = llama(), llama(tie_word_embeddings=True)
    before = logits(free)
    assert hypersst.spectralize(free, rank=2, include=["lm_head"]).layers[0].shape == (32, 16)
    close(logits(free), before, torch.float32)
    with pytest.raises(ValueError, match=r"'model.embed_tokens.weight' and 'lm_head.weight' are one parameter"):
        hypersst.spectralize(tied, rank=2, include=["lm_head"])


def test_the_head_that_a_model_inside_another_names_is_left_out():
    class Named(nn.Sequential):
        def get_output_embeddings(self):
            return self[1]

    inner = Named(nn.Linear(4, 4), nn.Linear(4, 9))
    assert [target.name for target in find_targets(nn.ModuleDict({"model": inner}))] == ["model.0"]


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("execution", ["auto", "composed", "factored"])
@pytest.mark.parametrize("name", MODELS)
def test_outputs_stay_through_spectralize_and_through_merge(name, execution, dtype):
    model = build(name, dtype)
    keys, before = list(model.state_dict()), logits(model)
    report = hypersst.spectralize(model, rank=2, execution=execution)
    assert [layer.name for layer in report.layers] == MODELS[name][1]
    close(logits(model), before, dtype)
    close(model(tokens()).logits.detach(), before, dtype)  # not from the cache of evaluation

    optimizer = torch.optim.AdamW(hypersst.param_groups(model, lr=1e-2))
    SSTSampler(model, optimizer, steps_per_iteration=2, warmup_steps=0)
    train(model, optimizer)
    trained = logits(model)
    assert (trained - before).abs().max() > 1e-2
    assert hypersst.merge(model) is model
    close(logits(model), trained, dtype)
    assert sorted(model.state_dict()) == sorted(keys)


def test_gradients_of_a_conv1d_are_those_of_the_dense_weight_between_its_vectors():
    torch.manual_seed(0)
    layer = Conv1D(5, 7).double()  # from 7 features to 5, the weight is 7 x 5
    nn.init.normal_(layer.weight)
    x, direction = torch.randn(3, 4, 7).double(), torch.randn(3, 4, 5).double()
    (layer(x) * direction).sum().backward()
    dense = layer.weight.grad
    p = spectral(layer, rank=2, execution="composed").parametrizations.weight[0]
    assert p.shape == (7, 5)
    (layer(x) * direction).sum().backward()
    u, v = p.rows
    close(layer.parametrizations.weight.original.grad, torch.einsum("km,mn,kn->k", u, dense, v))
    close(p.u_active.grad.as_subclass(torch.Tensor), v[:2] @ dense.t())  # enhanced: without the singular value
    close(p.v_active.grad.as_subclass(torch.Tensor), u[:2] @ dense)


def test_a_conv1d_is_no_plain_linear_map_and_says_so():
    with pytest.raises(ValueError, match="'factored' needs a plain linear map, not Conv1D: use 'composed'"):
        spectral(Conv1D(5, 7), rank=2, execution="factored")
    with pytest.raises(ValueError, match="`recompute` must be False"):
        hypersst.spectralize(gpt2(), rank=2, recompute=True)


@pytest.mark.parametrize("name", MODELS)
def test_low_rank_methods_train_and_merge(name):
    before = logits(build(name))

    model = build(name)
    assert [layer.name for layer in lora(model, rank=2).layers] == MODELS[name][1]
    close(logits(model), before, torch.float32)
    train(model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2))
    trained = logits(model)
    close(logits(hypersst.merge(model)), trained, torch.float32)

    model = build(name)
    low_rank(model, rank=2)
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
    trained = logits(model)
    close(logits(hypersst.merge(model)), trained, torch.float32)
    for target in find_targets(model):
        assert torch.linalg.matrix_rank(target.weight.detach()) == 2


@pytest.mark.parametrize("name", MODELS)
def test_galore_keeps_state_on_the_shorter_side(name):
    model = build(name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    GaLore(model, optimizer, rank=2, update_gap=2)
    losses = train(model, optimizer, steps=6)
    assert losses[-1] < losses[0]
    for target in find_targets(model):
        state = optimizer.state[target.weight]["exp_avg"]
        assert sorted(state.shape) == [2, max(target.weight.shape)], target.weight_name


@pytest.mark.parametrize("name", MODELS)
def test_truncating_to_all_singular_values_keeps_the_outputs(name):
    model = build(name, torch.float64)
    before = logits(model)
    for cut in hypersst.truncate(model, energy=1.0):
        assert cut.relative < 1e-12
    close(logits(model), before)
    [cut, *_] = hypersst.truncate(model, rank=3)
    assert cut.rank == 3
    assert cut.error > 0.0
    trimmed = logits(model)
    close(logits(hypersst.merge(model)), trimmed)


@pytest.mark.parametrize("name", MODELS)
def test_a_merged_model_is_saved_and_read_as_any_other(name, tmp_path):
    model = build(name)
    hypersst.spectralize(model, rank=2)
    optimizer = torch.optim.AdamW(hypersst.param_groups(model, lr=1e-2))
    train(model, optimizer, steps=2)
    hypersst.merge(model).save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(logits(again), logits(model))


@pytest.mark.parametrize("name", MODELS)
def test_a_spectral_model_generates_what_the_plain_one_does(name):
    model = build(name, torch.float64)
    # Rows of a model at its initial scale repeat one token: larger weights make them differ.
    with torch.no_grad():
        for target in find_targets(model):
            target.weight.mul_(20.0)
    prompt, options = tokens(2, 4), {"max_new_tokens": 8, "do_sample": False, "attention_mask": torch.ones(2, 4)}
    expected = model.generate(prompt, **options)
    assert expected[:, 4:].unique().numel() > 2
    hypersst.spectralize(model, rank=2)
    assert torch.equal(model.generate(prompt, **options), expected)


@pytest.mark.parametrize("name", MODELS)
def test_gradient_checkpointing_changes_no_gradient(name):
    gradients = []
    for checkpointing in (False, True):
        model = build(name, torch.float64)
        hypersst.spectralize(model, rank=2)
        if checkpointing:
            model.activation_checkpointing_enable()  # gradient checkpointing, by its present name
        model.train()
        model(tokens(), labels=tokens()).loss.backward()
        gradients.append({key: p.grad for key, p in model.named_parameters() if p.grad is not None})
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys()
    assert sum("u_active" in key for key in plain) == len(MODELS[name][1])
    for key, gradient in plain.items():
        close(checkpointed[key], gradient)


@pytest.mark.parametrize("name", MODELS)
def test_a_state_dict_of_a_spectral_model_loads_without_pickled_code(name):
    model = build(name)
    hypersst.spectralize(model, rank=2)
    optimizer = torch.optim.AdamW(hypersst.param_groups(model, lr=1e-2))
    SSTSampler(model, optimizer, steps_per_iteration=2, warmup_steps=0)
    train(model, optimizer, steps=3)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other = build(name)
    hypersst.spectralize(other, rank=2)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(logits(other), logits(model))
