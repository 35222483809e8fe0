"""The command line: one clear line for a mistake, a record and a checkpoint for a run."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hypersst.experiments.cli import main

SHORT = ["--epochs", "6", "--eval-every", "2"]


def _error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    return err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["coar"], r"`dataset` must be one of .*, got 'coar'; did you mean cora?"),
        (["--task", "nd"], "`task` must be one of nc, lp, got 'nd'"),
        (["--model", "hybnet"], "got 'hybnet'; did you mean hybonet?"),
        (["--method", "lorra"], "got 'lorra'; did you mean lora, relora?"),
        (["--split", "clear"], "`split` must be one of .*, got 'clear'; did you mean clean?"),
        (["--method", "sst", "--rank", "0"], "`rank` must be at least 1, got 0"),
        (["--method", "sst", "--rank", "-2"], "`rank` must be at least 1, got -2"),
        (["--method", "lora", "--rank", "1.5"], r"`rank` as a fraction must lie in \(0, 1\], got 1.5"),
        (["--method", "sst", "--selection", "tpo"], "got 'tpo'; did you mean top?"),
        (["--method", "sst", "--decomposition", "0"], "`decomposition` must be round, never or a number"),
        (["--method", "sst", "--execution", "fused"], "`execution` must be one of auto, composed, factored"),
        (["--epochs", "0"], "`epochs` must be at least 1, got 0"),
        (["--lr", "-1"], "`lr` must be at least 0.0, got -1.0"),
        (["--dropout", "1.5"], "`dropout` must .*got 1.5"),
        (["--c", "0"], "`c` must be one positive finite number .*got 0.0"),
        (["--activation", "rleu"], "got 'rleu'; did you mean relu"),
        (["--device", "cuda:77"], r"`device` must be one that is there \(.*\), got 'cuda:77'"),
        (["--resume", "none.pt"], "`resume` must be a checkpoint file, but 'none.pt' is not there"),
        (["cora", "--data-dir", "no/such/folder"], "`data_dir` must name an existing folder, got 'no/such/folder'"),
        (["--layers", "1"], "`num_layers` must be at least 2 for node classification"),
    ],
)
def test_a_mistake_gives_one_line_that_names_argument_rule_and_value(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert re.search(message, _error(capsys, "train", *SHORT, "--output", str(tmp_path), *arguments))
    assert list(tmp_path.iterdir()) == []


def test_a_run_prints_one_line_and_leaves_record_and_checkpoint(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["train", *SHORT, "--method", "sst", "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("disease-tree nc hybonet sst rank 1 seed 0: test F1 ")
    assert len(out.splitlines()) == 1
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["settings"]["method"] == "sst"
    assert f"F1 {100 * record['test']['f1']:.2f}" in out
    assert (tmp_path / "checkpoint.pt").exists()


def test_the_run_folder_is_named_after_the_settings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SHORT, "--method", "lora", "--rank", "2", "--seed", "3"]) == 0
    assert (tmp_path / "runs" / "disease-tree-nc-hybonet-lora-r2-clean-s3" / "record.json").exists()


def test_a_checkpoint_of_another_model_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", *SHORT, "--output", str(tmp_path)]) == 0
    capsys.readouterr()
    path = str(tmp_path / "checkpoint.pt")
    err = _error(capsys, "train", *SHORT, "--model", "gcn", "--output", str(tmp_path), "--resume", path)
    assert "`model` is 'hybonet' there and 'gcn' here" in err


def test_ctrl_c_leaves_a_checkpoint_that_the_printed_command_continues(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "hypersst.experiments.cli", "train", "--method", "sst"]
    command += ["--epochs", "100000", "--patience", "100000", "--output", str(tmp_path / "run")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=dict(os.environ))
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    epoch = int(err.split("interrupted after epoch ")[1].split(".")[0])
    assert epoch > 0
    again = err.split("Continue with: hypersst ")[1].split()
    assert again[-2:] == ["--resume", str(checkpoint)]
    again[again.index("--epochs") + 1] = str(epoch + 3)
    assert main(again) == 0
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["epochs"] == epoch + 3


@pytest.mark.parametrize("method", ["full", "sst", "lora", "relora"])
def test_info_prints_versions_device_model_and_report(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--method", method]) == 0
    out = capsys.readouterr().out
    for word in ("torch ", "geoopt ", "cpu: ", "disease-tree, node classification", "HyboNet("):
        assert word in out
    assert ("predicted memory" in out) == (method != "full")
    assert ("SSTSampler(" in out) == (method == "sst")


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.count(".") == 2
