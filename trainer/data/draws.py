"""Random numbers that depend on what they are for, never on who draws them or when.

Every draw of training is a function of (seed, step, place in the global batch, purpose), so a
resumed run, and a run on another number of processes, draws the same.
"""

import hashlib

import torch


def seed_of(*parts: int | str) -> int:
    """Return 63 bits that depend on every part, the same on every machine and version."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator_of(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator seeded by all parts."""
    return torch.Generator(device).manual_seed(seed_of(*parts))
