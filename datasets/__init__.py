"""Graphs with their splits, from files, from a generator, or from one's own tensors; texts in tokens and batches.

Example:
    >>> from hypersst.datasets import load
    >>> load("disease-tree").num_classes
    2
"""

from hypersst.datasets.digits import digits, nearest_neighbours
from hypersst.datasets.disease_tree import disease_tree
from hypersst.datasets.edge_file import read_edge_file, read_edges
from hypersst.datasets.files import DataFile, cache_dir
from hypersst.datasets.graph import Graph, validate
from hypersst.datasets.graph_task import GraphTask
from hypersst.datasets.language import LANGUAGES, LanguageSource, LanguageText, load_language
from hypersst.datasets.loading import load
from hypersst.datasets.non_edges import NonEdges
from hypersst.datasets.non_neighbours import NonNeighbours
from hypersst.datasets.own_graphs import from_edges, from_networkx
from hypersst.datasets.parallel_files import read_parallel
from hypersst.datasets.parallel_text import ParallelText, SentencePairs
from hypersst.datasets.partition import cut_share, partition
from hypersst.datasets.registry import DATASETS, Dataset
from hypersst.datasets.social_networks import karate_club, les_miserables
from hypersst.datasets.special_tokens import BOS, EOS, PAD, UNK
from hypersst.datasets.splits import SPLITS, TASKS, hgcn_nodes, split_edges, split_graph, stratified_nodes
from hypersst.datasets.subgraphs import Subgraphs
from hypersst.datasets.subwords import Subwords, train_subwords
from hypersst.datasets.synthetic import synthetic_graph
from hypersst.datasets.text_lines import read_text_lines, undo_bpe
from hypersst.datasets.text_part import FileSlice, TextPart, cut_text
from hypersst.datasets.token_batches import TokenBatch, TokenBatches, encode_pairs, ordered_batches
from hypersst.datasets.token_file import map_tokens
from hypersst.datasets.token_stream import TokenBlocks, TokenStream
from hypersst.datasets.tokenizer import Tokenizer, decode_text, encode_lines, restore_tokenizer
from hypersst.datasets.translation import TRANSLATIONS, TranslationSource, load_translation
from hypersst.datasets.vocabulary import Characters, Words
from hypersst.datasets.wordnet import HIERARCHIES, Hierarchy, load_hierarchy

__all__ = [
    "BOS",
    "DATASETS",
    "EOS",
    "HIERARCHIES",
    "LANGUAGES",
    "PAD",
    "SPLITS",
    "TASKS",
    "TRANSLATIONS",
    "UNK",
    "Characters",
    "DataFile",
    "Dataset",
    "FileSlice",
    "Graph",
    "GraphTask",
    "Hierarchy",
    "LanguageSource",
    "LanguageText",
    "NonEdges",
    "NonNeighbours",
    "ParallelText",
    "SentencePairs",
    "Subgraphs",
    "Subwords",
    "TextPart",
    "TokenBatch",
    "TokenBatches",
    "TokenBlocks",
    "TokenStream",
    "Tokenizer",
    "TranslationSource",
    "Words",
    "cache_dir",
    "cut_share",
    "cut_text",
    "decode_text",
    "digits",
    "disease_tree",
    "encode_lines",
    "encode_pairs",
    "from_edges",
    "from_networkx",
    "hgcn_nodes",
    "karate_club",
    "les_miserables",
    "load",
    "load_hierarchy",
    "load_language",
    "load_translation",
    "map_tokens",
    "nearest_neighbours",
    "ordered_batches",
    "partition",
    "read_edge_file",
    "read_edges",
    "read_parallel",
    "read_text_lines",
    "restore_tokenizer",
    "split_edges",
    "split_graph",
    "stratified_nodes",
    "synthetic_graph",
    "train_subwords",
    "undo_bpe",
    "validate",
]
