"""The callback of Lightning's Trainer: one clock, exact resume from Lightning's own checkpoints, plain weights."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hypersst
from hypersst.integrations.lightning import SSTCallback
from hypersst.lowrank import GaLore
from hypersst.spectral import spectral_weights

SETTINGS = {"steps_per_iteration": 2, "warmup_steps": 2, "seed": 3}


class Regression(LightningModule):
    def __init__(self, *, groups=True, **options):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5))
        if options:
            hypersst.spectralize(self.net, **options)
        self.groups = groups

    def training_step(self, batch, index):
        x, y = batch
        return (self.net(x) - y).square().mean()

    def configure_optimizers(self):
        parameters = hypersst.param_groups(self, lr=1e-2) if self.groups else self.parameters()
        optimizer = torch.optim.AdamW(parameters, lr=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 8)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class TwoOptimizers(Regression):
    """Steps them itself; the second one holds what is spectral."""

    automatic_optimization = False

    def __init__(self):
        super().__init__(rank=2)
        self.shift = nn.Parameter(torch.zeros(5))

    def training_step(self, batch, index):
        x, y = batch
        loss = (self.net(x) + self.shift - y).square().mean()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()

    def configure_optimizers(self):
        groups = hypersst.param_groups(self.net, lr=1e-2)
        return torch.optim.SGD([self.shift], lr=1e-2), torch.optim.AdamW(groups)


class Rates(Callback):
    """Keeps the learning rates that the steps saw; added after the sampler's callback."""

    def __init__(self):
        self.seen = []

    def on_train_start(self, trainer, pl_module):
        trainer.optimizers[0].register_step_pre_hook(self.note)

    def note(self, optimizer, args, kwargs):
        self.seen.append({group["role"]: group["lr"] for group in optimizer.param_groups})


def batches(count=4):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4 * count, 8, generator=generator)
    return DataLoader(TensorDataset(x, x[:, :5].cos()), batch_size=4)


def trainer(folder, *callbacks, **options):
    """A trainer of eight steps on the CPU."""
    settings = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    settings |= {"max_steps": 8, "enable_checkpointing": False}
    return Trainer(default_root_dir=folder, callbacks=list(callbacks), **settings | options)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.values(), b.values(), strict=True))
    return a == b


def states(model, run, callback):
    optimizer = run.optimizers[0].state_dict()["state"]
    return {"model": model.state_dict(), "sampler": callback.sampler.state_dict(), "optimizer": optimizer}


def test_the_sampler_counts_optimizer_steps_and_warms_up_beside_the_schedule(tmp_path):
    callback, rates = SSTCallback(**SETTINGS), Rates()
    model = Regression(rank=2)
    trainer(tmp_path, callback, rates, accumulate_grad_batches=2).fit(model, batches())
    assert callback.sampler.step_count == 8
    assert callback.sampler.iteration == 4
    linear = [1e-2 * (1 - step / 8) for step in range(8)]
    assert [seen["scalars"] for seen in rates.seen] == pytest.approx(linear)
    for role in ("sigma", "vectors"):  # a half in the first step after each draw
        factors = [seen[role] / rate for seen, rate in zip(rates.seen, linear, strict=True)]
        assert factors == pytest.approx([0.5, 1.0] * 4)


@pytest.mark.parametrize("step", [4, 5])
@pytest.mark.parametrize("options", [{}, {"storage": "int8"}], ids=["float32", "int8"])
def test_a_resumed_run_equals_the_unbroken_one_bit_for_bit(tmp_path, step, options):
    # One batch an epoch: Lightning itself does not continue within an epoch of a plain loader.
    path, results = tmp_path / "half.ckpt", []
    for seed, steps, start in ((3, 8, None), (3, step, None), (99, 8, str(path))):  # the seed of the checkpoint counts
        callback, model = SSTCallback(**SETTINGS | {"seed": seed}), Regression(rank=2, **options)
        run = trainer(tmp_path, callback, max_steps=steps)
        run.fit(model, batches(1), ckpt_path=start)
        assert run.global_step == steps
        run.save_checkpoint(path)
        results.append(states(model, run, callback))
    assert torch.load(path, weights_only=True)["callbacks"]["SSTCallback"]["step"] == 8
    whole, _, resumed = results
    assert same(resumed, whole)


