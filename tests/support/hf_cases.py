"""Language models of Hugging Face transformers, randomly built and very small, and texts for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)

VOCABULARY = 32


def llama(**options) -> LlamaForCausalLM:
    """Two layers with grouped queries; its head is a weight of its own."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    tokens = {"vocab_size": VOCABULARY, "max_position_embeddings": 32, "pad_token_id": 0}
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **heads, **tokens, **options}))


def opt() -> OPTForCausalLM:
    """Two layers between projections of narrower embeddings, which the head shares."""
    sizes = {"hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2, "word_embed_proj_dim": 8}
    tokens = {"vocab_size": VOCABULARY, "max_position_embeddings": 32, "pad_token_id": 0}
    return OPTForCausalLM(OPTConfig(num_attention_heads=4, dropout=0.0, **sizes, **tokens))


def gpt2() -> GPT2LMHeadModel:
    """Two layers of Conv1D, whose weights are (in, out); the head shares the embeddings."""
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}
    without_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    tokens = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**sizes, **without_dropout, **tokens))


def _layers(prefix: str, names: list[str]) -> list[str]:
    return [f"{prefix}.{layer}.{name}.weight" for layer in range(2) for name in names]


_PROJECTIONS = [f"self_attn.{name}_proj" for name in "qkvo"]
MODELS: dict[str, tuple[Callable[[], PreTrainedModel], list[str]]] = {
    "llama": (llama, _layers("model.layers", [*_PROJECTIONS, "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"])),
    "opt": (
        opt,
        [
            *(f"model.decoder.project_{side}.weight" for side in ("out", "in")),
            *_layers(
                "model.decoder.layers",
                [*(f"self_attn.{name}_proj" for name in ("k", "v", "q", "out")), "fc1", "fc2"],
            ),
        ],
    ),
    "gpt2": (gpt2, _layers("transformer.h", ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"])),
}


def build(name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A model of `MODELS`, the same at every call, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODELS[name][0]().to(dtype).eval()


def tokens(rows: int = 4, length: int = 9, seed: int = 0) -> Tensor:
    """Numbers of tokens, shape ``(rows, length)``, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (rows, length), generator=generator)
