"""What an optimizer remembers of a parameter: back to its beginning, and back from a checkpoint bit for bit."""

from __future__ import annotations

import torch
from geoopt.optim.mixin import OptimMixin
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hypersst.sharding import own

__all__ = ["clear_state", "keep_counts_exact"]

# State that starts at zero in torch's and geoopt's optimizers, and the one entry that starts elsewhere.
_ZERO = frozenset(
    (
        "step",
        "exp_avg",
        "exp_avg_sq",
        "max_exp_avg_sq",
        "momentum_buffer",
        "exp_inf",
        "square_avg",
        "acc_delta",
        "grad_avg",
        "sum",
    )
)
_START = {"mu_product": 1.0}


def clear_state(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> None:
    """Bring the optimizer's state of ``parameter`` back to its beginning, in place, step count included.

    State of a kind not known to begin at zero is dropped, so that the optimizer makes it anew.
    """
    state = optimizer.state.get(parameter)
    if not state:
        return
    if not state.keys() <= _ZERO | _START.keys():
        state.clear()
        return
    for key, value in state.items():
        start = _START.get(key, 0.0)
        if key == "sum":  # Adagrad's alone
            start = optimizer.defaults["initial_accumulator_value"]
        if isinstance(value, Tensor):
            here = own(value)
            # Quantised moments, as torchao's, are subclasses that can be copied into, but not filled.
            here.copy_(torch.full(here.shape, start, dtype=here.dtype, device=here.device))
        elif value is not None:
            state[key] = type(value)(start)


def keep_counts_exact(optimizer: torch.optim.Optimizer) -> RemovableHandle:
    """Make a loaded optimizer of geoopt step as the saved one would have.

    geoopt counts steps in Python integers, and `torch.optim.Optimizer.load_state_dict` turns those into float32
    tensors: its bias correction ``1 - beta ** step`` would then be rounded to float32 and a resumed run drift from the
    unbroken one. Counts are made integers again, now and after every load.

    Returns:
        A handle that undoes the latter.
    """

    def restore(loaded: torch.optim.Optimizer) -> None:
        if isinstance(loaded, OptimMixin):
            for state in loaded.state.values():
                if isinstance(state.get("step"), Tensor):
                    state["step"] = int(state["step"])

    restore(optimizer)
    return optimizer.register_load_state_dict_post_hook(restore)
