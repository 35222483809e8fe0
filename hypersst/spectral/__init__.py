"""Weights held and trained by their singular values and vectors, for any module of any geometry."""

from hypersst.spectral.config import Rank, SSTConfig
from hypersst.spectral.decomposition import (
    Decomposition,
    DecompositionError,
    EachRound,
    EveryIterations,
    Never,
    OnDefect,
    decompose,
    effective_rank,
    orthogonality_defect,
)
from hypersst.spectral.factors import random_factors
from hypersst.spectral.param_groups import param_groups
from hypersst.spectral.parametrization import Spectral, WeightParametrization
from hypersst.spectral.products import compose, factored_linear, recomputed_linear
from hypersst.spectral.report import LayerReport, Memory, SpectralReport
from hypersst.spectral.retraction import orthogonalize, polar
from hypersst.spectral.sampler import SSTSampler
from hypersst.spectral.selection import Multinomial, Selection, Sequential, TopR, Uniform
from hypersst.spectral.spectral_weight import spectral
from hypersst.spectral.surgery import (
    SpectralWeight,
    Truncation,
    merge,
    report,
    spectral_weights,
    spectralize,
    truncate,
)
from hypersst.spectral.targets import ALL_LINEAR, Target, find_targets
from hypersst.spectral.telemetry import LayerTelemetry

__all__ = [
    "ALL_LINEAR",
    "Decomposition",
    "DecompositionError",
    "EachRound",
    "EveryIterations",
    "LayerReport",
    "LayerTelemetry",
    "Memory",
    "Multinomial",
    "Never",
    "OnDefect",
    "Rank",
    "SSTConfig",
    "SSTSampler",
    "Selection",
    "Sequential",
    "Spectral",
    "SpectralReport",
    "SpectralWeight",
    "Target",
    "TopR",
    "Truncation",
    "Uniform",
    "WeightParametrization",
    "compose",
    "decompose",
    "effective_rank",
    "factored_linear",
    "find_targets",
    "merge",
    "orthogonality_defect",
    "orthogonalize",
    "param_groups",
    "polar",
    "random_factors",
    "recomputed_linear",
    "report",
    "spectral",
    "spectral_weights",
    "spectralize",
    "truncate",
]
