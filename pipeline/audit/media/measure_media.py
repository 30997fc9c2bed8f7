"""Measure one sample's media, in the sandbox's child: whatever the bytes do, only it dies."""

import hashlib
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import cv2
import numpy as np

from pipeline.audit.media.find_person import (
    CharacterSurroundings,
    background_likeness,
    nearest,
    person_of,
)
from pipeline.audit.media.masks import mask_fit, soft_share
from pipeline.media.images import decode_image
from pipeline.media.limits import ProbeConfig, Refused
from pipeline.media.reader import VideoReader
from pipeline.media.sandbox import Announce, Handler
from pipeline.observing.quality import Quality, QualityMeter
from pipeline.observing.scenedetect_cuts import PySceneDetectCuts
from pipeline.observing.shots import ShotDetector, ShotsConfig
from pipeline.pairing.augment import move_of, recipe_from_json
from pipeline.pictures.hashes import difference_hash
from pipeline.pictures.mirrors import mirrored_share

EXAMINED = 8  # frames of a clip that are examined for colour, overlays and known pictures
_COMPARED_PER_S, _MOST_COMPARED = 4, 40  # frames that are compared with its references
_SMALL = 160  # pixels of the long side at which cuts and overlays are searched
MOST_FRAMES = 20_000
# Wider than for source videos: what is wrong with a clip is to be named, not refused unseen.
LIMITS = ProbeConfig(
    max_size_bytes=2**30, min_side=2, min_duration_s=0, max_frames=MOST_FRAMES,
    min_fps=0, integrity="flag", max_expansion=200_000,
)  # fmt: skip
_PLAIN = 4.0  # of 255, mean distance from grey below which a clip is black and white
_STEADY, _STRONG, _MOVING = 3.0, 40.0, 6.0  # levels: still pixels, strong edges, moving pixels
_STEADIER = 0.3  # of the rim's own change: noise of coding shimmers over what is drawn
_RIM_MOVES = 0.7  # of the picture's outer eighth, so that the camera is known to move


@dataclass(frozen=True)
class ReferenceMeasures:
    """What the pictures of one reference are."""

    reference_id: str
    problem: str = ""  # why the image cannot be decoded
    mask_problem: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    mask_width: int = 0
    mask_height: int = 0
    mask_area: float = 0.0  # share of the picture
    soft: float = 0.0  # share of the mask's pixels that are neither on nor off
    fit: float = 1.0  # how well the outline lies on edges, over the best place for it
    shift: float = 0.0  # that place's distance, as a share of the long side
    person_likeness: float = float("nan")  # to the nearest examined frame of the clip
    ground_likeness: float = float("nan")  # around the person, in that frame
    frame_index: int = -1  # that frame
    difference_hash: str = ""
    mirrored: float = 0.0  # longest stretch of a side beyond which the picture mirrors itself


@dataclass(frozen=True)
class ClipMeasures:
    """What a clip's bytes are, and what its pictures show."""

    sha256: str
    problem: str = ""  # why it cannot be decoded
    width: int = 0
    height: int = 0
    fps: float = 0.0
    num_frames: int = 0
    damaged: int = 0  # packets refused and frames patched by the decoder
    uneven: bool = False  # frame times are not evenly spaced
    quality: Quality | None = None
    cuts: tuple[int, ...] = ()  # frames that begin another shot
    faded: int = 0  # frames that are dark or blended
    colour: float = 255.0  # mean distance from grey, of 255
    overlay: float = 0.0  # share of the picture that stands still before a moving picture
    hashes: tuple[str, ...] = ()  # difference hashes of the examined frames
    second_cuts: tuple[int, ...] = ()  # that another detector sees, and ours does not


@dataclass(frozen=True)
class MediaMeasures:
    """What was measured of one sample."""

    sample_id: str
    clip: ClipMeasures
    references: tuple[ReferenceMeasures, ...] = ()


@dataclass(frozen=True)
class MediaRow:
    """A sample as it is sent to the child."""

    sample_id: str
    mp4: bytes = field(repr=False)
    num_frames: int
    first_frame: int
    boxes: tuple[tuple[float, ...], ...] = field(repr=False)
    references: tuple[tuple[str, bytes, bytes, str], ...] = field(
        repr=False
    )  # id, image, mask, recipe


def media_row(row: Mapping[str, Any]) -> MediaRow:
    """Take what is measured from a row of samples/; what is missing is empty."""
    references = [
        (
            str(reference.get("reference_id") or ""),
            _bytes(reference.get("image")),
            _bytes(reference.get("mask")),
            str(reference.get("augmentation") or ""),
        )
        for reference in row.get("references") or ()
    ]
    boxes = tuple(tuple(box) for box in row.get("boxes") or ())
    return MediaRow(
        str(row.get("sample_id") or ""), _bytes(row.get("video")), int(row.get("num_frames") or 0),
        int(row.get("first_frame") or 0), boxes, tuple(references),
    )  # fmt: skip


