"""The training command as torchrun starts it."""

import json
from pathlib import Path

import pytest
import torch
from distributed_cases import command, needs_sharding, spawn


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Counting, over and over."""
    path = tmp_path / "counting.txt"
    path.write_text("one two three four five six seven eight\n" * 60)
    return path


def _arguments(text: Path, tokens: int = 96, sharding: str = "ddp") -> list[str]:
    options = ["--vocabulary", "20", "--dim", "8", "--heads", "2", "--layers", "1", "--length", "12"]
    options += ["--tokens", str(tokens), "--steps", "6", "--eval-every", "3", "--lr-warmup", "2"]
    options += ["--method", "sst", "--sharding", sharding, "--output", str(text.parent / "run")]
    return ["train", str(text), "--model", "llama", *options]


def _said(folder: Path, name: str) -> list[str]:
    return [(folder / f"{name}-{rank}").read_text() for rank in range(2)]


@pytest.mark.parametrize("sharding", ["ddp", pytest.param("fsdp2", marks=needs_sharding)])
def test_the_first_process_prints_and_writes(sharding, text, tmp_path):
    assert spawn(command, 2, tmp_path, _arguments(text, sharding=sharding)) == [0, 0]
    first, second = _said(tmp_path, "out")
    assert first.count("validation perplexity") == 1
    assert second == ""
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoint.pt", "model.pt", "record.json"]
    record = json.loads((tmp_path / "run/record.json").read_text())
    assert record["device"].startswith("2 x ")
    assert torch.load(tmp_path / "run/checkpoint.pt", weights_only=True)["steps"] == 6


@pytest.mark.parametrize("sharding", ["ddp", pytest.param("fsdp2", marks=needs_sharding)])
def test_a_loss_of_one_process_that_is_not_finite_stops_all_with_one_message(sharding, text, tmp_path):
    assert spawn(command, 2, tmp_path, _arguments(text, sharding=sharding), True) == [2, 1]
    first, second = _said(tmp_path, "err")
    kept = tmp_path / "run/checkpoint.pt"
    assert first == (
        "hypersst: error: training became non-finite in step 3, first in the gradient of embedding.weight. "
        f"The last good state is in {kept}.\n"
    )
    assert second == ""
    assert torch.load(kept, weights_only=True)["steps"] == 2


def test_rows_that_processes_cannot_share_are_refused(text, tmp_path):
    assert spawn(command, 2, tmp_path, _arguments(text, tokens=36)) == [2, 1]
    first, second = _said(tmp_path, "err")
    assert "`tokens` must fill a multiple of 2 rows of `length` 12, for as many processes, got 36 for 3." in first
    assert second == ""


def test_several_processes_are_for_texts_alone(tmp_path):
    assert spawn(command, 2, tmp_path, ["train", "cora", "--model", "gcn"]) == [2, 2]
    assert "torchrun is for training on texts: start `hypersst train cora --model gcn` without it." in (
        (tmp_path / "err-0").read_text()
    )
