"""The slow twin is HyboNet, floors count what a step needs, and the command writes what it measured."""

import dataclasses
import importlib.metadata
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from rich.console import Console
from torch import Tensor

from hypersst.datasets import GraphTask, load
from hypersst.experiments.benchmarks import speed_cases, speed_tables
from hypersst.experiments.benchmarks.ablations import ABLATIONS
from hypersst.experiments.benchmarks.floors import Machine, Stage, floor_seconds, machine_for, stages
from hypersst.experiments.benchmarks.pyg_gcn import PygStep
from hypersst.experiments.benchmarks.reference_step import ReferenceHyboNet, ReferenceStep
from hypersst.experiments.benchmarks.sides import Ground, build_side, settings_of
from hypersst.experiments.benchmarks.speed_cases import Ask, Case
from hypersst.experiments.benchmarks.timing import timed
from hypersst.experiments.cli import main
from hypersst.experiments.records import peak_memory
from hypersst.experiments.run import Run
from hypersst.experiments.settings import Settings
from hypersst.models import HyboNet

TREE = Ground("disease-tree", "nc", "clean")
CASES = (
    Case("reference", "disease-tree", "lp", ("reference", "hybonet"), (Ask("ratio", 1e9, at_least=True),), "clean"),
    Case("gcn", "disease-tree", "nc", ("hybonet", "gcn"), (Ask("ratio", 1e9),), "clean"),
    Case("hgcn", "disease-tree", "nc", ("hgcn", "gcn"), (Ask("ratio", 1e9, device="cuda"),), "clean"),
    Case("pyg", "disease-tree", "nc", ("pyg", "hybonet"), (), "clean"),
    Case("sst", "disease-tree", "nc", ("sst", "full"), (Ask("decomposition_share", 1.0),), "clean"),
    Case("seeds", "disease-tree", "nc", ("ten", "hybonet"), (), "clean"),
    Case("epoch", "disease-tree", "nc", ("hybonet",), (Ask("peak_mb", 1e-3),), "clean"),
)


@pytest.fixture
def double() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def _tree(task: str, **options: object) -> Run:
    data = load("disease-tree", task=task, split="clean", seed=1234)
    x = data.x.to(torch.get_default_dtype())
    return Run(Settings(task=task, **options).resolve(), dataclasses.replace(data, x=x))


def _both(task: str, **options: object) -> tuple[Run, ReferenceStep]:
    run = _tree(task, dropout=0.0, **options)
    return run, ReferenceStep(run)


def _riemannian(parameter: Tensor) -> Tensor:
    # Ambient gradients of points differ by what no step along the manifold sees.
    manifold = getattr(parameter, "manifold", None)
    return manifold.egrad2rgrad(parameter.detach(), parameter.grad) if manifold else parameter.grad


def _check_gradients(run: Run, twin: ReferenceStep, tolerance: float) -> None:
    ours, theirs = run.loss(), twin.loss()
    assert theirs.item() == pytest.approx(ours.item(), rel=tolerance)
    ours.backward()
    theirs.backward()
    parameters, named = dict(run.model.named_parameters()), twin.model.named_like_ours()
    assert parameters.keys() == named.keys()
    for name, parameter in named.items():
        expected = _riemannian(parameters[name])
        assert (_riemannian(parameter) - expected).norm() <= tolerance * expected.norm().clamp_min(1.0), name


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("task", ["nc", "lp"])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_the_twin_has_the_loss_and_the_gradients_of_hybonet(task: str, activation: str) -> None:
    _check_gradients(*_both(task, activation=activation), tolerance=1e-10)


@pytest.mark.parametrize("task", ["nc", "lp"])
def test_the_twin_has_them_in_float32_too(task: str) -> None:
    _check_gradients(*_both(task), tolerance=1e-4)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("task", ["nc", "lp"])
def test_the_twin_trains_as_hybonet_does(task: str) -> None:
    # Without clipping: the norm holds the ambient gradients of points, see `_riemannian`. 12 steps go past the tenth,
    # after which geoopt brings points back onto the manifold.
    run, twin = _both(task, weight_decay=0.01, grad_clip=0.0)
    for _ in range(12):
        assert twin.step().item() == pytest.approx(run.step().item(), rel=1e-9)


@pytest.mark.usefixtures("double")
def test_links_are_clipped_as_hybonet_clips_them() -> None:
    run, twin = _both("lp", grad_clip=1e-3)
    for _ in range(3):
        assert twin.step().item() == pytest.approx(run.step().item(), rel=1e-9)


def test_dropout_of_the_twin_acts_in_training_only() -> None:
    run = _tree("nc", dropout=0.5)
    twin = ReferenceStep(run)
    twin.model.train()
    assert twin.loss() != twin.loss()
    twin.model.eval()
    run.model.eval()
    assert twin.loss().item() == pytest.approx(run.loss().item(), rel=1e-4)


def test_the_twin_refuses_what_hybonets_authors_do_not_know() -> None:
    with pytest.raises(ValueError, match="`run` must train hybonet by full, got gcn by full"):
        ReferenceStep(_tree("nc", model="gcn"))
    with pytest.raises(ValueError, match="`run` must train hybonet by full, got hybonet by sst"):
        ReferenceStep(_tree("nc", method="sst"))
    with pytest.raises(ValueError, match="`model` must have the fixed curvature -1"):
        ReferenceHyboNet(HyboNet(3, 4, 2, 2, c=0.5), 0.0, "none")
    with pytest.raises(ValueError, match="`model` must have gated layers with biases"):
        ReferenceHyboNet(HyboNet(3, 4, 2, 2, bias=False), 0.0, "none")
    with pytest.raises(ValueError, match=r"`task` must be node classification \('nc'\), got 'lp'"):
        PygStep(load("disease-tree", task="lp", split="clean", seed=1234))


def test_pairs_of_sides_differ_in_what_their_names_say_only() -> None:
    def difference(one: str, other: str) -> dict[str, tuple[object, object]]:
        a, b = (settings_of(name, TREE).to_dict() for name in (one, other))
        return {key: (a[key], b[key]) for key in a if a[key] != b[key]}

    assert difference("hybonet", "gcn") == {"model": ("hybonet", "gcn"), "dim": (15, 16)}
    assert difference("gcn", "gcn-as-deep") == {"layers": (4, 3)}
    assert difference("hybonet", "hybonet-compiled") == {"compile": (False, True)}
    assert difference("hgcn", "gcn") == {"model": ("hgcn", "gcn")}
    assert difference("sst", "full") == {"method": ("sst", "full")}


def test_pyg_learns() -> None:
    torch.manual_seed(0)
    step = build_side("pyg", TREE).step
    first = step().item()
    losses = [step().item() for _ in range(30)]
    assert losses[-1] < 0.9 * first


def test_the_floor_is_the_longer_of_both_times_of_each_stage() -> None:
    machine = Machine(bytes_per_second=4.0, operations_per_second=1.0)
    # 3 numbers are 12 bytes: 3 s; 5 operations: 5 s.
    assert floor_seconds([Stage("copy", 3, 1), Stage("count", 1, 5)], machine) == 8.0


def test_products_are_counted_by_stored_entries_and_edges() -> None:
    run = _tree("lp", dropout=0.0)
    parts = {part.name: part for part in stages(run)}
    nodes, features = run.task.x.shape
    width = run.settings.dim + 1
    assert parts["product 0"].operations == 2 * nodes * (features + 1) * width
    assert parts["product 1"].operations == 2 * nodes * width * width
    # Edges in both directions and the self-loops, forward and backward.
    assert parts["sum of neighbours 0"].operations == 4 * (run.task.edge_index.shape[1] + nodes) * width
    assert parts["scores and loss"].operations == 8 * 2 * run.task.train_pos.shape[1] * width
    assert not any(name.startswith("dropout") for name in parts)
    assert "gradient of input 0" not in parts
    assert "gradient of input 1" in parts


def test_nodes_that_the_loss_does_not_depend_on_are_not_counted() -> None:
    # A path 0 - 1 - 2 - 3 - 4 - 5, of which node 0 is learned from, through two convolutions.
    path = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
    task = GraphTask(
        name="path",
        task="nc",
        split="",
        seed=0,
        x=torch.tensor([[1.0, 1.0]] + 5 * [[1.0, 0.0]]).to_sparse_csr(),
        edge_index=torch.cat((path, path.flip(0)), dim=1),
        num_nodes=6,
        num_classes=2,
        y=torch.zeros(6, dtype=torch.long),
        num_edges=5,
        train=torch.tensor([0]),
    )
    run = Run(Settings(model="hybonet", layers=3, dim=1, dropout=0.5).resolve(), task)
    parts = {part.name: part for part in stages(run)}
    # Nodes 0, 1, 2 go in: four stored features, three times, two columns of the weight.
    assert parts["dropout 0"].operations == 7
    assert parts["product 0"].operations == 2 * 7 * 2
    # Nodes 0 and 1 come out: three and two neighbours, themselves included; then node 0 alone.
    assert parts["sum of neighbours 0"].operations == 4 * (2 + 3) * 2
    assert parts["sum of neighbours 1"].operations == 4 * 2 * 2
    assert parts["normalisation 1"].numbers == 5 * 2


@pytest.mark.parametrize("task", ["nc", "lp"])
def test_a_step_takes_longer_than_its_floor(task: str) -> None:
    run = _tree(task)
    run.step()
    parts = stages(run)
    machine = machine_for(parts, rounds=3)
    assert 0.0 < floor_seconds(parts, machine) < min(timed(run.step) for _ in range(3))


def test_only_the_step_that_is_counted_has_a_floor() -> None:
    with pytest.raises(ValueError, match="`run` must train hybonet by full, got hgcn by full"):
        stages(_tree("nc", model="hgcn"))


def test_cases_are_selected_by_name_or_kind() -> None:
    assert [case.name for case in speed_cases.select(("gcn", "pyg-cora-nc"))] == [
        "gcn-cora-nc",
        "gcn-pubmed-nc",
        "gcn-airport-nc",
        "pyg-cora-nc",
    ]
    assert speed_cases.select(()) == list(speed_cases.CASES)
    assert len({case.name for case in speed_cases.CASES}) == len(speed_cases.CASES)


def test_bounds_hold_on_the_side_that_they_are_on() -> None:
    assert Ask("ratio", 2.0).met(2.0) and not Ask("ratio", 2.0).met(2.1)
    assert Ask("ratio", 2.0, at_least=True).met(2.0) and not Ask("ratio", 2.0, at_least=True).met(1.9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--cases", "gcn-coar-nc"],
            "`cases` must be one of reference, .*, got 'gcn-coar-nc'; did you mean gcn-cora-nc",
        ),
        (["--rounds", "1"], "`rounds` must be at least 2, got 1."),
        (["--jobs", "2"], "`jobs` must be left out for speed, whose sides take turns in one process, got 2."),
        (["--device", "abacus"], "`device` must be one that is there .*, got 'abacus'."),
    ],
)
def test_a_bad_option_is_one_clear_error(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "speed", "--results", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("option", "value"), [("cases", "gcn"), ("rounds", "0")])
def test_a_table_of_runs_refuses_what_is_for_speed(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "cora", f"--{option}", value]) == 2
    assert f"`{option}` must be left out for a table of runs" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_writes_every_field_and_keeps_other_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed_cases, "CASES", CASES)
    path = tmp_path / "speed.json"
    kept = {"sides": ["hybonet", "gcn"], "ms": {"hybonet": 3.0, "gcn": 2.0}, "asked": []}
    kept |= {"ratio": 1.5, "low": 1.25, "high": 1.75}
    path.write_text(json.dumps({"devices": {"Abacus": {"gcn-disease-tree-nc": kept}}}))
    assert main(["bench", "speed", "--rounds", "2", "--results", str(tmp_path)]) == 0
    assert "recorded in" in capsys.readouterr().out
    devices = json.loads(path.read_text())["devices"]
    assert devices.pop("Abacus") == {"gcn-disease-tree-nc": kept}
    [results] = devices.values()
    assert list(results) == [case.name for case in CASES]
    for case in CASES:
        result = results[case.name]
        assert result["sides"] == list(case.sides)
        assert result["rounds"] == 2
        assert result["threads"] == torch.get_num_threads()
        assert result["versions"]["torch"] == importlib.metadata.version("torch")
        if len(case.sides) == 2:
            over, under = case.sides
            assert result["low"] <= result["ratio"] <= result["high"]
            assert result["ms"].keys() == result["steps"].keys() == {over, under}
            assert all(ms > 0 for ms in result["ms"].values())
    sst = results["sst-disease-tree-nc"]
    assert sst["steps"] == {"sst": 20, "full": 20}  # from one decomposition to the next
    assert 0 < sst["decomposition_share"] < 1
    assert results["reference-disease-tree-lp"]["asked"] == [
        {"quantity": "ratio", "bound": 1e9, "at_least": True, "device": "cpu", "met": False}
    ]
    assert results["gcn-disease-tree-nc"]["asked"][0]["met"]
    assert results["hgcn-disease-tree-nc"]["asked"] == []  # is asked on a GPU
    epoch = results["epoch-disease-tree-nc"]
    assert 0 < epoch["floor_ms"] < epoch["step_ms"]
    assert epoch["step_low_ms"] <= epoch["step_ms"] <= epoch["step_high_ms"]
    assert epoch["epoch_ms"] == pytest.approx(epoch["step_ms"] + epoch["evaluation_ms"] / 5)
    assert epoch["over_floor"] == pytest.approx(epoch["step_ms"] / epoch["floor_ms"])
    assert 50 < epoch["peak_mb"] < 5000
    assert epoch["machine"].keys() == {"bytes_per_second", "operations_per_second"}

    console = Console(width=120, record=True, file=io.StringIO())
    speed_tables.print_tables(results, console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 120
    for case in CASES:
        # In one line: nothing is cut off or wrapped.
        assert sum(f" {case.name} " in line for line in lines) == 1
    table = speed_tables.markdown_table(path)
    assert all(f"| {case.name} | " in table for case in CASES)
    assert "Abacus:" in table
    assert "| gcn-disease-tree-nc | hybonet 3.00 | gcn 2.00 | 1.50 (1.25 to 1.75) |" in table


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own count")
def test_peak_memory_is_not_that_of_the_process_that_started_this_one() -> None:
    ballast = torch.ones(2**27)  # half a gigabyte
    own = peak_memory(torch.device("cpu"))
    code = "import torch; from hypersst.experiments.records import peak_memory; print(peak_memory(torch.device('cpu')))"
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert 2**26 < int(answer.stdout) < own - ballast.nbytes / 2


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_step_without_a_trick_has_the_same_loss(name: str) -> None:
    # Without dropout, whose masks are what two of them change.
    settings = replace(settings_of("hybonet", TREE), dropout=0.0)
    task = load("disease-tree", task="nc", seed=1234)
    losses = [make(settings, task).step() for make in (Run, ABLATIONS[name])]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-6)


def test_nodes_that_are_learned_from_twice_count_twice() -> None:
    settings = replace(settings_of("hybonet", TREE), dropout=0.0)
    task = load("disease-tree", task="nc", seed=1234)
    twice = replace(task, train=torch.cat((task.train, task.train[:7])))
    losses = [make(settings, twice).step() for make in (Run, ABLATIONS["whole-graph"])]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-6)
    assert Run(settings, twice).batch().adjacency[-1].shape[0] == task.train.numel()


def test_torchs_masks_are_drawn_where_they_are_asked_for() -> None:
    settings = replace(settings_of("hybonet", TREE), dropout=0.5)
    run = ABLATIONS["torch-dropout"](settings, load("disease-tree", task="nc", seed=1234))
    with patch("torch.nn.functional.dropout", side_effect=torch.nn.functional.dropout) as drawn:
        run.step()
    assert drawn.call_count == len(run.model.layers)
