"""Draws against their distributions, and as functions of (seed, name, iteration) alone."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats
from spectral_cases import build_optimizer, only, small_model, train
from torch import nn

import hypersst
from hypersst.spectral import Multinomial, Sequential, SSTSampler, TopR, Uniform, spectral_weights
from hypersst.spectral.draws import named_generator, stable_name

SIGMA = torch.tensor([3.0, 1.5, 1.0, 0.5, 0.25, 0.0])
K = SIGMA.numel()


def paper_probabilities(sigma, share=0.5):
    """The formula in plain Python: (1 - a)/k + a Σ_i/ΣΣ."""
    values = sigma.tolist()
    return [(1 - share) / len(values) + share * s / sum(values) for s in values]


def chi_squared(counts, expected):
    return sum((c - e) ** 2 / e for c, e in zip(counts, expected, strict=True))


def bound(cells):
    # With n draws per cell large, the statistic of a right sampler has the chi-squared distribution of cells - 1
    # degrees of freedom; it passes this quantile for one seed in ten thousand, and the seed is fixed.
    return stats.chi2.ppf(1 - 1e-4, cells - 1)


def draws(selection, rank, count, sigma=SIGMA):
    return [tuple(selection(sigma, rank, i, named_generator(7, "layer", i)).tolist()) for i in range(count)]


@pytest.mark.parametrize("share", [0.5, 0.0, 0.9])
def test_first_draws_follow_the_multinomial_weights(share):
    count = 8_000
    first = [d[0] for d in draws(Multinomial(share), 2, count)]
    counts = [first.count(i) for i in range(K)]
    assert chi_squared(counts, [count * p for p in paper_probabilities(SIGMA, share)]) < bound(K)
    # The test has power: the neighbouring rule fails it.
    other = paper_probabilities(SIGMA, abs(share - 0.1))
    assert chi_squared(counts, [count * p for p in other]) > bound(K)


def test_ordered_pairs_follow_draws_without_replacement():
    count = 12_000
    p = paper_probabilities(SIGMA)
    pairs = list(itertools.permutations(range(K), 2))
    seen = draws(Multinomial(), 2, count)
    counts = [seen.count(pair) for pair in pairs]
    assert sum(counts) == count  # no pair repeats a row
    assert chi_squared(counts, [count * p[i] * p[j] / (1 - p[i]) for i, j in pairs]) < bound(len(pairs))
    with_replacement = [count * p[i] * p[j] / (1 - sum(q * q for q in p)) for i, j in pairs]
    assert chi_squared(counts, with_replacement) > bound(len(pairs))


def test_uniform_draws_every_subset_equally_often():
    count = 6_000
    seen = [tuple(sorted(d)) for d in draws(Uniform(), 2, count)]
    subsets = list(itertools.combinations(range(K), 2))
    counts = [seen.count(s) for s in subsets]
    assert chi_squared(counts, [count / len(subsets)] * len(subsets)) < bound(len(subsets))


def test_the_sampler_activates_rows_with_the_probabilities_of_its_rule():
    model = nn.Sequential(nn.Linear(7, K))
    hypersst.spectralize(model, rank=1)
    weight, count = only(model), 2_000
    with torch.no_grad():
        weight.sigma.copy_(SIGMA)
    optimizer = torch.optim.SGD(hypersst.param_groups(model, lr=0.0))
    SSTSampler(model, optimizer, steps_per_iteration=1, iterations_per_round=count + 1, warmup_steps=0, seed=1)
    seen = []
    for _ in range(count):
        seen.append(int(weight.spectral.index))
        optimizer.step()
    counts = [seen.count(i) for i in range(K)]
    assert chi_squared(counts, [count * p for p in paper_probabilities(SIGMA)]) < bound(K)
    # Neighbouring iterations are independent: repeats are as many as Σp².
    p = paper_probabilities(SIGMA)
    repeats, rate = sum(a == b for a, b in itertools.pairwise(seen)), sum(q * q for q in p)
    assert abs(repeats - count * rate) < 4 * math.sqrt(count * rate)


@pytest.mark.parametrize("sigma", [SIGMA, torch.zeros(4), torch.tensor([1e-38, 1e-38]), torch.tensor([-1e-9, 1.0])])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_probabilities_sum_to_one_and_are_those_of_the_paper(share, sigma):
    p = Multinomial(share).probabilities(sigma)
    assert float(p.sum()) == pytest.approx(1.0, rel=1e-12)
    assert (p >= 0).all()
    if sigma is SIGMA:
        assert p.tolist() == pytest.approx(paper_probabilities(SIGMA, share), rel=1e-7)


@pytest.mark.parametrize("sigma", [torch.zeros(5), torch.tensor([1.0, 0, 0, 0, 0]), torch.ones(5)])
def test_multinomial_finds_enough_rows_even_where_singular_values_vanish(sigma):
    for i in range(50):
        index = Multinomial(1.0)(sigma, 3, i, named_generator(0, "layer", i))
        assert index.unique().numel() == 3
        if sigma[0] == 1 and sigma[1] == 0:
            assert index[0] == 0  # what has weight comes first


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_multinomial_refuses_a_share_that_is_none(share):
    with pytest.raises(ValueError, match=rf"`sigma_share` must be between 0 and 1, got {share}"):
        Multinomial(share)


@pytest.mark.parametrize(("k", "rank"), [(6, 2), (7, 3), (5, 5), (5, 1)])
def test_sequential_covers_every_row_in_a_round(k, rank):
    rule, generator = Sequential(), torch.Generator()
    for start in (0, 4):
        rounds = range(start, start + math.ceil(k / rank))
        rows = [row for i in rounds for row in rule(torch.ones(k), rank, i, generator).tolist()]
        assert set(rows) == set(range(k))


def test_sequential_never_repeats_a_row_within_an_iteration():
    for i in range(30):
        assert Sequential()(torch.ones(7), 3, i, torch.Generator()).unique().numel() == 3


def test_top_r_takes_the_largest_values_in_whatever_order_they_stand():
    sigma = torch.tensor([0.1, 5.0, 0.3, 4.0, 4.0])
    assert TopR()(sigma, 3, 0, torch.Generator()).tolist() == [1, 3, 4]


# -- what a draw depends on ----------------------------------------------------------------------------------


def history(model, steps=9, name="adamw", seed=5, **options):
    """Active rows of each layer, by its stable name, after each step; one iteration is one step."""
    sampler = SSTSampler(
        model,
        build_optimizer(name, model),
        steps_per_iteration=1,
        selection=Uniform(),
        seed=seed,
        warmup_steps=0,
        **options,
    )
    rows = []
    for step in range(steps):
        train(model, sampler.optimizer, range(step, step + 1))
        rows.append({stable_name(w.name): w.spectral.index.tolist() for w in spectral_weights(model)})
    return rows


class Wrapped(nn.Module):
    """What data parallelism does to names."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)


def compiled(model):
    return torch.compile(model, backend="eager")


def test_draws_do_not_depend_on_weights_optimizer_or_global_random_state():
    torch.manual_seed(1)
    reference = history(small_model(seed=0))
    torch.manual_seed(2)
    torch.rand(100)
    assert history(small_model(seed=9), name="riemannian-adam") == reference


# Dynamo itself makes an instance of every autograd function that it traces, which torch deprecates.
@pytest.mark.parametrize("wrap", [Wrapped, compiled, lambda m: Wrapped(compiled(m))], ids=["ddp", "compile", "both"])
def test_wrapped_replicas_draw_alike(wrap):
    assert history(wrap(small_model())) == history(small_model())


def test_draws_differ_between_seeds_layers_and_iterations():
    model = nn.Sequential(nn.Linear(8, 40), nn.Linear(40, 40), nn.Linear(40, 40), nn.Linear(40, 5))
    hypersst.spectralize(model, rank=4, include=["1", "2"])
    one = history(model, seed=0)
    assert [r["1.weight"] for r in one] != [r["2.weight"] for r in one]
    assert len({tuple(r["1.weight"]) for r in one}) > 5
    model = nn.Sequential(nn.Linear(8, 40), nn.Linear(40, 40), nn.Linear(40, 40), nn.Linear(40, 5))
    hypersst.spectralize(model, rank=4, include=["1", "2"])
    assert history(model, seed=1) != one


def test_a_layer_draws_the_same_whether_or_not_another_one_is_spectral():
    torch.manual_seed(0)
    both, alone = small_model(), nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5))
    hypersst.spectralize(alone, rank=2, include=["2"])
    assert [r["2.weight"] for r in history(both)] == [r["2.weight"] for r in history(alone)]


@pytest.mark.parametrize(
    ("name", "stable"),
    [
        ("0.weight", "0.weight"),
        ("_orig_mod.0.weight", "0.weight"),
        ("module.0.weight", "0.weight"),
        ("module._orig_mod.0.weight", "0.weight"),
        ("_orig_mod.module.0.weight", "0.weight"),
        ("encoder.module.0.weight", "encoder.module.0.weight"),
    ],
)
def test_stable_names_drop_what_wrappers_put_in_front(name, stable):
    assert stable_name(name) == stable


@pytest.mark.parametrize("rows", [[0, 0], [0], [0, 1, 2]])
def test_a_rule_that_repeats_or_miscounts_rows_is_refused(rows):
    model = small_model()
    optimizer = build_optimizer("adamw", model)
    with pytest.raises(
        ValueError, match=rf"`selection` must return 2 distinct rows, got \[{', '.join(map(str, rows))}\]"
    ):
        SSTSampler(model, optimizer, selection=lambda sigma, rank, iteration, generator: torch.tensor(rows))
