"""Tables and pages of synthetic records say what the records say, and nothing where there is nothing to say."""

import html.parser
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypersst.experiments import grids
from hypersst.experiments.cli import main
from hypersst.experiments.records import Record, append_record
from hypersst.experiments.report import markdown_table, tables
from hypersst.experiments.reports.inserted import inserted, reported_grids
from hypersst.experiments.reports.pages import page, results_sections
from hypersst.experiments.reports.rows import Grid
from hypersst.experiments.reports.table import Cell, Table
from hypersst.experiments.settings import Settings

# Means of F1 and of both link scores, by method and rank.
MEANS = {"full": 0.9, "lora": 0.5, "relora": 0.55, "galore": 0.7, "refactor": 0.75, "sst": 0.8}


def _record(test: dict[str, float], *, fields: dict[str, Any] | None = None, **settings: Any) -> Record:
    resolved = Settings(**settings).resolve()
    trains = 23_000 if resolved.method in ("full", "galore") else 1_500 * int(resolved.rank)
    return Record(
        **{
            "settings": resolved.to_dict(),
            "versions": {"torch": "2", "commit": "abc"},
            "device": "a processor",
            "threads": 1,
            "data": f"{resolved.dataset}, {resolved.task}",
            "validation": test,
            "test": test,
            "best_epoch": 1,
            "epochs": 100,
            "seconds": 10.0 + resolved.seed,
            "peak_memory": 400_000_000,
            "trainable": trains,
            "stored": 24_000,
            **(fields or {}),
        }
    )


def _hgnn(seeds: int = 4) -> Iterator[Record]:
    """A grid like that of the SST paper's graphs: full rank is below LoRA on Disease's nodes."""
    draw = random.Random(0)
    for split, dataset, task in (
        (split, dataset, task)
        for split in ("hgcn", "clean")
        for dataset in ("airport", "cora", "disease", "pubmed")
        for task in ("nc", "lp")
    ):
        for method, mean in MEANS.items():
            for rank in (1,) if method == "full" else (1, 2):
                for seed in range(seeds):
                    if (dataset, task, method) == ("disease", "nc", "full"):
                        mean = 0.3
                    score = mean + 0.02 * rank + draw.gauss(0, 0.005)
                    keys = ("f1",) if task == "nc" else ("roc_auc", "ap", "f1")
                    yield _record(
                        {key: score + 0.01 * place for place, key in enumerate(keys)},
                        dataset=dataset, task=task, split=split, method=method, rank=rank, seed=seed,
                    )  # fmt: skip


@pytest.fixture(scope="module")
def hgnn() -> list[Record]:
    return list(_hgnn())


def _cells(table: Table, name: str) -> dict[str, Cell]:
    [row] = [row for row in table.rows if row[0].text == name]
    return dict(zip(table.header, row, strict=True))


def _by_title(records: list[Record]) -> dict[str, Table]:
    return {table.title: table for table in tables(records)}


def test_a_grid_of_data_sets_has_a_table_for_each_task_split_and_score(hgnn: list[Record]) -> None:
    titles = list(_by_title(hgnn))
    splits = ("hgcn", "clean")
    expected = [
        f"{task}, split {split}: test {score}"
        for split in splits
        for task, score in (
            ("Node classification", "F1"),
            ("Link prediction", "ROC-AUC"),
            ("Link prediction", "AP"),
        )
    ]
    assert titles[:6] == expected
    assert titles[6:12] == [title.replace(": test ", ": gap cut of test ") + ", %" for title in expected]
    assert len(titles[12:]) == 4
    assert all(title.endswith("cost of a run") for title in titles[12:])


