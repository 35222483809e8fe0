"""Linear layers whose number of input channels is read off the first input, PyG's ``in_channels=-1``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.parameter import UninitializedParameter

__all__ = ["check_in_channels", "lazy_linear", "reset"]


def check_in_channels(in_channels: int) -> None:
    """Refuse what is neither a size nor -1.

    Raises:
        ValueError: Naming the value.
    """
    if in_channels < 1 and in_channels != -1:
        raise ValueError(f"`in_channels` must be at least 1, got {in_channels}; -1 reads it off the first input.")


def lazy_linear(kind: Callable[..., nn.Module], in_channels: int, *args: Any, **kwargs: Any) -> Any:
    """Build a layer that owns a ``weight`` with a column for each input channel.

    For ``in_channels=-1`` the weight stays a `torch.nn.UninitializedParameter` until the first call, or until a
    state dict is loaded, and is then drawn by the layer's own ``reset_parameters``.

    Args:
        kind: The layer's class, called as ``kind(in_channels, *args, **kwargs)``.
        in_channels: Size of the input, or -1.
        *args: Further arguments of the layer.
        **kwargs: Further keyword arguments of the layer.

    Returns:
        The layer.

    Example:
        >>> import torch
        >>> from hypersst.nn import MobiusLinear
        >>> layer = lazy_linear(MobiusLinear, -1, 3)
        >>> layer(torch.zeros(2, 5)).shape, layer.weight.shape
        (torch.Size([2, 3]), torch.Size([3, 5]))
    """
    check_in_channels(in_channels)
    if in_channels != -1:
        return kind(in_channels, *args, **kwargs)
    layer: Any = kind(1, *args, **kwargs)
    rows, columns = layer.weight.shape
    # What weight and input have beyond the intrinsic channels: a column for time, or none.
    layer._lazy = (rows, columns - 1, layer.ambient_channels[0] - 1)
    layer.in_channels = -1
    parameter: Any = UninitializedParameter  # its stub hides the arguments
    layer.weight = parameter(device=layer.weight.device, dtype=layer.weight.dtype)
    layer.register_forward_pre_hook(_before_the_first_call)
    layer.register_load_state_dict_pre_hook(_before_loading)
    return layer


def reset(layer: Any) -> None:
    """Call ``reset_parameters``, unless there are none to reset yet."""
    if not isinstance(getattr(layer, "weight", None), UninitializedParameter):
        layer.reset_parameters()


def _before_the_first_call(layer: Any, args: tuple[Any, ...]) -> None:
    _, _, coordinates = layer._lazy
    _materialize(layer, args[0].shape[-1] - coordinates)
    layer.reset_parameters()


def _before_loading(layer: Any, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    weight = state_dict.get(f"{prefix}weight")
    if weight is not None and isinstance(layer.weight, UninitializedParameter):
        _materialize(layer, weight.shape[1] - layer._lazy[1])


def _materialize(layer: Any, in_channels: int) -> None:
    rows, columns, _ = layer._lazy
    layer.weight.materialize((rows, in_channels + columns))
    layer.in_channels = in_channels
    # Hooks that are plain functions survive deepcopy, and are found by identity where a handle would be lost.
    for key, hook in list(layer._forward_pre_hooks.items()):
        if hook is _before_the_first_call:
            del layer._forward_pre_hooks[key]
