"""Every verb compiles into one graph."""

import pytest
import torch
from manifold_cases import MODELS, Case

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare, poincare_to_lorentz

COMMON = {
    "expmap0": "o", "logmap0": "x", "expmap": "xu", "logmap": "xy", "dist": "xy", "dist0": "x", "dist2": "xy",
    "inner": "xu", "transp": "xyu", "transp0": "yo", "transp0back": "xu", "projx": "x", "proju": "xy", "retr": "xu",
    "retr_transp": "xuu", "egrad2rgrad": "xy", "midpoint": "x",
}  # fmt: skip
LORENTZ = {"from_space": "s", "expmap0_space": "s", "logmap0_space": "x", "sqdist": "xy", "normalize": "x", "norm": "u"}
BALL = {"mobius_add": "xy", "lambda_x": "x", "dist2plane": "xyu", "norm": "xu", "weighted_midpoint": "x"}


def inputs(case):
    x = case.point(0)
    return {"x": x, "y": case.point(1), "u": case.tangent(x, 2), "o": case.at_origin(3), "s": case.normal(4)}


@pytest.mark.parametrize("model", MODELS)
def test_all_verbs_compile_into_one_graph(model):
    """Traced, without a backend's compiler: a break of the graph raises."""
    case = Case(model, torch.float32)
    # One manifold with everything that is optional, the other with nothing.
    manifold = Lorentz(0.7, learnable=True, max_radius=5.0) if model == "lorentz" else PoincareBall(0.7)
    verbs = COMMON | (LORENTZ if model == "lorentz" else BALL)

    def all_verbs(found):
        return {name: getattr(manifold, name)(*(found[letter] for letter in verbs[name])) for name in verbs}

    torch._dynamo.reset()
    compiled = torch.compile(all_verbs, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(inputs(case)), all_verbs(inputs(case)))


@pytest.mark.parametrize("model", MODELS)
def test_forward_and_backward_trace_into_one_graph(model):
    case = Case(model, torch.float32)
    m, found = case.manifold, inputs(case)

    def loss(v, y):
        x = m.expmap0(v)
        return m.dist(m.expmap(x, 0.5 * m.logmap(x, y)), y).sum()

    def gradient(function):
        v = found["o"].clone().requires_grad_()
        return torch.autograd.grad(function(v, found["y"]), v)[0]

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(gradient(compiled), gradient(loss))


@pytest.mark.parametrize("convert", [lorentz_to_poincare, poincare_to_lorentz])
def test_isometries_compile(convert):
    x = Case("lorentz" if convert is lorentz_to_poincare else "poincare", torch.float32).point(0)
    torch._dynamo.reset()
    c = torch.tensor(1.0)
    torch.testing.assert_close(torch.compile(convert, fullgraph=True, backend="eager")(x, c), convert(x, c))