def test_a_score_table_has_methods_by_data_sets_with_the_best_marked(hgnn: list[Record]) -> None:
    table = _by_title(hgnn)["Node classification, split hgcn: test F1"]
    assert table.header == ["method", "airport", "cora", "disease", "pubmed", "seeds"]
    assert len(table.rows) == 1 + 2 * 5
    scores = [
        100 * record.test["f1"]
        for record in hgnn
        if (record.settings["dataset"], record.settings["task"], record.settings["split"]) == ("cora", "nc", "hgcn")
        and (record.settings["method"], record.settings["rank"]) == ("sst", 2)
    ]
    best = _cells(table, "sst, rank 2")
    assert best["cora"].text == f"{np.mean(scores):.1f} ± {np.std(scores, ddof=1):.1f}"
    assert best["seeds"].text == "4"
    assert [best[name].bold for name in ("airport", "cora", "disease", "pubmed")] == [True] * 4
    full = _cells(table, "full")
    assert [full[name].italic for name in ("airport", "cora", "disease", "pubmed")] == [True, True, False, True]
    assert best["disease"].italic
    assert not any(cell.bold for cell in full.values())
    assert re.search(r"\| sst, rank 2 \|( \*{2,3}[\d.]+ ± [\d.]+\*{2,3} \|){4} 4 \|", table.markdown())


def test_a_cell_with_fewer_seeds_than_others_says_so(hgnn: list[Record]) -> None:
    def lacks(record: Record) -> bool:
        settings = record.settings
        return (settings["method"], settings["dataset"], settings["seed"]) == ("sst", "cora", 3)

    cora = {row[0].text: row[2].text for row in tables([r for r in hgnn if not lacks(r)])[0].rows}
    told = {name for name, text in cora.items() if text.endswith(" (3 seeds)")}
    assert told == {name for name in cora if name.startswith("sst")} != set()


def test_equal_digits_are_marked_alike() -> None:
    records = [
        _record({"f1": score}, dataset=dataset, method=method)
        for dataset in ("cora", "pubmed")
        for method, score in (("full", 0.9), ("lora", 0.80001), ("sst", 0.80002), ("relora", 0.7))
    ]
    column = [row[1] for row in _by_title(records)["Node classification, split clean: test F1"].rows]
    assert [cell.bold for cell in column] == [False, True, True, False]
    assert [cell.italic for cell in column] == [True, False, False, False]


def test_gap_cuts_have_intervals_a_mean_and_a_reason_where_there_is_none(hgnn: list[Record]) -> None:
    table = _by_title(hgnn)["Node classification, split hgcn: gap cut of test F1, %"]
    assert [row[0].text.split(",")[0] for row in table.rows] == ["galore"] * 2 + ["refactor"] * 2 + ["sst"] * 2
    cells = _cells(table, "sst, rank 1")
    assert cells["disease"].text == "undefined: full ≤ relora"
    found = re.fullmatch(r"([\d.]+) \(([\d.]+) to ([\d.]+)\), base relora", cells["cora"].text)
    assert found
    value, low, high = map(float, found.groups())
    # (0.8 - 0.55) / (0.9 - 0.55), up to the noise of 4 seeds of deviation 0.005.
    assert value == pytest.approx(71.4, abs=3.0)
    assert low < value < high
    shown = [float(cells[name].text.split()[0]) for name in ("airport", "cora", "pubmed")]
    mean = cells["mean"].text
    assert float(mean.split()[0]) == pytest.approx(np.mean(shown), abs=0.11)
    assert mean.endswith("of 3 of 4")


def test_the_base_is_that_of_the_same_rank() -> None:
    records = [
        _record({"f1": score}, dataset="cora", method=method, rank=rank, seed=seed)
        for method, rank, score in (
            ("full", 1, 1.0),
            ("lora", 1, 0.2),
            ("lora", 2, 0.6),
            ("sst", 1, 0.8),
            ("sst", 2, 0.8),
        )
        for seed in range(2)
    ]
    table = _by_title(records)["Node classification, split clean: gap cut of test F1, %"]
    assert [row[1].text for row in table.rows] == ["75.0 (75.0 to 75.0), base lora", "50.0 (50.0 to 50.0), base lora"]
    without = [record for record in records if record.settings["method"] != "full"]
    assert not [title for title in _by_title(without) if "gap cut" in title]


def test_costs_are_means_over_seeds(hgnn: list[Record]) -> None:
    table = _by_title(hgnn)["Link prediction, split clean: cost of a run"]
    [row] = [row for row in table.rows if [cell.text for cell in row[:2]] == ["pubmed", "sst, rank 2"]]
    assert [cell.text for cell in row[2:]] == ["3,000", "24,000", "100 ± 0", "11.5 ± 1.3", "400 ± 0", "4"]
    assert table.note.endswith("a processor, threads: 1.")


