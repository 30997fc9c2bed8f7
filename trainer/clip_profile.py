"""Which clips a preset takes, as settings of a curation: `curate --for wan-1.3b`."""

import yaml

from trainer.data.data_config import parse_bucket
from trainer.train_config import preset_path

_SMALLEST_CLASS = 240  # a preset of smaller pictures trains on larger clips, which it scales


def clip_profile(preset: str) -> list[str]:
    """Return words of a command line: clips that are curated with them fit the preset's buckets."""
    data = yaml.safe_load(preset_path(preset).read_text())["data"]
    buckets = [parse_bucket(text) for text in data["buckets"]]
    settings: dict[str, object] = {"frames_from": min(bucket.frames for bucket in buckets)}
    if data.get("fps"):
        settings["fps"] = data["fps"]
    short_side = min(buckets[0].height, buckets[0].width)
    if short_side >= _SMALLEST_CLASS:
        settings["size_classes"] = [short_side]
    return [f"--observe.clips.{name}={value}" for name, value in settings.items()]
