"""Grids resume where they were stopped, and tables say what their records say."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hypersst.datasets import DATASETS
from hypersst.errors import NonFiniteError
from hypersst.experiments import bench, grids
from hypersst.experiments.bench import _checkpoint, failed, groups, missing, recorded, run_grid
from hypersst.experiments.cli import main
from hypersst.experiments.records import Record, append_record, read_records
from hypersst.experiments.report import markdown_table
from hypersst.experiments.settings import ResolvedSettings, Settings
from hypersst.experiments.training import train_seeds


def _runs(count: int = 3) -> list:
    return [Settings(epochs=2, eval_every=1, seed=seed).resolve() for seed in range(count)]


def _record(settings: dict, **test: float) -> Record:
    return Record(
        settings=settings,
        versions={},
        device="",
        threads=1,
        data="",
        validation={},
        test=test,
        best_epoch=1,
        epochs=2,
        seconds=1.0,
        peak_memory=1,
        trainable=1234,
        stored=5678,
    )


@pytest.mark.slow
def test_a_grid_makes_only_the_records_that_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    runs = _runs()
    append_record(path, _record(runs[1].to_dict(), f1=0.25))
    left: list[int] = []
    run_grid(runs, path, jobs=2, checkpoints=tmp_path, done=lambda record, n: left.append(n))
    assert left == [1, 0]
    assert missing(runs, path) == []
    found = recorded(runs, path)
    assert [r.settings["seed"] for r in found] == [0, 1, 2]
    assert found[1].test == {"f1": 0.25}
    run_grid(runs, path, jobs=1, done=lambda record, n: pytest.fail("nothing was missing"))
    assert len(read_records(path)) == 3


def test_later_lines_of_a_table_say_what_differs_from_the_first(tmp_path: Path) -> None:
    path, runs = tmp_path / "t.jsonl", _runs(2)
    one, two = (_record(run.to_dict(), f1=0.5) for run in runs)
    records = [
        replace(one, versions={"torch": "1", "commit": "a"}),
        replace(two, versions={"torch": "2", "commit": "a"}, device="other"),
        replace(two, versions={"torch": "2"}),  # no checkout
        replace(one, versions={"torch": "1", "commit": "a", "python": "3"}),
    ]
    for record in records:
        append_record(path, record)
    assert read_records(path) == records
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[1]["settings"] == {"seed": 1} and lines[1]["versions"] == {"torch": "2"}
    assert lines[1]["device"] == "other" and "device" not in lines[3]
    assert [line.get("as_first", False) for line in lines] == [False, True, False, True]


def test_a_record_of_other_settings_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    (run,) = _runs(1)
    append_record(path, _record(replace(run, lr=0.5).to_dict(), f1=0.9))
    assert missing([run], path) == [run]
    assert recorded([run], path) == []


def test_a_table_has_mean_and_deviation_over_seeds() -> None:
    runs = [
        _record(Settings(dataset="cora", task=task, method=method, seed=seed).resolve().to_dict(), **scores)
        for method, nc in (("full", (0.8, 0.82)), ("sst", (0.7, 0.74)))
        for task in ("nc", "lp")
        for seed in (0, 1)
        for scores in [{"f1": nc[seed]} if task == "nc" else {"roc_auc": 0.9, "ap": 0.91}]
    ]
    header, rule, full, sst = markdown_table(runs).splitlines()
    assert header.startswith("| method | nc: test F1 | lp: test ROC-AUC | lp: test AP |")
    assert rule.count("---") == header.count("|") - 1
    assert full == "| full | 81.0 ± 1.4 | 90.0 ± 0.0 | 91.0 ± 0.0 | 1,234 | 2 |"
    assert sst.startswith("| sst, rank 1 | 72.0 ± 2.8 |")


def test_an_unknown_grid_and_no_jobs_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", "coar"]) == 2
    error = capsys.readouterr().err
    assert (
        "`grid` must be one of cora, hgnn, hgnn-search, geometry, geometry-search, ablation, others, multi30k, "
        "wikitext2, speed, got 'coar'; did you mean cora?" in error
    )
    with pytest.raises(ValueError, match="`jobs` must be at least 1, got 0"):
        run_grid(_runs(1), tmp_path / "t.jsonl", jobs=0)


def test_a_report_says_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["report", "cora", "--results", str(tmp_path)]) == 0
    assert f"{len(grids.grid('cora'))} of 24 runs have no record" in capsys.readouterr().out


def test_a_report_says_what_became_non_finite(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first, second, *_ = grids.grid("cora")
    path = tmp_path / "cora-failed.jsonl"
    path.write_text("".join(json.dumps({"settings": run.to_dict(), "reason": ""}) + "\n" for run in (first, second)))
    assert main(["report", "cora", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "22 of 24 runs have no record" in out
    assert f"became non-finite and has no score, see {path}: cora-nc-hybonet-full-clean (seeds 0, 1)." in out


def test_runs_that_differ_in_their_seeds_alone_are_trained_together() -> None:
    runs = [*_runs(3), replace(_runs(1)[0], lr=0.5), *(replace(run, parts=2) for run in _runs(2))]
    found = [[run.seed for run in group] for group in groups(runs, 2)]
    assert found == [[0, 1], [2], [0], [0], [1]]
    assert sorted(map(repr, (run for group in groups(runs, 2) for run in group))) == sorted(map(repr, runs))


@pytest.mark.slow
def test_seeds_trained_together_have_the_records_of_single_runs(tmp_path: Path) -> None:
    runs = _runs(2)
    for name, together in (("one", 1), ("two", 2)):
        run_grid(runs, tmp_path / name, jobs=1, together=together, checkpoints=tmp_path / "runs")
    one, two = (recorded(runs, tmp_path / name) for name in ("one", "two"))
    assert [record.together for record in two] == [2, 2]
    for single, joint in zip(one, two, strict=True):
        assert single.settings == joint.settings
        assert single.test == pytest.approx(joint.test, abs=1e-3)
    assert not list((tmp_path / "runs").iterdir())  # nothing is under way


@pytest.mark.slow
def test_a_run_that_becomes_non_finite_does_not_stop_the_others(tmp_path: Path) -> None:
    (good,) = _runs(1)
    bad = replace(good, lr=1e30, seed=7)
    with pytest.raises(NonFiniteError, match=r"no record of these runs:\n.*-s7: training became non-finite"):
        run_grid([bad, good], tmp_path / "t.jsonl", jobs=1, checkpoints=tmp_path / "runs")
    assert missing([bad, good], tmp_path / "t.jsonl") == failed([bad, good], tmp_path / "t.jsonl") == [bad]
    run_grid([bad, good], tmp_path / "t.jsonl", jobs=1, checkpoints=tmp_path / "runs")  # nothing is tried again
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_seeds_beside_one_that_becomes_non_finite_are_trained_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = _runs(3)
    usual = bench.train

    def train(settings: ResolvedSettings, **places: Any) -> Record:
        if settings.seed == 1:
            raise NonFiniteError("training became non-finite in epoch 3, first in the loss.")
        return usual(settings, **places)

    def train_seeds(*_: Any, **__: Any) -> list[Record]:
        raise NonFiniteError("training of seed 1 became non-finite in epoch 3, first in the loss.")

    monkeypatch.setattr(bench, "train", train)
    monkeypatch.setattr(bench, "train_seeds", train_seeds)
    records, failures = bench._work(runs, tmp_path, None, "cpu")
    assert [record.settings["seed"] for record in records] == [0, 2]
    assert [failure.run.seed for failure in failures] == [1]


@pytest.mark.slow
def test_a_grid_goes_on_within_a_run_that_was_stopped(tmp_path: Path) -> None:
    runs = [replace(run, epochs=6, patience=6) for run in _runs(2)]
    stopped = train_seeds(replace(runs[0], epochs=3), [0, 1], checkpoint=_checkpoint(runs, tmp_path))
    run_grid(runs, tmp_path / "t.jsonl", jobs=1, checkpoints=tmp_path)
    found = recorded(runs, tmp_path / "t.jsonl")
    assert [record.epochs for record in found] == [6, 6]
    # The time of the first three epochs is in theirs.
    assert all(record.seconds > before.seconds for record, before in zip(found, stopped, strict=True))


def test_whether_a_step_was_compiled_does_not_tell_runs_apart(tmp_path: Path) -> None:
    (run,) = _runs(1)
    append_record(tmp_path / "t.jsonl", _record(replace(run, compile=True).to_dict(), f1=0.9))
    assert missing([run], tmp_path / "t.jsonl") == []
    assert len(recorded([run], tmp_path / "t.jsonl")) == 1


@pytest.mark.parametrize("name", grids.GRIDS)
def test_tables_have_runs_of_settings_that_exist(name: str) -> None:
    runs = grids.grid(name)
    assert runs
    assert len({json.dumps(run.to_dict()) for run in runs}) == len(runs)


def test_every_data_set_has_runs_of_hybonet_and_of_gcn_in_some_table() -> None:
    tables = [run for name in ("hgnn", "geometry", "others") for run in grids.grid(name)]
    found = {(run.dataset, run.model) for run in tables}
    assert found >= {(name, model) for name in DATASETS for model in ("hybonet", "gcn")}
