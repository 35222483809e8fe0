"""A checkpoint is whole, says whose it is, and survives crashes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hypersst.experiments.checkpoint import CheckpointError, check_same_run, load_checkpoint, save_checkpoint


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "deep" / "c.pt", {"a": torch.arange(3), "settings": {"x": 1.5, "y": None}})
    state = load_checkpoint(tmp_path / "deep" / "c.pt")
    assert state["a"].tolist() == [0, 1, 2]
    assert state["settings"] == {"x": 1.5, "y": None}


def test_a_crash_in_the_middle_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"n": 1})

    def crash(state: Any, file: Any) -> None:
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"n": 2})
    assert load_checkpoint(path)["n"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


@pytest.mark.parametrize("kept", [0, 1, 100])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"a": torch.arange(1000)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"`resume` must be an undamaged checkpoint.*c\.pt"):
        load_checkpoint(path)


def test_a_missing_file_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"`resume` must be a checkpoint file, but .*none\.pt.* is not there"):
        load_checkpoint(tmp_path / "none.pt")
    torch.save({"weights": torch.ones(2)}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="`resume` must be a checkpoint of `hypersst train`"):
        load_checkpoint(tmp_path / "foreign.pt")


def test_a_checkpoint_of_another_model_is_refused_with_both_names() -> None:
    with pytest.raises(CheckpointError, match="`model` is 'hybonet' there and 'hgcn' here"):
        check_same_run({"model": "hybonet", "lr": 0.1, "epochs": 5}, {"model": "hgcn", "lr": 0.1, "epochs": 9})
    check_same_run({"model": "hgcn", "lr": 0.1, "epochs": 5}, {"model": "hgcn", "lr": 0.1, "epochs": 9})