def _bytes(media: Mapping[str, Any] | None) -> bytes:
    return (media or {}).get("bytes") or b""


def make_handler() -> Handler:
    """Return the function that the child calls on every row."""

    def handle(row: MediaRow, announce: Announce) -> MediaMeasures:
        announce("clip")
        clip, shown = measure_clip(row)
        announce("references")
        return MediaMeasures(
            row.sample_id,
            clip,
            tuple(
                measure_reference(id, image, mask, shown, recipe)
                for id, image, mask, recipe in row.references
            ),
        )

    return handle


def measure_clip(row: MediaRow) -> tuple[ClipMeasures, list[CharacterSurroundings]]:
    """Decode a clip once, from first to last frame, and measure it."""
    digest = hashlib.sha256(row.mp4).hexdigest()
    if not row.mp4:
        return ClipMeasures(digest, problem="there are no bytes"), []
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(row.mp4)
        file.flush()
        try:
            with VideoReader(file.name, LIMITS) as reader:
                return _decode(reader, row, digest)
        except Refused as refused:
            return ClipMeasures(digest, problem=str(refused)), []


def _decode(
    reader: VideoReader, row: MediaRow, digest: str
) -> tuple[ClipMeasures, list[CharacterSurroundings]]:
    rate = float(reader.stream.average_rate or 0)
    fps = round(rate) if 0 < rate < 1000 else 25
    meter, cuts = QualityMeter(max(fps, 1)), _Cuts(fps)
    wanted = set(np.linspace(0, max(row.num_frames - 1, 0), EXAMINED).round().astype(int).tolist())
    step = max(1, fps // _COMPARED_PER_S, row.num_frames // _MOST_COMPARED)
    compared = range(row.num_frames % step // 2, row.num_frames, step) if row.references else ()
    times: list[int] = []
    shown: list[CharacterSurroundings] = []
    examined: list[np.ndarray] = []
    colour: list[float] = []
    for number, frame in enumerate(reader.frames()):
        times.append(frame.pts)
        meter.add(_luma(frame.picture))
        small = _small(frame.picture)
        cuts.add(number, frame.pts, small)
        if number in wanted:
            examined.append(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
            colour.append(_distance_from_grey(small))
        box = _box_at(row, number) if number in compared else None
        if box is not None:
            shown.append(
                CharacterSurroundings.of(number, frame.picture.to_ndarray(format="rgb24"), box)
            )
    if not times:
        return ClipMeasures(digest, problem="no frame decodes"), []
    count, picture = reader.count, reader.stream.codec_context
    steps = set(np.diff(times).tolist())
    return ClipMeasures(
        digest, "", picture.width, picture.height, rate, len(times), count.errors + count.corrupt,
        len(steps) > 2 or max(steps, default=1) > 1.5 * min(steps, default=1), meter.finish(),
        *cuts.finish(), float(np.median(colour)) if colour else 255.0, overlay_share(examined),
        tuple(f"{difference_hash(grey):016x}" for grey in examined), cuts.second(),
    ), shown  # fmt: skip


def _luma(picture: av.VideoFrame) -> np.ndarray:
    if picture.format.name not in ("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "gray"):
        picture = picture.reformat(format="yuv420p")
    plane = picture.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return np.ascontiguousarray(rows[:, : plane.width])


def _small(picture: av.VideoFrame) -> np.ndarray:
    scale = min(1.0, _SMALL / max(picture.width, picture.height))
    width, height = (max(2, round(side * scale)) for side in (picture.width, picture.height))
    return picture.to_ndarray(format="bgr24", width=width, height=height)


def _distance_from_grey(bgr: np.ndarray) -> float:
    spread = bgr.max(axis=2).astype(int) - bgr.min(axis=2)
    return float(spread.mean())


def _box_at(row: MediaRow, frame: int) -> np.ndarray | None:
    place = frame - row.first_frame
    if not 0 <= place < len(row.boxes):
        return None
    box = np.asarray(row.boxes[place], float)
    sound = box.shape == (4,) and np.isfinite(box).all() and (box[2:] - box[:2] >= 8).all()
    return box if sound else None


class _Cuts:
    """Collects where the detector of shots sees another shot begin, and where a second one does."""

    def __init__(self, fps: float) -> None:
        self._detector = ShotDetector(ShotsConfig(), fps)
        self._other = PySceneDetectCuts(ShotsConfig(), fps)
        self._others: list[int] = []
        self._first: list[int] = []
        self._faded = 0

    def add(self, number: int, pts: int, picture: np.ndarray) -> None:
        self._take(self._detector.add(number, pts, picture))
        self._others += [boundary.end for boundary in self._other.add(picture)]

    def _take(self, verdicts: Any) -> None:
        for verdict in verdicts:
            self._faded += not verdict.inside
            if verdict.opened_by and verdict.index:
                self._first.append(verdict.index)

    def finish(self) -> tuple[tuple[int, ...], int]:
        self._take(self._detector.finish())
        return tuple(self._first), self._faded

    def second(self) -> tuple[int, ...]:
        """Return what only the second detector sees, away from the clip's ends and our cuts."""
        apart = (at for at in self._others if at and all(abs(at - own) > 2 for own in self._first))
        return tuple(apart)


def overlay_share(greys: Sequence[np.ndarray]) -> float:
    """Return the share of the picture that is drawn over it: strong edges that never move.

    Only where the picture's rim moves: before a still camera everything stands still.
    """
    if len(greys) < 4:
        return 0.0
    stack = np.stack(greys).astype(np.float32)
    spread = stack.std(axis=0)
    rim = np.ones(spread.shape, bool)
    height, width = (max(1, side // 8) for side in spread.shape)
    rim[height:-height, width:-width] = False
    if (spread[rim] > _MOVING).mean() < _RIM_MOVES:
        return 0.0
    steady = spread < max(_STEADY, _STEADIER * float(np.median(spread[rim])))
    mean = stack.mean(axis=0)
    # A camera that pans leaves edges along its way in place; what is drawn has edges both ways.
    across, along = (
        _joined(steady & (np.abs(cv2.Sobel(mean, cv2.CV_32F, *way)) > _STRONG))
        for way in ((1, 0), (0, 1))
    )
    joined = cv2.bitwise_and(across, along)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    return float(sizes.max() / joined.size) if len(sizes) and labels.any() else 0.0


def _joined(pixels: np.ndarray) -> np.ndarray:
    return cv2.morphologyEx(pixels.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))


def measure_reference(
    reference_id: str,
    image: bytes,
    mask: bytes,
    shown: Sequence[CharacterSurroundings],
    recipe: str = "",
) -> ReferenceMeasures:
    """Open a reference and its mask, and compare the person with the clip's frames."""
    digest = hashlib.sha256(image).hexdigest()
    try:
        picture = decode_image(image)
    except ValueError as problem:
        return ReferenceMeasures(reference_id, problem=str(problem), sha256=digest)
    height, width = picture.shape[:2]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    measures: dict[str, Any] = {
        "reference_id": reference_id, "sha256": digest, "width": width, "height": height,
        "difference_hash": f"{difference_hash(grey):016x}",
    }  # fmt: skip
    try:
        person = decode_image(mask)[..., 0]
    except ValueError as problem:
        return ReferenceMeasures(**measures, mask_problem=str(problem))
    measures |= {
        "mask_width": person.shape[1], "mask_height": person.shape[0],
        "mask_area": float((person > 127).mean()), "soft": soft_share(person),
    }  # fmt: skip
    if person.shape != grey.shape or not 0.001 < measures["mask_area"] < 0.999:
        return ReferenceMeasures(**measures)
    measures["fit"], measures["shift"] = mask_fit(grey, person)
    measures["mirrored"] = _mirrored(picture, person, recipe)
    template = person_of(picture, person)
    places = nearest(template, shown)
    if places:
        best, frames = places[0], [place.shown for place in places]
        measures |= {
            "person_likeness": best.likeness, "frame_index": best.shown.frame_index,
            "ground_likeness": background_likeness(template, frames, best.scale),
        }  # fmt: skip
    return ReferenceMeasures(**measures)


def _mirrored(picture: np.ndarray, person: np.ndarray, recipe: str) -> float:
    """Return the longest mirrored stretch along a side; a recipe says how it was moved."""
    try:
        change = recipe_from_json(recipe)
    except (ValueError, TypeError):  # of another program
        change = recipe_from_json("")
    warp = move_of(change).matrix(picture.shape[1], picture.shape[0])
    painted = change.background != "keep"  # then nothing else can be mirrored
    return mirrored_share(picture, person if painted else None, warp)


def is_plain(clip: ClipMeasures) -> bool:
    """Tell whether a clip is black and white."""
    return clip.colour < _PLAIN


def all_hashes(measured: MediaMeasures) -> list[str]:
    """Return the difference hashes of all pictures that were examined."""
    own = (
        reference.difference_hash for reference in measured.references if reference.difference_hash
    )
    return list(itertools.chain(measured.clip.hashes, own))
