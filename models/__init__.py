"""Whole networks for node classification and link prediction, hyperbolic and Euclidean."""

from hypersst.models.base import GraphModel
from hypersst.models.euclidean import GCN, MLP
from hypersst.models.hgcn import HGCN
from hypersst.models.hybonet import HyboNet
from hypersst.models.registry import MODELS, build

__all__ = ["GCN", "HGCN", "MLP", "MODELS", "GraphModel", "HyboNet", "build"]
