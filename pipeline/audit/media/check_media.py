"""What is wrong with a sample's media: what was measured, against what the tables say."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.audit.checks.clips import CHECK_OF
from pipeline.audit.checks.leakage import nearest
from pipeline.audit.checks.rights import KNOWN_BAD
from pipeline.audit.findings import Check, Finding, error, found, warning
from pipeline.audit.limits import Limits
from pipeline.audit.media.measure_media import (
    ClipMeasures,
    MediaMeasures,
    ReferenceMeasures,
    all_hashes,
    is_plain,
)
from pipeline.media.sandbox import Died
from schemas.thresholds import QUALITY

UNDECODABLE = error(
    "media.undecodable", "A clip cannot be decoded",
    "The trainer fails on it, or silently trains on something else.",
    "Drop the sample, or observe the video again.",
)  # fmt: skip
FRAME_COUNT = error(
    "media.frame-count", "A clip has other frames than its row says",
    "A truncated clip: boxes and times beyond its end point to nothing.",
    "Drop the sample, or observe the video again.",
)  # fmt: skip
SIZE = error(
    "media.picture-size", "A clip has another size than its row says",
    "Boxes lie elsewhere, and buckets mix sizes.",
    "Drop the sample, or observe the video again.",
)  # fmt: skip
RATE = error(
    "media.frame-rate", "A clip has another or an uneven frame rate",
    "Motion is learned at the wrong speed.", "Encode the clip again at its constant rate.",
)  # fmt: skip
DAMAGED = error(
    "media.damaged", "A clip decodes with errors",
    "Patched frames show smear and blocks.", "Drop the sample, or observe the video again.",
)  # fmt: skip
CLIP_HASH = error(
    "media.clip-hash", "A clip's bytes are not those of its row in clips/",
    "The clip was exchanged or edited after it was measured.",
    "Drop the sample, or curate again.",
)  # fmt: skip
REFERENCE_HASH = error(
    "media.reference-hash", "A reference's bytes are not those of its row",
    "The image was exchanged or edited after it was measured.",
    "Drop the sample, or pair again.",
)  # fmt: skip
REFERENCE_UNDECODABLE = error(
    "media.reference-undecodable", "A reference cannot be decoded",
    "The trainer fails on it.", "Drop the sample, or pair again.",
)  # fmt: skip
MASK_UNDECODABLE = error(
    "media.mask-undecodable", "A mask cannot be decoded",
    "The trainer fails on it.", "Drop the sample, or pair again.",
)  # fmt: skip
MASK_SIZE = error(
    "media.mask-size", "A mask has another size than its image",
    "The person is cut out at the wrong place.", "Drop the sample, or pair again.",
)  # fmt: skip
MASK_EMPTY = warning(
    "media.mask-empty", "A mask covers nothing or everything",
    "Nobody is cut out; background leaks into the reference.", "Segment again.",
)  # fmt: skip
MASK_SHIFTED = warning(
    "media.mask-shifted", "A mask lies beside the person",
    "The outline fits the picture's edges better elsewhere: mask and frame do not belong together.",
    "Look at the picture; segment again.",
)  # fmt: skip
MASK_SOFT = warning(
    "media.mask-soft", "A mask has a wide soft rim",
    "Background shines through it: half transparent pixels are copied.",
    "Segment again, or set the threshold at half.",
)  # fmt: skip
MEASURES = warning(
    "media.measures-differ", "The pixels are not what the columns say",
    "Scores were computed from another clip: every filter on them is wrong.",
    "Observe the video again.",
)  # fmt: skip
HIDDEN_CUT = warning(
    "clip.hidden-cut", "A clip holds a cut",
    "The model learns to jump to another scene.",
    "Lower observe.shots.cut_score and cut again.",
)  # fmt: skip
SECOND_CUT = warning(
    "clip.second-detector", "A second detector sees a cut in a clip",
    "The one that cut the clip saw none: a cut between like pictures, or a flash.",
    "Look at the clip; drop the sample if another shot begins there.",
)  # fmt: skip
FADED = warning(
    "clip.fade", "A clip holds a fade", "The model learns to fade out.",
    "Observe the video again; fades belong to no shot.",
)  # fmt: skip
PLAIN = warning(
    "clip.black-and-white", "A clip is black and white",
    "The style is carried over into results that should be in colour.", "Drop the clip.",
)  # fmt: skip
OVERLAY = warning(
    "clip.watermark", "Something stands still before a moving picture",
    "A watermark or logo is learned as part of the world.", "Look at the clip; crop or drop it.",
)  # fmt: skip
COPY = warning(
    "pair.copy-picture", "A reference is a picture of the clip",
    "The person is there in the same pose, light and expression: copying is enough.",
    "Take the reference from another shot, or augment it.",
)  # fmt: skip
BACKGROUND = warning(
    "pair.background", "Reference and clip share their background",
    "The model learns to copy the place along with the person.",
    "Mask the reference or replace its background.",
)  # fmt: skip
MIRRORED_PART = warning(
    "media.mirrored-part", "A reference holds part of a picture mirrored",
    "Padding by reflection shows a second mouth or hand: bodies that do not exist are learned.",
    "Pair again, which moves people without inventing anything; or drop the reference.",
)  # fmt: skip
CHECKS: tuple[Check, ...] = (
    UNDECODABLE, FRAME_COUNT, SIZE, RATE, DAMAGED, CLIP_HASH, REFERENCE_HASH,
    REFERENCE_UNDECODABLE, MASK_UNDECODABLE, MASK_SIZE, MASK_EMPTY, MASK_SHIFTED, MASK_SOFT,
    MEASURES, HIDDEN_CUT, SECOND_CUT, FADED, PLAIN, OVERLAY, COPY, BACKGROUND, MIRRORED_PART,
)  # fmt: skip

# Beside each number: what it was on good and on spoiled data (benchmarks/audit_faults.py).
_FIT, _SHIFT = 0.85, 0.03  # good masks 0.96 to 1.00; moved by a tenth and more 0.24 to 0.78
_SOFT = 0.25  # hard masks 0.00; blurred by a twelfth of the width 0.39 and more
_PERSON = 0.95  # other moments at most 0.91; crops of the clip itself 0.957 and more
_GROUND = 0.93  # other places at most 0.91; the clip's own ground 0.95 and more
_OVERLAY = 0.0015  # none 0.0001; a small logo 0.007 and more
_MASK_AREA = (0.005, 0.98)
_FADED_SHARE = 0.02  # of a clip's frames
_RATIO = 2.0  # between a column and the pixels, after encoding


@dataclass(frozen=True)
class ExpectedMedia:
    """What the tables say of a sample's media; None where they do not say it."""

    clip_id: str
    width: int | None
    height: int | None
    fps: float | None
    num_frames: int | None
    clip_sha256: str
    columns: Mapping[str, float | None]  # sharpness, brightness, motion
    reference_sha256: Mapping[int, str]  # by place
    augmented: Mapping[int, bool]


