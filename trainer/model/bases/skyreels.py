"""SkyReels-V2 text-to-video: Wan 2.1's transformer, trained on films of people.

Its class in diffusers can do more (steps in blocks of frames, a rate as input); the published
text-to-video models use none of it.
Source: diffusers' scripts/convert_skyreelsv2_to_diffusers.py, which made the published configs.
"""

from collections.abc import Mapping
from typing import Any

from trainer.model.bases.wan import Wan


class SkyReels(Wan):
    """Wan, where no input is added to it."""

    class_name = "SkyReelsV2Transformer3DModel"

    def fields(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Take Wan's fields; refuse a model that also reads the rate, or sees only the past."""
        plain = {"inject_sample_info": False, "num_frame_per_block": 1}
        other = [name for name, value in plain.items() if config.get(name, value) != value]
        if other:
            raise ValueError(
                f"a SkyReels-V2 with {', '.join(other)} computes something else than Wan: use one "
                "for text-to-video, such as Skywork/SkyReels-V2-T2V-14B-540P-Diffusers"
            )
        return super().fields(config)
