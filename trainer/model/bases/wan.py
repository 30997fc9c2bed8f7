"""Wan 2.1 text-to-video, and of Wan 2.2 TI2V-5B and both experts of T2V-A14B.

Source: diffusers' scripts/convert_wan_to_diffusers.py, which made the published configs.
"""

from collections.abc import Mapping
from typing import Any

IMAGE_DIM = 1280  # of CLIP ViT-H/14, which Wan 2.1 image-to-video reads as well


class Wan:
    """All of them are one class, in other sizes."""

    class_name = "WanTransformer3DModel"

    def fields(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Add an image branch, as wide as the model."""
        if config["in_channels"] != config["out_channels"]:
            raise ValueError(
                f"the base reads {config['in_channels']} channels and gives "
                f"{config['out_channels']}: it is made for image-to-video; use a text-to-video one"
            )
        return {"image_dim": IMAGE_DIM, "added_kv_proj_dim": None}
