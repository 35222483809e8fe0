"""Seeds trained at once are the single runs: same draws, same steps, same end."""

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from compilers import needs_compiled_sums
from torch import Tensor, nn

from hypersst.datasets import GraphTask, load
from hypersst.errors import NonFiniteError
from hypersst.experiments import methods, training
from hypersst.experiments.checkpoint import CheckpointError
from hypersst.experiments.cli import main
from hypersst.experiments.ensemble import Ensemble
from hypersst.experiments.records import Record
from hypersst.experiments.run import Run
from hypersst.experiments.settings import ResolvedSettings, Settings
from hypersst.experiments.shared_optimizer import SharedOptimizer
from hypersst.experiments.training import train, train_seeds
from hypersst.lowrank import galore, projection
from hypersst.models import MODELS
from hypersst.spectral import find_targets
from hypersst.spectral.surgery import spectral_weights

SEEDS = (3, 0, 11)
STEPS = 9  # with iterations of four: past two draws
# Adam divides by the size of gradients, so the rounding of small ones grows with each step; hyperbolic functions add
# theirs. In float64, from 1e-16, that stays below this.
TOLERANCE = 1e-6


@pytest.fixture(autouse=True)
def _double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(training, "load_task", lambda settings, data_dir: _task(settings.task))
    yield
    torch.set_default_dtype(before)


def _settings(**changes: object) -> ResolvedSettings:
    given = {
        "epochs": 20,
        "eval_every": 3,
        "steps_per_iteration": 4,
        "warmup_steps": 2,
        "dropout": 0.3,
        "grad_clip": 0.5,
        "decomposition": "never",
        **changes,
    }
    return Settings(**given).resolve()


def _task(task: str) -> GraphTask:
    data = load("disease-tree", task=task)
    return replace(data, x=data.x.double())


def _assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(
            found[name], value, rtol=TOLERANCE, atol=TOLERANCE, msg=lambda m, n=name: f"{n}: {m}"
        )


def _assert_equal_runs(ensemble: Ensemble, settings: ResolvedSettings, data: GraphTask, steps: int) -> None:
    losses = torch.stack([ensemble.step() for _ in range(steps)], dim=1)
    ensemble.keep_if_best()
    for run, loss, seed in zip(ensemble.runs, losses, ensemble.seeds, strict=True):
        single = Run(replace(settings, seed=seed), data)
        torch.testing.assert_close(loss, torch.stack([single.step() for _ in range(steps)]), rtol=TOLERANCE, atol=0.0)
        _assert_close(run.model.state_dict(), single.model.state_dict())
        single.keep_if_best()
        assert (run.best.epoch, run.best.validation, run.best.test) == (
            single.best.epoch,
            pytest.approx(single.best.validation),
            pytest.approx(single.best.test),
        )


@pytest.mark.parametrize("model", ["hybonet", "hgcn", "gcn"])
@pytest.mark.parametrize("task", ["nc", "lp"])
@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_each_copy_equals_its_single_run(model: str, task: str, method: str) -> None:
    # HyboNet divides by the length of W x. For W of rank one that leaves a sign, which rounding decides for some nodes:
    # two single runs with weights 1e-15 apart differ by 1e-2 after nine steps.
    rank = 2 if (model, method) == ("hybonet", "refactor") else 1
    settings, data = _settings(model=model, task=task, method=method, rank=rank), _task(task)
    _assert_equal_runs(Ensemble(settings, SEEDS, data), settings, data, STEPS)


@pytest.mark.parametrize(
    "ablation",
    [
        {"reset": "none"},
        {"reset": "vectors"},
        {"sigma": "active"},
        {"vectors": "stiefel", "rank": 2},
        {"vectors": "polar"},
        {"factors": "random"},
        {"factors": "random", "decomposition": "1"},
        {"warmup_steps": 0},
        {"model": "hybonet", "balanced": True},
    ],
    ids=str,
)
def test_each_copy_of_an_ablation_equals_its_single_run(ablation: dict[str, object]) -> None:
    settings, data = _settings(**{"model": "gcn", "method": "sst", **ablation}), _task("nc")
    _assert_equal_runs(Ensemble(settings, SEEDS, data), settings, data, STEPS)


