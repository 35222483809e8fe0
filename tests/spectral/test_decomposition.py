"""Decompositions leave the weight where it was, and fail loudly."""

from __future__ import annotations

import math

import pytest
import torch
from spectral_cases import only, relative, trained, unsettle, weights_of
from torch import nn

import hypersst
from hypersst.spectral import (
    DecompositionError,
    EachRound,
    EveryIterations,
    Never,
    OnDefect,
    SSTSampler,
    decompose,
    effective_rank,
    orthogonality_defect,
    spectral_weights,
)
from hypersst.spectral import decomposition as source

# Both sides of a ratio of sides of 2, where the routine changes.
SHAPES = [(512, 512), (600, 200), (200, 600), (16, 1433), (140, 130), (130, 300), (128, 128), (5, 1), (1, 5), (1, 1)]


def matrix(shape, kind="full", dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    w = torch.randn(shape, generator=generator, dtype=torch.float64) / math.sqrt(shape[1])
    if kind == "zero column":
        w[:, 0] = 0.0
    elif kind == "low rank":
        w = w[:, :1] @ w[:1, :]
    elif kind == "zero":
        w.zero_()
    elif kind == "graded":
        w = w * torch.logspace(0, -8, shape[1], dtype=torch.float64)
    return w.to(dtype)


def layer_with(w, rank=3):
    model = nn.Sequential(nn.Linear(w.shape[1], w.shape[0], dtype=w.dtype))
    with torch.no_grad():
        model[0].weight.copy_(w)
    hypersst.spectralize(model, rank=rank)
    return model


@pytest.mark.parametrize("kind", ["full", "zero column", "low rank", "zero", "graded"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_weight_stays_through_spectralize_draw_redecomposition_and_merge(shape, kind):
    w = matrix(shape, kind)
    model = layer_with(w, rank=min(3, *shape))
    weight = only(model)
    states = [weights_of(model)[0]]
    weight.spectral.activate(torch.randperm(weight.spectral.k)[: weight.spectral.rank])
    states.append(weights_of(model)[0])
    weight.spectral.redecompose(weight.sigma)
    states.append(weights_of(model)[0])
    hypersst.merge(model)
    states.append(model[0].weight)
    for state in states:
        assert relative(state, w) < 1e-6 or (kind == "zero" and not state.any())


@pytest.mark.parametrize("shape", [(512, 512), (600, 200), (16, 1433), (256, 200)], ids=str)
def test_redecomposing_drifted_vectors_keeps_the_weight_and_restores_orthonormality(shape):
    model = layer_with(matrix(shape))
    weight = only(model)
    # Entries of deviation 1/√n give rows of length √2 with products as large: worse than a round of training.
    unsettle(weight, size=1 / math.sqrt(max(shape)))
    [before] = weights_of(model)
    assert max(weight.spectral.defect()) > 0.3
    weight.spectral.redecompose(weight.sigma)
    assert relative(weights_of(model)[0], before) < 1e-6
    assert max(weight.spectral.defect()) < 1e-5
    assert (weight.sigma.diff() <= 0).all()
    index = weight.spectral.index
    assert torch.equal(weight.spectral.u_active, weight.spectral.u[index])
    assert torch.equal(weight.spectral.v_active, weight.spectral.v[index])


@pytest.mark.parametrize("name", ["adamw", "riemannian-adam"])
def test_the_function_does_not_jump_when_training_redecomposes(name):
    model, _, _ = trained(name, steps=8, steps_per_iteration=3)  # ⌈6/2⌉ · 3 = 9 steps a round
    before = weights_of(model)
    for weight in spectral_weights(model):
        sigma = weight.sigma.clone()
        weight.spectral.redecompose(weight.sigma)
        assert not torch.equal(weight.sigma, sigma)  # there was something to repair
    for old, new in zip(before, weights_of(model), strict=True):
        assert relative(new, old) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(130, 131), (300, 140), (140, 300), (16, 1433), (7, 7)], ids=str)
def test_factors_are_orthonormal_rows_with_descending_values(shape, dtype):
    w = matrix(shape, "zero column", dtype)
    u, sigma, v = decompose(w)
    k, tolerance = min(shape), 20 * torch.finfo(dtype).eps * math.sqrt(min(shape))
    assert u.shape == (k, shape[0])
    assert v.shape == (k, shape[1])
    assert u.is_contiguous()
    assert v.is_contiguous()
    assert (sigma >= 0).all()
    assert (sigma.diff() <= 0).all()
    assert orthogonality_defect(u) < tolerance
    assert orthogonality_defect(v) < tolerance
    torch.testing.assert_close(sigma, torch.linalg.svdvals(w.double()).to(dtype), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 17), (16, 16), (17, 16), (200, 300), (8, 100)])
@pytest.mark.parametrize("rank", [0, 1, 7])
def test_vectors_that_the_weight_does_not_determine_do_not_hang_on_rounding(shape, rank):
    weight = torch.randn(shape[0], rank, dtype=torch.float64) @ torch.randn(rank, shape[1], dtype=torch.float64)
    u, s, v = decompose(weight)
    for _ in range(3):
        noise = 1e-16 * weight.abs().amax(0).amax(0) * torch.randn(shape, dtype=torch.float64)
        other_u, other_s, other_v = decompose(weight + noise)
        torch.testing.assert_close(other_s, s)
        # Signs of the determined ones are the routine's.
        torch.testing.assert_close(other_u[rank:], u[rank:], rtol=0, atol=1e-10)
        torch.testing.assert_close(other_v[rank:], v[rank:], rtol=0, atol=1e-10)
    assert orthogonality_defect(u) < 1e-12
    assert orthogonality_defect(v) < 1e-12
    torch.testing.assert_close((u.t() * s) @ v, weight)


