"""Training on texts: one step is what it says, a run resumes bit for bit, and commands read what others write."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import geoopt
import pytest
import torch

from hypersst.errors import NonFiniteError
from hypersst.experiments.checkpoint import CheckpointError
from hypersst.experiments.cli import main
from hypersst.experiments.texts.batch import TextBatch, negative_log_likelihood
from hypersst.experiments.texts.commands import concerns_texts
from hypersst.experiments.texts.data import TextData, load_text_data
from hypersst.experiments.texts.model import build_model
from hypersst.experiments.texts.run import TextRun, average_states, plain_state
from hypersst.experiments.texts.settings import LANGUAGE_MODELS, TRANSLATORS, ResolvedTextSettings, TextSettings

WORDS = ["eins", "zwei", "drei", "vier", "acht"], ["one", "two", "three", "four", "eight"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Numbers in two languages, the order of the words turned round."""
    folder, generator = tmp_path_factory.mktemp("texts"), torch.Generator().manual_seed(0)
    rows = [torch.randint(5, (int(n),), generator=generator).tolist() for n in torch.arange(240) % 5 + 1]
    paths = folder / "numbers.de", folder / "numbers.en"
    for path, words, way in zip(paths, WORDS, (1, -1), strict=True):
        path.write_text("".join(" ".join(words[i] for i in row[::way]) + "\n" for row in rows))
    return paths


def _settings(files: tuple[Path, Path], model: str = "transformer", **changes: Any) -> ResolvedTextSettings:
    options: dict[str, Any] = {
        "dataset": str(files[0]),
        "model": model,
        "vocabulary": 30,
        "dim": 16,
        "heads": 2,
        "layers": 1,
        "feedforward": 24,
        "tokens": 200,
        "length": 12,
        "steps": 8,
        "eval_every": 4,
        "lr_warmup": 2,
        "steps_per_iteration": 3,
        "warmup_steps": 1,
        "average": 2,
    }
    options |= {"target": str(files[1])} if model in TRANSLATORS else {"vocabulary": 18}
    return TextSettings(**{**options, **changes}).resolve()


def _data(settings: ResolvedTextSettings) -> TextData:
    return load_text_data(settings)


@pytest.mark.parametrize("model", TRANSLATORS + LANGUAGE_MODELS)
def test_every_model_learns(model: str, files: tuple[Path, Path]) -> None:
    settings = _settings(files, model, steps=40, method="sst", dropout=0.0, lr=2e-2)
    run = TextRun(settings, _data(settings))
    first = run.perplexity()
    for _ in range(40):
        run.step()
    assert run.perplexity() < 0.6 * first


def test_the_loss_counts_each_real_token_once() -> None:
    logits = torch.randn(2, 3, 7)
    targets = torch.tensor([[4, 5, 0], [6, 0, 0]])
    batch = TextBatch((torch.zeros(2, 3),), targets)
    table = torch.nn.Module()
    table.forward = lambda x: logits  # type: ignore[method-assign]
    chance = logits.log_softmax(dim=-1)
    places = [(0, 0), (0, 1), (1, 0)]
    hard = -sum(float(chance[i, j, targets[i, j]]) for i, j in places)
    assert float(negative_log_likelihood(table, batch)) == pytest.approx(hard, rel=1e-5)
    spread = -sum(float(chance[i, j].mean()) for i, j in places)
    smooth = float(negative_log_likelihood(table, batch, 0.2))
    assert smooth == pytest.approx(0.8 * hard + 0.2 * spread, rel=1e-5)
    assert int(batch.count()) == 3


