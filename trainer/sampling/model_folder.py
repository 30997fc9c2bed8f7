"""The folder of a published model: what is in it beside the weights, and that none of it runs.

model_index.json                  classes, and the size of the videos it was trained on
transformer/                      config.json, *.safetensors
transformer_2/                    the same of the expert for low noise levels, where there are two
scheduler/scheduler_config.json   the solver and its shift
encoders.json                     which frozen encoders, and where they are
made_by.json                      run, step, dataset and settings that it comes of; lists the files
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import diffusers

from schemas.settings import check_settings, setting
from trainer.data.data_config import MAX_FRAMES, MAX_SIDE
from trainer.encoders.encoder_config import EncoderConfig
from trainer.encoders.folders import check_folder
from trainer.sampling.sampler import SamplingConfig, make_scheduler
from trainer.saving.complete import read_json, write_json

INDEX, ENCODERS = "model_index.json", "encoders.json"
TRANSFORMER, TRANSFORMER_2 = "transformer", "transformer_2"
Expert = Literal["none", "high", "low", "both"]
MADE_BY = "made_by.json"
SCHEDULER = "scheduler/scheduler_config.json"
PIPELINE_CLASS = "ContextAnyonePipeline"
_RUNS_CODE = ("auto_map", "custom_pipeline", "trust_remote_code")  # keys of configs


@dataclass(frozen=True)
class VideoSize:
    """Size, length and rate of a video.

    Attributes:
        height: in px, a multiple of 16; of 32 with the codec wan2.2.
        width: in px, likewise.
        frames: 4k + 1, because the first is coded alone and the others by fours.
        fps: frames a second.
    """

    height: int = setting(480, low=16, high=MAX_SIDE, unit="px")
    width: int = setting(832, low=16, high=MAX_SIDE, unit="px")
    frames: int = setting(81, low=1, high=MAX_FRAMES)
    fps: float = setting(16.0, above=0, high=240, unit="frames a second")

    def __post_init__(self) -> None:
        check_settings(self, "")
        for name in ("height", "width"):
            side = getattr(self, name)
            if side % 16:
                raise ValueError(
                    f"{name} must be a multiple of 16, got {side}; the nearest is "
                    f"{max(round(side / 16), 1) * 16}"
                )
        if self.frames % 4 != 1:
            raise ValueError(
                "frames must be 4k + 1, because the first is coded alone and the others by fours; "
                f"got {self.frames}, the nearest is {round((self.frames - 1) / 4) * 4 + 1}"
            )


@dataclass(frozen=True)
class Published:
    """What a model needs beside its weights to make videos."""

    encoders: EncoderConfig
    sampling: SamplingConfig = field(
        default_factory=SamplingConfig
    )  # as in the run's own validation
    size: VideoSize = field(default_factory=VideoSize)
    step: int | None = None  # of the training run that the weights are of
    sizes: tuple[str, ...] = ()  # HEIGHTxWIDTHxFRAMES that it was trained on
    reference_background: str = "keep"  # of the references that it was trained on: keep | grey
    characters: int = 1  # of a sample that it was trained on at once
    made_by: dict[str, Any] | None = None  # what trainer/export.py wrote down of the training
    expert: Expert = "none"  # which of two experts it is, or both
    boundary: float = 0.875  # noise level between two experts
    low_sampling: SamplingConfig | None = None  # of the one for low noise levels, where both are

    def with_low(self, low: "Published") -> "Published":
        """Join the expert for high noise levels with that for low ones.

        Raises ValueError for two that do not belong together.
        """
        if (self.expert, low.expert) != ("high", "low"):
            raise ValueError(
                "two experts are one for high noise levels and one for low ones, got "
                f"{self.expert} and {low.expert}: --model is the high one, --low the low one"
            )
        theirs = {"boundary": low.boundary, "codec": low.encoders.codec, "text": low.encoders.text}
        ours = {"boundary": self.boundary, "codec": self.encoders.codec}
        ours["text"] = self.encoders.text
        other = [f"{name} {ours[name]} and {theirs[name]}" for name in ours if ours != theirs]
        if other:
            raise ValueError(f"the two experts were trained apart: {', '.join(other)}")
        least = min(self.characters, low.characters)
        return replace(self, expert="both", low_sampling=low.sampling, characters=least)


def write_published(folder: Path, published: Published) -> None:
    """Write everything of the folder but transformer/."""
    (folder / SCHEDULER).parent.mkdir(parents=True, exist_ok=True)
    make_scheduler(published.sampling.shift).save_pretrained((folder / SCHEDULER).parent)
    write_json(folder / ENCODERS, asdict(published.encoders))
    index = {
        "_class_name": PIPELINE_CLASS,
        "_diffusers_version": diffusers.__version__,
        "transformer": ["trainer.model", "ContextAnyoneTransformer3DModel"],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "sample_size": asdict(published.size),
        "sampling": {k: v for k, v in asdict(published.sampling).items() if k != "shift"},
    }
    if published.sizes:
        index["trained_sizes"] = list(published.sizes)
        index["reference_background"] = published.reference_background
    if published.expert != "none":
        index |= {"expert": published.expert, "boundary_ratio": published.boundary}
    if published.low_sampling is not None:
        index["transformer_2"] = index["transformer"]
        index["sampling_2"] = asdict(published.low_sampling)
    if published.characters > 1:
        index["characters"] = published.characters
    step = {} if published.step is None else {"step": published.step}
    write_json(folder / INDEX, index | step)


def read_published(folder: Path) -> Published:
    """Read a folder of ours, or raise ValueError that says what is wrong with it.

    Class names in the files are compared, never imported.
    """
    _check_safe(folder)
    index = read_json(folder / INDEX)
    if index.get("_class_name") != PIPELINE_CLASS:
        raise ValueError(
            f"{folder} holds a {index.get('_class_name')!r}, a {PIPELINE_CLASS} is needed; export "
            "one from a training run with trainer/export.py"
        )
    step = index.get("step")
    sampling = _filled(SamplingConfig, index.get("sampling", {}), folder / INDEX)
    return Published(
        encoders=_filled(EncoderConfig, read_json(folder / ENCODERS), folder / ENCODERS),
        sampling=replace(sampling, shift=_shift_of(folder / SCHEDULER)),
        size=_filled(VideoSize, index.get("sample_size", {}), folder / INDEX),
        step=step if isinstance(step, int) else None,
        sizes=tuple(str(size) for size in index.get("trained_sizes", ())),
        reference_background=str(index.get("reference_background", "keep")),
        characters=_count(index.get("characters", 1), folder / INDEX),
        made_by=_made_by(folder),
        **_experts(index, folder / INDEX),
    )


def _experts(index: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return what a folder says of its experts: none where it has one model for all levels."""
    expert, boundary = index.get("expert", "none"), index.get("boundary_ratio", 0.875)
    if expert not in get_args(Expert) or not isinstance(boundary, float) or not 0 < boundary < 1:
        raise ValueError(
            f"{path}: expert must be one of {', '.join(get_args(Expert))} and boundary_ratio "
            f"between 0 and 1, got {expert!r} and {boundary!r}"
        )
    low = None
    if expert == "both":
        low = _filled(SamplingConfig, index.get("sampling_2", {}), path)
        check_folder(path.parent / TRANSFORMER_2)
    return {"expert": expert, "boundary": boundary, "low_sampling": low}


