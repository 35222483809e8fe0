"""What the compilers of older releases of torch lack."""

from __future__ import annotations

import pytest
import torch
from torch.torch_version import TorchVersion

from hypersst.tracing import compiles_sums

needs_whole_graphs = pytest.mark.skipif(
    TorchVersion(torch.__version__) < "2.8",
    reason="before 2.8 torch.compile does not trace what reads parameters on manifolds",
)
needs_compiled_sums = pytest.mark.skipif(not compiles_sums(), reason="before 2.8 compiled sums by index were wrong")
