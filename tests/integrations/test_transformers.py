"""The callback of Hugging Face's Trainer: one clock, exact resume, plain weights at the end."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from hf_cases import build, llama, tokens
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

import hypersst
from hypersst.integrations.transformers import SSTCallback
from hypersst.lowrank import GaLore
from hypersst.spectral import spectral_weights

# Iterations of two steps, with a warm-up in each: step 4 draws, step 5 does not.
SETTINGS = {"steps_per_iteration": 2, "warmup_steps": 2, "seed": 3}
ROWS = [{"input_ids": row, "labels": row} for row in tokens(24)]


def trainer(folder, callback=None, *, spectralize=None, callbacks=(), groups=True, **options):
    """A Trainer of a tiny model, the same at every call; six steps of four rows in an epoch."""
    model = build("llama")
    if spectralize is not None:
        hypersst.spectralize(model, **{"rank": 2} | spectralize)
    parameters = hypersst.param_groups(model, lr=1e-2) if groups else model.parameters()
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    arguments = TrainingArguments(
        output_dir=str(folder),
        **{"use_cpu": True, "report_to": [], "disable_tqdm": True, "seed": 0, "save_strategy": "no"}
        | {"per_device_train_batch_size": 4, "max_steps": 8, "logging_steps": 1}
        | options,
    )
    everything = [*callbacks, *([] if callback is None else [callback])]
    return Trainer(
        model, arguments, train_dataset=ROWS, eval_dataset=ROWS[:4], optimizers=(optimizer, None), callbacks=everything
    )


class Rates(TrainerCallback):
    """Keeps the learning rates that the steps saw: it comes first, and hooks the optimizer after the sampler."""

    def __init__(self):
        self.seen = []

    def on_epoch_begin(self, args, state, control, *, optimizer, **kwargs):
        if not self.seen:
            optimizer.optimizer.register_step_pre_hook(self.note)

    def note(self, optimizer, args, kwargs):
        self.seen.append({group["role"]: group["lr"] for group in optimizer.param_groups})


def states(run, callback):
    return {"model": run.model.state_dict(), "sampler": callback.sampler.state_dict(), "optimizer": run.optimizer.state}


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.values(), b.values(), strict=True))
    return a == b


def test_the_sampler_counts_optimizer_steps_and_warms_up_beside_the_schedule(tmp_path):
    callback, rates = SSTCallback(**SETTINGS), Rates()
    run = trainer(tmp_path, callback, spectralize={}, callbacks=[rates], gradient_accumulation_steps=2)
    assert callback.sampler is None
    run.train()
    assert run.state.global_step == callback.sampler.step_count == 8
    assert callback.sampler.iteration == 4
    assert type(callback.sampler.optimizer) is torch.optim.AdamW  # and not accelerate's wrapper
    linear = [1e-2 * (1 - step / 8) for step in range(8)]
    assert [seen["scalars"] for seen in rates.seen] == pytest.approx(linear)
    for role in ("sigma", "vectors"):  # a half in the first step after each draw
        factors = [seen[role] / rate for seen, rate in zip(rates.seen, linear, strict=True)]
        assert factors == pytest.approx([0.5, 1.0] * 4)


@pytest.mark.parametrize("step", [4, 5])
@pytest.mark.parametrize("options", [{}, {"storage": "int8", "execution": "composed"}], ids=["float32", "int8"])
def test_a_resumed_run_equals_the_unbroken_one_bit_for_bit(tmp_path, step, options):
    callback = SSTCallback(**SETTINGS)
    run = trainer(tmp_path / "whole", callback, spectralize=options, save_strategy="steps", save_steps=step)
    run.train()

    moved = tmp_path / "elsewhere" / "any-name"
    shutil.copytree(tmp_path / "whole" / f"checkpoint-{step}", moved)
    again = SSTCallback(**SETTINGS | {"seed": 99})  # the seed of the checkpoint counts
    resumed = trainer(tmp_path / "half", again, spectralize=options)
    resumed.train(resume_from_checkpoint=str(moved))
    assert resumed.state.global_step == 8
    assert same(states(resumed, again), states(run, callback))


def test_the_comparison_notices_a_sampler_that_begins_anew(tmp_path):
    callback = SSTCallback(**SETTINGS)
    run = trainer(tmp_path, callback, spectralize={}, save_strategy="steps", save_steps=5)
    run.train()
    path = tmp_path / "checkpoint-5" / "trainer_state.json"
    record = json.loads(path.read_text())
    record["stateful_callbacks"]["SSTCallback"]["attributes"]["sampler"]["step"] = 0
    path.write_text(json.dumps(record))
    again = SSTCallback(**SETTINGS)
    resumed = trainer(tmp_path, again, spectralize={})
    resumed.train(resume_from_checkpoint=str(path.parent))
    assert not same(states(resumed, again), states(run, callback))


def test_the_last_checkpoint_of_the_folder_is_taken_when_no_name_is_given(tmp_path):
    callback = SSTCallback(**SETTINGS)
    trainer(tmp_path, callback, spectralize={}, save_strategy="steps", save_steps=3, max_steps=6).train()
    assert get_last_checkpoint(str(tmp_path)).endswith("checkpoint-6")
    resumed = trainer(tmp_path, callback, spectralize={})  # the same callback once more
    resumed.train(resume_from_checkpoint=True)
    assert callback.sampler.step_count == 8


def test_the_best_model_is_merged_and_saved_as_a_plain_one(tmp_path):
    callback = SSTCallback(merge=True, **SETTINGS)
    every_two = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    run = trainer(tmp_path, callback, spectralize={}, load_best_model_at_end=True, **every_two)
    run.train()
    assert not spectral_weights(run.model)
    assert list(run.model.state_dict()) == list(build("llama").state_dict())
    assert run.evaluate()["eval_loss"] == pytest.approx(run.state.best_metric, rel=1e-5)
    run.save_model(str(tmp_path / "plain"))
    again = llama().from_pretrained(tmp_path / "plain").eval()
    with torch.no_grad():
        assert torch.equal(again(tokens()).logits, run.model.eval()(tokens()).logits)


def test_effective_rank_and_coverage_stand_beside_the_loss(tmp_path):
    callback = SSTCallback(**SETTINGS)
    run = trainer(tmp_path, callback, spectralize={}, max_steps=6)  # nothing is decomposed again by then
    run.train()
    lines = [line for line in run.state.log_history if "loss" in line]
    assert len(lines) == 6
    measured = callback.sampler.telemetry().values()
    mean = sum(layer.effective_rank for layer in measured) / len(measured)
    assert lines[-1]["sst_effective_rank"] == pytest.approx(mean, rel=1e-5)
    covered = [line["sst_coverage"] for line in lines]
    # Of seven weights a layer two have eight singular values, those of the keys and values that queries share.
    assert covered[0] == pytest.approx((5 * 2 / 16 + 2 * 2 / 8) / 7)
    assert covered == sorted(covered)
    assert covered[-1] > covered[0]

    silent = trainer(tmp_path, SSTCallback(telemetry=False, **SETTINGS), spectralize={}, max_steps=1)
    silent.train()
    assert not any("sst_coverage" in line for line in silent.state.log_history)


def test_bfloat16_and_checkpointed_activations_leave_the_clock_and_float32_factors(tmp_path):
    callback = SSTCallback(**SETTINGS)
    run = trainer(tmp_path, callback, spectralize={}, bf16=True, activation_checkpointing=True, max_steps=20)
    run.train()
    losses = [line["loss"] for line in run.state.log_history if "loss" in line]
    assert losses[-1] < losses[0]
    assert callback.sampler.step_count == 20
    assert all(weight.sigma.dtype == torch.float32 for weight in spectral_weights(run.model))


def test_galore_goes_with_the_optimizer_that_the_trainer_gets(tmp_path):
    run = trainer(tmp_path, groups=False)
    galore = GaLore(run.model, run.optimizer, rank=2)
    run.train()
    assert galore.step_count == 8
    weight = run.model.model.layers[0].mlp.up_proj.weight
    assert run.optimizer.state[weight]["exp_avg"].shape == (24, 2)


def test_after_training_steps_are_no_longer_counted(tmp_path):
    callback = SSTCallback(**SETTINGS)
    run = trainer(tmp_path, callback, spectralize={}, max_steps=2)
    run.train()
    run.optimizer.step()
    assert callback.sampler.step_count == 2
    run.train()  # from the start, with a sampler of its own
    assert callback.sampler.step_count == 2


def test_settings_are_checked_before_there_is_a_trainer():
    with pytest.raises(TypeError, match="steps_per_itertion"):
        SSTCallback(steps_per_itertion=3)


def test_a_model_that_is_not_spectral_and_an_optimizer_without_groups_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`model` must have spectral weights, but LlamaForCausalLM has none"):
        trainer(tmp_path, SSTCallback(**SETTINGS)).train()
    with pytest.raises(ValueError, match=r"build it from `hypersst.param_groups\(model, lr=...\)`"):
        trainer(tmp_path, SSTCallback(**SETTINGS), spectralize={}, groups=False).train()


def test_a_checkpoint_without_a_sampler_and_callbacks_made_anew_are_refused(tmp_path):
    trainer(tmp_path, spectralize={}, save_strategy="steps", save_steps=2, max_steps=2).train()
    with pytest.raises(ValueError, match="a run with SSTCallback, but that of step 2 has no state of a sampler"):
        trainer(tmp_path, SSTCallback(**SETTINGS), spectralize={}).train(resume_from_checkpoint=True)
    run = trainer(tmp_path, SSTCallback(), spectralize={}, restore_callback_states_from_checkpoint=True)
    with pytest.raises(ValueError, match="`restore_callback_states_from_checkpoint` must be False"):
        run.train()
