"""The compiled training step of each model with attention is the eager one, to rounding."""

from dataclasses import replace

import pytest
import torch
from compilers import needs_compiled_sums

from hypersst.datasets import load
from hypersst.experiments.run import Run
from hypersst.experiments.settings import Settings


@needs_compiled_sums
@pytest.mark.slow
@pytest.mark.parametrize(("model", "task"), [("gat", "nc"), ("gps", "lp"), ("hypformer", "nc")])
def test_compiled_losses_and_gradients_are_the_eager_ones(model: str, task: str) -> None:
    # No ReLU, see tests/experiments/test_compiled_loss.py.
    settings = Settings(model=model, task=task, activation="tanh", dropout=0.3).resolve()
    results = []
    for compile_ in (False, True):
        run = Run(replace(settings, compile=compile_), load("disease-tree", task=task))
        torch.manual_seed(0)
        loss = run.step()
        results.append((loss, {n: p.grad.clone() for n, p in run.model.named_parameters() if p.grad is not None}))
    (eager_loss, eager), (compiled_loss, compiled) = results
    torch.testing.assert_close(compiled_loss, eager_loss, rtol=1e-4, atol=1e-5)
    assert compiled.keys() == eager.keys()
    for name, grad in eager.items():
        torch.testing.assert_close(compiled[name], grad, rtol=1e-3, atol=1e-3 * float(grad.abs().max()), msg=name)