def check_sample(
    measured: MediaMeasures | Died,
    sample_id: str,
    expected: ExpectedMedia,
    limits: Limits,
    known: "KnownBad",
) -> Iterator[Finding]:
    """Yield what is wrong with one sample's media."""
    if isinstance(measured, Died):
        evidence = f"the decoder ended in {measured.stage}: {measured.failure}, {measured.detail}"
        yield found(UNDECODABLE, "sample", sample_id, evidence)
        return
    yield from _check_clip(measured.clip, sample_id, expected, limits)
    for place, reference in enumerate(measured.references):
        yield from _check_reference(reference, place, sample_id, expected)
    yield from known.check(measured, sample_id)


def _check_clip(
    clip: ClipMeasures, sample_id: str, expected: ExpectedMedia, limits: Limits
) -> Iterator[Finding]:
    def finding(check: Check, evidence: str, *numbers: float | None) -> Finding:
        return found(check, "clip", expected.clip_id, evidence, sample_id, *numbers)

    if expected.clip_sha256 and clip.sha256 != expected.clip_sha256:
        yield finding(
            CLIP_HASH, f"SHA-256 {clip.sha256[:12]}…, {expected.clip_sha256[:12]}… in clips/"
        )
    if clip.problem:
        yield finding(UNDECODABLE, clip.problem)
        return
    if expected.num_frames is not None and clip.num_frames != expected.num_frames:
        evidence = f"{clip.num_frames} frames decode, {expected.num_frames} are told"
        yield finding(FRAME_COUNT, evidence, clip.num_frames, expected.num_frames)
    if None not in (expected.width, expected.height) and (clip.width, clip.height) != (
        expected.width,
        expected.height,
    ):
        yield finding(
            SIZE, f"{clip.width}x{clip.height}, {expected.width}x{expected.height} is told"
        )
    if expected.fps is not None and abs(clip.fps - expected.fps) > 0.01 * max(expected.fps, 1):
        yield finding(
            RATE, f"{clip.fps:.3f}/s, {expected.fps:.3f}/s is told", clip.fps, expected.fps
        )
    elif clip.uneven:
        yield finding(RATE, "its frames are not evenly spaced")
    if clip.damaged:
        yield finding(DAMAGED, f"{clip.damaged} packets or frames were patched", clip.damaged, 0)
    if clip.cuts:
        frames = ", ".join(map(str, clip.cuts[:5]))
        yield finding(HIDDEN_CUT, f"another shot begins at frame {frames}", len(clip.cuts), 0)
    elif clip.second_cuts:
        frames = ", ".join(map(str, clip.second_cuts[:5]))
        evidence = f"PySceneDetect sees another shot at frame {frames}"
        yield finding(SECOND_CUT, evidence, len(clip.second_cuts), 0)
    if clip.faded > max(1, _FADED_SHARE * clip.num_frames):
        yield finding(FADED, f"{clip.faded} frames are dark or blended", clip.faded, 0)
    if is_plain(clip):
        yield finding(PLAIN, f"mean distance from grey {clip.colour:.1f} of 255", clip.colour)
    if clip.overlay > _OVERLAY and not clip.cuts:  # across a cut, nothing tells it from a scene
        evidence = f"{100 * clip.overlay:.2f} % of the picture"
        yield finding(OVERLAY, evidence, clip.overlay, _OVERLAY)
    yield from _check_measures(clip, sample_id, expected, limits)


