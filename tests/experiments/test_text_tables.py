"""Tables of runs on texts, and the grids that they are made of."""

from collections import Counter
from dataclasses import replace

import pytest

from hypersst.experiments.bench import groups
from hypersst.experiments.grids import grid
from hypersst.experiments.records import Record
from hypersst.experiments.reports.text_tables import text_tables
from hypersst.experiments.texts.settings import ResolvedTextSettings, TextSettings


def _record(method: str, seed: int, score: float, *, key: str = "bleu", model: str = "transformer") -> Record:
    dataset = "multi30k" if key == "bleu" else "wikitext2"
    settings = TextSettings(dataset=dataset, model=model, method=method, seed=seed).resolve().to_dict()
    test = {key: score} | ({"chrf": 50.0, "perplexity": 5.0} if key == "bleu" else {})
    sizes = {"best_epoch": 1, "epochs": 4000, "seconds": 10.0, "peak_memory": 1, "trainable": 10, "stored": 20}
    return Record(settings, {}, "processor", 1, "", {"perplexity": 5.0}, test, **sizes)


def test_gap_cuts_are_of_the_better_base() -> None:
    scores = {"full": 40.0, "lora": 30.0, "relora": 32.0, "sst": 38.0, "galore": 28.0}
    records = [_record(method, 0, score) for method, score in scores.items()]
    *_, cuts, _ = text_tables(records)
    assert cuts.title == "Gap cut of test BLEU, %"
    found = {row[0].text: row[1].text for row in cuts.rows}
    assert found["sst, rank dim × 0.125"].startswith("75.0")
    assert found["galore, rank dim × 0.125"].startswith("-50.0")


def test_less_perplexity_is_better() -> None:
    scores = {"full": 20.0, "lora": 40.0, "sst": 25.0}
    records = [_record(method, 0, score, key="perplexity", model="llama") for method, score in scores.items()]
    table, cuts, _ = text_tables(records)
    assert [row[1].bold for row in table.rows] == [False, False, True]
    assert cuts.rows[0][1].text.startswith("75.0")


def test_cells_say_spread_and_what_is_missing() -> None:
    records = [_record("full", 0, 40.0), _record("full", 1, 42.0), _record("sst", 0, 38.0)]
    records.append(_record("full", 0, 41.0, model="lorentz-transformer"))
    table = text_tables(records)[0]
    assert [cell.text for cell in table.rows[0]] == ["full", "41.00 ± 1.41", "41.00 (one seed)"]
    assert [cell.text for cell in table.rows[1]] == ["sst, rank dim × 0.125", "38.00 (one seed)", "–"]
    assert not any(table.title.startswith("Gap cut") for table in text_tables(records))


def test_what_a_computer_without_a_gpu_can_do_comes_first() -> None:
    runs = grid("multi30k")
    assert all(isinstance(run, ResolvedTextSettings) for run in runs)
    first = Counter((run.model, run.dim, run.method) for run in runs[:44])
    assert set(first.values()) == {1, 3}
    assert {dim for _, dim, _ in first} == {64, 128}
    assert all(count == (1 if method in ("relora", "galore") else 3) for (_, _, method), count in first.items())
    assert len(runs) == len(set(runs)) == 2 * 3 * (3 + 2 * 4 * 3)


def test_runs_on_texts_stay_alone() -> None:
    run = grid("wikitext2")[0]
    assert groups([run, replace(run, seed=5)], together=10) == [[run], [replace(run, seed=5)]]


@pytest.mark.parametrize("name", ["multi30k", "wikitext2"])
def test_runs_say_their_method_and_precision(name: str) -> None:
    assert {run.precision for run in grid(name)} == {"bf16"}  # type: ignore[union-attr]
    assert {"full", "lora", "relora", "galore", "sst"} <= {run.method for run in grid(name)}
