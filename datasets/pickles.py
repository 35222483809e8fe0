"""Opening the sets' pickles with nothing allowed in them but arrays, matrices and graphs.

Checksums already say that a pickle is the published one. This is the second lock, for files of one's own and for
mistakes in the first; it also maps modules that numpy and scipy have renamed since the files were written.
"""

from __future__ import annotations

import _codecs
import io
import pickle
from collections import defaultdict
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp

from hypersst.errors import DataError

__all__ = ["loads"]

# What numpy itself names in the pickles of arrays and numbers; the module moved in numpy 2.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_SCALAR = np.float64(0.0).__reduce__()[0]

_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "defaultdict"): defaultdict,
    ("__builtin__", "list"): list,
    ("builtins", "list"): list,
    ("builtins", "dict"): dict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.multiarray", "scalar"): _SCALAR,
    ("numpy._core.multiarray", "scalar"): _SCALAR,
    # How Python 3 writes bytes for Python 2.
    ("_codecs", "encode"): _codecs.encode,
    ("scipy.sparse.csr", "csr_matrix"): sp.csr_matrix,
    ("scipy.sparse._csr", "csr_matrix"): sp.csr_matrix,
    ("networkx.classes.graph", "Graph"): nx.Graph,
    ("networkx.classes.reportviews", "NodeView"): nx.classes.reportviews.NodeView,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed") from None


def loads(content: bytes, name: str) -> Any:
    """Open a pickle of Python 2 or 3 that holds arrays, sparse matrices or an undirected graph.

    Args:
        content: The pickle.
        name: Name of its file, for the error.

    Raises:
        DataError: If it holds anything else or is not a pickle.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, ValueError) as error:
        raise DataError(f"Data file {name} must be a pickle of arrays, matrices or a graph, got: {error}.") from error
