"""The examples of docs/integrations.md run as they stand, and learn."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from hypersst.spectral import spectral_weights

PAGE = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text()
TRANSFORMERS, LIGHTNING = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(code, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names: dict = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(code, "integrations.md", "exec"), names)
    return names


def test_the_example_of_transformers_learns_to_count(tmp_path, monkeypatch):
    names = run(TRANSFORMERS, tmp_path, monkeypatch)
    assert not spectral_weights(names["model"])
    losses = [line["loss"] for line in names["trainer"].state.log_history if "loss" in line]
    assert losses[-1] < 0.3 * losses[0]
    continued = names["plain"].generate(torch.tensor([[5, 6, 7]]), max_new_tokens=5, do_sample=False)
    assert continued.tolist() == [[5, 6, 7, 8, 9, 10, 11, 12]]


def test_the_example_of_lightning_learns_to_roll(tmp_path, monkeypatch):
    names = run(LIGHTNING, tmp_path, monkeypatch)
    assert not spectral_weights(names["model"])
    assert names["trainer"].logged_metrics["sst_coverage"] > 0
    with torch.no_grad():
        error = (names["model"].net(names["x"]) - names["x"].roll(1, dims=1)).square().mean()
    assert error < 0.1  # the targets have variance 1
