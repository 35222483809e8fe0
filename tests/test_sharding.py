"""Tensors that may be sharded, where they are not; sharded ones are in tests/distributed."""

import sys

import pytest
import torch

from hypersst.sharding import is_sharded, own, own_part, put, sharded_like, whole


@pytest.mark.parametrize("make", [torch.Tensor, torch.nn.Parameter], ids=["tensor", "parameter"])
def test_a_tensor_that_is_not_sharded_is_its_own_part_and_whole(make):
    x, rows = make(torch.arange(6.0).view(3, 2)), torch.ones(3, 2)
    assert not is_sharded(x)
    assert own(x) is x
    assert whole(x) is x
    assert own_part(rows, x) is rows
    assert sharded_like(rows, x) is rows
    with torch.no_grad():
        put(x, rows)
    assert torch.equal(x, rows)


def test_to_ask_does_not_import_sharded_tensors(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch.distributed.tensor", raising=False)
    assert not is_sharded(torch.ones(2))
    assert "torch.distributed.tensor" not in sys.modules