def test_gradients_of_all_copies_are_projected_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble, seen = Ensemble(_settings(method="galore", model="gcn"), SEEDS, _task("nc")), []

    def spy(grad: Tensor, rank: int) -> Tensor:
        seen.append(grad.shape)
        return projection(grad, rank)

    monkeypatch.setattr(galore, "projection", spy)
    for _ in range(5):  # projections at the first and at the fifth step
        ensemble.step()
    shapes = sorted((len(SEEDS), *w.shape) for w in _selected(ensemble.runs[0].model))
    assert sorted(seen) == sorted(2 * shapes)
    assert len(set(shapes)) == len(shapes)


def _selected(model: nn.Module) -> list[nn.Parameter]:
    return [target.weight for target in find_targets(model)]


@pytest.mark.parametrize("model", sorted(MODELS.keys() - {"hybonet", "hgcn", "gcn"}))
def test_each_copy_of_any_model_equals_its_single_run(model: str) -> None:
    # In LGCN rounding grows with each layer: three steps of two copies are 5e-11 apart with two layers, 1e-2 with four.
    settings, data = _settings(model=model, layers=2), _task("nc")
    _assert_equal_runs(Ensemble(settings, SEEDS, data), settings, data, 3)


def test_a_learned_curvature_is_each_copys_own() -> None:
    settings, data = _settings(model="hgcn", task="lp", learnable_c=True), _task("lp")
    ensemble = Ensemble(settings, SEEDS, data)
    _assert_equal_runs(ensemble, settings, data, STEPS)
    learned = [next(p for n, p in run.model.named_parameters() if n.endswith("log_c")) for run in ensemble.runs]
    assert len({p.item() for p in learned}) == len(SEEDS)


@pytest.mark.parametrize("model", ["hybonet", "hgcn", "gcn"])
@pytest.mark.parametrize("task", ["nc", "lp"])
@pytest.mark.parametrize("execution", ["composed", "factored"])
def test_each_copy_equals_its_single_run_across_decompositions(model: str, task: str, execution: str) -> None:
    if model == "hgcn" and execution == "factored":
        execution = "auto"  # its layers read the weight
    settings = _settings(model=model, task=task, method="sst", rank=2, decomposition="1")
    data = _task(task)
    runs = [Run(replace(settings, seed=seed), data) for seed in SEEDS]
    states = []
    for run in runs:
        for weight in spectral_weights(run.model):
            # Singular values about one and all different: see Note [equal to rounding].
            k, shape = weight.spectral.k, weight.spectral.shape
            with torch.no_grad():
                u, v = (nn.init.orthogonal_(torch.empty(k, n)) for n in shape)
                weight.spectral._load(u, v)
                weight.sigma.copy_(torch.linspace(1.5, 0.5, k))
        states.append(copy.deepcopy(run.state_dict()))
        wanted = torch.stack([run.step() for _ in range(STEPS)])
        states[-1]["losses"] = wanted
    ensemble = Ensemble(settings, SEEDS, data)
    ensemble.load_state_dict({"settings": ensemble.all_settings, "runs": states})
    losses = torch.stack([ensemble.step() for _ in range(STEPS)], dim=1)
    for run, single, loss, state in zip(ensemble.runs, runs, losses, states, strict=True):
        torch.testing.assert_close(loss, state["losses"], rtol=TOLERANCE, atol=0.0)
        _assert_close(run.model.state_dict(), single.model.state_dict())


def test_initial_values_are_those_of_the_single_run_bit_for_bit() -> None:
    settings, data = _settings(method="sst"), _task("nc")
    for run in Ensemble(settings, SEEDS, data).runs:
        single = Run(run.settings, data)
        for name, value in single.model.state_dict().items():
            assert torch.equal(run.model.state_dict()[name], value), name


@pytest.mark.parametrize("method", ["full", "sst"])
def test_optimizers_of_other_kinds_step_each_copy_as_alone(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "RiemannianAdamW", torch.optim.AdamW)
    settings, data = _settings(method=method, model="gcn"), _task("nc")
    _assert_equal_runs(Ensemble(settings, SEEDS, data), settings, data, STEPS)


