"""Layers: linear maps, graph convolutions, heads, decoders and losses, plain tensors in and out."""

from hypersst.nn.activation import resolve_activation
from hypersst.nn.decoders import FermiDirac, InnerProduct, LorentzScore, fermi_dirac_logit
from hypersst.nn.gcn_conv import GCNConv
from hypersst.nn.heads import LorentzMLR, PoincareMLR, PrototypeHead, TangentHead
from hypersst.nn.hyperplane import lorentz_hyperplanes, poincare_hyperplanes
from hypersst.nn.lift import LiftFeatures
from hypersst.nn.lorentz_conv import LorentzConv
from hypersst.nn.lorentz_linear import LorentzLinear
from hypersst.nn.losses import margin_ranking_loss, multi_margin_loss
from hypersst.nn.manifold_argument import as_ball, as_hyperbolic, as_lorentz
from hypersst.nn.mobius_conv import MobiusConv
from hypersst.nn.mobius_linear import MobiusLinear
from hypersst.nn.poincare_linear import PoincareLinear
from hypersst.nn.sparse import CSRMatrix, normalized_adjacency

__all__ = [
    "CSRMatrix",
    "FermiDirac",
    "GCNConv",
    "InnerProduct",
    "LiftFeatures",
    "LorentzConv",
    "LorentzLinear",
    "LorentzMLR",
    "LorentzScore",
    "MobiusConv",
    "MobiusLinear",
    "PoincareLinear",
    "PoincareMLR",
    "PrototypeHead",
    "TangentHead",
    "as_ball",
    "as_hyperbolic",
    "as_lorentz",
    "fermi_dirac_logit",
    "lorentz_hyperplanes",
    "margin_ranking_loss",
    "multi_margin_loss",
    "normalized_adjacency",
    "poincare_hyperplanes",
    "resolve_activation",
]
