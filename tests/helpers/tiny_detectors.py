"""Real RT-DETRv2, D-FINE and SAM 2 of a few thousand random weights, made without a network."""

from pathlib import Path

LABELS = {0: "person", 1: "bicycle"}


def save_tiny_detector(folder: Path, kind: str) -> Path:
    """Write a random detector of `kind`, rt_detr_v2 or d_fine, as a hub's folder has them."""
    import torch
    from transformers import AutoConfig, AutoModelForObjectDetection, RTDetrImageProcessor

    backbone = {
        "model_type": "rt_detr_resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 24, 32],
        "depths": [1, 1, 1, 1], "layer_type": "basic",
        "out_features": ["stage2", "stage3", "stage4"],
    }  # fmt: skip
    settings = {
        "backbone_config": backbone, "encoder_hidden_dim": 32, "d_model": 32,
        "encoder_in_channels": [16, 24, 32], "encoder_ffn_dim": 32, "encoder_attention_heads": 2,
        "decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 32, "decoder_attention_heads": 2,
        "decoder_layers": 2, "num_queries": 30, "id2label": LABELS, "num_denoising": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **settings)
    AutoModelForObjectDetection.from_config(config).save_pretrained(folder)
    RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def save_tiny_sam2(folder: Path) -> Path:
    """Write a random SAM 2 for pictures of 128 x 128."""
    import torch
    from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor

    vision = {
        "backbone_config": {
            "model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [128, 128],
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 1, 2, 2],
            "window_size_per_stage": [4, 4, 4, 4], "global_attention_blocks": [3],
            "window_positional_embedding_background_size": [4, 4],
        },
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 32,
    }  # fmt: skip
    prompts = {"hidden_size": 32, "image_size": 128, "patch_size": 16}
    decoder = {
        "hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32,
    }  # fmt: skip
    torch.manual_seed(0)
    config = Sam2Config(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
    )
    Sam2Model(config).save_pretrained(folder)
    pictures = Sam2ImageProcessor(
        size={"height": 128, "width": 128}, mask_size={"height": 32, "width": 32}
    )
    Sam2Processor(pictures, target_size=128).save_pretrained(folder)
    return folder
