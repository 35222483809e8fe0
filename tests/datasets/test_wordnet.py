"""Hierarchies: a small one made here and the mammals."""

import pytest
import torch
from data_cases import real_data

from hypersst.datasets.wordnet import HIERARCHIES, MAMMALS, Hierarchy, load_hierarchy, read_closure
from hypersst.errors import DataError

_FILE = b"""id1,id2,weight
dog.n.01,canine.n.01,1
wolf.n.01,canine.n.01,1
dog.n.01,mammal.n.01,1
wolf.n.01,mammal.n.01,1
canine.n.01,mammal.n.01,1
"""


def _named(hierarchy: Hierarchy) -> set[tuple[str, str]]:
    return {(hierarchy.names[u], hierarchy.names[v]) for u, v in hierarchy.pairs.t().tolist()}


def test_pairs_are_those_of_the_file_narrower_first():
    hierarchy = read_closure("small", _FILE)
    assert hierarchy.names == ("canine.n.01", "dog.n.01", "mammal.n.01", "wolf.n.01")
    assert hierarchy.pairs.dtype == torch.long
    assert hierarchy.pairs.is_contiguous()
    assert _named(hierarchy) == {tuple(line.split(",")[:2]) for line in _FILE.decode().splitlines()[1:]}
    assert hierarchy.roots == ("mammal.n.01",)
    assert hierarchy.describe() == "small: 4 nodes, 5 pairs (narrower, broader)"


def test_the_order_of_lines_does_not_matter():
    header, *lines = _FILE.splitlines(keepends=True)
    turned = read_closure("small", b"".join([header, *reversed(lines)]))
    assert torch.equal(turned.pairs, read_closure("small", _FILE).pairs)


def test_commas_in_quotes_belong_to_a_name():
    assert read_closure("small", b'id1,id2\n"a, b",c\n').names == ("a, b", "c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id2,id1,weight\na,b,1\n", "The columns of small must begin with id1, id2, got 'id2,id1,weight'"),
        (b"", "The columns of small must begin with id1, id2, got ''"),
        (b"id1,id2\na,b\nb,c\na,b\n", "The pairs of small must be different .* got 1 repeats and 0 loops among 3"),
        (b"id1,id2\na,b\nb,b\n", "The pairs of small must be .* got 0 repeats and 1 loops among 2"),
        (b"id1,id2\n", "The pairs of small must be .* among 0"),
    ],
)
def test_files_that_are_no_closure_are_refused(content, message):
    with pytest.raises(DataError, match=message):
        read_closure("small", content)


def test_unknown_names_are_refused_before_any_file_is_looked_for(tmp_path):
    with pytest.raises(ValueError, match=r"`dataset` must be one of mammals, got 'mamals'; did you mean mammals\?"):
        load_hierarchy("mamals", data_dir=tmp_path / "absent")


def test_a_file_with_another_checksum_is_refused(tmp_path):
    (tmp_path / "mammal_closure.csv").write_bytes(_FILE)
    with pytest.raises(DataError, match=f"must have SHA-256 {MAMMALS.sha256}, got "):
        load_hierarchy("mammals", data_dir=tmp_path)


@pytest.mark.data
@pytest.mark.parametrize("name", HIERARCHIES)
def test_every_hierarchy_is_a_transitive_closure(name):
    hierarchy = load_hierarchy(name, data_dir=real_data())
    broader: dict[int, set[int]] = {}
    for u, v in hierarchy.pairs.t().tolist():
        broader.setdefault(u, set()).add(v)
    for u, above in broader.items():
        # With transitivity, this excludes cycles.
        assert u not in above
        assert all(broader.get(v, set()) <= above for v in above)


@pytest.mark.data
def test_mammals_have_the_published_counts():
    hierarchy = load_hierarchy("mammals", data_dir=real_data())
    assert (hierarchy.num_nodes, hierarchy.pairs.size(1)) == (1180, 6540)
    assert hierarchy.roots == ("mammal.n.01",)
    assert ("dog.n.01", "carnivore.n.01") in _named(hierarchy)