def test_half_precision_is_decomposed_in_a_wider_type_and_rounded_once():
    w = matrix((40, 30), dtype=torch.bfloat16)
    u, sigma, v = decompose(w)
    assert u.dtype == sigma.dtype == v.dtype == torch.bfloat16
    exact = torch.linalg.svdvals(w.double())
    assert relative(sigma, exact) < torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused(value):
    w = matrix((4, 5))
    w[1, 2] = value
    with pytest.raises(DecompositionError, match=r"shape \(4, 5\) must be finite"):
        decompose(w)


def test_a_device_whose_routine_fails_is_followed_by_the_cpu(monkeypatch):
    class Elsewhere(torch.Tensor):
        """A tensor that says it is on another device."""

        device = torch.device("meta")

    real, tried = source._svd, []

    def fails_the_first_time(weight):
        tried.append(weight.dtype)
        if len(tried) == 1:
            raise torch.linalg.LinAlgError("did not converge")
        return real(torch.ones(4, 5, dtype=torch.float64))

    monkeypatch.setattr(source, "_svd", fails_the_first_time)
    _, sigma, _ = decompose(matrix((4, 5)).as_subclass(Elsewhere))
    assert tried == [torch.float64, torch.float64]
    assert sigma.shape == (4,)


def test_factors_that_are_not_finite_count_as_failure_and_every_attempt_is_named(monkeypatch):
    def broken(weight):
        k = min(weight.shape)
        return (
            weight.new_full((k, weight.shape[0]), math.nan),
            weight.new_zeros(k),
            weight.new_zeros(k, weight.shape[1]),
        )

    monkeypatch.setattr(source, "_svd", broken)
    with pytest.raises(DecompositionError, match="on cpu: factors are not finite"):
        decompose(matrix((4, 5)))


def test_a_failed_decomposition_keeps_the_factors_and_names_the_layer(monkeypatch):
    model, optimizer, _ = trained(steps=8, steps_per_iteration=3)

    def fails(weight):
        raise torch.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(source, "_svd", fails)
    x = torch.randn(4, 8)
    model(x).square().mean().backward()
    with pytest.warns(RuntimeWarning, match=r"^(0|2)\.weight keeps its factors: .*did not converge"):
        optimizer.step()
    assert all(w.isfinite().all() for w in weights_of(model))
    u, v = only(model[:1]).spectral.rows
    assert orthogonality_defect(u) > 1e-4  # the drifted rows, not new ones
    assert (v.norm(dim=1) - 1).abs().max() < 1e-6


def test_orthogonality_defect_is_its_naive_formula():
    rows = torch.randn(4, 7, dtype=torch.float64)
    gram = [[float(a @ b) for b in rows] for a in rows]
    naive = math.sqrt(sum((gram[i][j] - (i == j)) ** 2 for i in range(4) for j in range(4)) / 4)
    assert float(orthogonality_defect(rows)) == pytest.approx(naive, rel=1e-12)


@pytest.mark.parametrize(
    ("sigma", "expected"), [([2.0, 2, 2, 2], 4.0), ([5.0, 0, 0], 1.0), ([0.0, 0, 0], 0.0), ([3.0], 1.0)]
)
def test_effective_rank_counts_equal_values_and_ignores_zeros(sigma, expected):
    assert float(effective_rank(torch.tensor(sigma))) == pytest.approx(expected, abs=1e-6)


# -- when ----------------------------------------------------------------------------------------------------


def decomposed_at(monkeypatch, policy, steps=12, **options):
    """Numbers of the steps after which the weight of one layer was decomposed; one iteration is one step."""
    model = nn.Sequential(nn.Linear(8, 6))
    hypersst.spectralize(model, rank=2)
    optimizer = torch.optim.SGD(hypersst.param_groups(model, lr=0.1))
    sampler = SSTSampler(model, optimizer, steps_per_iteration=1, warmup_steps=0, decomposition=policy, **options)
    p, seen = only(model).spectral, []
    real = type(p).redecompose
    monkeypatch.setattr(
        type(p), "redecompose", lambda self, *given: seen.append(sampler.step_count) or real(self, *given)
    )
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 8)).square().mean().backward()
        optimizer.step()
    return seen


@pytest.mark.parametrize(
    ("policy", "options", "expected"),
    [
        (None, {}, [3, 6, 9, 12]),  # ⌈6/2⌉ iterations a round
        (EachRound(), {"iterations_per_round": 5}, [5, 10]),
        (EveryIterations(), {}, list(range(1, 13))),
        (EveryIterations(4), {}, [4, 8, 12]),
        (Never(), {}, []),
        (OnDefect(1e-9), {}, list(range(1, 13))),
        (OnDefect(1e9), {}, []),
    ],
    ids=repr,
)
def test_each_policy_decomposes_when_it_says(monkeypatch, policy, options, expected):
    assert decomposed_at(monkeypatch, policy, **options) == expected


def test_on_defect_waits_until_the_measured_defect_passes_the_threshold():
    asked = []
    policy = OnDefect(0.25)
    assert not policy.due(1, 3, lambda: asked.append(1) or 0.2)
    assert policy.due(1, 3, lambda: asked.append(1) or 0.3)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("make", "name"), [(lambda: EveryIterations(0), "count"), (lambda: OnDefect(0.0), "threshold")]
)
def test_policies_check_their_numbers(make, name):
    with pytest.raises(ValueError, match=rf"`{name}` must be .*got 0"):
        make()
