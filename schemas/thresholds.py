"""Every late threshold on clips and tracks, once: the gates, the reject ledger, the audit and the
browser all read this table.

The number is a setting, such as `pair.quality.min_sharpness`; the table says which measure it
bounds, on which side, and what the ledger calls it. A threshold that is added here is applied by
the gate whose setting it is, and shown and audited as far as a column of the dataset holds it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from schemas.columns import Row
from schemas.reasons import Reason
from schemas.tables import Clip, Track

_TABLES: Mapping[str, type[Row]] = {"clips": Clip, "tracks": Track}


@dataclass(frozen=True)
class Threshold:
    """A bound on one measure: below the least or above the most that is allowed, a row is refused.

    Attributes:
        column: "table.column" that holds the measure. What is computed from several columns when
            the gate is applied has a name of its own there, and `stored` is False.
        side: whether the setting is the least (min) or the most (max) that is allowed.
        reason: what the ledger says of a refused row.
        setting: dotted name of the setting that holds the number.
        unit: what the measure counts; the ledger's detail says it where a reason has two measures.
    """

    column: str
    side: Literal["min", "max"]
    reason: Reason
    setting: str
    unit: str = ""

    @property
    def table(self) -> str:
        return self.column.split(".")[0]

    @property
    def measure(self) -> str:
        """The column's name without its table."""
        return self.column.split(".")[1]

    @property
    def section(self) -> str:
        """The config that holds the setting: quality | scores | people."""
        return self.setting.split(".")[1]

    @property
    def field(self) -> str:
        """The setting's name within its config."""
        return self.setting.split(".")[2]

    @property
    def level(self) -> str:
        """What the gate refuses: a clip, or one person's track through it."""
        return "track" if self.section == "people" else "clip"

    @property
    def stored(self) -> bool:
        """Whether a column of the dataset holds the measure."""
        return self.measure in _TABLES[self.table].__dataclass_fields__

    @property
    def sign(self) -> str:
        """The comparison that is true of a refused value."""
        return "<" if self.side == "min" else ">"

    def refuses(self, value: float, bound: float) -> bool:
        """Whether a value lies on the wrong side of the bound; NaN, which is unknown, does not."""
        return value < bound if self.side == "min" else value > bound


@dataclass(frozen=True)
class Refusal:
    """A threshold that a row did not pass, with both numbers."""

    threshold: Threshold
    value: float
    bound: float

    def __str__(self) -> str:
        return f"{self.value:.3f} {self.threshold.sign} {self.bound}"


def first_refusal(
    thresholds: Sequence[Threshold], settings: Any, measures: Mapping[str, Any]
) -> Refusal | None:
    """Return the first threshold that a row does not pass, None when it passes all.

    `settings` is the config with the bounds and `measures` has the values by name; where either
    is None or missing, nothing is refused.
    """
    for threshold in thresholds:
        value, bound = measures.get(threshold.measure), getattr(settings, threshold.field)
        if value is not None and bound is not None and threshold.refuses(value, bound):
            return Refusal(threshold, value, bound)
    return None


# Each gate applies its thresholds in this order, and the ledger names the first that refuses.
_LUMA, _PIXELS = "share of white", "share of the picture"
QUALITY = (
    Threshold("clips.brightness", "min", Reason.TOO_DARK, "pair.quality.min_brightness", _LUMA),
    Threshold("clips.dark", "max", Reason.TOO_DARK, "pair.quality.max_dark", _PIXELS),
    Threshold("clips.bright", "max", Reason.TOO_BRIGHT, "pair.quality.max_bright", _PIXELS),
    Threshold("clips.contrast", "min", Reason.LOW_CONTRAST, "pair.quality.min_contrast", _LUMA),
    Threshold(
        "clips.black_border", "max", Reason.BLACK_BORDERS, "pair.quality.max_black_border", _PIXELS
    ),
    Threshold(
        "clips.sharpness", "min", Reason.BLURRY, "pair.quality.min_sharpness", "squared levels"
    ),
    Threshold("clips.motion", "min", Reason.TOO_STILL, "pair.quality.min_motion", "px/frame"),
    Threshold("clips.motion", "max", Reason.TOO_FAST, "pair.quality.max_motion", "px/frame"),
    Threshold(
        "clips.text_area", "max", Reason.BURNED_IN_TEXT, "pair.quality.max_text_area", _PIXELS
    ),
)
SCORES = (
    Threshold("clips.nsfw", "max", Reason.NOT_SAFE, "pair.scores.max_nsfw", "probability"),
    Threshold(
        "clips.watermark", "max", Reason.WATERMARK, "pair.scores.max_watermark", "probability"
    ),
    Threshold("clips.text", "max", Reason.BURNED_IN_TEXT, "pair.scores.max_text", _PIXELS),
    Threshold("clips.aesthetic", "min", Reason.UNPLEASING, "pair.scores.min_aesthetic", "1 to 10"),
)
PEOPLE = (
    Threshold("clips.num_people", "max", Reason.TOO_MANY_PEOPLE, "pair.people.max_people"),
    Threshold(
        "tracks.motion", "min", Reason.STILL_PICTURE, "pair.people.min_motion", "grey levels"
    ),
    Threshold("tracks.seconds", "min", Reason.TRACK_TOO_SHORT, "pair.people.min_s", "seconds"),
    Threshold(
        "tracks.coverage", "min", Reason.TRACK_TOO_SHORT, "pair.people.min_coverage", "coverage"
    ),
    Threshold(
        "tracks.area", "min", Reason.PERSON_TOO_SMALL, "pair.people.min_area", "share of picture"
    ),
    Threshold("tracks.size_px", "min", Reason.PERSON_TOO_SMALL, "pair.people.min_px", "pixels"),
    Threshold("tracks.purity", "min", Reason.IMPURE_TRACK, "pair.people.min_purity"),
    Threshold(
        "tracks.num_faces", "min", Reason.UNCONFIRMED_PERSON, "pair.people.min_faces", "faces"
    ),
    Threshold(
        "tracks.face_rate", "min", Reason.UNCONFIRMED_PERSON, "pair.people.min_face_rate",
        "face rate",
    ),
    Threshold(
        "tracks.body_aspect", "min", Reason.BODY_PART, "pair.people.min_body_aspect",
        "height over width of a person without a face",
    ),
)  # fmt: skip
THRESHOLDS = (*QUALITY, *SCORES, *PEOPLE)
