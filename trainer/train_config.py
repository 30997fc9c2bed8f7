"""All settings of a training, each defined beside what it steers."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainer.data.data_config import DataConfig
from trainer.distributed.zero import OptimizerConfig, ZeroConfig
from trainer.encoders import EncoderConfig
from trainer.flow import FlowConfig
from trainer.lora import LoraConfig
from trainer.measures.metrics import LogConfig
from trainer.sampling.sampler import SamplingConfig

PRESETS = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class ModelConfig:
    """Which transformer is trained, and the method's choices.

    Attributes:
        pretrained: folder or hub id of Wan 2.1 text-to-video, or of an exported model; '' begins
            with random weights of the sizes below.
        layers: blocks.
        heads: attention heads.
        head_dim: width of a head; the model is heads x head_dim wide.
        ffn_dim: inner width of the feed-forward layers.
        freq_dim: width of the timestep's features.
        text_dim: width of the text encoder's features.
        image_dim: width of the image encoder's tokens.
        gap: temporal distance between video and reference positions; 1 is plain concatenation.
        spatial_offset: diagonal also moves the reference off the video's grid.
        information_flow: asymmetric: the reference never sees the video; symmetric for ablation.
        emphasize: Emphasize-Attention in every block.
        emphasize_rope: none matches by content, gap also by place.
        reference_noise: clean, or shared: noised like the video.
        reference_text: none, or prompt: the reference stream reads the prompt too.
        checkpointing: recompute every n-th block in the backward pass; 0 none, 1 all.
        attention: diffusers' name of the attention kernel: native, flash, _flash_3, sage, …
        lora: adapters instead of training the whole backbone.
    """

    pretrained: str = ""
    layers: int = 30
    heads: int = 12
    head_dim: int = 128
    ffn_dim: int = 8960
    freq_dim: int = 256
    text_dim: int = 4096
    image_dim: int = 1280
    gap: int = 30
    spatial_offset: Literal["none", "diagonal"] = "none"
    information_flow: Literal["asymmetric", "symmetric"] = "asymmetric"
    emphasize: bool = True
    emphasize_rope: Literal["none", "gap"] = "none"
    reference_noise: Literal["clean", "shared"] = "clean"
    reference_text: Literal["none", "prompt"] = "none"
    checkpointing: int = 0
    attention: str = "native"
    lora: LoraConfig = field(default_factory=LoraConfig)

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "head_dim", "ffn_dim", "freq_dim", "gap"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} must be >= 1, got {getattr(self, name)}")
        if self.head_dim % 2 or self.head_dim < 12:
            raise ValueError(f"model.head_dim must be even and >= 12, got {self.head_dim}")
        if self.checkpointing < 0:
            raise ValueError(f"model.checkpointing must be >= 0, got {self.checkpointing}")

    def method(self) -> dict[str, Any]:
        """Return the method's choices, as fields of the transformer."""
        names = ("gap", "spatial_offset", "information_flow", "emphasize", "emphasize_rope")
        names += ("reference_noise", "reference_text")
        return {name: getattr(self, name) for name in names}

    def fields(self) -> dict[str, Any]:
        """Return the fields of a transformer with random weights."""
        return {
            "num_layers": self.layers,
            "num_attention_heads": self.heads,
            "attention_head_dim": self.head_dim,
            "ffn_dim": self.ffn_dim,
            "freq_dim": self.freq_dim,
            "text_dim": self.text_dim,
            "image_dim": self.image_dim,
            **self.method(),
        }


@dataclass(frozen=True)
class StepsConfig:
    """Length and size of the training.

    Attributes:
        steps: updates.
        batch_size: samples of an update, of all processes together.
        micro_batch: samples that a process computes at once.
        seed: of the order, of every draw and of random weights.
        max_nonfinite: updates in a row that may be skipped for a loss or gradient that is not
            finite; one more stops the run.
    """

    steps: int = 1000
    batch_size: int = 8
    micro_batch: int = 1
    seed: int = 0
    max_nonfinite: int = 5

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "micro_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be >= 1, got {getattr(self, name)}")
        if self.max_nonfinite < 0:
            raise ValueError(f"train.max_nonfinite must be >= 0, got {self.max_nonfinite}")


@dataclass(frozen=True)
class EmaConfig:
    """Exponential moving average of the weights.

    Attributes:
        decay: share that stays at every update, about 0.999; 0 keeps no average.
        every: updates between two; spare memory traffic with large models.
    """

    decay: float = 0.0
    every: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1 or self.every < 1:
            raise ValueError(
                "ema.decay must be from 0 to below 1 and ema.every >= 1, got "
                f"{self.decay:g} and {self.every}"
            )


@dataclass(frozen=True)
class CheckpointConfig:
    """When the training is saved.

    Attributes:
        every: updates between two checkpoints; the last update is always saved.
        keep: newest checkpoints that are kept.
    """

    every: int = 500
    keep: int = 3

    def __post_init__(self) -> None:
        for name in ("every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"checkpoint.{name} must be >= 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class ValidationConfig:
    """What is measured and shown on the way.

    Attributes:
        every: updates between two validations; there is one before the first and after the last.
        samples: held-out samples whose loss is measured at nine fixed sigmas.
        videos: videos that are generated, one for each of the first samples.
        sampling: how they are sampled; the same sampler as generate.py.
    """

    every: int = 500
    samples: int = 16
    videos: int = 2
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        if self.every < 1 or self.samples < 1:
            raise ValueError(
                "validation.every and validation.samples must be >= 1, got "
                f"{self.every} and {self.samples}"
            )
        if not 0 <= self.videos <= self.samples:
            raise ValueError(
                f"validation.videos must be 0 to validation.samples ({self.samples}), got "
                f"{self.videos}"
            )


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training can be told.

    Attributes:
        model: the transformer and the method's choices.
        encoders: the frozen encoders.
        data: what is read, and how.
        flow: noise levels, dropped conditions, loss.
        optimizer: AdamW and its schedule.
        zero: how states are spread over processes; precision.
        train: length and size.
        ema: moving average of the weights.
        checkpoint: when the training is saved.
        validation: what is measured and shown on the way.
        log: curves.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    encoders: EncoderConfig = field(default_factory=EncoderConfig)
    data: DataConfig = field(default_factory=DataConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    zero: ZeroConfig = field(default_factory=ZeroConfig)
    train: StepsConfig = field(default_factory=StepsConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        if self.validation.sampling.shift != self.flow.shift:
            raise ValueError(
                "validation.sampling.shift must equal flow.shift, or the sampler walks another "
                f"grid than was trained; got {self.validation.sampling.shift:g} and "
                f"{self.flow.shift:g}"
            )

    def same_in_every_run(self) -> dict[str, Any]:
        """Return what may not change when a training goes on: the order and the draws."""
        settings = asdict(self)
        return {
            "train.batch_size": self.train.batch_size,
            "train.seed": self.train.seed,
            "data.buckets": list(self.data.buckets),
            "data.references": self.data.references,
            "flow": settings["flow"],
            "model.lora": settings["model"]["lora"],
        }


def preset_path(name: str) -> Path:
    """Return the file of a preset, or raise ValueError that names those there are."""
    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"--preset must be one of {', '.join(preset_names())}, got {name!r}")
    return path


def preset_names() -> list[str]:
    """Return the presets there are."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))
