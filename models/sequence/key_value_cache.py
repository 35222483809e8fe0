"""Keys and values of what was read already, so that a further token costs one row and not the whole sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from hypersst.nn.shapes import check_channels

__all__ = ["KeyValueCache", "LayerCache"]

#: Keys ``(B, H, S, *)`` and values ``(B, H, S, *)`` of the heads of one attention.
KeysAndValues = tuple[Tensor, Tensor]


class LayerCache:
    """Keys and values of one layer: its own, which grow, and those of a memory, which stay.

    Room for ``max_length`` positions is taken once, when the first ones come and their shapes are known.

    Args:
        max_length: Largest number of positions.

    Attributes:
        length: Number of positions that are held.
        memory: Keys and values of the attention to a memory, once they are known.
    """

    def __init__(self, max_length: int) -> None:
        check_channels(max_length=max_length)
        self.max_length = max_length
        self.length = 0
        self.memory: KeysAndValues | None = None
        self._own: KeysAndValues | None = None

    def append(self, keys: Tensor, values: Tensor) -> KeysAndValues:
        """Hold further positions, and return all.

        Args:
            keys: Shape ``(B, H, L, *)``.
            values: Shape ``(B, H, L, *)``.

        Returns:
            Keys and values of all positions, views of what is held.

        Raises:
            ValueError: If there is no room for them.
            RuntimeError: If gradients would have to flow through what is held.
        """
        if torch.is_grad_enabled() and (keys.requires_grad or values.requires_grad):
            raise RuntimeError("A `KeyValueCache` holds no gradients: decode under `torch.no_grad()`.")
        first, end = self.length, self.length + keys.shape[2]
        if end > self.max_length:
            raise ValueError(
                f"`max_length` of the cache must be at least {end} to hold what comes, got {self.max_length}."
            )
        if self._own is None:
            self._own = (_room(keys, self.max_length), _room(values, self.max_length))
        for held, new in zip(self._own, (keys, values), strict=True):
            held[:, :, first:end] = new
        self.length = end
        return self._own[0][:, :, :end], self._own[1][:, :, :end]

    def reorder(self, index: Tensor, *, memory: bool = True) -> None:
        """Replace row i by row ``index[i]``; with ``memory=False`` only of what the layer itself read."""
        if self._own is not None:
            self._own = (_rows(self._own[0], index, self.length), _rows(self._own[1], index, self.length))
        if memory and self.memory is not None:
            self.memory = (self.memory[0].index_select(0, index), self.memory[1].index_select(0, index))


class KeyValueCache:
    """Keys and values of all layers of a decoder, for decoding token by token.

    Args:
        layers: Number of layers.
        max_length: Largest number of positions.

    Attributes:
        layers: One `LayerCache` for each layer.

    Raises:
        ValueError: If a number is below 1; in use, if more than ``max_length`` positions come.

    Example:
        >>> cache = KeyValueCache(layers=1, max_length=4)
        >>> keys, _ = cache.layers[0].append(torch.zeros(2, 1, 3, 8), torch.zeros(2, 1, 3, 8))
        >>> keys, _ = cache.layers[0].append(torch.ones(2, 1, 1, 8), torch.ones(2, 1, 1, 8))
        >>> keys[0, 0, :, 0].tolist(), cache.length
        ([0.0, 0.0, 0.0, 1.0], 4)
    """

    def __init__(self, layers: int, max_length: int) -> None:
        check_channels(layers=layers)
        self.layers = [LayerCache(max_length) for _ in range(layers)]

    @property
    def length(self) -> int:
        """Number of positions that are held."""
        return self.layers[0].length

    def reorder(self, index: Tensor, *, memory: bool = True) -> None:
        """Keep the rows that a search goes on with.

        Args:
            index: Row i goes on from what was row ``index[i]``; any number of rows.
            memory: Whether the keys and values of the memory move as well: not if each row goes on from one with the
                same memory.
        """
        for layer in self.layers:
            layer.reorder(index, memory=memory)


def _room(x: Tensor, length: int) -> Tensor:
    rows, heads, _, width = x.shape
    return x.new_empty(rows, heads, length, width)


def _rows(held: Tensor, index: Tensor, length: int) -> Tensor:
    kept = held[:, :, :length].index_select(0, index)
    # As many rows as before fit into the room that is there.
    room = held if len(index) == len(held) else held.new_empty(len(index), *held.shape[1:])
    room[:, :, :length] = kept
    return room
