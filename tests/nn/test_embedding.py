"""Tables of points: lookup, initial points, gradients dense and sparse, and steps along the manifold."""

import copy

import geoopt
import pytest
import torch
from compilers import needs_whole_graphs
from geoopt.optim import RiemannianAdam, RiemannianSGD, SparseRiemannianAdam, SparseRiemannianSGD
from layer_cases import MANIFOLDS, off_manifold, points
from torch import nn

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare
from hypersst.nn.embedding import HyperbolicEmbedding

DENSE = {
    "sgd": lambda p: RiemannianSGD(p, lr=0.01),
    "momentum": lambda p: RiemannianSGD(p, lr=0.001, momentum=0.9),
    "adam": lambda p: RiemannianAdam(p, lr=0.01),
}
SPARSE = {
    "sgd": lambda p: SparseRiemannianSGD(p, lr=0.01),
    "momentum": lambda p: SparseRiemannianSGD(p, lr=0.001, momentum=0.9),
    "adam": lambda p: SparseRiemannianAdam(p, lr=0.01),
}
INDEX = torch.tensor([[7, 2, 2], [0, 7, 2]])

every_manifold = pytest.mark.parametrize("name", MANIFOLDS)


def table(name, n=9, d=3, c=0.75, std=1.0, seed=0, padding_idx=None, **options):
    generator = torch.Generator().manual_seed(seed)
    manifold = MANIFOLDS[name](torch.tensor(c, dtype=torch.float64))
    return HyperbolicEmbedding(n, d, padding_idx, manifold=manifold, std=std, generator=generator, **options)


def loss(module):
    """A function whose gradient differs in every coordinate of every row that is looked up."""
    x = module(INDEX)
    with torch.no_grad():
        target = points(module.manifold, 1, module.embedding_dim, seed=5)
    return (module.manifold.dist2(x, target) * torch.arange(1.0, 7.0, dtype=x.dtype).view(2, 3)).sum()


@every_manifold
def test_rows_of_the_table_are_found_by_index_as_plain_tensors(name):
    module = table(name)
    found = module(INDEX)
    assert type(found) is torch.Tensor
    assert found.shape == (2, 3, 3 + (name == "lorentz"))
    assert torch.equal(found, module.weight.data[INDEX])
    assert module(torch.tensor(4)).shape == found.shape[2:]
    assert torch.equal(module(INDEX.int()), found)


@every_manifold
def test_initial_points_lie_on_the_manifold_at_distances_of_a_normal_vector(name):
    n, d, std = 4000, 3, 1e-2
    module = table(name, n=n, d=d, std=std)
    assert off_manifold(module.weight, module.manifold) < 1e-14
    square = (module.manifold.dist0(module.weight.detach()) / std).square()
    # A chi-squared variable with d degrees of freedom has mean d and variance 2d; five standard errors of the mean.
    assert abs(square.mean().item() - d) < 5 * (2 * d / n) ** 0.5


def test_both_models_begin_with_the_same_points():
    lorentz, ball = table("lorentz"), table("ball")
    expected = lorentz_to_poincare(lorentz.weight.data, lorentz.manifold.c)
    torch.testing.assert_close(ball.weight.data, expected)


@every_manifold
def test_a_generator_decides_the_points_and_reset_draws_them_anew_in_place(name):
    first, second = table(name, seed=3), table(name, seed=3)
    assert torch.equal(first.weight, second.weight)
    weight = first.weight
    first.reset_parameters(torch.Generator().manual_seed(4))
    assert first.weight is weight
    assert (first.weight != second.weight).any(dim=1).all()
    assert torch.equal(first.weight, table(name, seed=4).weight)


@every_manifold
def test_the_global_seed_is_left_alone_by_a_generator_and_used_without_one(name):
    before = torch.get_rng_state()
    table(name)
    assert torch.equal(torch.get_rng_state(), before)
    HyperbolicEmbedding(3, 2, manifold=MANIFOLDS[name]())
    assert not torch.equal(torch.get_rng_state(), before)


