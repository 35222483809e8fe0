"""Bytes that tensors hold at every moment of a run on a CPU, where no allocator counts them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["AllocationTracker"]


class AllocationTracker(TorchDispatchMode):
    """Follow the memory of every tensor that an operator returns, until nothing refers to it.

    What an operator allocates for itself and frees before it returns is not seen (a kernel's scratch space). Views
    share memory and count once. The backward pass on a CPU is followed too, since it runs in the same thread.

    Args:
        held: Tensors that are there already. Others are counted from when an operator returns them or a view of them.

    Attributes:
        live: Bytes that are held now.
        peak: The most that were held at once, since the beginning or the last `reset_peak`.

    Example:
        >>> with AllocationTracker() as memory:
        ...     x = torch.ones(1000)
        ...     del x
        ...     y = torch.ones(500)
        >>> memory.live, memory.peak
        (2000, 4000)
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._sizes: dict[weakref.ref[Any], int] = {}
        self._known: set[int] = set()
        for tensor in held:
            self._follow(tensor)

    def reset_peak(self) -> None:
        """Forget the peak so far."""
        self.peak = self.live

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._follow(leaf)
        return result

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        # The address of the memory's owner in C++, which no other has while this one lives.
        owner = storage._cdata
        if owner in self._known:
            return
        size = storage.nbytes()
        self._known.add(owner)

        def forget(reference: weakref.ref[Any]) -> None:
            self._known.discard(owner)
            self.live -= self._sizes.pop(reference)

        # Torch keeps the Python object of a storage for as long as the storage itself.
        self._sizes[weakref.ref(storage, forget)] = size
        self.live += size
        self.peak = max(self.peak, self.live)
