r"""What a model's weights cost under each training method, counted before training.

Adam's two moments are counted as state. For a weight of ``m × n`` with ``K = min``, ``M = max`` and rank ``r``
(elements; Zhao et al., 2024, GaLore, table 1, for the rivals):

========== ==================== ================== ====================
method     weights              gradients          states
========== ==================== ================== ====================
full       mn                   mn                 2mn
SST        (k+r)(m+n) + k       r(m+n) + k         2(r(m+n) + k)
LoRA       mn + r(m+n)          r(m+n)             2r(m+n)
GaLore     mn                   mn                 Kr + 2Mr
========== ==================== ================== ====================

Of SST's weights k(m+n) are frozen rows, which compact storage holds in fewer bytes (`hypersst.spectral.storage`). Not
counted is what lives within a step only; `hypersst memory` counts and measures that too.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypersst.spectral.storage import stored_bytes

__all__ = ["LayerReport", "Memory", "SpectralReport"]


@dataclass(frozen=True)
class Memory:
    """Bytes of weights, gradients and optimizer state (Adam's two moments)."""

    weights: int
    gradients: int
    states: int

    @property
    def total(self) -> int:
        """All three together."""
        return self.weights + self.gradients + self.states

    def __add__(self, other: Memory) -> Memory:
        """Add part by part."""
        return Memory(self.weights + other.weights, self.gradients + other.gradients, self.states + other.states)


@dataclass(frozen=True)
class LayerReport:
    """One spectral weight: its name, matrix shape, rank, number of singular values and bytes per element.

    ``storage`` is that of its frozen rows.
    """

    name: str
    shape: tuple[int, int]
    rank: int
    k: int
    itemsize: int
    storage: str = "float32"

    @property
    def trainable(self) -> int:
        """Numbers that train at a time: ``r(m + n) + k``."""
        return self.rank * sum(self.shape) + self.k

    @property
    def stored(self) -> int:
        """Numbers held as factors: ``k(m + n) + k``. The active rows are counted as trainable."""
        return self.k * sum(self.shape) + self.k

    @property
    def dense(self) -> int:
        """Numbers of the dense weight: ``mn``."""
        return self.shape[0] * self.shape[1]

    @property
    def note(self) -> str:
        """``"all vectors train"`` where the rank leaves nothing frozen."""
        return "all vectors train" if self.rank >= self.k else ""

    def memory(self, method: str) -> Memory:
        """Predicted bytes under ``"full"``, ``"sst"``, ``"lora"`` or ``"galore"`` at the same rank."""
        pairs, short, long = self.rank * sum(self.shape), min(self.shape), max(self.shape)
        # Active rows are held twice, as parameters that the optimizer sees and as rows of u and v, unless all are.
        frozen = sum(stored_bytes(self.k, side, self.itemsize, self.storage) for side in self.shape)
        elements = {
            "full": (self.dense, self.dense, 2 * self.dense),
            "sst": (self.trainable, self.trainable, 2 * self.trainable),
            "lora": (self.dense + pairs, pairs, 2 * pairs),
            "galore": (self.dense, self.dense, short * self.rank + 2 * long * self.rank),
        }
        if method not in elements:
            raise ValueError(f"`method` must be one of {', '.join(elements)}, got {method!r}.")
        memory = Memory(*(n * self.itemsize for n in elements[method]))
        return memory + Memory(frozen, 0, 0) if method == "sst" and self.rank < self.k else memory


def _bytes(n: int) -> str:
    size = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1000
    raise AssertionError


@dataclass(frozen=True)
class SpectralReport:
    """What `hypersst.spectralize` did: one row per weight, and the predicted memory beside the rivals'.

    ``print(report)`` shows it as a table. ``other`` counts the parameters of the model that stayed as they were;
    ``other_bytes`` their bytes.
    """

    layers: tuple[LayerReport, ...]
    other: int
    other_bytes: int

    @property
    def trainable(self) -> int:
        """Numbers that train at a time, the untouched parameters included."""
        return self.other + sum(layer.trainable for layer in self.layers)

    @property
    def stored(self) -> int:
        """Numbers held, the untouched parameters included."""
        return self.other + sum(layer.stored for layer in self.layers)

    def memory(self, method: str) -> Memory:
        """Predicted bytes of the whole model under a method; untouched parameters train fully in each."""
        rest = Memory(self.other_bytes, self.other_bytes, 2 * self.other_bytes)
        return sum((layer.memory(method) for layer in self.layers), start=rest)

    def __str__(self) -> str:
        width = max([len("weight"), *(len(layer.name) for layer in self.layers)])
        lines = [f"{'weight':<{width}}  {'shape':>12}  {'rank':>9}  {'trainable':>10}  {'stored':>10}  {'dense':>10}"]
        for layer in self.layers:
            m, n = layer.shape
            lines.append(
                f"{layer.name:<{width}}  {f'{m}x{n}':>12}  {f'{layer.rank} of {layer.k}':>9}  {layer.trainable:>10,}  "
                f"{layer.stored:>10,}  {layer.dense:>10,}  {layer.note}".rstrip()
            )
        lines.append(
            f"{'(others)':<{width}}  {'':>12}  {'':>9}  {self.other:>10,}  {self.other:>10,}  {self.other:>10,}"
        )
        lines.append("")
        lines.append(f"{'predicted memory':<16}  {'weights':>10}  {'gradients':>10}  {'Adam state':>10}  {'total':>10}")
        for method in ("full", "sst", "lora", "galore"):
            memory = self.memory(method)
            cells = (memory.weights, memory.gradients, memory.states, memory.total)
            lines.append(f"{method:<16}  " + "  ".join(f"{_bytes(c):>10}" for c in cells))
        return "\n".join(lines)
