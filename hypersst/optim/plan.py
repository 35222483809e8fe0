"""Which parameters of a group step together, worked out once and kept while nothing changes."""

from __future__ import annotations

import operator
from collections.abc import Hashable
from typing import Any

from torch import Tensor

from hypersst.optim.batches import Batch, PlainBatch, PointBatch
from hypersst.optim.point_manifold import Watched, likeness, manifold_of, numbers_of
from hypersst.sharding import own

__all__ = ["Plan"]

# Numbers in one tensor of points: beyond that, arithmetic dwarfs the calls that stacking saves, and only memory grows.
_LARGEST = 1 << 21


class Plan:
    """Batches of one parameter group.

    Parameters with the same manifold, shape, type and device form a `PointBatch`, those in flat space a `PlainBatch`.
    A parameter joins when it first has a gradient or a state.

    Args:
        group: A parameter group.
        state: The optimizer's state, whose entries become those of the batches.
        moments: Name of each entry of the state, and whether it is a number per point.
        counted: Whether the state counts steps.
    """

    def __init__(
        self, group: dict[str, Any], state: dict[Tensor, dict[str, Any]], moments: dict[str, bool], counted: bool
    ) -> None:
        self.params: list[Tensor] = list(group["params"])
        self._settings = _settings(group, moments)
        self._outside: list[Tensor] = []
        self._watched: list[Watched] = []
        together = group["foreach"] is not False
        plain: dict[Hashable, list[Tensor]] = {}
        points: dict[Hashable, list[tuple[Tensor, Any]]] = {}
        for i, parameter in enumerate(self.params):
            manifold = manifold_of(parameter, group)
            if parameter.grad is None and not state.get(parameter):
                self._outside.append(parameter)
                continue
            kind = (parameter.dtype, parameter.device, None if together else i)
            if manifold is None:
                plain.setdefault(kind, []).append(parameter)
            else:
                key = (kind, own(parameter).shape, likeness(manifold))
                points.setdefault(key, []).append((parameter, manifold))
        capturable = group["capturable"]
        # Curvatures are plain parameters: they move first, and points then land on the manifold as it has become.
        self.batches: list[Batch] = []
        for params in plain.values():
            states = [state[p] for p in params]
            self.batches.append(PlainBatch(params, states, list(moments), counted, capturable))
        for members in points.values():
            size = max(1, _LARGEST // max(1, own(members[0][0]).numel()))
            for start in range(0, len(members), size):
                part = members[start : start + size]
                params, states = [p for p, _ in part], [state[p] for p, _ in part]
                self.batches.append(PointBatch(params, states, part[0][1], moments, counted, capturable))
            objects = {id(manifold): manifold for _, manifold in members}
            if len(objects) > 1:
                self._watched.extend(entry for manifold in objects.values() for entry in numbers_of(manifold))

    def holds(self, group: dict[str, Any], state: dict[Tensor, dict[str, Any]], moments: dict[str, bool]) -> bool:
        """Whether the plan is still that of the group."""
        params = group["params"]
        return (
            self._settings == _settings(group, moments)
            and len(params) == len(self.params)
            and all(map(operator.is_, params, self.params))
            and all(parameter.grad is None for parameter in self._outside)
            and all(place.get(name) is t and t._version == version for place, name, t, version in self._watched)
            and all(batch.intact(state) for batch in self.batches)
        )


def _settings(group: dict[str, Any], moments: dict[str, bool]) -> tuple[Hashable, ...]:
    """What of a group decides on batches, or on whether its options go together."""
    return (
        group["foreach"] is not False,
        group["capturable"],
        id(group.get("manifold")),
        bool(group["weight_decay"]),
        group["stabilize"],
        group["unit"],
        *moments,
    )
