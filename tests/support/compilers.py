"""What the compilers of older releases of torch lack."""

from __future__ import annotations

import pytest
import torch
from torch.torch_version import TorchVersion

needs_whole_graphs = pytest.mark.skipif(
    TorchVersion(torch.__version__) < "2.8",
    reason="before 2.8 torch.compile does not trace what reads parameters on manifolds",
)
