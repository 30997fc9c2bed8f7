"""Build the Sam model that a checkpoint was saved from: every size is read off its tensors.

MobileSAM (2306.14289) is the same model behind another encoder, TinyViT, which Ultralytics has.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

HEADS_OF_DECODER = 8  # of every published checkpoint; the only size that no tensor tells
_MOBILE_SIDE, _MOBILE_PATCH = 1024, 16  # pixels; of MobileSAM, no tensor tells them
_VIT, _TINY = "image_encoder.pos_embed", "image_encoder.patch_embed.seq.0.c.weight"
_PIXEL_MEAN, _PIXEL_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def load_sam(path: Path) -> Any:
    """Return the model with the checkpoint's weights, in evaluation mode, on the CPU.

    Only tensors are read from the file. ValueError when it is no checkpoint of the ViT family
    or of MobileSAM.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged and for pickled files
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is no checkpoint of tensors alone: {line}") from error
    if not isinstance(state, dict) or not (_VIT in state or _TINY in state):
        raise ValueError(
            f"{path} is no checkpoint of segment-anything (sam_vit_b, _l, _h) or MobileSAM: it has "
            f"neither {_VIT} nor {_TINY}; SAM 2 and others are built otherwise and are not read"
        )
    try:
        sam = _build(state)
        sam.load_state_dict(state)
    except (KeyError, IndexError, RuntimeError, AssertionError) as error:
        raise ValueError(f"{path} does not fit the model that it describes: {error}") from error
    return sam.eval()


def _build(state: dict[str, Any]) -> Any:
    from segment_anything.modeling import Sam

    encoder, grid, patch = _mobile_encoder(state) if _TINY in state else _image_encoder(state)
    return Sam(encoder, *_prompt_parts(state, grid, patch), _PIXEL_MEAN, _PIXEL_STD)


def _mobile_encoder(state: dict[str, Any]) -> tuple[Any, int, int]:
    """Return the encoder, the side of its embedding, and pixels per place of it."""
    from pipeline.engines.people.ultralytics_yolo import quietly

    quietly()
    from ultralytics.models.sam.modules.tiny_encoder import TinyViT

    prefix = "image_encoder.layers."
    layers = [f"{prefix}{k}.blocks." for k in range(_count(state, prefix))]
    expanded, first, *_ = state[f"{layers[0]}0.conv1.c.weight"].shape
    widths = [len(state[f"{blocks}0.attn.norm.weight"]) for blocks in layers[1:]]
    biases = [state[f"{blocks}0.attn.attention_biases"].shape for blocks in layers[1:]]
    sizes: dict[str, Any] = {  # the first layer has convolutions alone
        "embed_dims": (first, *widths),
        "depths": tuple(_count(state, blocks) for blocks in layers),
        "num_heads": (1, *(heads for heads, _ in biases)),
        "window_sizes": (1, *(math.isqrt(offsets) for _, offsets in biases)),
        "mlp_ratio": len(state[f"{layers[1]}0.mlp.fc1.weight"]) / widths[0],
        "mbconv_expand_ratio": expanded / first,
        "local_conv_size": state[f"{layers[1]}0.local_conv.c.weight"].shape[-1],
        "num_classes": len(state["image_encoder.head.weight"]),
    }
    encoder = TinyViT(_MOBILE_SIDE, drop_path_rate=0.0, **sizes)
    return encoder, _MOBILE_SIDE // _MOBILE_PATCH, _MOBILE_PATCH


def _image_encoder(state: dict[str, Any]) -> tuple[Any, int, int]:
    """Return the encoder, the side of its embedding, and pixels per place of it."""
    import torch
    from segment_anything.modeling import ImageEncoderViT

    prefix = "image_encoder."
    _, grid, _, width = state[f"{prefix}pos_embed"].shape
    patch = state[f"{prefix}patch_embed.proj.weight"].shape[-1]
    depth = _count(state, f"{prefix}blocks.")
    reach, head = zip(
        *(state[f"{prefix}blocks.{k}.attn.rel_pos_h"].shape for k in range(depth)), strict=True
    )
    windowed = [(length + 1) // 2 for length in reach if length != 2 * grid - 1]
    encoder = ImageEncoderViT(
        img_size=grid * patch,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=width // head[0],
        mlp_ratio=state[f"{prefix}blocks.0.mlp.lin1.weight"].shape[0] / width,
        out_chans=state[f"{prefix}neck.0.weight"].shape[0],
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),  # pyright: ignore[reportArgumentType]
        use_rel_pos=True,
        window_size=windowed[0] if windowed else 0,
        global_attn_indexes=tuple(k for k in range(depth) if reach[k] == 2 * grid - 1),
    )
    return encoder, grid, patch


def _prompt_parts(state: dict[str, Any], grid: int, patch: int) -> tuple[Any, Any]:
    from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

    width = state["prompt_encoder.no_mask_embed.weight"].shape[1]
    prompts = PromptEncoder(
        embed_dim=width,
        image_embedding_size=(grid, grid),
        input_image_size=(grid * patch, grid * patch),
        mask_in_chans=state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
    )
    prefix = "mask_decoder.transformer.layers."
    inner = state[f"{prefix}0.cross_attn_token_to_image.q_proj.weight"].shape[0]
    transformer = TwoWayTransformer(
        depth=_count(state, prefix),
        embedding_dim=width,
        num_heads=HEADS_OF_DECODER,
        mlp_dim=state[f"{prefix}0.mlp.lin1.weight"].shape[0],
        attention_downsample_rate=width // inner,
    )
    iou_head = "mask_decoder.iou_prediction_head.layers."
    decoder = MaskDecoder(
        transformer_dim=width,
        transformer=transformer,
        num_multimask_outputs=state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
        iou_head_depth=_count(state, iou_head),
        iou_head_hidden_dim=state[f"{iou_head}0.weight"].shape[0],
    )
    return prompts, decoder


def _count(state: dict[str, Any], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)})
