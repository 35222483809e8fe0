"""Runs on texts by one process and by several: the same weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from distributed_cases import spawn, train_texts

from hypersst.experiments.texts.settings import TextSettings

WORDS = ["eins", "zwei", "drei", "vier", "acht"], ["one", "two", "three", "four", "eight"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Numbers in two languages, the order of the words turned round."""
    folder, generator = tmp_path_factory.mktemp("texts"), torch.Generator().manual_seed(0)
    rows = [torch.randint(5, (int(n),), generator=generator).tolist() for n in torch.arange(1200) % 5 + 1]
    paths = folder / "numbers.de", folder / "numbers.en"
    for path, words, way in zip(paths, WORDS, (1, -1), strict=True):
        path.write_text("".join(" ".join(words[i] for i in row[::way]) + "\n" for row in rows))
    return paths


def _settings(files: tuple[Path, Path], model: str, **changes: Any) -> TextSettings:
    options: dict[str, Any] = {"dataset": str(files[0]), "model": model, "method": "sst", "rank": 2}
    options |= {"dim": 8, "heads": 2, "layers": 1, "feedforward": 16, "tokens": 256, "length": 12, "dropout": 0.0}
    options |= {"steps": 50, "eval_every": 25, "lr_warmup": 5, "average": 2, "grad_clip": 0.5}
    # A small rate of the singular values, since a clamped one at 0 has any singular vectors, as rounding wants it.
    options |= {"lr": 1e-4, "vector_lr": 1e-2}
    # Draws at steps 0, 20 and 40, a decomposition at 40.
    options |= {"steps_per_iteration": 20, "warmup_steps": 2, "decomposition": "2"}
    options |= {"target": str(files[1]), "vocabulary": 30} if "transformer" in model else {"vocabulary": 18}
    return TextSettings(**{**options, **changes})


def _load(path: Path, rank: int = 0) -> dict[str, Any]:
    return torch.load(path.with_name(f"{path.name}-{rank}.pt"), weights_only=True)


def _assert_close(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in one["plain"].items():
        torch.testing.assert_close(other["plain"][name], value, rtol=0, atol=1e-5, msg=name)
    assert other["perplexity"] == pytest.approx(one["perplexity"], rel=1e-5)
    assert other["epoch"] == one["epoch"]


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("transformer", {}),
        # Its layers begin with a column of zeros, and so with a singular value of 0.
        ("lorentz-transformer", {}),
        ("llama", {"accumulate": 2, "tokens": 264}),
        ("transformer", {"method": "galore"}),
    ],
    ids=["transformer", "lorentz-transformer", "llama-accumulated", "transformer-galore"],
)
def test_two_processes_train_what_one_would(model, changes, files, tmp_path):
    settings = _settings(files, model, **changes)
    assert spawn(train_texts, 1, settings, tmp_path / "one") == [0]
    assert spawn(train_texts, 2, settings, tmp_path / "two") == [0, 0]
    first, second = (_load(tmp_path / "two", rank) for rank in range(2))
    one = _load(tmp_path / "one")
    _assert_close(one, first)
    assert all(torch.equal(value, second["model"][name]) for name, value in first["model"].items())
    assert second["perplexity"] == first["perplexity"]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 4)])
def test_a_killed_run_goes_on_in_another_number_of_processes(before, after, files, tmp_path):
    settings = _settings(files, "transformer", steps=24, eval_every=8, steps_per_iteration=5, vectors="sphere")
    assert spawn(train_texts, 1, settings, tmp_path / "unbroken") == [0]
    kept = tmp_path / "checkpoint.pt"
    assert spawn(train_texts, before, settings, tmp_path / "killed", kept, None, 14) == [-9] * before
    saved = torch.load(kept, weights_only=True)
    assert saved["steps"] == 13
    assert saved["batches"]["step"] > 0  # within an epoch
    assert spawn(train_texts, after, settings, tmp_path / "resumed", None, kept) == [0] * after
    _assert_close(_load(tmp_path / "unbroken"), _load(tmp_path / "resumed"))


def test_dropout_resumes_bit_for_bit_in_the_same_number_of_processes(files, tmp_path):
    settings = _settings(files, "transformer", steps=12, eval_every=6, steps_per_iteration=5, dropout=0.2)
    assert spawn(train_texts, 2, settings, tmp_path / "unbroken") == [0, 0]
    kept = tmp_path / "checkpoint.pt"
    assert spawn(train_texts, 2, settings, tmp_path / "killed", kept, None, 8) == [-9, -9]
    assert spawn(train_texts, 2, settings, tmp_path / "resumed", None, kept) == [0, 0]
    unbroken, resumed = _load(tmp_path / "unbroken"), _load(tmp_path / "resumed", 1)
    assert all(torch.equal(value, resumed["model"][name]) for name, value in unbroken["model"].items())
