"""The format of an evaluation set, and of a folder of videos that were made for it.

evaluation set/  benchmark.json  references/*.jpg  clips/*.mp4
videos/          videos.json     *.mp4
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

BENCHMARK_VERSION = 1
BENCHMARK, VIDEOS = "benchmark.json", "videos.json"


@dataclass(frozen=True)
class MediaFile:
    """A file of an evaluation set, relative to its folder."""

    path: str
    sha256: str

    def __post_init__(self) -> None:
        check_inside(self.path)


@dataclass(frozen=True)
class ItemCharacter:
    """A character of an item, with reference pictures, the best first."""

    identity: str
    references: list[MediaFile]
    description: str = ""  # what it looks like, '' unknown; a prompt of several says it


@dataclass(frozen=True)
class Item:
    """One video to be made: of whom, doing what, and what the real clip shows."""

    item_id: str
    prompt: str  # names nobody: "The same woman …"
    caption: str  # of the real clip
    characters: list[ItemCharacter]  # whom the video is about, then others in the picture
    clip: MediaFile
    width: int
    height: int
    num_frames: int
    fps: float
    seed: int
    shot_size: str = ""  # of the real clip: close-up | medium | full | wide; '' unknown
    num_people: int = 0  # median number of people in a frame of it; 0 unknown

    def __post_init__(self) -> None:
        if not self.characters or not all(character.references for character in self.characters):
            raise ValueError(f"item {self.item_id!r} needs a character with a reference")

    @property
    def main(self) -> ItemCharacter:
        """Whom the video is about."""
        return self.characters[0]


@dataclass(frozen=True)
class Benchmark:
    """An evaluation set."""

    name: str
    manifest_sha256: str  # of the dataset that it was made from
    splits: list[str]  # that it was taken from
    items: list[Item]
    prompts_sha256: str = ""
    benchmark_version: int = field(default=BENCHMARK_VERSION)

    def __post_init__(self) -> None:
        names = [item.item_id for item in self.items]
        if not names:
            raise ValueError("it has no items")
        if len(set(names)) < len(names):
            raise ValueError("it names an item twice")
        digest = prompts_digest(self.items)
        if self.prompts_sha256 not in ("", digest):
            raise ValueError(
                f"its prompts were changed: their SHA-256 is {digest[:12]}, the file says "
                f"{self.prompts_sha256[:12]}; give the set another name"
            )
        object.__setattr__(self, "prompts_sha256", digest)

    def to_json(self) -> bytes:
        """Return the file's bytes, the same for equal sets."""
        raw = asdict(self)
        for item in raw["items"]:
            for character in item["characters"]:
                if not character["description"]:  # sets of one character never had it
                    del character["description"]
        return (json.dumps(raw, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Benchmark":
        """Read a set. Raises ValueError that says what is wrong."""
        try:
            raw = json.loads(content)
            version = raw["benchmark_version"]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"it is not an evaluation set: {error!r}") from error
        if version != BENCHMARK_VERSION:
            raise ValueError(
                f"its benchmark_version is {version!r}, this code reads {BENCHMARK_VERSION}"
            )
        try:
            return cls(**raw | {"items": [_item(item) for item in raw["items"]]})
        except (TypeError, KeyError) as error:
            raise ValueError(f"it is not an evaluation set: {error!r}") from error


def _item(raw: dict[str, Any]) -> Item:
    characters = [
        ItemCharacter(
            character["identity"],
            [MediaFile(**file) for file in character["references"]],
            character.get("description", ""),
        )
        for character in raw["characters"]
    ]
    return Item(**raw | {"characters": characters, "clip": MediaFile(**raw["clip"])})


def prompts_digest(items: Sequence[Item]) -> str:
    """Return the SHA-256 over ids, prompts and seeds: two runs compare when it is equal."""
    compared = [[item.item_id, item.prompt, item.seed] for item in items]
    return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()


def read_video_list(content: bytes) -> dict[str, str]:
    """Return item -> path from the bytes of a videos.json. Raises ValueError."""
    raw = json.loads(content)
    if not isinstance(raw, dict) or not isinstance(raw.get("videos"), dict):
        raise ValueError(f'{VIDEOS} must read {{"videos": {{"item": "file.mp4", …}}}}')
    return {str(name): check_inside(str(path)) for name, path in raw["videos"].items()}


def write_video_list(videos: dict[str, str], made_by: dict[str, Any]) -> bytes:
    """Return the bytes of a videos.json."""
    content = {"videos": videos, "made_by": made_by}
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def check_inside(path: str) -> str:
    """Return a relative path, or raise ValueError for one that leaves its folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or "\\" in path:
        raise ValueError(f"paths are relative and stay inside their folder, got {path!r}")
    return path
