"""One entry for each layer of `hypersst.nn`: the conformance suite runs every law over all of them.

A new layer adds one `LayerCase` to the list of its file, its default options first, and inherits the laws of
``tests/nn/test_conformance.py`` and its line in ``docs/numerics.md``. A failing case is rebuilt at the prompt by
``CASE["lorentz-conv"].make()``.
"""

from hypersst.experiments.conformance import attention, charts, graph, heads, linear, means
from hypersst.experiments.conformance.case import CLAIMS, LayerCase, Reading

__all__ = ["CASE", "CASES", "CLAIMS", "LayerCase", "Reading"]

CASES = [*linear.CASES, *graph.CASES, *heads.CASES, *charts.CASES, *attention.CASES, *means.CASES]
CASE = {case.name: case for case in CASES}
