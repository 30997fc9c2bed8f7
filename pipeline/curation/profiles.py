"""Which clips a model's trainer takes, as settings of a curation: `curate --for h3`.

Every figure is from the page named beside it, read at the commit in brackets.
"""

from dataclasses import dataclass

_LARGE = "-720p"  # behind a name: pictures of the 720p class where the source has them
_MUSUBI = "kohya-ss/musubi-tuner (30c658c)"


@dataclass(frozen=True)
class Profile:
    """What a trainer takes of a clip.

    Attributes:
        fps: frames a second that the model was made for.
        frames: fewest, longest and, between them, the step of the numbers of frames.
        side_multiple: width and height are multiples of it.
        source: the page that says so.
    """

    fps: int
    frames: tuple[int, int, int]
    side_multiple: int
    source: str

    def words(self, size_classes: tuple[int, ...] = (480,)) -> list[str]:
        """Return the settings as words of a command line."""
        fewest, longest, step = self.frames
        settings = {
            "fps": self.fps,
            "frames_from": fewest,
            "frames_step": step,
            "max_s": longest / self.fps,
            "side_multiple": self.side_multiple,
            "size_classes": list(size_classes),
        }
        return [f"--observe.clips.{name}={value}" for name, value in settings.items()]


PROFILES = {
    "h3": Profile(
        24, (124, 345, 17), 32,
        "modelscope/DiffSynth-Studio (fed7b18), docs/en/Model_Details/MiniMax-H3.md: 24 frames/s, "
        "17n+5, sides of 32, up to 15 s",
    ),
    "ltx": Profile(
        24, (89, 121, 8), 32,
        "Lightricks/LTX-2 (400fd31), packages/ltx-trainer/docs/dataset-preparation.md: 8n+1, sides "
        "of 32, 89 or 121 frames advised; configs/v2v_ic_lora.yaml: 24 frames/s",
    ),
    "wan2.1": Profile(
        16, (81, 81, 4), 16,
        f"{_MUSUBI}, docs/dataset_config.md: 16 frames/s, 4n+1; docs/wan.md: 832x480, 81 frames",
    ),
    "wan2.2": Profile(
        16, (81, 81, 4), 16,
        "Wan-Video/Wan2.2 (42bf4cf), wan/configs/shared_config.py: 16 frames/s, 81 frames; "
        "wan/configs/__init__.py: 480p and 720p of A14B",
    ),
    "wan2.2-5b": Profile(
        24, (121, 121, 4), 32,
        "Wan-Video/Wan2.2 (42bf4cf), wan/configs/wan_ti2v_5B.py: 24 frames/s, 121 frames; "
        "wan/configs/__init__.py: sides of 32",
    ),
    "hunyuan": Profile(
        24, (121, 129, 4), 16,
        f"{_MUSUBI}, docs/dataset_config.md: 24 frames/s, 4n+1; docs/hunyuan_video_1_5.md: 121 "
        "frames, 720p",
    ),
}  # fmt: skip


def profile_names() -> list[str]:
    """Return every name that `profile_words` knows."""
    return [*PROFILES, *(name + _LARGE for name in PROFILES)]


def profile_words(name: str) -> list[str]:
    """Return the settings of one of `profile_names` as words of a command line."""
    plain = name.removesuffix(_LARGE)
    return PROFILES[plain].words((480,) if name == plain else (720, 480))
