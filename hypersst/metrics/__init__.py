"""How tree-like a graph is, and how well an embedding keeps its distances and its neighbours."""

from hypersst.metrics.distortion import average_distortion
from hypersst.metrics.gromov import Hyperbolicity, four_point_delta, gromov_delta
from hypersst.metrics.ranking import Reconstruction, mean_average_precision, mean_rank, reconstruction
from hypersst.metrics.shortest_paths import graph_distances

__all__ = [
    "Hyperbolicity",
    "Reconstruction",
    "average_distortion",
    "four_point_delta",
    "graph_distances",
    "gromov_delta",
    "mean_average_precision",
    "mean_rank",
    "reconstruction",
]
