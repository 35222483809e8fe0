"""Whole networks for node classification and link prediction, hyperbolic and Euclidean."""

from hypersst.models.base import GraphModel
from hypersst.models.euclidean import GCN, MLP
from hypersst.models.hgcn import HGCN
from hypersst.models.hybonet import HyboNet
from hypersst.models.hyperbolic_gnn import (
    H2HGCN,
    HGNN,
    LGCN,
    HyperbolicGNN,
    LorentzGAT,
    LorentzGCN,
    LorentzGIN,
    LorentzSAGE,
    TangentGCN,
)
from hypersst.models.kappa_gcn import KappaGCN
from hypersst.models.registry import MODELS, build

__all__ = [
    "GCN",
    "H2HGCN",
    "HGCN",
    "HGNN",
    "LGCN",
    "MLP",
    "MODELS",
    "GraphModel",
    "HyboNet",
    "HyperbolicGNN",
    "KappaGCN",
    "LorentzGAT",
    "LorentzGCN",
    "LorentzGIN",
    "LorentzSAGE",
    "TangentGCN",
    "build",
]
