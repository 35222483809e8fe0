"""Layers: linear maps, graph convolutions, heads, decoders and losses, plain tensors in and out."""

from hypersst.nn.activation import resolve_activation
from hypersst.nn.attention_conv import edge_softmax
from hypersst.nn.ball_activation import ball_activation
from hypersst.nn.decoders import FermiDirac, InnerProduct, LorentzScore, fermi_dirac_logit
from hypersst.nn.embedding import HyperbolicEmbedding
from hypersst.nn.gcn_conv import GCNConv
from hypersst.nn.h2h_conv import H2HConv
from hypersst.nn.heads import LorentzMLR, PoincareMLR, PrototypeHead, TangentHead
from hypersst.nn.hgnn_conv import HGNNConv
from hypersst.nn.hyperplane import lorentz_hyperplanes, poincare_hyperplanes
from hypersst.nn.lgcn_conv import LGCNConv
from hypersst.nn.lift import LiftFeatures
from hypersst.nn.lorentz_conv import LorentzConv
from hypersst.nn.lorentz_gat_conv import LorentzGATConv
from hypersst.nn.lorentz_gin_conv import LorentzGINConv
from hypersst.nn.lorentz_linear import LorentzLinear
from hypersst.nn.lorentz_orthogonal import LorentzOrthogonal
from hypersst.nn.lorentz_sage_conv import LorentzSAGEConv
from hypersst.nn.losses import margin_ranking_loss, multi_margin_loss
from hypersst.nn.manifold_argument import as_ball, as_hyperbolic, as_lorentz
from hypersst.nn.mobius_conv import MobiusConv
from hypersst.nn.mobius_linear import MobiusLinear
from hypersst.nn.poincare_linear import PoincareLinear
from hypersst.nn.sparse import CSRMatrix, normalized_adjacency
from hypersst.nn.stereographic_conv import StereographicConv
from hypersst.nn.stereographic_linear import StereographicLinear, as_stereographic

__all__ = [
    "CSRMatrix",
    "FermiDirac",
    "GCNConv",
    "H2HConv",
    "HGNNConv",
    "HyperbolicEmbedding",
    "InnerProduct",
    "LGCNConv",
    "LiftFeatures",
    "LorentzConv",
    "LorentzGATConv",
    "LorentzGINConv",
    "LorentzLinear",
    "LorentzMLR",
    "LorentzOrthogonal",
    "LorentzSAGEConv",
    "LorentzScore",
    "MobiusConv",
    "MobiusLinear",
    "PoincareLinear",
    "PoincareMLR",
    "PrototypeHead",
    "StereographicConv",
    "StereographicLinear",
    "TangentHead",
    "as_ball",
    "as_hyperbolic",
    "as_lorentz",
    "as_stereographic",
    "ball_activation",
    "edge_softmax",
    "fermi_dirac_logit",
    "lorentz_hyperplanes",
    "margin_ranking_loss",
    "multi_margin_loss",
    "normalized_adjacency",
    "poincare_hyperplanes",
    "resolve_activation",
]
