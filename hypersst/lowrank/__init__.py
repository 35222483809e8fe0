"""What Sparse Spectral Training is compared with, on the same selection of weights; `hypersst.merge` undoes it."""

from hypersst.lowrank.lora import LoRA, LoRAWeight, lora, lora_weights
from hypersst.lowrank.relora import ReLoRA

__all__ = ["LoRA", "LoRAWeight", "ReLoRA", "lora", "lora_weights"]
