"""The ablation: what every row of the table changes, as settings of curation and training."""

from dataclasses import dataclass

SIDE, FRAMES = 64, 9  # of the videos that are learned and generated
ENGINES = "benchmarks.characters.engines"
# Drawn films are small and short, have one person each, and no faces.
CURATE = (
    f"observe.engines.people={ENGINES}:DrawnPeople",
    f"observe.engines.faces={ENGINES}:DrawnFaces",
    f"observe.engines.recogniser={ENGINES}:DrawnRecogniser",
    f"observe.engines.masks={ENGINES}:DrawnMasks",
    f"pair.engines.captions={ENGINES}:DrawnCaptions",
    "observe.probe.min_fps=8",
    "observe.clips.fps=8",
    "observe.clips.min_s=1.125",
    "observe.clips.size_classes=[96]",
    "observe.tracks.follow_fps=4",
    "observe.candidates.min_px=16",
    "observe.candidates.per_track=2",
    "pair.quality.min_sharpness=0",
    "pair.quality.min_motion=0",
    "pair.quality.max_dark=1",
    "pair.quality.max_text_area=1",
    "pair.duplicates.max_distance=null",
    "pair.people.min_px=16",
    "pair.people.min_s=1",
    "pair.people.min_body_aspect=0.5",
    "pair.people.min_motion=0",
    "pair.references.min_px=16",
    "pair.references.body_parts=true",
    "pair.references.match_colour=false",
    "pair.splits.train=0.8",
    "pair.splits.validation=0.05",
    "pair.splits.test=0.15",
)
_SAME_PICTURE = [
    f"pair.augment.{name}=0"
    for name in (
        "rotation_degrees", "shrink_octaves", "grow_octaves", "shift", "perspective", "exposure_ev",
        "temperature_mired", "light_ev", "background", "blur", "noise",
    )
]  # fmt: skip
_IN_CLIP = "pair.references.tiers=[[in_clip_augmented]]"
# What a row is trained on -> what is curated otherwise.
DATASETS: dict[str, tuple[str, ...]] = {
    "cross_shot": (),
    "in_clip": (_IN_CLIP, *_SAME_PICTURE),
    "in_clip_augmented": (_IN_CLIP,),
}


@dataclass(frozen=True)
class Row:
    """One line of the table: a training that differs from the full one in one thing."""

    name: str
    title: str
    settings: tuple[str, ...] = ()
    dataset: str = "cross_shot"
    blind: bool = False  # is not given the references when it is measured either


# The order of the table, and of training.
ROWS = (
    Row("full", "full"),
    Row("in_clip", "references from the clip itself", dataset="in_clip"),
    Row("in_clip_augmented", "the same, augmented", dataset="in_clip_augmented"),
    Row("no_emphasis", "without Emphasize-Attention", ("model.emphasize=false",)),
    Row("no_image", "without image tokens", ("flow.dropout.image=1",)),
    Row("symmetric", "symmetric flow", ("model.information_flow=symmetric",)),
    Row("no_reference_loss", "λ = 0", ("flow.reference_weight=0",)),
    Row("gap_1", "gap 1", ("model.gap=1",)),
    Row("gap_8", "gap 8", ("model.gap=8",)),
    Row("gap_100", "gap 100", ("model.gap=100",)),
    Row("fast", "new modules learn 5 times as fast", ("optimizer.new_modules_lr_scale=5",)),
    Row(
        "no_reference",
        "without a reference",
        ("flow.dropout.reference=1", "flow.dropout.image=1"),
        blind=True,
    ),
)


@dataclass(frozen=True)
class Preset:
    """How large an ablation is.

    Attributes:
        films: identities that are drawn.
        items: of held-out identities that are generated and measured, per row and seed.
        seeds: trainings of every row.
        base_steps: updates of the text-to-video model that all rows begin with.
        steps: updates of a row.
        settings: of the trainer, over its preset `tiny`.
        row_settings: of the rows alone.
    """

    films: int
    items: int
    seeds: int
    base_steps: int
    steps: int
    settings: tuple[str, ...]
    row_settings: tuple[str, ...]


_BASE = (
    "model.reconstruction=other",
    "flow.reference_weight=0.3",
    "data.source=latents",
    "data.num_workers=0",
    f"data.buckets=[{SIDE}x{SIDE}x{FRAMES}]",
    "encoders.text_tokens=14",
    "validation.videos=0",
    "log.every=20",
)
_SAMPLING = (
    "validation.sampling.steps=12",
    "validation.sampling.guidance=joint",
    "validation.sampling.text_guidance=1.5",
)
PRESETS = {
    "small": Preset(
        films=480,
        items=160,
        seeds=1,
        base_steps=1200,
        steps=700,
        settings=(
            *_BASE,
            *_SAMPLING,
            "model.layers=4",
            "model.heads=4",
            "model.head_dim=24",
            "model.ffn_dim=384",
            "train.batch_size=16",
            "train.micro_batch=16",
            "optimizer.lr=3e-3",
            "optimizer.warmup_steps=50",
            "ema.decay=0.99",
            "validation.samples=32",
        ),
        row_settings=("optimizer.lr=2e-3",),
    ),
    "larger": Preset(
        films=4000,
        items=400,
        seeds=3,
        base_steps=20_000,
        steps=20_000,
        settings=(
            *_BASE,
            *_SAMPLING,
            "data.num_workers=2",
            "model.layers=8",
            "model.heads=6",
            "model.head_dim=64",
            "model.ffn_dim=1536",
            "train.batch_size=128",
            "train.micro_batch=128",
            "optimizer.lr=1e-3",
            "optimizer.warmup_steps=200",
            "ema.decay=0.998",
            "validation.samples=128",
            "zero.precision=autocast",
        ),
        row_settings=(),
    ),
}


def row_named(name: str) -> Row:
    """Return a row. Raises ValueError that names those there are."""
    for row in ROWS:
        if row.name == name:
            return row
    raise ValueError(f"row must be one of {', '.join(row.name for row in ROWS)}, got {name!r}")
