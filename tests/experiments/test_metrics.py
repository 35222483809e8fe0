"""Scores against scikit-learn's, ties included."""

import pytest
import torch
from sklearn import metrics as sk

from hypersst.experiments.metrics import average_precision, f1_scores, link_scores, node_scores, roc_auc


def _scores(n: int, distinct: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    scores = torch.randn(n, generator=generator)
    if distinct:
        scores = (scores * distinct).round() / distinct
    return scores, torch.rand(n, generator=generator) < 0.4


@pytest.mark.parametrize("distinct", [None, 1, 3])
@pytest.mark.parametrize("n", [7, 100, 1001])
def test_roc_auc_and_average_precision_equal_scikit_learn_with_and_without_ties(n: int, distinct: int | None) -> None:
    scores, labels = _scores(n, distinct)
    assert roc_auc(scores, labels).item() == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels).item() == pytest.approx(
        sk.average_precision_score(labels, scores), abs=1e-12
    )


def test_a_perfect_and_a_reversed_ranking_score_one_and_zero() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    assert roc_auc(torch.arange(4.0), labels) == 1.0
    assert roc_auc(-torch.arange(4.0), labels) == 0.0
    assert roc_auc(torch.zeros(4), labels) == 0.5


@pytest.mark.parametrize("classes", [2, 5])
def test_node_scores_equal_scikit_learn(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(200, classes, generator=generator)
    labels = torch.randint(0, classes, (200,), generator=generator)
    predicted = logits.argmax(1)
    average = "binary" if classes == 2 else "micro"
    scores = node_scores(logits, labels)
    assert scores["f1"] == pytest.approx(sk.f1_score(labels, predicted, average=average))
    assert scores["f1_macro"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
    torch.testing.assert_close(
        f1_scores(predicted, labels, classes), torch.from_numpy(sk.f1_score(labels, predicted, average=None))
    )


def test_a_class_that_never_occurs_has_f1_zero() -> None:
    labels = predicted = torch.tensor([0, 1, 0])
    assert f1_scores(predicted, labels, 3).tolist() == [1.0, 1.0, 0.0]


def test_link_f1_takes_as_many_pairs_for_edges_as_there_are() -> None:
    scores = link_scores(torch.tensor([3.0, 2.0, 0.0]), torch.tensor([1.0, -1.0, -2.0]))
    assert scores["f1"] == pytest.approx(2 / 3)
    assert scores["roc_auc"] == pytest.approx(8 / 9)
