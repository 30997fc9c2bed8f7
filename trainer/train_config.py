"""All settings of a training, each defined beside what it steers."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from schemas.settings import check_settings, meant, setting
from trainer.data.data_config import DataConfig, check_sides
from trainer.distributed.parallel import ParallelConfig, check_divides
from trainer.distributed.zero import OptimizerConfig, ZeroConfig
from trainer.encoders import EncoderConfig
from trainer.flow import ALL_LEVELS, FlowConfig
from trainer.lora import LoraConfig
from trainer.measures.metrics import LogConfig
from trainer.sampling.sampler import SamplingConfig

PRESETS = Path(__file__).parent / "presets"
_MAX_STEPS = 10**9
_KEPT_KERNELS = ("native", "_native_flash", "_native_cudnn", "_native_efficient")


@dataclass(frozen=True)
class ModelConfig:
    """Which transformer is trained, and the method's choices.

    Attributes:
        pretrained: folder or hub id of Wan text-to-video, or of an exported model; '' begins
            with random weights of the sizes below.
        expert: of the two of Wan 2.2 A14B: high is trained on noise levels from the boundary on,
            low on those below; none trains one model on all.
        boundary: noise level between the two experts.
        layers: number of transformer blocks.
        heads: number of attention heads.
        head_dim: width of a head, even; the model is heads x head_dim wide.
        ffn_dim: inner width of the feed-forward layers.
        freq_dim: width of the timestep's sinusoidal embedding.
        text_dim: width of the text encoder's features.
        channels: channels of the codec's latents.
        image_dim: width of the image encoder's tokens.
        gap: temporal distance between video and reference positions, in latent frames; 1 is plain
            concatenation.
        spatial_offset: diagonal also moves the reference off the video's grid.
        information_flow: asymmetric: the reference never sees the video; symmetric for ablation.
        emphasize: Emphasize-Attention in every block: full has projections of its own; few_heads
            too, but for a few heads; low_rank changes the block's own; none. true is the form of
            version 0.1, whose gate hardly opens, and false is none.
        emphasize_rank: rank of the form low_rank.
        emphasize_heads: heads of the form few_heads.
        emphasize_rope: none matches by content, gap also by place.
        reference_noise: clean, or shared: noised like the video.
        reference_text: none, or prompt: the reference stream reads the prompt too.
        reconstruction: what is rebuilt beside the video, for the second loss: other, another
            picture of the character, or self, the reference, both from noise and reading the
            reference as the video does; clean, the reference from itself; video_timestep, the
            same at the video's timestep; none.
        marks: mark who is who where data.characters is above 1: the pictures of each character,
            what the prompt says of it, and its box.
        checkpointing: recompute every n-th block in the backward pass; 0 none, 1 all.
        checkpointing_keeps: of a block that is recomputed: nothing, or attention, whose results
            take little memory and most of the time; not with zero.stage=3.
        attention: diffusers' name of the attention kernel: native, flash, _flash_3, sage, …
        compile: compile every block: faster steps, after minutes of waiting for each bucket; not
            with zero.stage=3.
        lora: adapters instead of training the whole backbone.
    """

    pretrained: str = ""
    expert: Literal["none", "high", "low"] = "none"
    boundary: float = setting(0.875, above=0, below=1)
    layers: int = setting(30, low=1, high=1000)
    heads: int = setting(12, low=1, high=256)
    head_dim: int = setting(128, low=12, high=1024)
    ffn_dim: int = setting(8960, low=1, high=10**6)
    freq_dim: int = setting(256, low=1, high=2**16)
    text_dim: int = setting(4096, low=1, high=2**16)
    image_dim: int = setting(1280, low=1, high=2**16)
    channels: int = setting(16, low=1, high=2**12)
    gap: int = setting(30, low=1, high=1023, unit="latent frames")
    spatial_offset: Literal["none", "diagonal"] = "none"
    information_flow: Literal["asymmetric", "symmetric"] = "asymmetric"
    emphasize: Literal["none", "few_heads", "low_rank", "full", True, False] = "few_heads"
    emphasize_rank: int = setting(64, low=1, high=4096)
    emphasize_heads: int = setting(2, low=1, high=256)
    emphasize_rope: Literal["none", "gap"] = "none"
    reference_noise: Literal["clean", "shared"] = "clean"
    reference_text: Literal["none", "prompt"] = "none"
    reconstruction: Literal["none", "clean", "self", "other", "video_timestep"] = "clean"
    marks: bool = True
    checkpointing: int = setting(0, low=0, high=1000)
    checkpointing_keeps: Literal["nothing", "attention"] = "nothing"
    attention: str = setting("native", least=1)
    compile: bool = False
    lora: LoraConfig = field(default_factory=LoraConfig)

    def __post_init__(self) -> None:
        check_settings(self, "model")
        if self.head_dim % 2:
            raise ValueError(f"model.head_dim must be even, got {self.head_dim}")
        if self.emphasize == "few_heads" and self.emphasize_heads > self.heads:
            raise ValueError(
                f"model.emphasize_heads must be at most model.heads ({self.heads}), got "
                f"{self.emphasize_heads}"
            )
        if self.reference_noise == "shared" and self.reconstruction not in ("none", "clean"):
            raise ValueError(
                "model.reference_noise=shared rebuilds the reference in its own stream, so "
                f"model.reconstruction must be none or clean with it, got {self.reconstruction}"
            )
        if self.attention != "native":
            _check_attention(self.attention)
        if self.checkpointing_keeps == "attention" and self.attention not in _KEPT_KERNELS:
            raise ValueError(
                "model.checkpointing_keeps=attention knows the results of PyTorch's own kernels: "
                f"set model.attention to one of {', '.join(_KEPT_KERNELS)}, got {self.attention}; "
                "or model.checkpointing_keeps=nothing"
            )

    @property
    def levels(self) -> tuple[float, float]:
        """Return the lowest and the highest noise level that it is trained on."""
        return {"none": ALL_LEVELS, "high": (self.boundary, 1.0), "low": (0.0, self.boundary)}[
            self.expert
        ]

    def method(self) -> dict[str, Any]:
        """Return the method's choices, as fields of the transformer."""
        names = ("gap", "spatial_offset", "information_flow", "emphasize", "emphasize_rope")
        names += ("reference_noise", "reference_text", "reconstruction")
        names += ("emphasize_rank", "emphasize_heads")
        return {name: getattr(self, name) for name in names}

    def fields(self, characters: int = 1) -> dict[str, Any]:
        """Return the fields of a transformer with random weights, for so many at once."""
        return {
            "in_channels": self.channels,
            "out_channels": self.channels,
            "num_layers": self.layers,
            "num_attention_heads": self.heads,
            "attention_head_dim": self.head_dim,
            "ffn_dim": self.ffn_dim,
            "freq_dim": self.freq_dim,
            "text_dim": self.text_dim,
            "image_dim": self.image_dim,
            "marks": characters if self.marks and characters > 1 else 0,
            **self.method(),
        }


