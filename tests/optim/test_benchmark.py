"""The benchmark of the step compares equal steps, and says so if they are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hypersst.experiments.benchmarks import optimizer_step
from hypersst.experiments.benchmarks.optimizer_step import Settings


def test_a_record_holds_ratios_and_differences_of_every_count(tmp_path: Path) -> None:
    output = tmp_path / "new" / "record.json"
    settings = Settings(counts=(4, 8), size=3, rounds=2, steps=1, warmup=0, checked=3, output=output)
    record = optimizer_step.run(settings)
    assert json.loads(output.read_text()) == json.loads(json.dumps(record))
    assert [case["parameters"] for case in record["cases"]] == [4, 8]
    for case in record["cases"]:
        assert case["geoopt"]["ratio"] > 0
        assert 0 <= case["differences"]["float64"] < 1e-12
    assert optimizer_step.markdown_table(output).count("\n") == 3


def test_steps_that_differ_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypersst.optim.riemannian_adam.bias_correction", lambda beta, count, dtype: 1.0)
    with pytest.raises(RuntimeError, match=r"The steps of 4 parameters in torch\.float64 differ from geoopt's by "):
        optimizer_step.difference(4, Settings(size=3, checked=2), torch.float64)


def test_points_and_gradients_of_all_sides_are_the_same() -> None:
    mine, theirs = (optimizer_step.parameters(8, Settings(size=3), foreign=foreign) for foreign in (False, True))
    for p, q in zip(mine, theirs, strict=True):
        assert torch.equal(p.as_subclass(torch.Tensor), q.as_subclass(torch.Tensor))
        assert torch.equal(p.grad, q.grad)
