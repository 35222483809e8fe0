"""What layers there are, from their docstrings: the page ``docs/layers.md``."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tyro
from torch import nn

import hypersst.nn

__all__ = ["Cost", "LayerDocsSettings", "LayerEntry", "describe", "layers", "main", "report"]

_SECTIONS = re.compile(r"^(Args|Attributes|Example|Raises|Returns|Shapes):$", re.MULTILINE)
_COST = re.compile(r"``([^`]+)`` parameters; ``([^`]+)`` multiply-adds(?:; ``([^`]+)`` over edges)?(?:; )?(.*)\.")
_BORROWED = re.compile(r"^Formula and source: `([\w.]+)`\.$")


@dataclass(frozen=True)
class LayerDocsSettings:
    """What ``docs/layers.md`` is made from.

    Args:
        output: Where the page goes.
    """

    output: Path = Path("docs/layers.md")


@dataclass(frozen=True)
class Cost:
    """Numbers of a layer with default options, as expressions in its attributes, N (rows or nodes) and E (edges).

    Args:
        parameters: How many numbers are learned.
        products: Multiply-adds in matrix products.
        edges: Multiply-adds over edges, empty if it takes no graph.
        note: What else there is to say, may be empty.
    """

    parameters: str
    products: str
    edges: str
    note: str


@dataclass(frozen=True)
class LayerEntry:
    """What the docstring of a layer says, as Markdown.

    Args:
        name: Name of the class.
        file: Where it is, from the root of the tree.
        body: Paragraphs on what it does, with its equation.
        source: Authors, year, title, number of the equation.
        use: When to use it.
        cost: What it costs.
    """

    name: str
    file: str
    body: tuple[str, ...]
    source: str
    use: str
    cost: Cost


def layers() -> list[type[nn.Module]]:
    """Every module class among the public names of `hypersst.nn`, by name."""
    public = (getattr(hypersst.nn, name) for name in sorted(hypersst.nn.__all__))
    return [kind for kind in public if isinstance(kind, type) and issubclass(kind, nn.Module)]


def describe(kind: type[nn.Module]) -> LayerEntry:
    """Read the docstring of a layer.

    Besides its body it has three paragraphs that begin with ``Source:`` (or ``Sources:``), ``Use:`` and ``Cost:``, the
    last in the form "``expression`` parameters; ``expression`` multiply-adds; ``expression`` over edges; more.", of
    which the last two parts may be missing. In place of body and source, "Formula and source: `dotted.name`." takes
    those of a function.

    Raises:
        ValueError: If a paragraph or an equation is missing or the cost has another form.
    """
    body: list[str] = []
    labelled: dict[str, str] = {}
    for paragraph in _paragraphs(kind):
        label, _, text = paragraph.partition(": ")
        if label in ("Source", "Sources", "Use", "Cost"):
            labelled[label.removesuffix("s")] = " ".join(text.split())
        else:
            body.append(paragraph)
    for label in ("Source", "Use", "Cost"):
        if label not in labelled:
            raise ValueError(f"`kind` must have a paragraph {label!r} in its docstring, got {kind.__name__} without.")
    if not any("math:" in paragraph for paragraph in body):
        raise ValueError(f"`kind` must have an equation in its docstring, got {kind.__name__} without.")
    cost = _COST.fullmatch(labelled["Cost"])
    if cost is None:
        raise ValueError(
            f"`kind` must give its cost in the form of `describe`, {kind.__name__} has {labelled['Cost']!r}."
        )
    root = Path(hypersst.__file__).resolve().parents[1]
    return LayerEntry(
        name=kind.__name__,
        file=Path(inspect.getfile(kind)).resolve().relative_to(root).as_posix(),
        body=tuple(map(_markdown, body)),
        source=_markdown(labelled["Source"]),
        use=_markdown(labelled["Use"]),
        cost=Cost(cost[1], cost[2], cost[3] or "", _markdown(cost[4])),
    )


def _paragraphs(owner: object) -> Iterator[str]:
    """Paragraphs of a docstring before its first section, those of other owners in place of references to them."""
    text = _SECTIONS.split(inspect.cleandoc(owner.__doc__ or ""), maxsplit=1)[0]
    for paragraph in filter(None, re.split(r"\n\s*\n", text.strip())):
        borrowed = _BORROWED.match(paragraph)
        if borrowed is None:
            yield paragraph
            continue
        module, _, name = borrowed[1].rpartition(".")
        _, *rest = _paragraphs(getattr(importlib.import_module(module), name))
        yield from rest


def _markdown(text: str) -> str:
    """Markdown with dollars of the part of reStructuredText that the docstrings use."""
    block = re.fullmatch(r"\.\. math::\s+(.*)", text, re.DOTALL)
    if block:
        return f"$$\n{inspect.cleandoc(block[1])}\n$$"
    text = re.sub(r":math:`([^`]+)`", lambda m: f"${' '.join(m[1].split())}$", text)
    return text.replace("``", "`")


_HEAD = """# Layers

Every layer of `hypersst.nn`: what it computes, where that comes from, what it costs and when to use it. This page is
written by

    python -m hypersst.experiments.layer_docs

from the docstrings of the layers; `tests/experiments/test_layer_docs.py` holds it to them, and the costs to what the
layers do. Costs are those of the default options, for N rows (of a graph: nodes) and E edges, self-loops not counted
among them: the parameters, and the multiply-adds of one forward pass over dense inputs, in matrix products and, for
graph convolutions, in weighting the neighbours. Elementwise work, in proportion to the coordinates, comes on top.
"""


def report() -> str:
    """The page, as Markdown."""
    entries = [describe(kind) for kind in layers()]
    lines = [_HEAD, "| layer | use it |", "|---|---|"]
    lines += [f"| [{e.name}](#{e.name.lower()}) | {e.use} |" for e in entries]
    for entry in entries:
        cost = f"`{entry.cost.parameters}` parameters; `{entry.cost.products}` multiply-adds"
        cost += f" and `{entry.cost.edges}` over edges" if entry.cost.edges else ""
        cost += f"; {entry.cost.note}" if entry.cost.note else ""
        lines += ["", f"## {entry.name}", ""]
        lines += "\n\n".join(entry.body).splitlines()
        lines += ["", f"* **Source:** {entry.source}", f"* **Use it** {entry.use}", f"* **Cost:** {cost}."]
        lines += [f"* **File:** [{entry.file}](../{entry.file})"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    settings = tyro.cli(LayerDocsSettings, description=__doc__)
    settings.output.write_text(report(), encoding="utf-8")


if __name__ == "__main__":
    main()