def test_models_have_rows_of_their_own_and_their_own_rivals() -> None:
    records = [
        _record({"f1": score}, dataset="cora", model=model, method=method)
        for model, method, score in (
            ("hybonet", "full", 0.8),
            ("gcn", "full", 0.9),
            ("hybonet", "lora", 0.4),
            ("hybonet", "sst", 0.6),
            ("gcn", "sst", 0.8),
        )
    ]
    found = _by_title(records)
    table = found["Node classification, split clean: test F1"]
    assert [row[0].text for row in table.rows][:2] == ["hybonet, full", "gcn, full"]
    assert _cells(table, "gcn, full")["cora"].italic
    assert [row[1].text for row in found["Node classification, split clean: gap cut of test F1, %"].rows] == [
        "50.0 (one seed), base lora",
        "no base",
    ]


def test_departures_from_recipes_name_rows_only_where_they_tell_rows_apart() -> None:
    tuned = [
        _record({"f1": 0.8}, dataset=dataset, method=method, lr=lr)
        for dataset, lr in (("cora", 0.123), ("pubmed", None))
        for method in ("full", "sst")
    ]
    table = _by_title(tuned)["Node classification, split clean: test F1"]
    assert [row[0].text for row in table.rows] == ["full", "sst, rank 1"]
    assert "Departures from the recipes: cora lr 0.123" in table.note
    ablation = [
        _record({"f1": 0.8}, dataset=dataset, method="sst", selection=selection)
        for dataset in ("cora", "pubmed")
        for selection in (None, "top")
    ]
    table = _by_title(ablation)["Node classification, split clean: test F1"]
    assert [row[0].text for row in table.rows] == ["sst, rank 1", "sst, rank 1, selection top"]


def test_one_data_set_keeps_the_table_with_both_tasks_side_by_side() -> None:
    records = [
        _record({"f1": 0.8} if task == "nc" else {"roc_auc": 0.9, "ap": 0.91}, dataset="cora", task=task)
        for task in ("nc", "lp")
    ]
    first = tables(records)[0]
    assert first.markdown() == markdown_table(records)
    assert first.markdown().splitlines()[2] == "| full | 80.0 | 90.0 | 91.0 | 23,000 | 1 |"


def test_records_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two of hybonet sst, rank 1 on cora nc have seed 0"):
        Grid([_record({"f1": 0.8}, dataset="cora", method="sst", split_seed=seed) for seed in (0, 1)])
    embedded = _record({"f1": 0.8}, dataset="cora")
    embedded.settings["task"] = "embed"
    with pytest.raises(ValueError, match="`records` must be of tasks nc, lp, got 'embed'"):
        Grid([embedded])


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="`rows` must have 2 cells each, got 1"):
        Table("", ["a", "b"], [[Cell("x")]])


def test_tables_escape_what_would_end_a_cell() -> None:
    table = Table("a < b", ["x|y"], [[Cell("<i>|", bold=True)]], "p & q")
    assert table.markdown().splitlines()[2] == r"| **<i>\|** |"
    assert "<strong>&lt;i&gt;|</strong>" in table.html()
    assert "a &lt; b" in table.html()
    assert "p &amp; q" in table.html()


