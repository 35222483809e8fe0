"""A compiled run is the eager run, to rounding: same dropout, same draws, same steps."""

from dataclasses import replace

import pytest
import torch
from compilers import needs_compiled_sums

from hypersst.datasets import load
from hypersst.experiments import compiled_loss
from hypersst.experiments.run import Run
from hypersst.experiments.settings import Settings
from hypersst.tracing import compiled


@needs_compiled_sums
@pytest.mark.parametrize(("model", "method", "task"), [("hybonet", "sst", "lp"), ("gcn", "lora", "nc")])
def test_a_compiled_run_takes_the_steps_of_the_eager_one(model: str, method: str, task: str) -> None:
    options = {"dropout": 0.3, "steps_per_iteration": 3, "warmup_steps": 1, "grad_clip": 1.0}
    # No ReLU: many nodes have no features and are at its corner, where rounding decides. (For the same reason no HGCN:
    # the long features of others are at the edge of the ball.)
    settings = Settings(model=model, method=method, task=task, activation="none", **options).resolve()
    runs = [Run(replace(settings, compile=compile_), load("disease-tree", task=task)) for compile_ in (False, True)]
    losses, gradients = [], []
    for run in runs:
        torch.manual_seed(0)
        losses.append([run.step()])
        gradients.append([p.grad.clone() for p in run.model.parameters() if p.grad is not None])
        # Two draws and a decomposition are among these steps.
        losses[-1] += [run.step() for _ in range(7)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-4)
    for eager, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, eager, rtol=1e-4, atol=1e-4 * float(eager.abs().max()))


def test_the_compiled_step_is_refused_where_batches_differ_in_shape() -> None:
    with pytest.raises(ValueError, match="`compile` must be False with `parts` or `neighbors`"):
        Settings(dataset="synthetic", nodes=2000, parts=4, compile=True).resolve()


def test_the_compiled_step_is_refused_where_torch_would_compute_another_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled_loss, "compiles_sums", lambda: False)
    with pytest.raises(ValueError, match=r"`compile` must be False before torch 2\.8, whose compiled sums over edges"):
        Run(Settings(dataset="karate", compile=True).resolve(), load("karate"))


@needs_compiled_sums
def test_compiled_sums_by_index_hold_all_summands() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, index = torch.randn(400, 16, generator=generator), torch.randint(50, (400,), generator=generator)

    def sums(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return rows.new_zeros(50, 16).index_add(0, index, rows)

    torch.testing.assert_close(compiled(sums, (rows, index))(rows, index), sums(rows, index))
