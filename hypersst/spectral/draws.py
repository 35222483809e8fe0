"""Randomness that is a function of what it is for: equal on every replica and in every resumed run."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["named_generator", "stable_name"]


def named_generator(seed: int, name: str, iteration: int) -> torch.Generator:
    """A fresh generator on the CPU whose stream depends on the three arguments alone."""
    digest = hashlib.blake2b(f"{seed}/{name}/{iteration}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def stable_name(name: str) -> str:
    """Name of a weight without what wrappers put before it, so that wrapped replicas draw alike."""
    return name.replace("_orig_mod.", "").removeprefix("module.")