@every_manifold
def test_sparse_and_dense_gradients_are_equal(name):
    dense, sparse = table(name), table(name, sparse=True)
    loss(dense).backward()
    loss(sparse).backward()
    assert not dense.weight.grad.is_sparse
    assert sparse.weight.grad.is_sparse
    torch.testing.assert_close(sparse.weight.grad.to_dense(), dense.weight.grad)
    assert sorted(set(sparse.weight.grad.coalesce().indices()[0].tolist())) == [0, 2, 7]


@every_manifold
def test_gradients_scaled_by_frequency_are_divided_by_it(name):
    plain, scaled = table(name), table(name, scale_grad_by_freq=True)
    loss(plain).backward()
    loss(scaled).backward()
    counts = torch.bincount(INDEX.flatten(), minlength=9).clamp_min(1).unsqueeze(1)
    torch.testing.assert_close(scaled.weight.grad, plain.weight.grad / counts)


@pytest.mark.parametrize("optimizer", SPARSE)
@every_manifold
def test_a_first_sparse_step_moves_the_rows_looked_up_as_a_dense_one_and_no_others(name, optimizer):
    dense, sparse = table(name), table(name, sparse=True)
    before = sparse.weight.detach().clone()
    for module, kinds in ((dense, DENSE), (sparse, SPARSE)):
        step = kinds[optimizer](module.parameters())
        loss(module).backward()
        step.step()
    rows = torch.tensor([0, 2, 7])
    others = torch.tensor([1, 3, 4, 5, 6, 8])
    assert (sparse.weight[rows] != before[rows]).any(dim=1).all()
    assert torch.equal(sparse.weight[others], before[others])
    torch.testing.assert_close(sparse.weight[rows], dense.weight[rows])


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("optimizer", SPARSE)
@every_manifold
def test_three_steps_descend_stay_on_the_manifold_and_leave_padding_at_the_origin(name, optimizer, sparse):
    # Near the origin: geoopt's momentum begins with the Euclidean gradient, which is large far out in the ball.
    module = table(name, padding_idx=-2, sparse=sparse, std=0.3)
    step = (SPARSE if sparse else DENSE)[optimizer](module.parameters())
    losses = []
    for _ in range(3):
        step.zero_grad()
        value = loss(module)
        losses.append(value.item())
        value.backward()
        step.step()
        assert off_manifold(module.weight, module.manifold) < 1e-14
    assert losses[2] < losses[0]
    assert module.padding_idx == 7
    assert torch.equal(module.manifold.dist0(module.weight[7]), torch.zeros((), dtype=torch.float64))


@every_manifold
def test_a_learnable_curvature_moves_the_points_and_receives_a_gradient(name):
    manifold = MANIFOLDS[name](torch.tensor(1.0, dtype=torch.float64), learnable=True)
    module = HyperbolicEmbedding(9, 3, manifold=manifold, std=1.0)
    loss(module).backward()
    assert manifold.log_c.grad.abs() > 0
    with torch.no_grad():
        manifold.log_c.fill_(2.0)
        assert off_manifold(module(INDEX), manifold) < 1e-14
        assert manifold.dist0(module(INDEX)).isfinite().all()


def test_the_gradient_of_a_learnable_curvature_agrees_with_finite_differences():
    manifold = Lorentz(torch.tensor(0.5, dtype=torch.float64), learnable=True)
    module = HyperbolicEmbedding(9, 3, manifold=manifold, std=1.0)

    def of(log_c):
        return torch.func.functional_call(module, {"manifold.log_c": log_c}, (INDEX,))

    assert torch.autograd.gradcheck(of, (manifold.log_c.detach().clone().requires_grad_(),))


