"""A real Qwen2.5-VL of a few thousand weights with its real processor, made without a network."""

from pathlib import Path
from typing import Any

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer() -> Any:
    """Return Qwen's tokenizer with single bytes and the special tokens as its vocabulary."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    vocab = {token: k for k, token in enumerate([*sorted(ByteLevel.alphabet()), *SPECIAL])}
    return Qwen2Tokenizer(
        vocab=vocab, merges=[], eos_token="<|im_end|>", additional_special_tokens=list(SPECIAL)
    )


def tiny_model(tokenizer: Any, width: int = 32, seed: int = 0) -> Any:
    """Return a random Qwen2.5-VL with two layers in each tower."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    ids = tokenizer.get_vocab()
    heads = 4
    quarter = width // heads // 8
    text = {
        "vocab_size": len(ids), "hidden_size": width, "intermediate_size": 2 * width,
        "num_hidden_layers": 2, "num_attention_heads": heads, "num_key_value_heads": 2,
        "max_position_embeddings": 8192, "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"],
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 10000.0,
            "mrope_section": [quarter, quarter, 2 * quarter],
        },
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2,
        "out_hidden_size": width, "fullatt_block_indexes": [1], "window_size": 56,
    }  # fmt: skip
    torch.manual_seed(seed)
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def tiny_processor(tokenizer: Any) -> Any:
    """Return the real processor; a picture of 56 x 56 becomes four tokens."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=TEMPLATE,
    )


def save_tiny_vlm(folder: Path, width: int = 32) -> Path:
    """Write model and processor as a hub's folder has them."""
    tokenizer = tiny_tokenizer()
    tiny_model(tokenizer, width).save_pretrained(folder)
    tiny_processor(tokenizer).save_pretrained(folder)
    return folder