@pytest.mark.parametrize("method", ["full", "sst"])
def test_parts_of_a_batch_add_up_to_the_whole(method: str, files: tuple[Path, Path]) -> None:
    settings = _settings(files, method=method, dropout=0.0)
    whole, parts = (TextRun(replace(settings, accumulate=n), _data(settings)) for n in (1, 3))
    torch.testing.assert_close(whole.step(), parts.step())
    # Not the parameters: Adam's first step has the gradient's sign, and those of keys' biases are rounding alone.
    grads = [[p.grad for p in run.parameters() if p.requires_grad] for run in (whole, parts)]
    for x, y in zip(*grads, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "method"), [("transformer", "sst"), ("lorentz-transformer", "full"), ("llama", "sst")]
)
def test_a_run_resumes_bit_for_bit_within_an_epoch(model: str, method: str, files: tuple[Path, Path]) -> None:
    settings = _settings(files, model, method=method, dropout=0.1)
    torch.manual_seed(1)
    unbroken = TextRun(settings, _data(settings))
    state: dict[str, Any] = {}
    for step in range(8):
        if step == 5:
            buffer = io.BytesIO()
            torch.save(unbroken.state_dict(), buffer)
            buffer.seek(0)
            state = torch.load(buffer, weights_only=True)
        unbroken.step()
        if step == 3:
            unbroken.keep_if_best()
    assert len(list(_data(settings).train._source)) > 5  # still in the first epoch
    torch.manual_seed(2)
    resumed = TextRun(settings, _data(settings))
    resumed.load_state_dict(state)
    for _ in range(3):
        resumed.step()
    for (name, x), y in zip(unbroken.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(x, y), name
    assert resumed.best_perplexity == unbroken.best_perplexity
    assert resumed.recent[0].keys() == unbroken.recent[0].keys()


def test_a_run_does_not_go_on_with_other_words(files: tuple[Path, Path]) -> None:
    settings = _settings(files)
    run, other = TextRun(settings, _data(settings)), _data(replace(settings, vocabulary=29))
    with pytest.raises(CheckpointError, match=r"of the same words, but its tokenizer is another one"):
        run.load_state_dict(run.state_dict() | {"tokenizer": other.tokenizer.state_dict()})


@pytest.mark.parametrize("method", ["full", "sst", "lora", "galore", "refactor"])
def test_plain_states_fit_a_plain_model_and_compute_the_same(method: str, files: tuple[Path, Path]) -> None:
    settings = _settings(files, method=method)
    run = TextRun(settings, _data(settings))
    run.step()
    plain = build_model(settings, run.data.vocabulary)
    plain.load_state_dict(plain_state(run.model))
    assert run.perplexity(plain) == pytest.approx(run.perplexity(), rel=1e-4)


def test_averages_of_states_lie_on_the_manifold(files: tuple[Path, Path]) -> None:
    settings = _settings(files, "lorentz-transformer")
    models = [build_model(settings, 30) for _ in range(3)]
    mean = average_states([plain_state(model) for model in models], models[0])
    weights = [dict(model.named_parameters()) for model in models]
    checked = 0
    for name, p in weights[0].items():
        if isinstance(p, geoopt.ManifoldParameter):
            assert p.manifold.check_point_on_manifold(mean[name], atol=1e-4)
            checked += 1
        else:
            torch.testing.assert_close(mean[name], sum(w[name] for w in weights).detach() / 3)
    assert checked


def test_the_final_model_is_the_better_of_average_and_best(files: tuple[Path, Path]) -> None:
    settings = _settings(files)
    run = TextRun(settings, _data(settings))
    run.step()
    run.keep_if_best()
    good = run.best_perplexity
    run.recent = [{name: 100 * x for name, x in run.best_state.items()}]
    assert run.final()[1] == good
    run.recent, run.best_perplexity = [run.best_state], good + 1
    assert run.final()[1] == pytest.approx(good, rel=1e-6)


def test_a_non_finite_step_is_not_taken(files: tuple[Path, Path]) -> None:
    settings = _settings(files)
    run = TextRun(settings, _data(settings))
    with torch.no_grad():
        next(iter(run.model.encoder[0].parameters()))[:] = float("nan")  # type: ignore[index, union-attr]
    with pytest.raises(NonFiniteError, match=r"step 1, first in parameter encoder\.0"):
        run.step()


def test_weights_are_recomputed_and_frozen_vectors_held_in_eight_bits(files: tuple[Path, Path]) -> None:
    run = TextRun(settings := _settings(files, method="sst", recompute=True, storage="int8"), _data(settings))
    frozen = [p for name, p in run.model.named_parameters() if name.endswith((".u", ".v"))]
    assert {p.dtype for p in frozen} == {torch.int8}
    assert all(run.step().isfinite() for _ in range(4))


def test_bf16_keeps_parameters_in_float32(files: tuple[Path, Path]) -> None:
    settings = _settings(files, "lorentz-transformer", precision="bf16", method="sst")
    run = TextRun(settings, _data(settings))
    losses = [run.step() for _ in range(4)]
    assert all(loss.isfinite() for loss in losses)
    assert {p.dtype for p in run.parameters()} == {torch.float32}


@pytest.fixture(scope="module")
def trained(files: tuple[Path, Path]) -> Path:
    folder = files[0].parent / "run"
    options = ["--target", str(files[1]), "--vocabulary", "30", "--dim", "16", "--heads", "2", "--layers", "1"]
    options += ["--tokens", "400", "--steps", "300", "--eval-every", "100", "--lr-warmup", "50", "--dropout", "0"]
    options += ["--method", "sst", "--lr", "2e-2", "--output", str(folder)]
    assert main(["train", str(files[0]), "--model", "transformer", *options]) == 0
    return folder


def test_a_trained_model_translates_standard_input(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "eins zwei drei\n\nvier\nacht eins\n"
    for file in ("model.pt", "checkpoint.pt"):
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        assert main(["translate", str(trained / file), "--beam", "2"]) == 0
        found = capsys.readouterr().out.splitlines()
        assert len(found) == 4
        assert found[1] == ""
    assert found[2] == "four"


def test_records_of_translations_hold_perplexity_bleu_and_chrf(trained: Path) -> None:
    text = (trained / "record.json").read_text()
    assert all(f'"{key}"' in text for key in ("perplexity", "bleu", "chrf"))


def test_a_language_model_writes_on(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = files[0].parent / "lm"
    options = ["--vocabulary", "18", "--dim", "16", "--heads", "2", "--layers", "1", "--length", "20"]
    options += ["--tokens", "200", "--steps", "4", "--eval-every", "2", "--output", str(folder)]
    assert main(["train", str(files[0]), "--model", "llama", *options]) == 0
    capsys.readouterr()
    again = []
    for _ in range(2):
        assert main(["generate", str(folder / "model.pt"), "eins zwei", "--length", "6", "--seed", "3"]) == 0
        again.append(capsys.readouterr().out)
    assert again[0] == again[1]
    assert again[0].startswith("eins zwei")
    assert main(["translate", str(folder / "model.pt")]) == 2
    assert "`hypersst generate` takes llama" in capsys.readouterr().err


def test_texts_are_told_from_graphs() -> None:
    assert concerns_texts(["train", "multi30k"])
    assert concerns_texts(["train", "a.txt", "--model", "llama"])
    assert concerns_texts(["train", "a.txt", "--model=opt"])
    assert not concerns_texts(["train", "cora", "--model", "hybonet"])


def test_bad_settings_are_refused(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"`model` must be given for a text"):
        TextSettings(dataset="multi30k").resolve()
    with pytest.raises(ValueError, match=r"`schedule` must be one of .*did you mean noam"):
        _settings(files, schedule="noan")
    with pytest.raises(ValueError, match=r"`steps` must be at least 1, got 0"):
        _settings(files, steps=0)
    with pytest.raises(ValueError, match=r"`target` must be the file of translations"):
        load_text_data(_settings(files, target=""))
    with pytest.raises(ValueError, match=r"`dataset` must be one of .*multi30k.*got 'multi30'"):
        load_text_data(_settings(files, dataset="multi30", target=""))
    with pytest.raises(ValueError, match=r"`norm_first` must be left out for a language model, got False"):
        _settings(files, "llama", norm_first=False)
    with pytest.raises(ValueError, match=r"`target` must be left out for a language model"):
        _settings(files, "llama", target=str(files[1]))
    with pytest.raises(ValueError, match=r"`tokens` must be at least `length` = 12, one row, got 11"):
        _settings(files, "llama", tokens=11)
    missing = files[0].parent / "none.pt"
    assert main(["translate", str(missing)]) == 2
    assert "is not there" in capsys.readouterr().err


def test_the_rate_of_vectors_goes_with_the_rate(files: tuple[Path, Path]) -> None:
    usual, doubled = _settings(files), _settings(files, lr=2 * _settings(files).lr)
    assert doubled.vector_lr == pytest.approx(2 * usual.vector_lr)