def _check_attention(name: str) -> None:
    """Refuse a kernel that diffusers does not know; importing it takes seconds."""
    from diffusers.models.attention_dispatch import AttentionBackendName

    known = [backend.value for backend in AttentionBackendName]
    if name not in known:
        raise ValueError(
            f"model.attention must be one of {', '.join(known)}, got {name!r}{meant(name, known)}"
        )


@dataclass(frozen=True)
class StepsConfig:
    """Length and size of the training.

    Attributes:
        steps: number of updates.
        batch_size: samples of one update, over all processes.
        micro_batch: samples that a process computes at once.
        seed: seed of the data order, of every random draw and of random weights.
        max_nonfinite: updates in a row that may be skipped for a loss or gradient that is not
            finite; one more stops the run.
    """

    steps: int = setting(1000, low=1, high=_MAX_STEPS)
    batch_size: int = setting(8, low=1, high=10**6)
    micro_batch: int = setting(1, low=1, high=10**6)
    seed: int = setting(0, low=0, high=2**63 - 1)
    max_nonfinite: int = setting(5, low=0, high=_MAX_STEPS)

    def __post_init__(self) -> None:
        check_settings(self, "train")


@dataclass(frozen=True)
class EmaConfig:
    """Exponential moving average of the weights.

    Attributes:
        decay: share of the average that stays at each of its updates, such as 0.999; 0 keeps none.
        every: training updates between two updates of the average; more saves memory traffic.
    """

    decay: float = setting(0.0, low=0, below=1)
    every: int = setting(1, low=1, high=_MAX_STEPS)

    def __post_init__(self) -> None:
        check_settings(self, "ema")


@dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are written, and how many are kept.

    Attributes:
        every: updates between two checkpoints; the last update is always saved.
        minutes: longest time between two checkpoints, in minutes; 0 goes by updates alone.
        keep: number of checkpoints that are kept, the newest.
        background: write while training goes on, from a copy in the host's memory; the next
            checkpoint, and the end, wait for it.
    """

    every: int = setting(500, low=1, high=_MAX_STEPS)
    minutes: float = setting(30.0, low=0, high=10**5, unit="minutes")
    keep: int = setting(3, low=1, high=10**6)
    background: bool = False

    def __post_init__(self) -> None:
        check_settings(self, "checkpoint")


@dataclass(frozen=True)
class ValidationConfig:
    """What is measured and shown on the way.

    Attributes:
        every: updates between two validations; one more comes before the first update and after
            the last.
        samples: held-out samples whose loss is measured at nine fixed sigmas.
        videos: videos that are generated, one for each of the first samples.
        sampling: how they are sampled; the same sampler as generate.py.
    """

    every: int = setting(500, low=1, high=_MAX_STEPS)
    samples: int = setting(16, low=1, high=10**6)
    videos: int = setting(2, low=0, high=10**6)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        check_settings(self, "validation")
        if self.videos > self.samples:
            raise ValueError(
                f"validation.videos must be at most validation.samples ({self.samples}), got "
                f"{self.videos}"
            )


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training, by section.

    Attributes:
        model: the transformer and the method's choices.
        encoders: the frozen encoders.
        data: what is read, and how.
        flow: noise levels, dropped conditions, loss.
        optimizer: AdamW and its schedule.
        zero: how states are spread over processes; precision.
        parallel: how a sample is shared by several processes.
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
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    train: StepsConfig = field(default_factory=StepsConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        for bucket in self.data.sizes:
            check_sides(bucket.height, bucket.width, self.encoders.stride, "data.buckets")
        if self.model.channels != self.encoders.channels:
            raise ValueError(
                f"model.channels must be those of the codec {self.encoders.codec}, "
                f"{self.encoders.channels}, got {self.model.channels}"
            )
        if self.model.lora.kind == "dora" and self.zero.stage == 3:
            raise ValueError(
                "model.lora.kind=dora needs whole weights, which zero.stage=3 spreads: set "
                "zero.stage to 2 or less, or model.lora.kind=lora"
            )
        if self.model.lora.base == "int8" and self.zero.stage == 3:
            raise ValueError(
                "model.lora.base=int8 is whole on every process, and zero.stage=3 spreads what it "
                "does not know: set zero.stage to 2 or less, or model.lora.base=full"
            )
        if self.model.compile and self.zero.stage == 3:
            raise ValueError(
                "model.compile needs whole weights, which zero.stage=3 gathers as it goes: set "
                "zero.stage to 2 or less, or model.compile=false"
            )
        if self.model.checkpointing_keeps == "attention" and self.zero.stage == 3:
            raise ValueError(
                "model.checkpointing_keeps=attention repeats just what it did, and zero.stage=3 "
                "gathers weights anew: set zero.stage to 2 or less, or "
                "model.checkpointing_keeps=nothing"
            )
        if self.data.characters > 1 and (
            self.model.reference_noise == "shared" or self.model.reference_text == "prompt"
        ):
            raise ValueError(
                "data.characters above 1 needs references that are clean and read their names: set "
                "model.reference_noise=clean and model.reference_text=none, or data.characters=1"
            )
        check_divides(self.parallel.sequence, "model.heads", self.model.heads)
        if self.validation.sampling.shift != self.flow.shift:
            raise ValueError(
                "validation.sampling.shift must equal flow.shift, or the sampler walks another "
                f"grid than was trained; got {self.validation.sampling.shift:g} and "
                f"{self.flow.shift:g}"
            )

    def same_in_every_run(self) -> dict[str, Any]:
        """Return what may not change when a training goes on: the order and the draws."""
        settings = asdict(self)
        several = {"data.characters": self.data.characters}
        unknown: list[str] = []  # to checkpoints from before it was there, and without effect
        if self.data.characters == 1:
            unknown, several = ["character"], {}
        if self.data.characters == 1 or not self.model.marks:
            unknown += ["mark", "boxes"]
        for name in unknown:
            del settings["flow"]["dropout"][name]
        return {
            "train.batch_size": self.train.batch_size,
            "train.seed": self.train.seed,
            "data.buckets": list(self.data.buckets),
            "data.references": self.data.references,
            "flow": settings["flow"],
            "model.lora": self.model.lora.same_in_every_run(),
            **self._expert(),
            **several,
        }

    def _expert(self) -> dict[str, Any]:
        """Return what older runs, which knew of no experts, do not say."""
        if self.model.expert == "none":
            return {}
        return {"model.expert": self.model.expert, "model.boundary": self.model.boundary}


def preset_path(name: str) -> Path:
    """Return the file of a preset, or raise ValueError that names those there are."""
    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"--preset must be one of {', '.join(preset_names())}, got {name!r}")
    return path


def preset_names() -> list[str]:
    """Return the presets there are."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))
