"""Learning rates go as published, and runs on graphs follow them."""

from dataclasses import replace

import pytest

from hypersst.datasets import load
from hypersst.experiments.ensemble import Ensemble
from hypersst.experiments.run import Run
from hypersst.experiments.schedule import SCHEDULES, factor
from hypersst.experiments.settings import Settings


def test_noam_is_the_papers_formula_up_to_its_peak() -> None:
    d, w = 512, 40
    peak = (d * w) ** -0.5
    for step in range(1, 200):
        published = d**-0.5 * min(step**-0.5, step * w**-1.5)
        assert factor("noam", step, w, 200) * peak == pytest.approx(published)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 10])
def test_every_schedule_rises_to_one_and_never_beyond(schedule: str, warmup: int) -> None:
    factors = [factor(schedule, step, warmup, 100) for step in range(1, 101)]
    assert max(factors) == pytest.approx(1.0, abs=1e-3)
    assert all(0.0 < x <= 1.0 for x in factors)
    assert factors[:9] == ([pytest.approx(step / 10) for step in range(1, 10)] if warmup else factors[:9])


def test_cosine_ends_at_a_tenth() -> None:
    assert factor("cosine", 100, 10, 100) == pytest.approx(0.1)
    assert factor("cosine", 55, 10, 100) == pytest.approx(0.55)


def test_linear_falls_by_equal_steps_to_the_last_one() -> None:
    assert [factor("linear", step, 1, 5) for step in range(1, 6)] == [1.0, 1.0, 0.75, 0.5, 0.25]


def _settings(**options: object) -> Settings:
    return Settings(method="sst", epochs=4, steps_per_iteration=3, warmup_steps=2, lr=0.5, vector_lr=0.25, **options)  # type: ignore[arg-type]


def test_a_run_steps_by_the_schedule_and_goes_on_with_it() -> None:
    task = load("disease-tree", task="nc")
    settings = _settings(schedule="linear").resolve()
    assert settings.patience == 4  # the whole fall is trained
    run = Run(settings, task)
    run.step()
    run.step()
    again = Run(settings, task)
    again.load_state_dict(run.state_dict())
    for one in (run, again):
        one.step()
        rates = {group["lr"] for group in one.trainer.optimizer.param_groups}
        assert rates == {0.25, 0.125}
    ensemble = Ensemble(settings, [0, 1], task)
    for _ in range(3):
        ensemble.step()
    assert {group["lr"] for group in ensemble.runs[1].trainer.optimizer.param_groups} == {0.25, 0.125}


def test_constant_rates_leave_the_patience_of_the_recipe() -> None:
    assert _settings().resolve().patience == replace(_settings(), epochs=9).resolve().patience != 9


def test_unknown_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`schedule` must be one of .*linear"):
        _settings(schedule="liner").resolve()
