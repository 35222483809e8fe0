"""Hyperbolic geometry in 60 digits, to judge floating-point code by.

Textbook formulas on lists of mpmath numbers, one point at a time and slow. Inputs are the floating-point numbers that
the code under judgement saw, taken as exact; a Lorentz point or tangent vector is given by its space part, from which
the time part follows. mpmath comes with the extra ``dev``.
"""

from collections.abc import Callable, Sequence
from typing import Any

Vector = list[Any]  # of mpmath.mpf

_DIGITS = 60
# A one-sided difference of this width errs by its curvature times 1e-30 and by 1e-60 / 1e-30 of rounding.
_STEP = "1e-30"


def _mp() -> Any:
    import mpmath

    mpmath.mp.dps = _DIGITS
    return mpmath


def exact(values: Sequence[float]) -> Vector:
    """The given floating-point numbers, without rounding."""
    mp = _mp()
    return [mp.mpf(v) for v in values]


def _dot(x: Vector, y: Vector) -> Any:
    return sum(a * b for a, b in zip(x, y, strict=True))


def _axpy(a: Any, x: Vector, y: Vector) -> Vector:
    return [a * p + q for p, q in zip(x, y, strict=True)]


def _scale(a: Any, x: Vector) -> Vector:
    return [a * p for p in x]


def _ratio(function: Callable[[Any], Any], r: Any) -> Any:
    """f(r) / r, and 1 at zero."""
    return function(r) / r if r else _mp().mpf(1)


class LorentzOracle:
    """The hyperboloid ⟨x, x⟩ = −1/c; points and tangents go in and out as space parts."""

    def __init__(self, c: float) -> None:
        self.mp = _mp()
        self.c = self.mp.mpf(c)
        self.root = self.mp.sqrt(self.c)

    def _lift(self, xs: Vector) -> Vector:
        return [self.mp.sqrt(1 / self.c + _dot(xs, xs)), *xs]

    def _tangent(self, x: Vector, vs: Vector) -> Vector:
        return [_dot(x[1:], vs) / x[0], *vs]

    def _inner(self, u: Vector, v: Vector) -> Any:
        return _dot(u[1:], v[1:]) - u[0] * v[0]

    def expmap0(self, v: Vector) -> Vector:
        """Space part of the exponential map at the origin."""
        return _scale(_ratio(self.mp.sinh, self.root * self.mp.sqrt(_dot(v, v))), v)

    def logmap0(self, xs: Vector) -> Vector:
        """Space part of the logarithm at the origin."""
        return _scale(_ratio(self.mp.asinh, self.root * self.mp.sqrt(_dot(xs, xs))), xs)

    def expmap(self, xs: Vector, us: Vector) -> Vector:
        """cosh(r) x + sinh(r)/r u."""
        x = self._lift(xs)
        u = self._tangent(x, us)
        r = self.root * self.mp.sqrt(self._inner(u, u))
        return _axpy(self.mp.cosh(r), xs, _scale(_ratio(self.mp.sinh, r), us))

    def dist(self, xs: Vector, ys: Vector) -> Vector:
        """arcosh(−c⟨x, y⟩)/√c, as a list of one number."""
        return [self.mp.acosh(-self.c * self._inner(self._lift(xs), self._lift(ys))) / self.root]

    def logmap(self, xs: Vector, ys: Vector) -> Vector:
        """d/|w| w with w = y + c⟨x, y⟩x."""
        x, y = self._lift(xs), self._lift(ys)
        w = _axpy(self.c * self._inner(x, y), x, y)
        length = self.mp.sqrt(self._inner(w, w))
        return _scale(self.dist(xs, ys)[0] / length if length else 0, w[1:])

    def transp(self, xs: Vector, ys: Vector, vs: Vector) -> Vector:
        """V + ⟨y, v⟩/(1/c − ⟨x, y⟩)(x + y)."""
        x, y = self._lift(xs), self._lift(ys)
        v = self._tangent(x, vs)
        a = self._inner(y, v) / (1 / self.c - self._inner(x, y))
        return _axpy(a, _axpy(1, xs, ys), vs)


