"""No setting of the trainer takes a value that it cannot work with.

Every numeric field and every choice of every config class is tried with what people and scripts
get wrong. Each try is refused by name, or stands in LEGAL with its reason.
"""

import inspect
import math
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin

import pytest
import torch

from schemas.settings import walk_settings
from trainer.latents.encoding_plan import LatentsConfig
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.model.fields import field_types
from trainer.sampling.benchmark_videos import GenerationConfig
from trainer.sampling.model_folder import VideoSize
from trainer.train_config import TrainConfig

NUMBERS = (math.nan, math.inf, -math.inf, -1, 0, 10**30)
# Texts that are choices all the same, with a misspelt one.
CHECKED_TEXTS = {
    "train: model.attention": "flesh",
    "train: data.buckets": "480x832",
}
# Texts that name something of the user's: a folder, a project, a split.
FREE_TEXTS = {
    "train: model.pretrained",
    "train: encoders.path",
    "train: encoders.image_path",
    "train: data.train_split",
    "train: data.validation_split",
    "train: log.wandb_project",
    "train: log.wandb_name",
    "generation: device",
    "generation: encoders",
}
_NOTHING_DROPPED = "this condition is never dropped"
_PART_OFF = "this part of the augmentation is off"
_OPTIONAL = "the model lacks this part"
LEGAL = {
    ("train: model.checkpointing", 0): "no block is recomputed",
    ("train: validation.sampling.step_cache", 0): "every block is asked at every step",
    ("train: model.lora.rank", 0): "the whole backbone is trained, without adapters",
    ("train: encoders.text_tokens", 0): "as many as the text encoder has",
    ("train: data.fps", 0): "every frame of the clip is taken",
    ("train: data.augment.flip", 0): _PART_OFF,
    ("train: data.augment.shrink", 0): _PART_OFF,
    ("train: data.augment.rotation_degrees", 0): _PART_OFF,
    ("train: data.augment.brightness", 0): _PART_OFF,
    ("train: data.augment.contrast", 0): _PART_OFF,
    ("train: data.augment.saturation", 0): _PART_OFF,
    ("train: data.augment.background", 0): _PART_OFF,
    ("train: data.max_crop", 0): "only clips of the bucket's own aspect are taken",
    ("train: data.max_skipped", 0): "the first unreadable sample stops the run",
    ("train: data.num_workers", 0): "the training process decodes by itself",
    ("train: data.cache_mib", 0): "one row group is kept, as many as a read needs",
    ("train: flow.reference_weight", 0): "an ablation without the reference loss",
    ("train: flow.subject_weight", 0): "the whole picture counts alike",
    ("train: flow.dropout.text", 0): _NOTHING_DROPPED,
    ("train: flow.dropout.reference", 0): _NOTHING_DROPPED,
    ("train: flow.dropout.image", 0): _NOTHING_DROPPED,
    ("train: flow.dropout.all", 0): _NOTHING_DROPPED,
    ("train: flow.dropout.character", 0): _NOTHING_DROPPED,
    ("transformer: marks", 0): "nobody is marked",
    ("train: flow.dropout.mark", 0): _NOTHING_DROPPED,
    ("train: flow.dropout.boxes", 0): _NOTHING_DROPPED,
    ("train: optimizer.weight_decay", 0): "nothing is decayed",
    ("train: optimizer.betas", 0): "no memory of earlier gradients, as in plain sign descent",
    ("train: optimizer.warmup_steps", 0): "the full rate from the first update on",
    ("train: optimizer.min_lr_share", 0): "cosine ends at a rate of 0",
    ("train: optimizer.clip_norm", 0): "gradients are not clipped",
    ("train: zero.stage", 0): "nothing is spread over processes",
    ("train: zero.prefetch_elements", 0): "nothing is gathered ahead",
    ("train: zero.persist_elements", 0): "every parameter is spread",
    ("train: train.seed", 0): "a seed like any other",
    ("train: train.max_nonfinite", 0): "the first skipped update stops the run",
    ("train: ema.decay", 0): "no average is kept",
    ("train: checkpoint.minutes", 0): "checkpoints go by updates alone",
    ("train: validation.videos", 0): "no video is generated on the way",
    ("train: validation.sampling.text_guidance", 0): "the prompt is not followed: an ablation",
    ("train: validation.sampling.reference_guidance", 0): "the reference is not followed",
}


@dataclass(frozen=True)
class Setting:
    """One field, and how to make its owner with another value."""

    name: str  # "section of this test: dotted name"
    hint: Any
    default: Any
    make: Callable[[Any], Any]

    @property
    def shown(self) -> str:
        """The name that an error shows; a sampling config does not know whose it is."""
        return self.name.split(": ")[1].removeprefix("validation.sampling.")

    @property
    def is_choice(self) -> bool:
        return get_origin(_plain(self.hint)) is Literal

    @property
    def is_number(self) -> bool:
        hint = _plain(self.hint)
        inner = get_args(hint)[0] if get_origin(hint) is tuple else hint
        return inner in (int, float)


