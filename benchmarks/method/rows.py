"""What is compared: regimes, and in each the rows in the order of their worth."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from benchmarks.method.world import Origin

Road = Literal["all", "emphasis", "image tokens"]


@dataclass(frozen=True)
class Row:
    """A model that is trained, as its differences to the regime's.

    Attributes:
        label: as the table names it.
        model: fields of the transformer.
        reference_weight: lambda.
        images: whether it sees image tokens.
        road: the only way on which the reference reaches the video, or all of them.
        origin: where the references of its training are from; it is measured on other shots.
        references: pictures that a video comes with, in training and when it is measured.
    """

    label: str
    model: Mapping[str, Any] = field(default_factory=dict)
    reference_weight: float = 1.0
    images: bool = True
    road: Road = "all"
    origin: Origin = "other shots"
    references: int = 1


@dataclass(frozen=True)
class Regime:
    """A size of model and training, and what is compared there.

    Attributes:
        title: what the table's head says.
        model: fields of the transformer that all rows share.
        frames: latent frames of a video.
        side: cells of a picture on each side.
        lr: learning rate of the rows.
        steps: updates of a row.
        base_steps: updates of the text-to-video model that all rows begin with.
        batch: videos of an update.
        given_layout: whether the model is told where the figure is, without noise.
        begins_after: rows of the first regime that are worth more than the first of this one.
        rows: by key; `against` is what the others are compared with.
    """

    title: str
    model: Mapping[str, Any]
    frames: int
    lr: float
    steps: int
    rows: Mapping[str, Row]
    against: Mapping[str, str]
    side: int = 8
    batch: int = 12
    given_layout: bool = True
    begins_after: int = 0
    base_steps: int = 300

    def shortened(self, steps: int) -> "Regime":
        """Return it with fewer updates, to try whether all of it runs."""
        return replace(self, steps=steps, base_steps=steps)


SMALL: dict[str, Any] = {
    "num_attention_heads": 3,
    "attention_head_dim": 16,
    "ffn_dim": 96,
    "freq_dim": 64,
    "emphasize": "few_heads",
    "emphasize_heads": 1,
    "emphasize_rank": 4,
    "reconstruction": "none",
}
LARGE = {**SMALL, "num_attention_heads": 8, "attention_head_dim": 32, "ffn_dim": 1024}
LARGE |= {"num_layers": 6, "emphasize_rank": 20, "freq_dim": 128}

_FORMS = {
    "few_heads": Row("one of three own heads"),
    "no_emphasis": Row("without Emphasize-Attention", {"emphasize": "none"}),
    "gated": Row("version 0.1: tanh(α) and a gate", {"emphasize": True}),
    "full": Row("own projections for all heads", {"emphasize": "full"}),
    "low_rank": Row("changes of rank 4", {"emphasize": "low_rank"}),
    "two_heads": Row("two of three own heads", {"emphasize_heads": 2}),
    "rank_16": Row("changes of rank 16", {"emphasize": "low_rank", "emphasize_rank": 16}),
}
_REBUILT = {
    "other": Row("another picture, from noise", {"reconstruction": "other"}),
    "clean": Row("the reference, from itself", {"reconstruction": "clean"}),
    "self": Row("the reference, from noise", {"reconstruction": "self"}),
    "video_timestep": Row(
        "the reference, at the video's timestep", {"reconstruction": "video_timestep"}
    ),
}
_OTHER = {"reconstruction": "other"}
_WITHOUT = {"emphasize": "none"}
_LIGHTLY = Row("another picture, λ = 0.3", _OTHER, reference_weight=0.3)
_PARTS = {
    "other_no_emphasis": Row("without Emphasize-Attention", {**_OTHER, **_WITHOUT}),
    "other_gap_1": Row("gap 1", {**_OTHER, "gap": 1}),
    "other_clip": Row("references from the clip itself", _OTHER, origin="clip"),
    "other_symmetric": Row("symmetric flow", {**_OTHER, "information_flow": "symmetric"}),
    "other_no_images": Row("without image tokens", _OTHER, images=False),
    "other_clip_augmented": Row("the same, augmented", _OTHER, origin="clip augmented"),
    "other_full": Row("own projections for all heads", {**_OTHER, "emphasize": "full"}),
    "other_low_rank": Row("low-rank changes", {**_OTHER, "emphasize": "low_rank"}),
    "other_light": _LIGHTLY,
    "other_faint": Row("another picture, λ = 0.1", _OTHER, reference_weight=0.1),
    "other_heavy": Row("another picture, λ = 3", _OTHER, reference_weight=3.0),
    "other_gap_8": Row("gap 8", {**_OTHER, "gap": 8}),
    "other_two": Row("two references", _OTHER, references=2),
    "other_four": Row("four references", _OTHER, references=4),
    "other_prompt": Row("the reference reads the prompt", {**_OTHER, "reference_text": "prompt"}),
    "other_gap_100": Row("gap 100", {**_OTHER, "gap": 100}),
}
_ROADS = {
    "road_self": Row("self-attention only", _WITHOUT, images=False),
    "road_emphasis": Row("Emphasize-Attention only", images=False, road="emphasis"),
    "road_gated": Row(
        "that of version 0.1 only", {"emphasize": True}, images=False, road="emphasis"
    ),
    "road_images": Row("image tokens only", _WITHOUT, road="image tokens"),
}


def _against(row: str, *groups: Mapping[str, Row]) -> dict[str, str]:
    return {key: row for group in groups for key in group if key != row}


def regimes(large: bool = False) -> dict[str, Regime]:
    """Return the regimes in the order in which they run."""
    gaps = {f"gap_{gap}": Row(f"gap {gap}", {"gap": gap}) for gap in (30, 1, 8, 100)}
    many = {**_FORMS, **_REBUILT, **_PARTS, **_ROADS}
    compared = _against("few_heads", _FORMS, _REBUILT) | _against("other", _PARTS)
    compared |= _against("road_self", _ROADS)
    few = {"few_heads": _FORMS["few_heads"], **_REBUILT, **_FORMS, "other_light": _LIGHTLY}
    main = ("few_heads", "no_emphasis", "gated", "full", "other", "other_light")
    slow = {key: many[key] for key in main}
    if large:
        return {
            "wide": Regime(
                "16:1, width 256, 6 blocks",
                LARGE,
                16,
                1e-3,
                600,
                many,
                compared,
                side=16,
                batch=32,
                base_steps=400,
            )
        }
    small = {**SMALL, "num_layers": 2}
    return {
        "wide": Regime("8:1", small, 8, 1e-3, 900, many, compared),
        "short": Regime(
            "2:1", small, 2, 1e-3, 900, few, _against("few_heads", few), begins_after=8
        ),
        "slow": Regime(
            "8:1, a low learning rate",
            *(small, 8, 3e-4, 900, slow, _against("few_heads", slow)),
            begins_after=12,
        ),
        "place": Regime(
            "8:1, the layout is not given",
            *(small, 8, 1e-3, 900, gaps, _against("gap_30", gaps)),
            given_layout=False,
            begins_after=14,
        ),
    }
