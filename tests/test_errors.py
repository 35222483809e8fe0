"""Errors that several parts share."""

import pytest

from hypersst.errors import DataError, nearest, unknown


@pytest.mark.parametrize(("name", "expected"), [("CORA", "cora"), ("pubmd", "pubmed"), ("zzz", "")])
def test_nearest_names_ignore_case_and_are_empty_when_nothing_is_close(name, expected):
    assert nearest(name, ["cora", "citeseer", "pubmed"]) == expected


def test_nearest_names_come_in_their_own_spelling():
    assert nearest("hybonett", ["HyboNet", "HGCN"]) == "HyboNet"


def test_unknown_names_argument_rule_value_and_neighbours():
    error = unknown("dataset", "coar", ["cora", "pubmed"])
    assert isinstance(error, ValueError)
    assert str(error) == "`dataset` must be one of cora, pubmed, got 'coar'; did you mean cora?"


def test_unknown_takes_values_that_are_no_names():
    assert str(unknown("task", 3, ["nc", "lp"])) == "`task` must be one of nc, lp, got 3."


def test_data_errors_are_value_errors():
    assert issubclass(DataError, ValueError)
