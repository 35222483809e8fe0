"""How many singular values trained networks need."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from compilers import needs_compiled_sums

from hypersst.errors import NonFiniteError
from hypersst.experiments.benchmarks import truncation
from hypersst.experiments.settings import Settings as RunSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> truncation.Settings:
    output = tmp_path_factory.mktemp("truncation") / "truncation.json"
    return truncation.Settings(datasets=("karate",), tasks=("nc",), seeds=2, epochs=2, output=output)


@needs_compiled_sums
def test_a_run_is_made_once_and_more_can_follow(settings: truncation.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = truncation.run(replace(settings, seeds=1))
    assert [(case["method"], case["seed"]) for case in first["cases"]] == [("full", 0), ("sst", 0)]
    both = truncation.run(settings)
    assert both["cases"][:2] == first["cases"]
    assert [(case["method"], case["seed"]) for case in both["cases"][2:]] == [("full", 1), ("sst", 1)]
    for case in both["cases"]:
        assert case["ranks"] == list(range(1, len(case["ranks"]) + 1))
        assert len(case["truncated"]) == len(case["ranks"])
    monkeypatch.delattr(truncation, "train_traced")
    assert truncation.run(settings)["cases"] == both["cases"]
    with pytest.raises(ValueError, match=r"`rank` must be that of the runs in .*, 1, got 2\."):
        truncation.run(replace(settings, rank=2))


def test_table_says_from_which_rank_on_the_share_is_kept(tmp_path: Path) -> None:
    cases = [
        {"dataset": "cora", "task": "lp", "method": "sst", "seed": seed, "ranks": [1, 2, 3], "truncated": scores}
        for seed, scores in enumerate([[0.5, 0.798, 0.8], [0.8, 0.7, 0.8], [0.8, 0.8, 0.8]])
    ]
    path = tmp_path / "record.json"
    truncation.write_benchmark(path, {}, "cpu", cases)
    *_, line = truncation.markdown_table(path).splitlines()
    assert line == "| cora | ROC-AUC | sst | 80.0 | 2 (1, 2, 3) | 3 | 70.0 | 76.6 | 80.0 | 80.0 |"


def test_a_run_that_became_non_finite_is_recorded_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(settings: RunSettings, **_: object) -> None:
        raise NonFiniteError(f"seed {settings.seed} became non-finite.")

    monkeypatch.setattr(truncation, "train_traced", fail)
    path = tmp_path / "record.json"
    settings = truncation.Settings(datasets=("karate",), tasks=("nc",), methods=("sst",), seeds=2, output=path)
    assert [case["reason"] for case in truncation.run(settings)["cases"]] == [
        "seed 0 became non-finite.",
        "seed 1 became non-finite.",
    ]
    *_, line = truncation.markdown_table(path).splitlines()
    assert line == "| karate | F1 | sst | non-finite | non-finite | – | – | – | – | – |"
    good = {"dataset": "karate", "task": "nc", "method": "sst", "seed": 2, "ranks": [1], "truncated": [0.5]}
    truncation.write_benchmark(path, {}, "cpu", [*truncation.run(settings)["cases"], good])
    *_, line = truncation.markdown_table(path).splitlines()
    assert line == "| karate | F1 | sst | 50.0 | 1 (1, non-finite, non-finite) | 1 | 50.0 | 50.0 | 50.0 | 50.0 |"


def test_the_table_of_graphs_is_made_of_the_record() -> None:
    page = (ROOT / "docs" / "graphs.md").read_text()
    found = re.search(r"<!-- table: truncation -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    assert found
    assert found[1] == truncation.markdown_table(ROOT / "experiments" / "results" / "truncation.json")
