"""`hypersst.tracing`."""

from __future__ import annotations

import torch
from torch._dynamo.utils import counters
from torch.torch_version import TorchVersion

from hypersst.tracing import compiled


def _scaled(factor: torch.Tensor):
    return lambda x: (x * factor, x.sin())


def test_the_result_of_an_earlier_compilation_is_found_and_reads_the_new_tensors() -> None:
    x = torch.randn(7, 3)
    first = torch.full((3,), 2.0)
    compiled(_scaled(first), [x])
    counters.clear()
    second = torch.full((3,), 5.0)
    run = compiled(_scaled(second), [x])
    assert counters["inductor"]["fxgraph_cache_hit"] == (TorchVersion(torch.__version__) >= "2.8")
    torch.testing.assert_close(run(x), (5 * x, x.sin()))
    second.fill_(-1.0)
    torch.testing.assert_close(run(x), (-x, x.sin()))
