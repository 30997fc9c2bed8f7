"""What the fields of a transformer may be, whether they come from a config.json or from Python."""

from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from schemas.settings import Allowed, check_value

_WIDTH = Allowed(low=1, high=2**16)
ALLOWED = {
    "patch_size": Allowed(low=1, high=16),
    "num_attention_heads": Allowed(low=1, high=256),
    "attention_head_dim": Allowed(low=12, high=1024),  # rotary angles of three axes, in pairs
    "in_channels": _WIDTH,
    "out_channels": _WIDTH,
    "text_dim": _WIDTH,
    "freq_dim": _WIDTH,
    "ffn_dim": Allowed(low=1, high=10**6),
    "num_layers": Allowed(low=1, high=1000),
    "eps": Allowed(above=0, high=1),
    "image_dim": _WIDTH,
    "added_kv_proj_dim": _WIDTH,
    "rope_max_seq_len": Allowed(low=1, high=10**6),
    "pos_embed_seq_len": Allowed(low=1, high=10**6),
    "emphasize_rank": Allowed(low=1, high=4096),
    "emphasize_heads": Allowed(low=1, high=256),
    "marks": Allowed(low=0, high=8),
    "gap": Allowed(low=1, high=10**6),  # from 1 on, reference and video never meet
}


def field_types(init: Callable[..., None]) -> dict[str, Any]:
    """Return the types of the fields that a model's `__init__` takes."""
    return {name: hint for name, hint in get_type_hints(init).items() if name != "return"}


def check_fields(fields: Mapping[str, Any], init: Callable[..., None]) -> None:
    """Raise ValueError that names the first field whose value is none that it may have."""
    for name, hint in field_types(init).items():
        value = fields[name]
        value = tuple(value) if isinstance(value, list) else value  # as JSON has it
        check_value(name, value, hint, ALLOWED.get(name, Allowed()))
    if fields["attention_head_dim"] % 2:
        raise ValueError(f"attention_head_dim must be even, got {fields['attention_head_dim']}")
    few, heads = fields["emphasize_heads"], fields["num_attention_heads"]
    if fields["emphasize"] == "few_heads" and few > heads:
        raise ValueError(
            f"emphasize_heads must be at most num_attention_heads ({heads}), got {few}"
        )
    noise, rebuilt = fields["reference_noise"], fields["reconstruction"]
    if noise == "shared" and rebuilt not in ("none", "clean"):
        raise ValueError(
            "reference_noise=shared rebuilds the reference in its own stream, so reconstruction "
            f"must be none or clean with it, got {rebuilt}"
        )
