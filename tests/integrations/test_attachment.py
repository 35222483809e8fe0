"""What both callbacks share: finding the optimizer, and naming the extra that is missing."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from spectral_cases import batch, build_optimizer, small_model, train

from hypersst.integrations.attachment import Attachment, inner_optimizer


def test_the_optimizer_inside_accelerates_wrapper_is_found():
    optimizer = build_optimizer("adamw", small_model())
    wrapped = Accelerator(cpu=True).prepare_optimizer(optimizer)
    assert isinstance(wrapped, AcceleratedOptimizer)
    assert inner_optimizer(wrapped) is optimizer
    assert inner_optimizer(optimizer) is optimizer


def test_an_optimizer_of_nothing_spectral_is_refused_by_the_sampler():
    model = small_model()
    other = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
    with pytest.raises(ValueError, match=r"`optimizer` must hold the singular values and active vectors of '0.weight'"):
        Attachment({}).begin(model, [other])
    with pytest.raises(ValueError, match="must have an optimizer, but it has none"):
        Attachment({}).begin(model, [])


def test_beginning_again_takes_the_last_sampler_off():
    model = small_model()
    optimizer = build_optimizer("adamw", model)
    attachment = Attachment({"warmup_steps": 0})
    attachment.begin(model, [optimizer])
    first = attachment.sampler
    attachment.begin(model, [optimizer])
    train(model, optimizer, range(2))
    assert (first.step_count, attachment.sampler.step_count) == (0, 2)
    attachment.end(model, merged=False)
    train(model, optimizer, range(2))
    assert attachment.sampler.step_count == 2


def test_measures_are_means_of_the_samplers_telemetry():
    model = small_model()
    optimizer = build_optimizer("adamw", model)
    attachment = Attachment({"steps_per_iteration": 2})
    attachment.begin(model, [optimizer])
    train(model, optimizer, range(3))
    measured = list(attachment.sampler.telemetry().values())
    assert attachment.measures(model) == pytest.approx(
        {
            "sst_effective_rank": sum(layer.effective_rank for layer in measured) / 2,
            "sst_coverage": sum(layer.coverage for layer in measured) / 2,
        }
    )


def test_measuring_leaves_the_outputs_alone():
    model = small_model()
    attachment = Attachment({})
    attachment.begin(model, [build_optimizer("adamw", model)])
    x, _ = batch(0)
    before = model(x)
    attachment.measures(model)
    assert torch.equal(model(x), before)


def hide(packages, module, monkeypatch):
    """Make packages impossible to import, and forget our module until the test is over."""
    for name in (*packages, module):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, module)


@pytest.mark.parametrize(
    ("name", "packages"),
    [("transformers", ["transformers"]), ("lightning", ["lightning.pytorch", "lightning", "pytorch_lightning"])],
)
def test_a_missing_package_is_named_with_its_extra(name, packages, monkeypatch):
    hide(packages, f"hypersst.integrations.{name}", monkeypatch)
    with pytest.raises(ImportError, match=rf"pip install hypersst\[{name}\]"):
        importlib.import_module(f"hypersst.integrations.{name}")


def test_pytorch_lightning_alone_will_do(monkeypatch):
    pytorch_lightning = pytest.importorskip("pytorch_lightning")
    hide(["lightning.pytorch", "lightning"], "hypersst.integrations.lightning", monkeypatch)
    module = importlib.import_module("hypersst.integrations.lightning")
    assert issubclass(module.SSTCallback, pytorch_lightning.Callback)
