"""Parameters that step together, and what an optimizer remembers of them.

# Note [state in one tensor]

The state of N points of one shape is one tensor of shape ``(N, *)``; ``optimizer.state[p]`` holds views of its rows. So
a step needs no gathering of state, whoever clears or reads the state of one parameter in place sees what the step sees,
and a checkpoint looks as if every parameter had tensors of its own. That an entry was *replaced*, as by a loaded
checkpoint, is found out by identity at the next step, which then copies the new values into rows again. Of sharded
parameters all this concerns what is in this process, and the entries are sharded tensors around the views.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from operator import attrgetter, is_, itemgetter
from typing import Any

import torch
from torch import Tensor

from hypersst.optim.point_manifold import KNOWN
from hypersst.sharding import is_sharded, own, own_part, sharded_like

__all__ = ["Batch", "PlainBatch", "PointBatch"]

State = dict[str, Any]

# Up to so many numbers in a parameter, making a view of its row costs as much as an operation on it: views are kept.
_SMALL = 1024


class Batch:
    """Parameters of one group that step together.

    Args:
        params: The parameters.
        states: What the optimizer holds of each of them, brought into the form of the batch here.
        counted: Whether the state counts steps.
        capturable: Whether it counts them in a tensor on the device.
    """

    def __init__(self, params: list[Tensor], states: list[State], counted: bool, capturable: bool) -> None:
        self.params = params
        #: What of the parameters is in this process.
        self.parts = [own(p) for p in params]
        self._sharded = any(map(is_sharded, params))
        self.states = states
        self.fresh = [not any(isinstance(entry, Tensor) for entry in state.values()) for state in states]
        self.counts: Tensor | None = None
        self._held: dict[str, list[Tensor]] = {}
        if not counted:
            return
        counts = [int(state.get("step", 0)) for state in states]
        if capturable:
            self.counts = torch.tensor(counts, dtype=torch.float32, device=params[0].device)
            self._hold("step", [self.counts[i] for i in range(len(params))])
        else:
            for state, count in zip(states, counts, strict=True):
                state["step"] = count

    def _hold(self, name: str, tensors: list[Tensor]) -> None:
        """Make tensors entries of the optimizer's state."""
        if self._sharded and name != "step":
            tensors = [sharded_like(tensor, p) for tensor, p in zip(tensors, self.params, strict=True)]
        self._held[name] = tensors
        for state, tensor in zip(self.states, tensors, strict=True):
            state[name] = tensor

    def intact(self, state: dict[Tensor, State]) -> bool:
        """Whether ``optimizer.state`` still holds the tensors of this batch, see Note [state in one tensor]."""
        if self._sharded and not all(map(is_, map(own, self.params), self.parts)):
            return False
        try:
            return all(map(is_, map(state.get, self.params), self.states)) and all(
                all(map(is_, map(itemgetter(name), self.states), tensors)) for name, tensors in self._held.items()
            )
        except KeyError:
            return False

    def gradients(self) -> tuple[list[int] | None, list[Tensor]]:
        """Gradients of the parts, and the numbers of the parameters that have one; None for all."""
        index, grads = None, [parameter.grad for parameter in self.params]
        if any(map(is_, grads, repeat(None))):
            index = [i for i, grad in enumerate(grads) if grad is not None]
            grads = [grads[i] for i in index]
        if self._sharded:
            grads = [own(grad) for grad in grads]  # type: ignore[arg-type]
        if any(map(attrgetter("is_sparse"), grads)):
            raise RuntimeError(
                "Gradients must be dense, got a sparse one: use `geoopt.optim.SparseRiemannianAdam` for that parameter."
            )
        return index, grads  # type: ignore[return-value]

    def advance(self, index: list[int] | None) -> int | list[int] | Tensor:
        """Count a step, and return the counts: one number if all agree."""
        if self.counts is not None:
            if index is None:
                return self.counts.add_(1.0)
            rows = self._rows(index)
            self.counts.index_add_(0, rows, torch.ones_like(self.counts[rows]))
            return self.counts[rows]
        counts = []
        for state in self.states if index is None else [self.states[i] for i in index]:
            state["step"] = count = state["step"] + 1
            counts.append(count)
        return counts[0] if counts.count(counts[0]) == len(counts) else counts

    def _rows(self, index: list[int]) -> Tensor:
        return torch.tensor(index, device=self.params[0].device)


class PlainBatch(Batch):
    """Parameters of any shapes in flat space; the state is a list of tensors."""

    def __init__(
        self, params: list[Tensor], states: list[State], names: Sequence[str], counted: bool, capturable: bool
    ) -> None:
        super().__init__(params, states, counted, capturable)
        self.moments: dict[str, list[Tensor]] = {name: [] for name in names}
        for name in names:
            for parameter, part, state in zip(params, self.parts, states, strict=True):
                tensor = _part_of(state.get(name), parameter)
                if tensor is None:
                    tensor = torch.zeros_like(part, memory_format=torch.preserve_format)
                elif tensor.shape != part.shape:
                    raise ValueError(_misfit(name, tensor, part.shape))
                elif tensor.stride() != part.stride() or tensor.dtype != part.dtype:
                    tensor = torch.empty_like(part, memory_format=torch.preserve_format).copy_(tensor)
                self.moments[name].append(tensor)
            self._hold(name, self.moments[name])


