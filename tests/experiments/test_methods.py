"""Every method and ablation is reached from the settings; records and checkpoints from before keep their meaning."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from hypersst.datasets import load
from hypersst.experiments.bench import failed, missing, recorded
from hypersst.experiments.checkpoint import load_checkpoint, save_checkpoint
from hypersst.experiments.cli import main
from hypersst.experiments.methods import METHODS, RESETS
from hypersst.experiments.minibatch_run import run_for
from hypersst.experiments.records import Record, append_record, read_records
from hypersst.experiments.report import markdown_table
from hypersst.experiments.run import Run
from hypersst.experiments.settings import LATER, Settings
from hypersst.experiments.training import train
from hypersst.lowrank import GaLore, Refactor, low_rank_weights
from hypersst.spectral import SSTSampler, spectral_weights


def _run(**changes: object) -> Run:
    return Run(Settings(**{"epochs": 3, "model": "gcn", **changes}).resolve(), load("disease-tree"))


def test_the_methods_are_these() -> None:
    assert sorted(METHODS) == ["full", "galore", "lora", "refactor", "relora", "sst"]


def test_galore_takes_its_settings_and_every_weight_trains() -> None:
    run = _run(method="galore", rank=2, steps_per_iteration=7, galore_scale=0.5)
    clock = run.trainer.clock
    assert isinstance(clock, GaLore)
    assert (clock.update_gap, clock.scale) == (7, 0.5)
    assert run.record().trainable == run.record().stored == _run(method="full").record().trainable
    run.step()
    shapes = {tuple(state["exp_avg"].shape) for state in run.trainer.optimizer.state.values()}
    assert {(2, 16), (11, 2)} & shapes


def test_refactor_takes_its_settings_and_stores_nothing_beside_its_factors() -> None:
    run = _run(method="refactor", rank=2, steps_per_iteration=7, warmup_steps=3)
    clock = run.trainer.clock
    assert isinstance(clock, Refactor)
    assert (clock.steps_per_restart, clock.warmup_steps) == (7, 3)
    assert run.record().trainable == run.record().stored < _run(method="full").record().trainable
    assert {w.low_rank.rank for w in low_rank_weights(run.model)} == {2}


@pytest.mark.parametrize("method", ["galore", "refactor", "relora"])
def test_the_published_gap_is_where_the_recipes_begin(method: str) -> None:
    assert Settings(method=method).resolve().steps_per_iteration == 200
    assert Settings(method=method).resolve().galore_scale == 0.25


def test_ablations_of_sst_reach_model_and_sampler() -> None:
    run = _run(method="sst", vectors="stiefel", factors="random", sigma="active", reset="none", warmup_steps=0)
    clock = run.trainer.clock
    assert isinstance(clock, SSTSampler)
    assert (clock.sigma, clock.reset_sigma, clock.reset_vectors, clock.warmup_steps) == ("active", False, False, 0)
    assert {(w.spectral.vectors, w.spectral.factors) for w in spectral_weights(run.model)} == {("stiefel", "random")}
    found = {name: (flags["reset_vectors"], flags["reset_sigma"]) for name, flags in RESETS.items()}
    assert found == {"all": (True, True), "vectors": (True, False), "none": (False, False)}


def test_each_setting_of_an_ablation_changes_the_run() -> None:
    def end(**changes: object) -> torch.Tensor:
        run = _run(method="sst", steps_per_iteration=3, warmup_steps=0, rank=2, **changes)
        for _ in range(8):
            loss = run.step()
        return loss

    usual = end()
    for change in (
        {"vectors": "stiefel"},
        {"vectors": "polar"},
        {"factors": "random"},
        {"sigma": "active"},
        {"reset": "none"},
    ):
        assert end(**change) != usual, change
    assert end(reset="vectors", decomposition="never") != end(decomposition="never")


NEW = [
    {"method": "galore"},
    {"method": "refactor", "rank": 2},
    {"method": "sst", "vectors": "stiefel", "rank": 2},
    {"method": "sst", "vectors": "polar"},
    {"method": "sst", "sigma": "active", "reset": "none"},
]


@pytest.mark.parametrize("model", ["hybonet", "hgcn", "gcn", "mlp"])
@pytest.mark.parametrize("task", ["nc", "lp"])
@pytest.mark.parametrize("changes", NEW, ids=str)
def test_every_model_and_task_lowers_its_loss(model: str, task: str, changes: dict[str, object]) -> None:
    usual = {"epochs": 60, "lr": 0.02, "dropout": 0.0, "steps_per_iteration": 4, "warmup_steps": 2, "galore_scale": 1.0}
    run = Run(Settings(model=model, task=task, **usual, **changes).resolve(), load("disease-tree", task=task))
    first = torch.stack([run.step() for _ in range(5)]).mean()
    for _ in range(50):
        run.step()
    assert torch.stack([run.step() for _ in range(5)]).mean() < first


@pytest.mark.parametrize("parts", [1, 6])
@pytest.mark.parametrize("cut", [3, 4])
@pytest.mark.parametrize("changes", [*NEW, {"method": "sst", "factors": "random"}], ids=str)
def test_a_run_continues_bit_for_bit_from_its_checkpoint(
    changes: dict[str, object], cut: int, parts: int, tmp_path: Path
) -> None:
    settings = Settings(dropout=0.2, steps_per_iteration=4, warmup_steps=2, parts=parts, **changes).resolve()
    path, data = tmp_path / "c.pt", load("disease-tree")
    with torch.random.fork_rng():
        whole = run_for(settings, data)
        for step in range(cut + 6):
            if step == cut:
                save_checkpoint(path, whole.state_dict())
            whole.step()
        resumed = run_for(settings, data)
        resumed.step()  # whatever it did before is forgotten
        resumed.load_state_dict(load_checkpoint(path))
        for _ in range(6):
            resumed.step()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reset", "vector"], "`reset` must be one of all, none, vectors, got 'vector'; did you mean vectors?"),
        (["--sigma", "some"], "`sigma` must be one of all, active, got 'some'"),
        (["--factors", "qr"], "`factors` must be one of svd, random, got 'qr'"),
        (["--vectors", "grassmann"], "`vectors` must be one of sphere, ambient, stiefel, polar, got 'grassmann'"),
        (["--method", "galore", "--galore-scale", "0"], "`scale` must be positive, got 0.0"),
        (["--method", "galore", "--steps-per-iteration", "0"], "`update_gap` must be at least 1, got 0"),
        (["--method", "refactor", "--steps-per-iteration", "0"], "`steps_per_restart` must be at least 1, got 0"),
    ],
)
def test_the_command_refuses_bad_settings_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--method", "sst", *arguments]) == 2
    assert capsys.readouterr().err == f"hypersst: error: {message}{'' if message[-1] == '?' else '.'}\n"


def test_the_command_freezes_them_in_its_record(tmp_path: Path) -> None:
    chosen = {"method": "sst", "vectors": "stiefel", "factors": "random", "sigma": "active", "reset": "none"}
    arguments = [word for name, value in chosen.items() for word in (f"--{name}", value)]
    assert main(["train", "--epochs", "2", *arguments, "--output", str(tmp_path)]) == 0
    settings = json.loads((tmp_path / "record.json").read_text())["settings"]
    assert {name: settings[name] for name in chosen} == chosen


# -- what was written before -----------------------------------------------------------------------------------


def _older(settings: Settings) -> dict[str, object]:
    return {name: value for name, value in settings.to_dict().items() if name not in (*LATER, "sigma_lr", "balanced")}


def test_what_came_later_has_the_values_of_the_recipes_that_there_were() -> None:
    resolved = Settings(method="sst").resolve().to_dict()
    assert {name: resolved[name] for name in LATER} == LATER


def test_older_records_are_those_of_the_same_runs_and_stand_in_tables(tmp_path: Path) -> None:
    path, run = tmp_path / "t.jsonl", Settings(method="sst", epochs=2, eval_every=1).resolve()
    record = replace(train(run), settings=_older(run))
    append_record(path, record)
    (tmp_path / "t-failed.jsonl").write_text(json.dumps({"settings": _older(run), "reason": ""}) + "\n")
    assert missing([run], path) == [] and failed([run], path) == [run]
    assert missing([replace(run, reset="none")], path) == [replace(run, reset="none")]
    [found] = recorded([run], path)
    assert found == replace(record, settings=run.to_dict())
    assert "epochs 2, eval_every 1 |" in markdown_table(read_records(path))


def test_a_changed_ablation_stands_in_the_name_of_its_row(tmp_path: Path) -> None:
    run = Settings(method="sst", epochs=1, sigma="active").resolve()
    assert ", sigma active |" in markdown_table([train(run)])


@pytest.mark.parametrize("method", ["full", "sst"])
def test_an_older_checkpoint_is_continued_bit_for_bit(method: str, tmp_path: Path) -> None:
    path, settings = tmp_path / "c.pt", Settings(method=method, epochs=4, eval_every=2, steps_per_iteration=3)
    train(settings, checkpoint=path)
    state = load_checkpoint(path)
    state["settings"] = {
        name: value for name, value in state["settings"].items() if name not in (*LATER, "sigma_lr", "balanced")
    }
    save_checkpoint(path, state)
    longer = replace(settings, epochs=8)
    assert _result(train(longer, resume=path)) == _result(train(longer))


def _result(record: Record) -> dict[str, object]:
    return {name: value for name, value in asdict(record).items() if name not in ("seconds", "peak_memory")}
