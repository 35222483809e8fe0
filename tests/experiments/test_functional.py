"""A model is a function of its tensors, whatever its modules share."""

import torch
from torch import nn

from hypersst.experiments.functional import Functional
from hypersst.manifolds import Lorentz
from hypersst.models import HGCN
from hypersst.nn import LorentzLinear


def test_every_place_of_a_tensor_gets_the_other_one_and_is_put_back() -> None:
    # One manifold under three paths, and one weight in two modules.
    model = nn.Sequential(LorentzLinear(4, 4, manifold=Lorentz(1.0, learnable=True)))
    model.append(LorentzLinear(4, 4, manifold=model[0].manifold))
    model[1].weight = model[0].weight
    functional = Functional(model)
    assert sorted(functional.tensors) == sorted(name for name, _ in model.named_parameters())
    before = dict(model.named_parameters(remove_duplicate=False))
    other = {name: tensor.detach() + 0.1 for name, tensor in functional.tensors.items()}
    x = model[0].manifold.from_space(torch.randn(3, 4))
    found = functional(lambda changed: changed(x), other)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        assert parameter is before[name], name
    with torch.no_grad():
        for name, tensor in functional.tensors.items():
            tensor.copy_(other[name])
        torch.testing.assert_close(found, model(x))


def test_a_curvature_is_a_tensor_of_the_model_only_if_it_is_learned() -> None:
    fixed, learned = (Functional(HGCN(5, 4, 3, 2, learnable_c=flag)).tensors for flag in (False, True))
    assert not any("_c" in name for name in fixed)
    # Two encoder layers have three curvatures; each belongs to several modules and counts once.
    assert sum(name.endswith("log_c") for name in learned) == 3
