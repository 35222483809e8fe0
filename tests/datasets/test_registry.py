"""Loading by name."""

import time

import pytest
import torch
from data_cases import real_data

from hypersst.datasets import DATASETS, TASKS, load


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "Coar"}, "`dataset` must be one of disease-tree, cora, .* got 'Coar'; did you mean cora"),
        ({"name": "cora", "task": "np"}, "`task` must be one of nc, lp, got 'np'"),
        ({"name": "cora", "split": "public2"}, "`split` must be one of clean, .* did you mean public"),
        ({"name": "disease-tree", "split": "public"}, "`split` must be clean or hgcn for disease-tree"),
        ({"name": "disease-tree", "normalize": True}, "`normalize` must be left out for disease-tree"),
    ],
)
def test_unknown_names_are_refused_before_any_file_is_looked_for(arguments, message, monkeypatch, tmp_path):
    monkeypatch.setenv("HYPERSST_DATA", str(tmp_path / "absent"))
    if arguments["name"] == "disease-tree":
        monkeypatch.delenv("HYPERSST_DATA")
    with pytest.raises(ValueError, match=message):
        load(**arguments)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", ["clean", "hgcn"])
def test_the_default_set_needs_no_files(task, split, monkeypatch, tmp_path):
    monkeypatch.delenv("HYPERSST_DATA", raising=False)
    monkeypatch.setenv("HYPERSST_CACHE", str(tmp_path / "cache"))
    built = load("disease-tree", task=task, split=split)
    assert (built.name, built.task, built.split) == ("disease-tree", task, split)
    assert not (tmp_path / "cache").exists()


def test_the_seed_changes_the_split_of_the_tree_and_not_the_tree():
    first, second = load("disease-tree", seed=0), load("disease-tree", seed=1)
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.edge_index, second.edge_index)
    assert not torch.equal(first.train, second.train)


@pytest.mark.data
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", DATASETS)
def test_every_set_loads_for_every_task_from_a_folder_and_leaves_it_alone(name, task, monkeypatch, tmp_path):
    monkeypatch.setenv("HYPERSST_DATA", str(real_data()))
    monkeypatch.setenv("HYPERSST_CACHE", str(tmp_path / "cache"))
    before = sorted(path for path in real_data().rglob("*"))
    start = time.process_time()
    built = load(name, task=task)
    assert time.process_time() - start < 3
    assert built.name == name
    assert built.y.numel() == built.num_nodes
    assert sorted(path for path in real_data().rglob("*")) == before
    assert not (tmp_path / "cache").exists()


@pytest.mark.data
def test_features_can_be_left_as_they_are():
    raw = load("disease", data_dir=real_data())
    scaled = load("disease", data_dir=real_data(), normalize=True)
    sums = raw.x.sum(dim=1, keepdim=True)
    # Rounding of a sum of eleven numbers up to 4, for rows whose sum is not close to zero.
    rows = sums.flatten().abs() > 0.1
    assert int(rows.sum()) > 2500
    assert torch.allclose(scaled.x[rows], raw.x[rows] / sums[rows], rtol=1e-4)
    counts = load("cora", data_dir=real_data(), normalize=False).x
    assert torch.equal(counts.values(), torch.ones(counts.values().numel()))
