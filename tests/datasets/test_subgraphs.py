"""An induced subgraph is the graph with the other nodes taken away."""

import dataclasses

import pytest
import torch
from data_cases import as_set, random_graph

from hypersst.datasets import GraphTask, Subgraphs, split_graph
from hypersst.datasets.features import select_rows, sparse_rows

NODES = [torch.arange(0, 60, 2), torch.arange(20, 50), torch.arange(60), torch.tensor([7]), torch.arange(0)]


def _task(task: str, split: str) -> GraphTask:
    return split_graph(random_graph(), task, split, seed=3)


@pytest.mark.parametrize("nodes", NODES, ids=lambda nodes: str(nodes.numel()))
@pytest.mark.parametrize("split", ["clean", "hgcn"])
@pytest.mark.parametrize("task", ["nc", "lp"])
def test_it_holds_what_joins_the_nodes_that_are_kept(task: str, split: str, nodes: torch.Tensor) -> None:
    whole = _task(task, split)
    part = Subgraphs(whole).induced(nodes)
    kept = nodes.tolist()
    assert part.num_nodes == len(kept)
    assert torch.equal(part.x, whole.x[nodes])
    assert torch.equal(part.y, whole.y[nodes])

    def named(pairs: torch.Tensor) -> set[tuple[int, int]]:
        return {(kept[u], kept[v]) for u, v in as_set(pairs)}

    def among(pairs: torch.Tensor) -> set[tuple[int, int]]:
        return {(u, v) for u, v in as_set(pairs) if u in kept and v in kept}

    assert named(part.edge_index) == among(whole.edge_index)
    assert named(part.train_pos) == among(whole.train_pos)
    assert part.train_pos.size(1) == len(among(whole.train_pos))
    codes = part.edge_index[0] * 60 + part.edge_index[1]
    assert bool((codes.diff() > 0).all())
    trained = whole.train.tolist()
    assert sorted(kept[i] for i in part.train.tolist()) == sorted(i for i in trained if i in kept)


def test_the_literatures_self_loops_and_repeated_nodes_are_in_the_cases_above() -> None:
    links, classes = _task("lp", "hgcn"), _task("nc", "hgcn")
    assert (links.train_pos[0] == links.train_pos[1]).any()
    assert classes.train.unique().numel() < classes.train.numel()


def test_one_cut_leaves_nothing_behind_for_the_next() -> None:
    cutter = Subgraphs(_task("nc", "clean"))
    first = cutter.induced(NODES[0])
    cutter.induced(NODES[1])
    again = cutter.induced(NODES[0])
    assert torch.equal(first.edge_index, again.edge_index)


def test_nodes_without_classes_and_sparse_features_are_cut_too() -> None:
    whole = _task("lp", "clean")
    x = sparse_rows(whole.x * (whole.x > 0.5))
    part = Subgraphs(dataclasses.replace(whole, y=whole.y[:0], x=x)).induced(NODES[1])
    assert part.y.numel() == 0
    assert part.x.layout == torch.sparse_csr
    assert torch.equal(part.x.to_dense(), x.to_dense()[NODES[1]])


@pytest.mark.parametrize("rows", [[], [2], [3, 0, 0, 1], [0, 1, 2, 3]])
def test_rows_are_selected_in_any_order(rows: list[int]) -> None:
    dense = torch.tensor([[0.0, 2.0, 1.0], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    index = torch.tensor(rows, dtype=torch.long)
    assert torch.equal(select_rows(dense, index), dense[index])
    assert torch.equal(select_rows(sparse_rows(dense), index).to_dense(), dense[index])
