"""Real CLIP and DINO folders of a few thousand random weights, made without a network."""

import json
from pathlib import Path


def save_tiny_dino(folder: Path) -> Path:
    """Write a ViT as DINO's folders have it."""
    import torch
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    size = {"height": 32, "width": 32}
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=16,
    )  # fmt: skip
    ViTModel(config).save_pretrained(folder)
    ViTImageProcessor(size=size).save_pretrained(folder)
    return folder


def save_tiny_clip(folder: Path) -> Path:
    """Write a CLIP with both towers, its picture processor and its tokenizer."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    letters = [chr(n) for n in range(97, 123)]
    vocab = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(vocab)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    tower = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 32, "projection_dim": 8}  # fmt: skip
    text = {**tower, "vocab_size": len(vocab), "max_position_embeddings": 16,
            "bos_token_id": len(vocab) - 2, "eos_token_id": len(vocab) - 1}  # fmt: skip
    config = CLIPConfig(
        text_config=text,
        vision_config={**tower, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder
