"""What `hypersst memory` predicts is what it measures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from hypersst.experiments.benchmarks import language_model_step, storage
from hypersst.experiments.cli import main
from hypersst.experiments.memory import applicable
from hypersst.experiments.memory_measurement import measure
from hypersst.experiments.memory_prediction import predict, trace
from hypersst.experiments.memory_settings import VARIANTS, MemorySettings

SMALL = {
    "vocabulary": 60,
    "dim": 32,
    "heads": 2,
    "layers": 2,
    "feedforward": 88,
    "tokens": 128,
    "length": 32,
    "rank": 4,
}
EXACT = ("weights", "gradients", "states")
CPU = torch.device("cpu")
ROOT = Path(__file__).parent.parent.parent


def settings_of(**options) -> MemorySettings:
    return MemorySettings(**{**SMALL, **options})


def assert_predicted(settings, names):
    forward = trace(settings)
    for name in names:
        predicted, found = predict(settings, VARIANTS[name], forward), measure(settings, VARIANTS[name], CPU)
        for part in EXACT:
            assert getattr(predicted, part) == getattr(found, part), (name, part)
        assert predicted.activations == pytest.approx(found.activations, rel=0.01), name
        assert found.peak >= found.weights + found.states + found.activations


def test_bytes_of_a_step_are_predicted_for_every_way_of_training() -> None:
    assert_predicted(settings_of(), VARIANTS)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("dim", [32, 160])  # composed, and by factors where it pays
def test_they_are_where_weights_are_factored_and_where_products_are_rounded(dim: int, precision: str) -> None:
    settings = settings_of(precision=precision, dim=dim, feedforward=600, tokens=512, layers=1)
    assert_predicted(settings, ["full", "lora", "sst", "sst-recompute", "sst-int8"])


@pytest.mark.parametrize("model", ["opt", "transformer"])
def test_they_are_for_other_models(model: str) -> None:
    assert_predicted(settings_of(model=model), ["full", "lora", "galore-per-layer", "sst", "sst-bfloat16"])


def test_they_are_for_a_hyperbolic_model_which_keeps_composed_weights() -> None:
    settings = settings_of(model="lorentz-llama")
    forward = trace(settings)
    chosen, reasons = applicable(settings, forward)
    assert "sst-recompute" not in chosen
    assert "Composed weights are kept" in reasons[0]
    for name in ("full", "sst-int8"):
        predicted, found = predict(settings, chosen[name], forward), measure(settings, chosen[name], CPU)
        for part in EXACT:
            assert getattr(predicted, part) == getattr(found, part)
        assert predicted.activations == pytest.approx(found.activations, rel=0.05)


def test_they_are_with_checkpoints_and_accumulated_gradients() -> None:
    settings = settings_of(checkpoint=True, accumulate=2)
    assert_predicted(settings, ["full", "galore", "sst", "sst-int8"])
    whole = trace(settings_of(accumulate=2))
    assert trace(settings).kept < 0.5 * whole.kept


def test_composed_weights_are_kept_within_checkpointed_layers_but_where_asked_for() -> None:
    settings = settings_of(checkpoint=True)
    chosen, [reason] = applicable(settings, trace(settings))
    assert "runs its forward pass again" in reason
    assert [name for name, variant in chosen.items() if variant.recompute] == ["sst-recompute"]
    assert chosen["sst-int8"].storage == "int8"


def test_checkpoints_leave_the_loss_and_its_gradients_as_they_are() -> None:
    found = []
    for checkpoint in (False, True):
        settings = settings_of(checkpoint=checkpoint, tokens=1280, accumulate=2)  # 640 tokens: a piece and a rest
        torch.manual_seed(0)
        model = settings.build().double()
        loss = settings.loss(model, settings.inputs(CPU))
        loss.backward()
        found.append((loss, [p.grad for p in model.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-8)  # the loss is taken in float32


def test_the_model_takes_no_memory_to_predict() -> None:
    settings = MemorySettings(size="1b", rank=128)
    forward = trace(settings)
    # Zhao et al. (2024): LLaMA 1B of 2,048 dimensions and 24 layers has 1.34 billion parameters, 32,000 words.
    found = predict(settings, VARIANTS["full"], forward)
    assert found.weights == pytest.approx(1.34e9 * 4, rel=0.01)
    assert found.states == 2 * found.weights


def test_compact_factors_end_below_galore() -> None:
    settings = settings_of(checkpoint=True, accumulate=2, dim=256, feedforward=688, rank=0.125)
    peaks = {name: measure(settings, VARIANTS[name], CPU).peak for name in ("full", "galore", "sst-int8")}
    assert peaks["sst-int8"] < peaks["galore"] < peaks["full"]


def test_the_command_prints_both_tables(capsys: pytest.CaptureFixture[str]) -> None:
    options = [f"--{name}={value}" for name, value in SMALL.items()]
    assert main(["memory", "llama", *options, "--measure", "--method", "full", "sst-int8"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"llama: 0\.0 M parameters", out)
    assert out.index("predicted, MB") < out.index("measured on cpu, MB")
    assert len(re.findall(r"^ sst-int8 .*%", out, re.MULTILINE)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lama"], "`model` must be one of .*, got 'lama'; did you mean llama?"),
        (["--method", "int8"], "`method` must be one of all, full, .*, got 'int8'"),
        (["--precision", "fp16"], "`precision` must be one of float32, bf16, got 'fp16'"),
        (["--tokens", "1000"], r"`tokens` must be a multiple of `length` \* `accumulate` = 256, got 1000"),
        (["--accumulate", "0"], "`accumulate` must be at least 1, got 0"),
        (["--rank", "0"], "`rank` must be at least 1, got 0"),
        (["lorentz-llama", "--size", "tiny", "--method", "sst-recompute"], "`method` must not be sst-recompute"),
        (["--size", "tiny", "--accumulate", "2", "--method", "galore-per-layer"], "`accumulate` must be 1 with galore"),
        (["--size", "tiniest"], "`size` must be one of .*, got 'tiniest'"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memory", *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("model", ["llama", "lorentz-llama"])
def test_the_global_generator_is_left_alone(model: str) -> None:
    settings = settings_of(model=model)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    forward = trace(settings)
    measure(settings, VARIANTS["sst"], CPU)
    assert len(forward.layers) == 14
    assert torch.equal(torch.rand(2), expected)


def test_the_tables_of_compact_storage_are_made_of_the_record() -> None:
    page, record = (ROOT / "docs" / "memory.md").read_text(), ROOT / "experiments" / "results" / "storage.json"
    for name, table in (("movement", storage.movement_table(record)), ("losses", storage.loss_table(record))):
        found = re.search(rf"<!-- table: storage_{name} -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
        assert found
        assert found[1] == table


@pytest.mark.parametrize("name", ["float32", "bfloat16", "int8"])
def test_the_benchmark_of_storage_measures_what_its_record_says(name: str) -> None:
    found = storage.movement("trained", (256, 256), name)
    [row] = [
        row
        for row in json.loads((ROOT / "experiments" / "results" / "storage.json").read_text())["movement"]
        if (row["kind"], row["shape"], row["storage"]) == ("trained", [256, 256], name)
    ]
    for when, moved in found.items():
        # Rounding errors are another draw where the decomposition turns vectors of near singular values otherwise.
        assert moved == pytest.approx(row[when], rel=0.5, abs=1e-6)


def test_the_benchmark_of_language_models_compares_memory_and_time(tmp_path: Path) -> None:
    small = language_model_step.Settings(
        dim=128, layers=2, heads=2, feedforward=344, vocabulary=60, tokens=256, length=32, ranks=(4, 16), rounds=2,
        precision="float32", output=tmp_path / "step.json",
    )  # fmt: skip
    full, galore, few, _, more = language_model_step.run(small)["cases"]
    assert (full["method"], full["rank"], few["method"], few["rank"], more["rank"]) == ("full", None, "sst-int8", 4, 16)
    assert full["peak_share"] == full["ratio"] == full["low"] == 1
    assert few["peak"] < more["peak"] < galore["peak"] < full["peak"]
    assert few["peak_share"] == few["peak"] / full["peak"]
    assert few["low"] <= few["ratio"] <= few["high"]
    header, _, first, *_ = language_model_step.markdown_table(small.output).splitlines()
    assert header.count("|") == first.count("|") == 10
    assert first.startswith("| full | – |")


@pytest.mark.parametrize(
    ("options", "message"), [({"ranks": ()}, "`ranks` must name"), ({"rounds": 1}, "`rounds` must")]
)
def test_a_benchmark_of_too_little_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        language_model_step.Settings(**options)


def test_the_table_of_language_models_is_made_of_the_record() -> None:
    page = (ROOT / "docs" / "memory.md").read_text()
    found = re.search(r"<!-- table: language_model_step -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    assert found
    record = ROOT / "experiments" / "results" / "language_model_step.json"
    assert found[1] == language_model_step.markdown_table(record)
