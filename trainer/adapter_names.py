"""Under which names programs look for the adapters of Wan."""

import re
from typing import Literal, get_args

Naming = Literal["diffusers", "comfyui", "kohya"]
NAMINGS = get_args(Naming)
_PARTS = {"lora_A": "lora_down", "lora_B": "lora_up"}
_WAN = {  # diffusers' name of a module -> that of the first publication
    "attn1": "self_attn", "attn2": "cross_attn",
    "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "o",
    "net.0.proj": "0", "net.2": "2",
}  # fmt: skip
_MODULE = re.compile(
    r"blocks\.(\d+)\.(?:(attn1|attn2)\.(to_q|to_k|to_v|to_out\.0)|(ffn)\.(net\.0\.proj|net\.2))"
)


def adapter_name(module: str, part: str, naming: Naming) -> str:
    """Return the name of a tensor: part is lora_A, lora_B, alpha or dora."""
    if naming == "diffusers":
        tail = "lora_magnitude_vector" if part == "dora" else f"{part}.weight"
        return f"transformer.{module}.{tail}"
    found = _MODULE.fullmatch(module)
    assert found, f"adapters are beside the projections of a block, not {module}"
    number, attention, projection, ffn, layer = found.groups()
    inside = f"{_WAN[attention]}.{_WAN[projection]}" if attention else f"{ffn}.{_WAN[layer]}"
    tail = {"alpha": "alpha", "dora": "dora_scale"}.get(part) or f"{_PARTS[part]}.weight"
    if naming == "comfyui":
        return f"diffusion_model.blocks.{number}.{inside}.{tail}"
    return f"lora_unet_blocks_{number}_{inside.replace('.', '_')}.{tail}"
