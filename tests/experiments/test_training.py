"""One loop for every model, task and method: it learns, resumes bit for bit, and stops with a reason."""

import json
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from hypersst.datasets import load
from hypersst.errors import DeviceError, NonFiniteError
from hypersst.experiments import training
from hypersst.experiments.checkpoint import CheckpointError, load_checkpoint
from hypersst.experiments.interrupts import InterruptedRun
from hypersst.experiments.minibatch_run import run_for
from hypersst.experiments.records import Record
from hypersst.experiments.run import Run
from hypersst.experiments.settings import Settings
from hypersst.experiments.training import resolve_device, train

METHODS = ["full", "sst", "lora", "relora"]


def _short(**changes: object) -> Settings:
    # Iterations of four steps put draws and restarts in the middle of ten epochs.
    return Settings(**{"epochs": 10, "steps_per_iteration": 4, "warmup_steps": 2, "eval_every": 2, **changes})


def _result(record: Record) -> dict[str, object]:
    """What two equal runs agree in."""
    kept = asdict(record)
    for name in ("seconds", "peak_memory"):
        kept.pop(name)
    kept["settings"].pop("epochs")
    return kept


@pytest.mark.parametrize("model", ["hybonet", "hgcn", "gcn", "mlp"])
@pytest.mark.parametrize("task", ["nc", "lp"])
@pytest.mark.parametrize("method", METHODS)
def test_every_model_task_and_method_lowers_its_loss(model: str, task: str, method: str) -> None:
    settings = _short(model=model, task=task, method=method, epochs=60, lr=0.02, dropout=0.0, eval_every=60)
    run = Run(settings.resolve(), load("disease-tree", task=task))
    first = torch.stack([run.step() for _ in range(5)]).mean()
    for _ in range(50):
        run.step()
    last = torch.stack([run.step() for _ in range(5)]).mean()
    assert last < first


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", ["nc", "lp"])
def test_an_interrupted_run_continues_bit_for_bit(
    task: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _short(task=task, method=method, dropout=0.2)
    whole = tmp_path / "whole.pt"
    record = train(settings, checkpoint=whole)
    for cut in (3, 4, 5, 8):
        path = tmp_path / f"cut{cut}.pt"

        def stop_at_cut(self: Run, cut: int = cut, step: object = Run.step) -> torch.Tensor:
            loss = step(self)
            if self.epoch == cut:
                os.kill(os.getpid(), signal.SIGINT)
            return loss

        with monkeypatch.context() as patch:
            patch.setattr(Run, "step", stop_at_cut)
            with pytest.raises(InterruptedRun, match=f"after epoch {cut}"):
                train(settings, checkpoint=path)
        assert load_checkpoint(path)["epoch"] == cut
        resumed = train(settings, checkpoint=path, resume=path)
        assert _result(resumed) == _result(record)
        mine, theirs = load_checkpoint(path), load_checkpoint(whole)
        for part in ("model", "best_state"):
            assert mine[part].keys() == theirs[part].keys()
            for name, value in theirs[part].items():
                assert torch.equal(mine[part][name], value), f"{name} after a cut at {cut}"


def test_a_finished_run_can_be_lengthened(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    train(_short(method="sst", epochs=6), checkpoint=path)
    longer = train(_short(method="sst", epochs=10), resume=path)
    assert _result(longer) == _result(train(_short(method="sst", epochs=10)))


def test_the_seed_decides_the_result_and_the_callers_randomness_is_untouched() -> None:
    before = torch.get_rng_state()
    first, same, other = (train(_short(method="sst", seed=seed, dropout=0.3)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert _result(first) == _result(same)
    assert first.test != other.test


def test_resuming_another_model_is_refused_before_any_data_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    train(_short(epochs=1), checkpoint=path)
    with pytest.raises(CheckpointError, match="`model` is 'hybonet' there and 'gcn' here"):
        train(_short(epochs=1, model="gcn"), resume=path)


def test_a_non_finite_parameter_stops_training_with_layer_and_epoch_and_leaves_the_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.pt"
    step = Run.step

    def poison(self: Run) -> torch.Tensor:
        if self.epoch == 3:
            with torch.no_grad():
                next(p for n, p in self.model.named_parameters() if n == "layers.1.lin.bias").fill_(float("nan"))
        return step(self)

    monkeypatch.setattr(Run, "step", poison)
    with pytest.raises(NonFiniteError, match=r"in epoch 3, first in parameter layers\.1\.lin\.bias.*c\.pt"):
        train(_short(), checkpoint=path)
    state = load_checkpoint(path)
    assert all(torch.isfinite(v).all() for v in state["model"].values() if v.is_floating_point())


def test_an_exploding_output_is_named_by_its_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _short(model="mlp", dropout=0.0).resolve()
    run = Run(settings, load("disease-tree"))
    with torch.no_grad():
        run.model.layers[0].weight.fill_(3e38)
    with pytest.raises(NonFiniteError, match=r"in epoch 0, first in the output of layers\.0"):
        run.step()


def test_the_best_epoch_is_chosen_on_validation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([(0.5, 0.1), (0.9, 0.2), (0.9, 0.99), (0.8, 1.0), (0.1, 0.0)])

    def evaluate(self: Run) -> tuple[dict[str, float], dict[str, float]]:
        validation, test = next(scores)
        return {"f1": validation}, {"f1": test}

    monkeypatch.setattr(Run, "evaluate", evaluate)
    record = train(_short())
    assert (record.best_epoch, record.validation["f1"], record.test["f1"]) == (4, 0.9, 0.2)


def test_patience_counts_from_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "evaluate", lambda self: ({"f1": 1.0 / self.epoch}, {"f1": 0.0}))
    assert train(_short(epochs=100, patience=6)).epochs == 8


def test_a_record_is_json_with_all_settings_and_true_counts() -> None:
    record = train(_short(method="sst", rank=2))
    assert json.loads(json.dumps(asdict(record)))["settings"]["lr"] == 0.005
    assert all(value is not None for value in record.settings.values())
    run = Run(_short(method="sst", rank=2).resolve(), load("disease-tree", seed=1234))
    assert record.trainable == sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    assert run.trainer.report is not None
    assert record.trainable == run.trainer.report.trainable
    assert record.seconds > 0
    assert record.peak_memory > 10**7


def test_a_device_that_is_not_there_is_refused_by_name() -> None:
    for name in ("cuda:99", "abacus"):
        with pytest.raises(DeviceError, match=f"`device` must be one that is there .*{name}"):
            resolve_device(name)
    assert resolve_device("cpu").type == "cpu"


def test_nodes_without_labels_are_refused_for_classification() -> None:
    task = replace(load("disease-tree"), num_classes=0)
    with pytest.raises(ValueError, match="`task` must be 'lp' for 'disease-tree'"):
        Run(_short().resolve(), task)


def test_evaluation_does_not_touch_what_training_computes() -> None:
    often, seldom = (_short(epochs=8, eval_every=n, method="sst", dropout=0.3).resolve() for n in (1, 8))
    states = []
    for settings in (often, seldom):
        with torch.random.fork_rng():
            run = Run(settings, load("disease-tree"))
            training.bring_to_end(run, None, None)
        states.append(run.model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))


@pytest.mark.parametrize("batches", [{}, {"parts": 3, "parts_per_batch": 3}])
def test_balanced_classes_count_the_same_however_many_nodes_they_have(batches: dict[str, int]) -> None:
    settings = _short(class_weights="balanced", dropout=0.0, **batches).resolve()
    run = run_for(settings, load("disease-tree", task="nc"))
    loss, logits = run.loss(), run.model(run.x, run.adjacency)
    y = run.task.y[run.task.train]
    of_classes = [run.model.node_loss(logits[run.task.train][y == k], y[y == k]) for k in range(2)]
    assert (y == 0).sum() > 2 * (y == 1).sum()
    torch.testing.assert_close(loss, torch.stack(of_classes).mean())


def test_unknown_class_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`class_weights` must be one of .*none"):
        _short(class_weights="balance").resolve()
