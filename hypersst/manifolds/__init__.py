"""Hyperbolic manifolds with the verbs of geoopt and mathematics that is right in float32.

One curvature convention everywhere: a positive c, the sectional curvature being −c.
"""

from hypersst.manifolds.isometry import lorentz_to_poincare, poincare_to_lorentz
from hypersst.manifolds.lorentz import Lorentz
from hypersst.manifolds.poincare import PoincareBall
from hypersst.manifolds.stereographic import Stereographic

__all__ = ["Lorentz", "PoincareBall", "Stereographic", "lorentz_to_poincare", "poincare_to_lorentz"]
