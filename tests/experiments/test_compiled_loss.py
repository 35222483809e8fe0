"""A compiled run is the eager run, to rounding: same dropout, same draws, same steps."""

from dataclasses import replace

import pytest
import torch

from hypersst.datasets import load
from hypersst.experiments.run import Run
from hypersst.experiments.settings import Settings


@pytest.mark.parametrize(("model", "method", "task"), [("hybonet", "sst", "lp"), ("gcn", "lora", "nc")])
def test_a_compiled_run_takes_the_steps_of_the_eager_one(model: str, method: str, task: str) -> None:
    options = {"dropout": 0.3, "steps_per_iteration": 3, "warmup_steps": 1, "grad_clip": 1.0}
    # No ReLU: many nodes have no features and are at its corner, where rounding decides. (For the same reason no HGCN:
    # the long features of others are at the edge of the ball.)
    settings = Settings(model=model, method=method, task=task, activation="none", **options).resolve()
    runs = [Run(replace(settings, compile=compiled), load("disease-tree", task=task)) for compiled in (False, True)]
    losses, gradients = [], []
    for run in runs:
        torch.manual_seed(0)
        losses.append([run.step()])
        gradients.append([p.grad.clone() for p in run.model.parameters() if p.grad is not None])
        # Two draws and a decomposition are among these steps.
        losses[-1] += [run.step() for _ in range(7)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-4)
    for eager, compiled in zip(*gradients, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-4 * float(eager.abs().max()))


def test_the_compiled_step_is_refused_where_batches_differ_in_shape() -> None:
    with pytest.raises(ValueError, match="`compile` must be False with `parts` or `neighbors`"):
        Settings(dataset="synthetic", nodes=2000, parts=4, compile=True).resolve()