class PointBatch(Batch):
    """Points of one shape on one manifold; the state is rows of a tensor, see Note [state in one tensor].

    Args:
        params: The parameters.
        states: What the optimizer holds of each.
        manifold: Their manifold.
        moments: Name of each entry of the state, and whether it is a number per *point*, as second moments are.
        counted: Whether the state counts steps.
        capturable: Whether it counts them in a tensor on the device.
    """

    def __init__(
        self,
        params: list[Tensor],
        states: list[State],
        manifold: Any,
        moments: dict[str, bool],
        counted: bool,
        capturable: bool,
    ) -> None:
        super().__init__(params, states, counted, capturable)
        self.manifold = manifold
        # Classes that keep no tensor of a step for later may be called in inference mode, which saves a tenth.
        self.known = type(manifold) in KNOWN
        self.moments: dict[str, Tensor] = {}
        self._places: Tensor | None = None
        x = self.points(None)
        for name, per_point in moments.items():
            shape = _metric_shape(manifold, x) if per_point else x.shape[1:]
            moment = self.moments[name] = torch.zeros(len(params), *shape, dtype=x.dtype, device=x.device)
            rows = [moment[i] for i in range(len(params))]
            for parameter, part, state, row in zip(params, self.parts, states, rows, strict=True):
                old = _part_of(state.get(name), parameter)
                if old is not None:
                    row.copy_(_per_point(name, old, row, part))
            self._hold(name, rows)
        if len(params) > 1 and self.parts[0].numel() <= _SMALL:
            self._places = x
            self._rows_of_places = [x[i] for i in range(len(params))]

    def points(self, index: list[int] | None) -> Tensor:
        """The points as one tensor."""
        if index is None and self._places is not None:
            return torch.stack(self.parts, out=self._places)
        parts = self.parts if index is None else [self.parts[i] for i in index]
        if len(parts) == 1:
            return parts[0].detach().as_subclass(Tensor).unsqueeze(0)
        return torch.stack(parts)

    def take(self, index: list[int] | None) -> dict[str, Tensor]:
        """State of the numbered points: the rows themselves for all, else a copy to be `put` back."""
        if index is None:
            return self.moments
        rows = self._rows(index)
        return {name: moment[rows] for name, moment in self.moments.items()}

    def put(self, index: list[int] | None, moments: dict[str, Tensor]) -> None:
        """Write back what `take` gave."""
        if index is not None:
            rows = self._rows(index)
            for name, moment in moments.items():
                self.moments[name][rows] = moment

    def write(self, index: list[int] | None, points: Tensor) -> None:
        """Move the parameters to new points."""
        if index is None and self._places is not None:
            self._places.copy_(points)
            torch._foreach_copy_(self.parts, self._rows_of_places)
            return
        parts = self.parts if index is None else [self.parts[i] for i in index]
        torch._foreach_copy_(parts, points.unbind(0))


def _metric_shape(manifold: Any, x: Tensor) -> torch.Size:
    """Shape of a second moment of one of the parameters ``(N, *)``: that of the metric, ``(…, 1)`` for rows."""
    one = x[:1]
    if x.numel():
        return torch.Size(manifold.component_inner(one, torch.zeros_like(one)).shape[1:])
    # Of a parameter of fewer rows than processes nothing may be here, which geoopt does not broadcast.
    one = x.new_zeros(1, 1, *x.shape[2:])
    return torch.Size((x.shape[1], *manifold.component_inner(one, one).shape[2:]))


def _part_of(entry: Any, parameter: Tensor) -> Tensor | None:
    """What of an entry of the state is this process's; it may be of a checkpoint that is whole."""
    if not isinstance(entry, Tensor):
        return None
    return own(entry) if is_sharded(entry) else own_part(entry, parameter)


def _misfit(name: str, tensor: Tensor, shape: torch.Size) -> str:
    return f"`state` must fit its parameter, but {name!r} has shape {tuple(tensor.shape)} instead of {tuple(shape)}."


def _per_point(name: str, old: Tensor, row: Tensor, parameter: Tensor) -> Tensor:
    """A loaded entry in the shape of ours: geoopt repeats a point's second moment for each of its coordinates."""
    if old.shape == row.shape:
        return old
    if old.shape != parameter.shape:
        raise ValueError(_misfit(name, old, row.shape))
    once = old[tuple(slice(0, 1) if size == 1 else slice(None) for size in row.shape)]
    # Not to the bit: the rounding of a vectorised loop differs at its end.
    if not torch.allclose(once.expand_as(old), old, rtol=max(1e-3, 4 * torch.finfo(old.dtype).eps), atol=0.0):
        raise ValueError(
            f"`state` must hold one number per point in {name!r}, got one per coordinate, from an element-wise "
            f"optimizer: begin with a new state."
        )
    return once
