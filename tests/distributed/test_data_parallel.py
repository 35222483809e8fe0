"""Runs on texts by one process and by several: the same weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed_cases import needs_sharding, spawn, train_texts

from hypersst.experiments.bench import groups
from hypersst.experiments.checkpoint import check_same_run
from hypersst.experiments.processes import Processes
from hypersst.experiments.texts import run as text_run
from hypersst.experiments.texts.data import load_text_data
from hypersst.experiments.texts.settings import TextSettings
from hypersst.experiments.texts.training import train_text

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
        *(
            pytest.param(model, {"sharding": "fsdp2", **changes}, marks=needs_sharding)
            for model, changes in (
                ("transformer", {}),
                ("lorentz-transformer", {}),
                ("llama", {"accumulate": 2, "tokens": 264, "vectors": "sphere"}),
                ("opt", {"method": "lora", "tokens": 264}),
            )
        ),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_two_processes_train_what_one_would(model, changes, files, tmp_path):
    settings = _settings(files, model, **changes)
    assert spawn(train_texts, 1, replace(settings, sharding="ddp"), tmp_path / "one") == [0]
    assert spawn(train_texts, 2, settings, tmp_path / "two") == [0, 0]
    first, second = (_load(tmp_path / "two", rank) for rank in range(2))
    one = _load(tmp_path / "one")
    _assert_close(one, first)
    assert all(torch.equal(value, second["model"][name]) for name, value in first["model"].items())
    assert second["perplexity"] == first["perplexity"]


@pytest.mark.parametrize(
    ("before", "after", "sharding"),
    [
        (2, 1, "ddp"),
        (1, 4, "ddp"),
        pytest.param(2, 1, "fsdp2", marks=needs_sharding),
        pytest.param(1, 2, "fsdp2", marks=needs_sharding),
    ],
)
def test_a_killed_run_goes_on_in_another_number_of_processes(before, after, sharding, files, tmp_path):
    settings = _settings(files, "transformer", steps=24, eval_every=8, steps_per_iteration=5, vectors="sphere")
    first, second = (replace(settings, sharding=sharding if world > 1 else "ddp") for world in (before, after))
    assert spawn(train_texts, 1, settings, tmp_path / "unbroken") == [0]
    kept = tmp_path / "checkpoint.pt"
    assert spawn(train_texts, before, first, tmp_path / "killed", kept, None, 14) == [-9] * before
    saved = torch.load(kept, weights_only=True)
    assert saved["steps"] == 13
    assert saved["batches"]["step"] > 0  # within an epoch
    assert spawn(train_texts, after, second, tmp_path / "resumed", None, kept) == [0] * after
    _assert_close(_load(tmp_path / "unbroken"), _load(tmp_path / "resumed"))


def test_dropout_resumes_bit_for_bit_in_the_same_number_of_processes(files, tmp_path):
    settings = _settings(files, "transformer", steps=12, eval_every=6, steps_per_iteration=5, dropout=0.2)
    assert spawn(train_texts, 2, settings, tmp_path / "unbroken") == [0, 0]
    kept = tmp_path / "checkpoint.pt"
    assert spawn(train_texts, 2, settings, tmp_path / "killed", kept, None, 8) == [-9, -9]
    assert spawn(train_texts, 2, settings, tmp_path / "resumed", None, kept) == [0, 0]
    unbroken, resumed = _load(tmp_path / "unbroken"), _load(tmp_path / "resumed", 1)
    assert all(torch.equal(value, resumed["model"][name]) for name, value in unbroken["model"].items())


def test_what_is_not_sharded_is_refused(files):
    for changes, reason in (
        (
            {"method": "galore"},
            "`sharding` must be ddp with `method` galore, .* got 'fsdp2': that is for full, sst, lora",
        ),
        ({"sharding": "fsdp"}, "`sharding` must be one of ddp, fsdp2, got 'fsdp'"),
    ):
        with pytest.raises(ValueError, match=reason):
            _settings(files, **{"model": "transformer", "sharding": "fsdp2", **changes}).resolve()


def test_a_single_process_refuses_to_share_out_its_weights(files):
    settings = _settings(files, "transformer", sharding="fsdp2").resolve()
    with pytest.raises(ValueError, match="`sharding` must be ddp for a single process, got 'fsdp2': start several"):
        train_text(settings)


@pytest.mark.parametrize(
    ("lacking", "changes", "where"),
    [
        ("can_shard_on_cpu", {}, r"on a CPU before torch 2\.7"),
        ("can_shard_integers", {"storage": "int8"}, r"with `storage` int8 before torch 2\.11"),
    ],
)
def test_what_an_older_torch_cannot_shard_is_refused(lacking, changes, where, files, monkeypatch):
    monkeypatch.setattr(text_run, "can_shard_on_cpu", lambda: True)
    monkeypatch.setattr(text_run, lacking, lambda: False)
    settings = _settings(files, "transformer", sharding="fsdp2", **changes).resolve()
    data = load_text_data(settings)
    with pytest.raises(ValueError, match=f"`sharding` must be ddp {where}, got 'fsdp2'"):
        text_run.TextRun(settings, data, processes=Processes(0, 2))


def test_who_holds_the_weights_makes_no_other_run(files):
    alone, sharded = (_settings(files, "transformer", sharding=way).resolve() for way in ("ddp", "fsdp2"))
    assert "sharding" not in alone.to_dict()
    check_same_run(sharded.to_dict(), alone.to_dict())
    check_same_run(alone.to_dict(), sharded.to_dict())
    assert groups([alone, sharded], 1) == [[alone], [sharded]]
    assert len(groups([alone, sharded], 2)) == 1