def _plain(hint: Any) -> Any:
    """Return the type without None."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    is_union = get_origin(hint) in (typing.Union, type(int | None))
    return kinds[0] if is_union else hint


def _replaced(config: Any, path: list[str], value: Any) -> Any:
    first, *rest = path
    return replace(
        config, **{first: _replaced(getattr(config, first), rest, value) if rest else value}
    )


def _of_config(section: str, config: Any) -> Iterator[Setting]:
    for name, default, hint, _ in walk_settings(config):
        path = name.split(".")
        yield Setting(
            f"{section}: {name}", hint, default, lambda v, path=path: _replaced(config, path, v)
        )


def _of_transformer() -> Iterator[Setting]:
    init = ContextAnyoneTransformer3DModel.__init__
    parameters = inspect.signature(init).parameters
    for name, hint in field_types(init).items():
        default = parameters[name].default
        yield Setting(f"transformer: {name}", hint, default, lambda v, name=name: _model(name, v))


def _model(name: str, value: Any) -> ContextAnyoneTransformer3DModel:
    with torch.device("meta"):
        return ContextAnyoneTransformer3DModel(**{"num_layers": 1, name: value})


SETTINGS = [
    *_of_config("train", TrainConfig()),
    *_of_config("encoding", LatentsConfig()),
    *_of_config("video", VideoSize()),
    *_of_config("generation", GenerationConfig()),
    *_of_transformer(),
]
BY_NAME = {setting.name: setting for setting in SETTINGS}


def _probes(setting: Setting) -> Iterator[Any]:
    if setting.name in CHECKED_TEXTS:
        yield CHECKED_TEXTS[setting.name]
    if setting.is_choice and isinstance(get_args(_plain(setting.hint))[0], str):
        yield str(setting.default)[:-1]
    elif setting.is_number or setting.is_choice:
        yield from NUMBERS


PROBES = [(setting.name, probe) for setting in SETTINGS for probe in _probes(setting)]


@pytest.mark.parametrize(("name", "probe"), PROBES)
def test_impossible_value_is_refused_by_name(name: str, probe: Any) -> None:
    setting = BY_NAME[name]
    is_tuple = get_origin(_plain(setting.hint)) is tuple
    value = (probe,) * len(setting.default) if is_tuple else probe
    if (name, probe) in LEGAL:
        assert setting.make(value) is not None
        return
    with pytest.raises(ValueError, match=re.escape(setting.shown)) as refused:
        setting.make(value)
    shown = f"{probe:g}" if isinstance(probe, int | float) else str(probe)
    assert any(text in str(refused.value) for text in (shown, repr(probe))), "the value is shown"


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS if setting.is_choice])
def test_every_choice_that_is_offered_is_taken(name: str) -> None:
    choices = list(get_args(_plain(BY_NAME[name].hint)))
    if name == "train: zero.offload":
        choices.remove("optimizer+parameters")  # needs stage 3, see distributed/test_zero.py
    if name == "train: encoders.codec":
        choices.remove("wan2.2")  # needs model.channels=48, see test_bases.py
    if name == "train: model.lora.base":
        choices.remove("int8")  # needs a rank, see test_build.py
    for choice in choices:
        assert BY_NAME[name].make(choice) is not None


def test_no_field_is_left_out() -> None:
    """A new field is a switch, a number, a choice, or a text that stands in a table above."""
    texts = CHECKED_TEXTS.keys() | FREE_TEXTS
    kinds = [
        (setting.hint is bool, setting.is_number, setting.is_choice, setting.name in texts)
        for setting in SETTINGS
    ]
    unknown = [s.name for s, kind in zip(SETTINGS, kinds, strict=True) if sum(kind) != 1]
    assert not unknown
    assert not [key for key in LEGAL if key not in PROBES]
    probed = {name for name, _ in PROBES}
    print(f"{len(SETTINGS)} settings, {len(probed)} of them probed, {len(PROBES)} probes")
    assert len(probed) == sum(number or choice for _, number, choice, _ in kinds) + len(
        CHECKED_TEXTS
    )


def _config_classes(config: Any) -> Iterator[type]:
    yield type(config)
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from _config_classes(value)


CLASSES = sorted(
    {
        *(_config_classes(TrainConfig())),
        *(LatentsConfig, VideoSize, GenerationConfig),
    },
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_is_explained(cls: type) -> None:
    explained = re.findall(r"^    (\w+): \S", inspect.getdoc(cls) or "", re.MULTILINE)
    missing = [field.name for field in fields(cls) if field.name not in explained]
    assert not missing
