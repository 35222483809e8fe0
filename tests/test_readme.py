"""The README's code runs, its commands exist, and its tables are those of the records."""

import json
import re
import shlex
from pathlib import Path

import pytest
import tyro

from hypersst.experiments.bench import missing, recorded
from hypersst.experiments.benchmarks import large_graphs, linear_step, manifold_ops, optimizer_step, speed_tables
from hypersst.experiments.grids import grid
from hypersst.experiments.report import grid_report
from hypersst.experiments.reports.inserted import inserted, reported_grids
from hypersst.experiments.settings import Settings
from hypersst.experiments.texts.commands import concerns_texts
from hypersst.experiments.texts.settings import TextSettings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "experiments" / "results"


DECISIONS = (ROOT / "docs" / "decisions.md").read_text()
PERFORMANCE = (ROOT / "docs" / "performance.md").read_text()
DATASETS = (ROOT / "docs" / "datasets.md").read_text()


def _table(name: str, page: str = README) -> str:
    found = re.search(rf"<!-- table: {name} -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    assert found, f"there is no table {name}"
    return found[1]


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_examples_run(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "README.md", "exec"), {})


def test_it_opens_with_the_two_commands() -> None:
    assert re.match(r"# hypersst\n\n```\nmake demo .*\nmake test .*\n```\n", README)


def test_training_commands_have_settings_that_exist() -> None:
    starts = ("hypersst train ", "hypersst info ")
    lines = [line.split("#")[0] for line in README.splitlines() if line.startswith(starts)]
    assert len(lines) >= 4
    for line in lines:
        _, _, *arguments = shlex.split(line)
        for option in {"--resume", "--seeds"}.intersection(arguments):  # the command's own, no settings
            at = arguments.index(option)
            del arguments[at : at + 2]
        tyro.cli(TextSettings if concerns_texts(arguments) else Settings, args=arguments).resolve()


def test_models_of_texts_lie_where_training_puts_them() -> None:
    trained = [shlex.split(line.split("#")[0]) for line in README.splitlines() if line.startswith("hypersst train ")]
    names = {tyro.cli(TextSettings, args=args[2:]).resolve().run_name for args in trained if concerns_texts(args)}
    used = re.findall(r"^hypersst (?:translate|generate) runs/(.*)/model\.pt", README, re.MULTILINE)
    assert len(used) == 2
    assert names >= set(used)


PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


@pytest.mark.parametrize(
    ("page", "name"), [(page, name) for page in PAGES for name in reported_grids(page.read_text())], ids=str
)
def test_tables_of_grids_are_made_of_the_records(page: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # notes name files as the command does
    _, tables, note = grid_report(name, Path("experiments/results"))
    text = page.read_text()
    assert inserted(text, name, tables, note) == text


def test_there_are_tables_of_grids_that_were_run_whole() -> None:
    assert "cora" in reported_grids(README)
    assert "others" in reported_grids(DATASETS)
    for name in ("cora", "others"):
        assert missing(grid(name), RESULTS / f"{name}.jsonl") == []


def test_the_scores_of_other_links_are_those_of_the_records() -> None:
    links = [r for r in recorded(grid("others"), RESULTS / "others.jsonl") if r.settings["task"] == "lp"]
    said = " and ".join(f"ROC-AUC {100 * r.test['roc_auc']:.1f} ({r.settings['model']})" for r in links)
    assert f"no classes; links: {said}." in DATASETS


def test_the_table_of_step_times_is_made_of_the_record() -> None:
    assert _table("linear_step") == linear_step.markdown_table(RESULTS / "linear_step.json")


def test_the_table_of_optimizer_steps_is_made_of_the_record() -> None:
    table = optimizer_step.markdown_table(RESULTS / "optimizer_step.json")
    assert _table("optimizer_step", DECISIONS) == table


def test_the_table_of_manifold_operations_is_made_of_the_record() -> None:
    assert _table("manifold_ops", DECISIONS) == manifold_ops.markdown_table(RESULTS / "manifold_ops.json")


def test_the_scores_of_the_embedded_tree_are_those_of_the_record() -> None:
    record = json.loads((RESULTS / "mammals.json").read_text())
    scores = record["test"]
    found = re.search(r"mean rank ([\d.]+) and mean\naverage precision ([\d.]+) when", README)
    assert found
    assert found.groups() == (f"{scores['mean_rank']:.2f}", f"{scores['mean_average_precision']:.3f}")
    assert (record["settings"]["dataset"], record["settings"]["dim"]) == ("mammals", 5)
    assert 30 < record["seconds"] < 90


def test_the_tables_of_steps_and_large_graphs_are_made_of_the_records() -> None:
    assert _table("speed", PERFORMANCE) == speed_tables.markdown_table(RESULTS / "speed.json")
    assert _table("large_graphs", PERFORMANCE) == large_graphs.markdown_table(RESULTS / "large_graphs.json")