class PoincareOracle:
    """The ball √c|x| < 1 with the metric 4/(1 − c|x|²)² dx²."""

    def __init__(self, c: float) -> None:
        self.mp = _mp()
        self.c = self.mp.mpf(c)
        self.root = self.mp.sqrt(self.c)

    def _gap(self, x: Vector) -> Any:
        return 1 - self.c * _dot(x, x)

    def _add(self, x: Vector, y: Vector) -> Vector:
        xy, x2, y2 = _dot(x, y), _dot(x, x), _dot(y, y)
        top = _axpy(1 + 2 * self.c * xy + self.c * y2, x, _scale(1 - self.c * x2, y))
        return _scale(1 / (1 + 2 * self.c * xy + self.c**2 * x2 * y2), top)

    def expmap0(self, u: Vector) -> Vector:
        """tanh(√c|u|)/(√c|u|) u."""
        return _scale(_ratio(self.mp.tanh, self.root * self.mp.sqrt(_dot(u, u))), u)

    def logmap0(self, x: Vector) -> Vector:
        """artanh(√c|x|)/(√c|x|) x."""
        return _scale(_ratio(self.mp.atanh, self.root * self.mp.sqrt(_dot(x, x))), x)

    def expmap(self, x: Vector, u: Vector) -> Vector:
        """X ⊕ exp₀(λ_x u / 2)."""
        return self._add(x, self.expmap0(_scale(1 / self._gap(x), u)))

    def dist(self, x: Vector, y: Vector) -> Vector:
        """2/√c artanh(√c|−x ⊕ y|), as a list of one number."""
        w = self._add(_scale(-1, x), y)
        return [2 / self.root * self.mp.atanh(self.root * self.mp.sqrt(_dot(w, w)))]

    def logmap(self, x: Vector, y: Vector) -> Vector:
        """2/λ_x log₀(−x ⊕ y)."""
        return _scale(self._gap(x), self.logmap0(self._add(_scale(-1, x), y)))

    def transp(self, x: Vector, y: Vector, v: Vector) -> Vector:
        """λ_x/λ_y gyr[y, −x] v, the gyration by its definition ⊖(y ⊖ x) ⊕ (y ⊕ (−x ⊕ v)), v shrunk into the ball."""
        # Gyrations are linear: any length that fits into the ball will do.
        size = self.mp.sqrt(_dot(v, v)) * self.root * 4 or self.mp.mpf(1)
        back = _scale(-1, x)
        inner = self._add(y, self._add(back, _scale(1 / size, v)))
        turned = self._add(_scale(-1, self._add(y, back)), inner)
        return _scale(size * self._gap(y) / self._gap(x), turned)


def value_and_gradients(
    function: Callable[..., Vector], inputs: Sequence[Sequence[float]], cotangent: Sequence[float]
) -> tuple[list[float], list[list[float]]]:
    """Value of a vector function, and the gradients of its product with ``cotangent``.

    Args:
        function: Takes as many vectors as ``inputs`` has, returns a vector.
        inputs: Floating-point vectors, taken as exact.
        cotangent: As long as the value.

    Returns:
        The value and, for each input, the gradient, rounded to float64. At a kink the gradient is one-sided.
    """
    mp = _mp()
    vectors, weights, step = [exact(v) for v in inputs], exact(cotangent), mp.mpf(_STEP)
    value = function(*vectors)
    base = _dot(value, weights)
    gradients = []
    for i, vector in enumerate(vectors):
        gradient = []
        for j in range(len(vector)):
            moved = [list(v) for v in vectors]
            moved[i][j] += step
            gradient.append(float((_dot(function(*moved), weights) - base) / step))
        gradients.append(gradient)
    return [float(v) for v in value], gradients