def test_our_optimizer_steps_all_copies_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = Ensemble(_settings(method="sst"), SEEDS, _task("nc"))
    ensemble.step()
    for run in ensemble.runs:
        monkeypatch.setattr(run.trainer.optimizer, "step", None)
    before = copy.deepcopy([run.model.state_dict() for run in ensemble.runs])
    ensemble.step()
    for run, state in zip(ensemble.runs, before, strict=True):
        assert not torch.equal(run.model.state_dict()["head.prototypes"], state["head.prototypes"])
    assert isinstance(ensemble._shared, SharedOptimizer)


def _result(record: Record) -> dict[str, object]:
    kept = asdict(record)
    for name in ("seconds", "peak_memory", "together"):
        kept.pop(name)
    for name in ("validation", "test"):
        kept[name] = {key: pytest.approx(value, abs=1e-12) for key, value in kept[name].items()}
    return kept


@pytest.mark.parametrize("task", ["nc", "lp"])
def test_records_are_those_of_single_runs_which_end_at_different_epochs(task: str) -> None:
    settings = Settings(task=task, model="gcn", layers=2, epochs=60, patience=7, eval_every=3, lr=0.05)
    records = train_seeds(settings, range(5))
    assert len({record.epochs for record in records}) > 2
    assert max(record.epochs for record in records) > min(record.epochs for record in records)
    for seed, record in enumerate(records):
        assert asdict(record).keys() == _result(record).keys() | {"seconds", "peak_memory", "together"}
        single = train(replace(settings, seed=seed))
        assert _result(record) == _result(single)
        assert (record.together, single.together) == (5, 1)
        assert record.seconds > 0


def _finish(run: Run) -> None:
    run.settings = replace(run.settings, epochs=run.epoch)


def test_a_finished_copy_stays_as_it_is_while_others_go_on() -> None:
    ensemble = Ensemble(_settings(method="sst", epochs=12), SEEDS, _task("nc"))
    first, second, third = ensemble.runs
    for _ in range(3):
        ensemble.step()
    _finish(first)
    frozen = copy.deepcopy(first.model.state_dict())
    for wanted in (2, 1):  # a place is left empty; then the batch is made anew
        before = copy.deepcopy(third.model.state_dict())
        assert ensemble.step().shape == (wanted,)
        assert first.epoch == 3
        assert all(torch.equal(first.model.state_dict()[name], value) for name, value in frozen.items())
        assert any(not torch.equal(third.model.state_dict()[name], value) for name, value in before.items())
        ensemble.keep_if_best()
        assert first.best.epoch == -1
        _finish(second)
    assert not ensemble.finished
    while not ensemble.finished:
        ensemble.step()
    assert [run.epoch for run in ensemble.runs] == [3, 4, 12]