def _count(value: Any, path: Path) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{path}: characters must be a whole number from 1, got {value!r}")
    return value


def _made_by(folder: Path) -> dict[str, Any] | None:
    if not (folder / MADE_BY).is_file():
        return None
    return {name: value for name, value in read_json(folder / MADE_BY).items() if name != "files"}


def _check_safe(folder: Path) -> None:
    """Refuse a folder that lacks something, or that could run code."""
    if not folder.is_dir():
        raise ValueError(f"no model at {folder}: it must be a folder that trainer/export.py wrote")
    needed = (INDEX, ENCODERS, SCHEDULER, f"{TRANSFORMER}/config.json")
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{folder} is no exported model, it lacks {', '.join(missing)}; export one from a "
            "training run with trainer/export.py"
        )
    check_folder(folder, weights=False)
    check_folder(folder / TRANSFORMER)
    for path in sorted(folder.rglob("*.json")):
        named = [key for key in _RUNS_CODE if key in read_json(path)]
        if named:
            raise ValueError(
                f"{path} contains {named[0]!r}, which asks to run code; no model of this project "
                "has it, so the folder is not loaded"
            )


def _filled(cls: Any, values: Any, path: Path) -> Any:
    """Make a dataclass of values from a file; unknown keys and wrong types are refused."""
    if not isinstance(values, dict):
        raise ValueError(f"{path}: {cls.__name__} must be an object, got {values!r}")
    known = {field.name: field.default for field in fields(cls)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"{path}: unknown key {name!r}; known are {', '.join(known)}")
        wanted = type(known[name])
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise ValueError(f"{path}: {name} must be a {wanted.__name__}, got {value!r}")
    return cls(**values)


def _shift_of(path: Path) -> float:
    """Return the shift of a scheduler that is ours in everything else."""
    config = read_json(path)
    shift = config.get("flow_shift")
    if not isinstance(shift, int | float) or not 0 < shift < 1000:
        raise ValueError(f"{path}: flow_shift must be a number above 0, got {shift!r}")
    expected = {"_class_name": "UniPCMultistepScheduler"} | dict(make_scheduler(shift).config)
    for name in ("_class_name", "prediction_type", "use_flow_sigmas", "num_train_timesteps"):
        if config.get(name) != expected[name]:
            raise ValueError(
                f"{path}: {name} must be {expected[name]!r}, got {config.get(name)!r}; the model "
                "was trained for no other solver"
            )
    return float(shift)


def marked_characters(folder: Path) -> int:
    """Return how many characters a published model can mark."""
    marks = read_json(folder / TRANSFORMER / "config.json").get("marks", 0)
    return marks if isinstance(marks, int) else 0
