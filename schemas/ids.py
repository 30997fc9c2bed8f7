"""Content hashes: the same bytes and settings give the same id on every machine."""

import hashlib
import json
from typing import Any

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
ID_LENGTH = 24  # hex digits, 96 bits: one accidental collision expected near 10^14 rows


def content_id(*parts: Any) -> str:
    """Hash the parts (JSON values) into an id. Floats must be rounded by the caller."""
    return hashlib.sha256(_CANONICAL.encode(parts).encode()).hexdigest()[:ID_LENGTH]


def bytes_id(sha256_hex: str) -> str:
    """Shorten the SHA-256 of a file's bytes to the length of an id."""
    return sha256_hex[:ID_LENGTH]


def unit_interval(*parts: Any) -> float:
    """Map the parts to a reproducible number in [0, 1): a draw that needs no random state."""
    return int(content_id(*parts)[:13], 16) / 16**13
