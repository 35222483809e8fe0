"""Scores of translations are sacrebleu's."""

import math

import pytest

from hypersst.experiments.texts.scores import score_translations


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
