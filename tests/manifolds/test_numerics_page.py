"""The page ``docs/numerics.md``: what the script writes, and that the page in the tree is its work."""

import re
from pathlib import Path

import pytest

from hypersst.experiments.conformance import CASES
from hypersst.experiments.numerics import RADII, NumericsSettings, report
from hypersst.experiments.oracle import exact

PAGE = Path(__file__).parents[2] / "docs" / "numerics.md"


def cells(text):
    """Pairs (ours, geoopt's) of all tables."""
    return re.findall(r"(\S+) / (\S+) (?=\|)", text)


@pytest.fixture(scope="module")
def page():
    return report(NumericsSettings(points=1, dim=2, steps=(1.0,)))


def test_each_precision_and_model_has_its_tables(page):
    for title in ("Lorentz, float32", "PoincareBall, float32", "Lorentz, float64", "PoincareBall, float64"):
        assert f"## {title}, step 1\n" in page
    # Two tables of six verbs for each.
    assert len(cells(page)) == 4 * 2 * 6 * len(RADII)


def test_the_command_and_the_settings_stand_beside_the_tables(page):
    assert "python -m hypersst.experiments.numerics" in page
    assert "points=1, dim=2, steps=(1.0,), seed=0" in page
    assert re.search(r"torch \d+\.\d+", page)


def test_the_page_in_the_tree_has_no_failure_of_ours():
    ours = [a for a, _ in cells(PAGE.read_text(encoding="utf-8"))]
    assert len(ours) == 4 * 2 * (6 + 4) * len(RADII)
    assert all(float(error) < 0.1 for error in ours)


def test_the_page_in_the_tree_has_a_line_for_each_layer_below_a_thousandth():
    layers = PAGE.read_text(encoding="utf-8").split("## Layers, float32")[1]
    found = re.findall(r"\n\| ([\w-]+) \|([\de|. -]+)\|", layers)
    rows = {name: [float(cell) for cell in cells.split("|")] for name, cells in found}
    assert set(rows) == {case.name for case in CASES}
    assert all(error < 1e-3 for *errors, _near in rows.values() for error in errors)


def test_inputs_of_the_oracle_are_not_rounded():
    assert exact([0.1])[0] * 2**55 == 3602879701896397
