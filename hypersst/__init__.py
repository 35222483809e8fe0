"""Hyperbolic neural networks trained spectrally.

`spectralize` holds the weights of any model by their singular values and vectors, `SSTSampler` trains them sparsely,
`merge` makes them plain again. `hypersst.nn`, `hypersst.manifolds`, `hypersst.models` and `hypersst.datasets` hold the
hyperbolic layers, geometry, networks and graphs.
"""

from hypersst.spectral import (
    Spectral,
    SpectralReport,
    SSTConfig,
    SSTSampler,
    merge,
    param_groups,
    spectralize,
    truncate,
)

__version__ = "0.1.0"

__all__ = [
    "SSTConfig",
    "SSTSampler",
    "Spectral",
    "SpectralReport",
    "__version__",
    "merge",
    "param_groups",
    "spectralize",
    "truncate",
]
