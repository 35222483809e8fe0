"""Learning rates go as published, and scores of translations are sacrebleu's."""

import math

import pytest

from hypersst.experiments.texts.schedule import SCHEDULES, factor
from hypersst.experiments.texts.scores import score_translations


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


def test_equal_sentences_score_a_hundred_and_others_less() -> None:
    references = ["the cat sat on the mat .", "a dog barks at the tree ."]
    same = score_translations(references, references)
    assert (same.bleu, same.chrf) == (pytest.approx(100.0), pytest.approx(100.0))
    assert all("version" in signature for signature in same.signatures)
    other = score_translations(["the cat sat on a mat .", references[1]], references)
    assert 0.0 < other.bleu < 100.0


def test_bleu_is_the_papers_formula() -> None:
    # One substitution in ten words: 9/10 words, 7/9 pairs, 5/8 threes and 3/7 fours are right, lengths are equal.
    reference = "a b c d e f g h i j"
    found = score_translations([reference.replace("e", "x")], [reference]).bleu
    right = [9 / 10, 7 / 9, 5 / 8, 3 / 7]
    assert found == pytest.approx(100 * math.exp(sum(map(math.log, right)) / 4))


def test_a_missing_translation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`translations` must be one for each reference, got 1 for 2"):
        score_translations(["a"], ["a", "b"])