def test_the_comparison_notices_a_sampler_that_begins_anew(tmp_path):
    run = trainer(tmp_path, SSTCallback(**SETTINGS), max_steps=5)
    run.fit(Regression(rank=2), batches(1))
    run.save_checkpoint(tmp_path / "five.ckpt")
    results = []
    for step in (5, 0):
        checkpoint = torch.load(tmp_path / "five.ckpt", weights_only=True)
        checkpoint["callbacks"]["SSTCallback"]["step"] = step
        torch.save(checkpoint, tmp_path / "changed.ckpt")
        callback, model = SSTCallback(**SETTINGS), Regression(rank=2)
        resumed = trainer(tmp_path, callback)
        resumed.fit(model, batches(1), ckpt_path=str(tmp_path / "changed.ckpt"))
        results.append(states(model, resumed, callback)["model"])
    assert not same(*results)


def test_the_model_is_plain_after_fitting_and_its_checkpoints_are_spectral(tmp_path):
    save = ModelCheckpoint(tmp_path, "best", save_last=True)
    callback, model = SSTCallback(merge=True, **SETTINGS), Regression(rank=2)
    trainer(tmp_path, save, callback, enable_checkpointing=True).fit(model, batches())
    assert not spectral_weights(model)
    assert all(type(p) is nn.Parameter for p in model.parameters())
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    kept = Regression(rank=2)
    kept.load_state_dict(checkpoint["state_dict"])
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(kept.net(x), model.net(x))


def test_effective_rank_and_coverage_are_logged_each_epoch(tmp_path):
    callback = SSTCallback(**SETTINGS)
    run = trainer(tmp_path, callback)
    run.fit(Regression(rank=2), batches())
    measured = callback.sampler.telemetry().values()
    for name in ("effective_rank", "coverage"):
        mean = sum(getattr(layer, name) for layer in measured) / 2
        assert run.logged_metrics[f"sst_{name}"].item() == pytest.approx(mean, rel=1e-5)
    silent = trainer(tmp_path, SSTCallback(telemetry=False, **SETTINGS))
    silent.fit(Regression(rank=2), batches())
    assert not silent.logged_metrics


def test_of_two_optimizers_the_spectral_one_is_the_clock(tmp_path):
    callback, model = SSTCallback(**SETTINGS), TwoOptimizers()
    run = trainer(tmp_path, callback, max_steps=12)  # Lightning counts the steps of both
    run.fit(model, batches())
    assert callback.sampler.optimizer is run.optimizers[1]
    assert callback.sampler.step_count == 6


def test_fitting_again_begins_again(tmp_path):
    callback, model = SSTCallback(**SETTINGS), Regression(rank=2)
    trainer(tmp_path, callback, max_steps=3).fit(model, batches())
    first = callback.sampler
    trainer(tmp_path, callback, max_steps=5).fit(model, batches())
    assert (first.step_count, callback.sampler.step_count) == (3, 5)


def test_a_run_that_failed_leaves_no_sampler_behind(tmp_path):
    class Failing(Regression):
        def on_train_batch_end(self, outputs, batch, index):
            raise RuntimeError("no more")

    callback, model = SSTCallback(**SETTINGS), Failing(rank=2)
    run = trainer(tmp_path, callback)
    with pytest.raises(RuntimeError, match="no more"):
        run.fit(model, batches())
    broken = callback.sampler
    trainer(tmp_path, callback, max_steps=2).fit(Regression(rank=2), batches())
    broken.optimizer.step()
    assert broken.step_count == 1


def test_what_cannot_train_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`model` must have spectral weights, but Regression has none"):
        trainer(tmp_path, SSTCallback(**SETTINGS)).fit(Regression(), batches())
    with pytest.raises(ValueError, match=r"build it from `hypersst.param_groups\(model, lr=...\)`"):
        trainer(tmp_path, SSTCallback(**SETTINGS)).fit(Regression(rank=2, groups=False), batches())
    with pytest.raises(TypeError, match="steps_per_itertion"):
        SSTCallback(steps_per_itertion=3)


def test_a_checkpoint_without_a_sampler_is_refused(tmp_path):
    run = trainer(tmp_path, max_steps=2)
    run.fit(Regression(rank=2), batches())
    run.save_checkpoint(tmp_path / "two.ckpt")
    with pytest.raises(ValueError, match=r"a run with SSTCallback, but '.*two.ckpt' has no state of a sampler"):
        trainer(tmp_path, SSTCallback(**SETTINGS)).fit(
            Regression(rank=2), batches(), ckpt_path=str(tmp_path / "two.ckpt")
        )


def test_galore_refuses_the_closure_that_lightning_hands_to_the_step(tmp_path):
    class Projected(Regression):
        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
            self.galore = GaLore(self, optimizer, rank=2)
            return optimizer

    with pytest.raises(ValueError, match="`closure` must be None"):
        trainer(tmp_path).fit(Projected(), batches())
