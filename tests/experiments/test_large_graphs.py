"""The benchmark of large graphs measures each size in a process of its own and draws what it found."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hypersst.experiments.benchmarks import large_graphs
from hypersst.experiments.benchmarks.large_graphs import Settings, exponent, main, markdown_table, measure, run

ROOT = Path(__file__).parents[2]


def test_a_case_says_where_time_and_memory_went() -> None:
    case = measure(4000, "lp", Settings(epochs=2))
    assert (case["nodes"], case["parts"], case["parts_per_batch"]) == (4000, 2, 2)
    assert case["edges"] == pytest.approx(40_000, rel=0.011)
    assert len(case["seconds"]["epochs"]) == 2
    assert min(case["seconds"][part] for part in ("generation", "partition", "epoch", "evaluation")) > 0
    assert case["peak_memory"]["evaluation"] >= case["peak_memory"]["training"] > 10**7
    assert case["validation"]["roc_auc"] > 0.5


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_a_power_law(power: float) -> None:
    cases = [{"edges": edges, "seconds": {"epoch": 3e-6 * edges**power}} for edges in (10, 1000, 10**6)]
    assert exponent(cases) == pytest.approx(power)


def test_the_command_writes_record_picture_and_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process takes seconds to start, and adds nothing here but its own peak of memory.
    monkeypatch.setattr(large_graphs, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    output, figure = tmp_path / "r.json", tmp_path / "deep" / "f.png"
    arguments = ["--sizes", "200", "400", "--tasks", "nc", "--epochs", "1", "--threads", "1"]
    main([*arguments, "--output", str(output), "--figure", str(figure)])
    out = capsys.readouterr().out
    assert markdown_table(output) in out
    assert "nc: seconds grow with edges to the power of" in out
    assert figure.read_bytes().startswith(b"\x89PNG")
    record = json.loads(output.read_text())
    assert [case["nodes"] for case in record["cases"]] == [200, 400]
    assert record["threads"] == 1


def test_one_size_shows_no_slope() -> None:
    with pytest.raises(ValueError, match=r"`sizes` must hold at least two different numbers, got \(300, 300\)"):
        run(Settings(sizes=(300, 300)))


def test_the_record_keeps_what_was_promised_of_a_million_nodes() -> None:
    path = ROOT / "experiments" / "results" / "large_graphs.json"
    record = json.loads(path.read_text())
    for task in ("nc", "lp"):
        cases = [case for case in record["cases"] if case["task"] == task]
        largest = max(cases, key=lambda case: case["nodes"])
        assert largest["nodes"] == 1_000_000
        assert largest["edges"] == pytest.approx(10_000_000, rel=0.011)
        assert largest["seconds"]["epoch"] < 180
        assert largest["peak_memory"]["evaluation"] < 8e9
        assert exponent(cases) < 1.15
    assert record["threads"] <= 2
