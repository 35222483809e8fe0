"""Whether code runs on numbers in memory, or on stand-ins for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.torch_version import TorchVersion

__all__ = [
    "Recording",
    "compiled",
    "compiles_sums",
    "current_recording",
    "is_compiled",
    "is_recorded",
    "is_traced",
    "leave_undefined",
    "recording",
]

_RELEASE = TorchVersion(torch.__version__)

# 2.11 is known to, 2.6 not to.
_VMAP_TAKES_UNDEFINED = _RELEASE >= "2.11"


@dataclass
class Recording:
    """A record that is being made.

    Attributes:
        for_compiler: Whether it will be compiled.
        last_draw: The random tensor drawn last: the next one names it as an argument, which keeps them in order.
    """

    for_compiler: bool
    last_draw: Tensor | None = None


_recordings: list[Recording] = []  # those that are under way, the innermost last


@contextmanager
def recording(*, for_compiler: bool = False) -> Iterator[None]:
    """Let code that is recorded operator by operator, as by ``make_fx``, use operators that a record can hold.

    Args:
        for_compiler: Whether the record will be compiled, and shall be without operators that work in place.
    """
    _recordings.append(Recording(for_compiler))
    try:
        yield
    finally:
        _recordings.pop()


def current_recording() -> Recording | None:
    """The innermost `recording`; none where a compiler traces by itself."""
    return _recordings[-1] if _recordings else None


def is_recorded() -> bool:
    """Whether a compiler or `recording` notes down the operators that run."""
    return bool(_recordings) or torch.compiler.is_compiling()


def is_compiled() -> bool:
    """Whether a compiler will plan memory and fuse loops."""
    return torch.compiler.is_compiling() or any(r.for_compiler for r in _recordings)


def is_traced(*tensors: Tensor) -> bool:
    """Whether a compiler or a transform such as `torch.vmap` stands between the caller and the tensors' memory.

    Identities, version counters and addresses mean nothing then, and results must not be kept for later calls.
    """
    return is_recorded() or any(torch._C._functorch.is_functorch_wrapped_tensor(t) for t in tensors)


def leave_undefined(ctx: Any) -> None:
    """Have a function's backward pass get ``None`` in place of zeros for outputs that nothing was asked of.

    For functions whose rule of `torch.vmap` is generated: where such a rule takes no ``None``, zeros it is.
    """
    ctx.set_materialize_grads(not _VMAP_TAKES_UNDEFINED)


def compiles_sums() -> bool:
    """Whether compiled code on a CPU adds up rows by index as eager code does.

    That of torch 2.6 lost summands of rows of 16 numbers, without an error: the gradient of each node's edges. 2.8 is
    known to be right.
    """
    return _RELEASE >= "2.8"


def compiled(function: Callable[..., Any], inputs: Sequence[Tensor]) -> Callable[..., Any]:
    """Record the operators of a function and compile the record.

    Unlike `torch.compile` this asks nothing in later calls, which saves a tenth of a millisecond of each: shapes, types
    and whatever else the function reads besides its arguments must stay as they are. Tensors that it reads so are seen
    by later calls, as long as they change in place.

    Args:
        function: Takes tensors, may write into them, and returns a tensor or a tuple of them.
        inputs: Arguments like those of later calls; they are left as they are.

    Returns:
        A function of as many tensors. It records no gradients.
    """
    scratch = [tensor.detach().clone() for tensor in inputs]
    with recording(for_compiler=True):
        record = make_fx(function)(*scratch)
    # With a context torch looks for the result of an earlier process on the disk before it compiles. 2.6 fails where it
    # finds one; 2.8 is known not to.
    context = TracingContext(FakeTensorMode(shape_env=ShapeEnv(), static_shapes=True)) if _RELEASE >= "2.8" else None
    with torch.no_grad(), tracing(context):
        run = torch._inductor.compile(record, list(inputs))

    def call(*tensors: Tensor) -> Any:
        with torch.no_grad():
            return run(*tensors)

    return call