class _Checker(html.parser.HTMLParser):
    """Open tags, identifiers and references of a page."""

    VOID = frozenset({"meta", "br", "img", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "xlink:href", "src"):
                self.references.append(str(value))
            self.references += [f"#{one}" for one in re.findall(r"url\(#([^)]+)\)", str(value))]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_page(text: str) -> _Checker:
    """Well-formed, identifiers unique, and nothing outside it is referred to."""
    checker = _Checker()
    checker.feed(text)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    assert set(checker.references) <= {f"#{one}" for one in checker.ids}
    assert "<script" not in text
    assert "@import" not in text
    return checker


def test_a_page_holds_all_tables_and_a_picture_for_each_column_and_score(hgnn: list[Record]) -> None:
    some = [record for record in hgnn if record.settings["dataset"] in ("cora", "airport")]
    found = tables(some)
    text = page("a & b", results_sections(some, found, note="3 runs are missing"))
    checker = check_page(text)
    assert checker.ids
    assert text.count("<table>") == len(found)
    assert text.count("<svg ") == 2 * 2 * 3
    assert "<title>a &amp; b</title>" in text
    assert "3 runs are missing" in text
    assert "prefers-color-scheme: dark" in text
    # Every colour of a picture follows the theme.
    pictures = "".join(re.findall(r"<svg .*?</svg>", text, re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", pictures)) == set()
    assert text == page("a & b", results_sections(some, found, note="3 runs are missing"))


def test_the_command_prints_tables_and_writes_the_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for number, run in enumerate(grids.grid("cora")):
        test = {"f1": 0.5 + 0.01 * number} if run.task == "nc" else {"roc_auc": 0.9, "ap": 0.9}
        record = _record(test, dataset="cora", task=run.task, method=run.method, rank=run.rank, seed=run.seed)
        record.settings.update(run.to_dict())
        append_record(tmp_path / "cora.jsonl", record)
    out = tmp_path / "folder" / "cora.html"
    assert main(["report", "cora", "--results", str(tmp_path), "--html", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "**Node classification, split clean: gap cut of test F1, %**" in printed
    assert "undefined: full ≤ lora" in printed
    assert f"written to {out}" in printed
    check_page(out.read_text())


def test_tables_are_put_where_a_page_keeps_places_for_them(hgnn: list[Record]) -> None:
    found = tables(hgnn)
    one, other = found[0].title, found[1].title
    text = (
        f"before\n<!-- report: hgnn: {other} -->\nold\n<!-- end -->\nbetween\n"
        "<!-- report: cora -->\nkept\n<!-- end -->\n<!-- report: hgnn -->\n<!-- end -->\nafter\n"
    )
    made = inserted(text, "hgnn", found, "A note.")
    assert made.startswith(f"before\n<!-- report: hgnn: {other} -->\n{found[1].markdown()}\n<!-- end -->\nbetween\n")
    assert "<!-- report: cora -->\nkept\n<!-- end -->" in made
    assert made.index(f"**{one}**") < made.index(f"**{other}**") < made.index("A note.\n<!-- end -->\nafter\n")
    assert inserted(made, "hgnn", found, "A note.") == made
    assert reported_grids(made) == ["hgnn", "cora"]


def test_pages_without_a_place_or_with_one_for_no_table_are_left_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "page.md"
    run = next(run for run in grids.grid("cora") if run.task == "nc")
    append_record(tmp_path / "cora.jsonl", _record({"f1": 0.5}, fields={"settings": run.to_dict()}))
    for text, message in (
        ("nothing", "`into` must have a line `<!-- report: cora -->`"),
        (
            "<!-- report: cora -->\n<!-- report: other -->\n<!-- end -->",
            "`into` must have a line `<!-- report: cora -->`",
        ),
        ("<!-- report: cora: Scores -->\n<!-- end -->", "`into` must be one of Test scores"),
    ):
        file.write_text(text)
        assert main(["report", "cora", "--into", str(file), "--results", str(tmp_path)]) == 2
        assert message in capsys.readouterr().err
        assert file.read_text() == text


def test_a_page_without_a_grid_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["report", "--trace", str(tmp_path), "--into", str(tmp_path / "page.md")]) == 2
    assert "`grid` must be the name of the table that `into` is to hold" in capsys.readouterr().err


def test_a_report_of_nothing_and_of_no_trace_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["report"]) == 2
    assert "`grid` must be the name of a table, or `trace` name folders" in capsys.readouterr().err
    assert main(["report", "--trace", str(tmp_path)]) == 2
    assert "`trace` must name folders with a trace.npz, but" in capsys.readouterr().err
    (tmp_path / "trace.npz").write_bytes(b"none")
    assert main(["report", "--trace", str(tmp_path)]) == 2
    assert "`trace` must name traces of format 1, but" in capsys.readouterr().err
