"""Transformers for texts, Euclidean and Lorentz: translation, language models, and how they are decoded."""

from hypersst.models.sequence.attention import DistanceAttention, SoftmaxAttention
from hypersst.models.sequence.beam_search import Hypothesis, beam_search, greedy
from hypersst.models.sequence.generate import generate
from hypersst.models.sequence.key_value_cache import KeyValueCache
from hypersst.models.sequence.language_model import OPT, LanguageModel, Llama, LorentzLanguageModel
from hypersst.models.sequence.layer import TransformerLayer
from hypersst.models.sequence.parts import EuclideanParts, LorentzParts
from hypersst.models.sequence.registry import SEQUENCE_MODELS, SIZES, build_sequence
from hypersst.models.sequence.transformer import EncoderDecoder, LorentzTransformer, Transformer

__all__ = [
    "OPT",
    "SEQUENCE_MODELS",
    "SIZES",
    "DistanceAttention",
    "EncoderDecoder",
    "EuclideanParts",
    "Hypothesis",
    "KeyValueCache",
    "LanguageModel",
    "Llama",
    "LorentzLanguageModel",
    "LorentzParts",
    "LorentzTransformer",
    "SoftmaxAttention",
    "Transformer",
    "TransformerLayer",
    "beam_search",
    "build_sequence",
    "generate",
    "greedy",
]