def _check_measures(
    clip: ClipMeasures, sample_id: str, expected: ExpectedMedia, limits: Limits
) -> Iterator[Finding]:
    """Hold the pixels against the gate, and against the columns that passed it."""
    assert clip.quality is not None, "a clip that decodes is measured"
    for threshold in QUALITY:
        value, bound = float(getattr(clip.quality, threshold.measure)), limits.bound(threshold)
        slack = 0.8 if threshold.side == "min" else 1.2
        if bound is not None and threshold.refuses(value, slack * bound):
            check = CHECK_OF[threshold.setting]
            evidence = f"{threshold.measure} {value:.4f} in the pixels"
            yield found(check, "clip", expected.clip_id, evidence, sample_id, value, float(bound))
    for name, column in expected.columns.items():
        value = float(getattr(clip.quality, name))
        if column is not None and not _alike(value, column, name):
            evidence = f"{name} {value:.3f} in the pixels, {column:.3f} in the column"
            yield found(MEASURES, "clip", expected.clip_id, evidence, sample_id, value, column)


_SLACK = {"sharpness": 15.0, "brightness": 0.05, "motion": 0.15}  # below, encoding decides


def _alike(value: float, column: float, name: str) -> bool:
    low, high = sorted((value + _SLACK[name], column + _SLACK[name]))
    return math.isfinite(high) and low > 0 and high <= _RATIO * low