def test_copies_left_after_others_have_finished_equal_their_single_runs() -> None:
    settings, data = _settings(method="sst"), _task("nc")
    ensemble = Ensemble(settings, SEEDS, data)
    for step in range(STEPS):
        if step in (2, 5):
            _finish(ensemble.runs[step // 3])
        ensemble.step()
    single = Run(replace(settings, seed=SEEDS[2]), data)
    for _ in range(STEPS):
        single.step()
    _assert_close(ensemble.runs[2].model.state_dict(), single.model.state_dict())


@pytest.mark.parametrize("method", sorted(methods.METHODS))
@pytest.mark.parametrize("task", ["nc", "lp"])
def test_an_interrupted_ensemble_continues_bit_for_bit(method: str, task: str) -> None:
    settings, data = _settings(method=method, task=task, decomposition="1"), _task(task)
    whole = Ensemble(settings, SEEDS, data)
    for _ in range(3):
        whole.step()
    whole.keep_if_best()
    state = copy.deepcopy(whole.state_dict())
    for _ in range(6):
        whole.step()
    whole.keep_if_best()
    resumed = Ensemble(settings, SEEDS, data)
    resumed.step()  # whatever it did before is forgotten
    resumed.load_state_dict(state)
    for _ in range(6):
        resumed.step()
    resumed.keep_if_best()
    for mine, theirs in zip(resumed.runs, whole.runs, strict=True):
        assert mine.best == theirs.best
        for name, value in theirs.model.state_dict().items():
            assert torch.equal(mine.model.state_dict()[name], value), name
        for name, value in theirs.best_state.items():
            assert torch.equal(mine.best_state[name], value), name


def test_a_finished_ensemble_can_be_lengthened_through_its_checkpoint(tmp_path: Path) -> None:
    path, settings = tmp_path / "c.pt", Settings(method="sst", epochs=4, eval_every=2, steps_per_iteration=3)
    train_seeds(settings, SEEDS, checkpoint=path)
    longer = replace(settings, epochs=8)
    resumed, whole = train_seeds(longer, SEEDS, resume=path), train_seeds(longer, SEEDS)
    assert [_result(record) for record in resumed] == [_result(record) for record in whole]


def test_checkpoints_of_other_seeds_or_of_a_single_run_are_refused(tmp_path: Path) -> None:
    path, settings = tmp_path / "c.pt", Settings(epochs=1)
    train_seeds(settings, (0, 1), checkpoint=path)
    with pytest.raises(CheckpointError, match=r"`seeds` is \[0, 1\] there and \[0, 2\] here"):
        train_seeds(settings, (0, 2), resume=path)
    with pytest.raises(CheckpointError, match=r"`seeds` is \[0, 1\] there and None here"):
        train(settings, resume=path)
    train(settings, checkpoint=path)
    with pytest.raises(CheckpointError, match=r"`seeds` is None there and \[0, 1\] here"):
        train_seeds(settings, (0, 1), resume=path)


def test_a_non_finite_copy_is_named_and_no_copy_steps() -> None:
    ensemble = Ensemble(_settings(model="gcn", dropout=0.0), SEEDS, _task("nc"))
    ensemble.step()
    with torch.no_grad():
        ensemble.runs[1].model.layers[0].bias.fill_(float("nan"))
    before = copy.deepcopy([run.model.state_dict() for run in ensemble.runs])
    with pytest.raises(NonFiniteError, match=r"of seed 0 became non-finite in epoch 1, first in parameter layers\.0"):
        ensemble.step()
    for run, state in zip(ensemble.runs, before, strict=True):
        for name, value in state.items():
            torch.testing.assert_close(run.model.state_dict()[name], value, rtol=0.0, atol=0.0, equal_nan=True)


def test_the_callers_randomness_is_untouched() -> None:
    before = torch.get_rng_state()
    train_seeds(Settings(epochs=2, dropout=0.3), (1, 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_seeds_and_batches_are_refused() -> None:
    data = _task("nc")
    for seeds in ((), (1, 2, 1)):
        with pytest.raises(
            ValueError, match=rf"`seeds` must be distinct and at least one, got {re.escape(str(list(seeds)))}"
        ):
            Ensemble(_settings(), seeds, data)
    with pytest.raises(ValueError, match=r"`seeds` are trained together on whole graphs only: .* `parts` = 4"):
        Ensemble(_settings(parts=4), SEEDS, data)


def test_the_command_writes_a_record_for_each_seed_and_says_mean_and_deviation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "train",
        "--epochs",
        "4",
        "--eval-every",
        "2",
        "--seed",
        "5",
        "--seeds",
        "3",
        "--output",
        str(tmp_path),
    ]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [json.loads((tmp_path / f"record-s{seed}.json").read_text()) for seed in (5, 6, 7)]
    assert [record["settings"]["seed"] for record in found] == [5, 6, 7]
    assert [
        f"seed {seed}: test F1 {100 * r['test']['f1']:.2f}" in line
        for seed, r, line in zip((5, 6, 7), found, lines, strict=False)
    ]
    scores = torch.tensor([100 * record["test"]["f1"] for record in found])
    assert f"3 seeds: test F1 {scores.mean():.2f} ± {scores.std():.2f}" in lines[3]
    assert main([*arguments, "--resume", str(tmp_path / "checkpoint.pt")]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "`seeds` must be at least 1, got 0"),
        (["mammals", "--task", "embed", "--seeds", "2"], "`seeds` must be 1 for embed"),
    ],
)
def test_the_command_refuses_seeds_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments]) == 2
    assert re.fullmatch(f"hypersst: error: {message}.*\n", capsys.readouterr().err)


@needs_compiled_sums
@pytest.mark.slow
@pytest.mark.parametrize("task", ["nc", "lp"])
def test_a_compiled_ensemble_equals_its_single_runs(task: str) -> None:
    settings, data = _settings(method="sst", task=task), _task(task)
    ensemble = Ensemble(replace(settings, compile=True), SEEDS, data)
    _assert_equal_runs(ensemble, settings, data, STEPS)