@every_manifold
def test_given_points_are_copied_and_frozen_unless_asked_otherwise(name):
    manifold = MANIFOLDS[name](0.75).double()
    given = points(manifold, 5, 3)
    module = HyperbolicEmbedding.from_pretrained(given, manifold=manifold)
    assert (module.num_embeddings, module.embedding_dim) == (5, 3)
    torch.testing.assert_close(module.weight.data, given)
    assert module.weight.data_ptr() != given.data_ptr()
    assert not module.weight.requires_grad
    open_table = HyperbolicEmbedding.from_pretrained(given, manifold=manifold, freeze=False, padding_idx=1, sparse=True)
    assert isinstance(open_table.weight, geoopt.ManifoldParameter)
    open_table(torch.tensor([0, 1])).sum().backward()
    assert open_table.weight.grad.coalesce().indices().tolist() == [[0]]
    # Unlike a new table's, the point of padding is the one that was given.
    torch.testing.assert_close(open_table.weight.data[1], given[1])
    with pytest.raises(ValueError, match=r"`points` must lie on the .* away"):
        HyperbolicEmbedding.from_pretrained(given + 2.0, manifold=manifold)
    with pytest.raises(ValueError, match=r"`points` must be a table .* got shape \(3,\)"):
        HyperbolicEmbedding.from_pretrained(given[0, :3], manifold=manifold)


@every_manifold
def test_a_wider_type_puts_the_points_on_the_manifold_again(name):
    module = HyperbolicEmbedding(50, 3, manifold=MANIFOLDS[name](0.75), std=1.0)
    assert off_manifold(module.weight, module.manifold) < 1e-6
    before = module.weight.detach().clone()
    module.double()
    assert off_manifold(module.weight, module.manifold) < 1e-14
    torch.testing.assert_close(module.weight.data.float(), before)
    assert module.to("meta").weight.is_meta
    assert module.float().weight.dtype == torch.float32


@every_manifold
def test_the_table_keeps_its_manifold_when_copied_cast_or_loaded_from_weights(name):
    module = table(name)
    twin = copy.deepcopy(module)
    assert twin.weight.manifold is twin.manifold
    assert module.float().weight.dtype == torch.float32
    assert module.weight.manifold is module.manifold
    shell = HyperbolicEmbedding(9, 3, manifold=MANIFOLDS[name](0.75)).to("meta")
    shell.load_state_dict(twin.state_dict(), assign=True)
    assert shell.weight.manifold is shell.manifold
    assert torch.equal(shell(INDEX), twin(INDEX))


@needs_whole_graphs
@every_manifold
def test_lookup_is_one_compiled_graph(name):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = table(name)

        def forward(self, index):
            x = self.table(index)
            return self.table.manifold.dist(x[:, :1], x[:, 1:])

    net = Net()
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    found, expected = compiled(INDEX), net(INDEX)
    torch.testing.assert_close(found, expected)
    grads = [torch.autograd.grad(y.sum(), net.table.weight)[0] for y in (found, expected)]
    torch.testing.assert_close(*grads)


def test_geoopts_manifolds_are_taken_and_a_ball_is_the_default():
    assert isinstance(HyperbolicEmbedding(3, 2).manifold, PoincareBall)
    module = HyperbolicEmbedding(3, 2, manifold=geoopt.Lorentz(k=2.0))
    assert isinstance(module.manifold, Lorentz)
    assert module.manifold.c == 0.5


def test_the_text_names_sizes_and_what_is_not_default():
    text = repr(HyperbolicEmbedding(9, 3, -1, scale_grad_by_freq=True, manifold=Lorentz()))
    assert "9, 3, padding_idx=8, scale_grad_by_freq=True\n" in text
    assert "(manifold): Lorentz(c=1)" in text
    assert "9, 3, sparse=True\n" in repr(HyperbolicEmbedding(9, 3, sparse=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_embeddings": 0}, "`num_embeddings` must be at least 1, got 0"),
        ({"embedding_dim": 0}, "`embedding_dim` must be at least 1, got 0"),
        ({"padding_idx": 9}, "`padding_idx` must be at least -9 and below 9, got 9"),
        ({"padding_idx": -10}, "`padding_idx` must be at least -9 and below 9, got -10"),
        ({"std": 0.0}, "`std` must be positive, .*got 0.0"),
        ({"sparse": True, "scale_grad_by_freq": True}, "`scale_grad_by_freq` must be False with `sparse`"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        HyperbolicEmbedding(**{"num_embeddings": 9, "embedding_dim": 3, **arguments})


def test_other_manifolds_are_refused():
    with pytest.raises(
        TypeError, match=r"`manifold` must be a geoopt.Lorentz, a geoopt.PoincareBall or None, got Sphere"
    ):
        HyperbolicEmbedding(9, 3, manifold=geoopt.Sphere())