def _check_reference(
    reference: ReferenceMeasures, place: int, sample_id: str, expected: ExpectedMedia
) -> Iterator[Finding]:
    def finding(check: Check, evidence: str, *numbers: float | None) -> Finding:
        id = reference.reference_id
        return found(check, "reference", id, evidence, sample_id, *numbers)

    listed = expected.reference_sha256.get(place, "")
    if listed and reference.sha256 != listed:
        yield finding(
            REFERENCE_HASH, f"SHA-256 {reference.sha256[:12]}…, {listed[:12]}… in the row"
        )
    if reference.problem:
        yield finding(REFERENCE_UNDECODABLE, reference.problem)
        return
    if reference.mask_problem:
        yield finding(MASK_UNDECODABLE, reference.mask_problem)
        return
    size = (reference.width, reference.height)
    if (reference.mask_width, reference.mask_height) != size:
        mask = f"{reference.mask_width}x{reference.mask_height}"
        yield finding(MASK_SIZE, f"mask {mask}, image {size[0]}x{size[1]}")
        return
    low, high = _MASK_AREA
    if not low <= reference.mask_area <= high:
        yield finding(MASK_EMPTY, f"{100 * reference.mask_area:.1f} % of the image")
    if reference.soft > _SOFT:
        evidence = f"{100 * reference.soft:.0f} % of it is half transparent"
        yield finding(MASK_SOFT, evidence, reference.soft, _SOFT)
    if reference.fit < _FIT and reference.shift > _SHIFT:
        evidence = (
            f"its outline fits {1 / max(reference.fit, 0.01):.1f} times better"
            f" {100 * reference.shift:.0f} % of the image away"
        )
        yield finding(MASK_SHIFTED, evidence, reference.fit, _FIT)
    if reference.mirrored > 0:
        evidence = f"{100 * reference.mirrored:.0f} % of a side"
        yield finding(MIRRORED_PART, evidence, reference.mirrored, 0.0)
    if reference.person_likeness >= _PERSON:
        evidence = f"correlation {reference.person_likeness:.3f} with frame {reference.frame_index}"
        yield finding(COPY, evidence, reference.person_likeness, _PERSON)
    if reference.ground_likeness >= _GROUND and not expected.augmented.get(place, False):
        evidence = f"correlation {reference.ground_likeness:.3f} around the person"
        yield finding(BACKGROUND, evidence, reference.ground_likeness, _GROUND)


class KnownBad:
    """A list of pictures that must not be kept, as SHA-256 or as 64-bit difference hashes."""

    def __init__(self, entries: tuple[str, ...] = (), bits: int = 4) -> None:
        lines = [line.lower() for line in entries]
        hex_digits = set("0123456789abcdef")
        wrong = [line for line in lines if len(line) not in (16, 64) or set(line) - hex_digits]
        if wrong:
            raise ValueError(
                "an entry of the list of known pictures is a SHA-256 (64 hex digits) or a "
                f"difference hash (16), got {wrong[0][:80]!r}"
            )
        self._digests = {entry for entry in lines if len(entry) == 64}
        self._hashes = [int(entry, 16) for entry in lines if len(entry) == 16]
        self._bits = bits

    def check(self, measured: MediaMeasures, sample_id: str) -> Iterator[Finding]:
        """Yield one finding when anything of the sample is on the list."""
        digests = {measured.clip.sha256, *(image.sha256 for image in measured.references)}
        bits = min((nearest(int(h, 16), self._hashes) for h in all_hashes(measured)), default=64)
        if digests & self._digests:
            yield found(KNOWN_BAD, "sample", sample_id, "its SHA-256 is on the list")
        elif self._hashes and bits <= self._bits:
            evidence = f"a picture differs in {bits} bits from one on the list"
            yield found(KNOWN_BAD, "sample", sample_id, evidence, "", bits, self._bits)
