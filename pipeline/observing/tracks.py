"""Follow every person through a clip, and decide late which tracks are good enough."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from pipeline.engines.identity.signature import signature
from pipeline.engines.interfaces import Detections, PersonDetector, looks_per_s, sure_score
from pipeline.engines.people.library_trackers import TrackerName, load_tracker
from pipeline.engines.people.mend_paths import mend
from pipeline.engines.people.optical_flow import small_grey
from pipeline.engines.people.tracker import BoxSource, Look, Path
from pipeline.execution.stage import ClipRow, Rejected
from pipeline.media.clip_frames import read_luma
from pipeline.pictures.boxes import area
from schemas.ids import content_id
from schemas.settings import check_settings, setting
from schemas.tables import Clip, Track
from schemas.thresholds import PEOPLE, first_refusal

# Shot sizes after the film maker's scale, in sides of the face's box from the hair downwards:
# a head with shoulders is up to 2.6, to hips or knees up to 6, then the whole body.
_CLOSE_UP, _MEDIUM = 2.6, 6.0
_WIDE = 0.5  # a whole person less than half as high as the picture
_ON_EDGE = 0.02  # of the picture's side: this near the edge a box is cut by it
_ONE_FACE = 0.5  # share of the stills with a face, where only one has
_GROUP = 0.2  # share of a track's faces that may be a second person's
_STRANGE = 0.1  # below the least cosine of a reference: what two groups of faces of two people have
_RIM = 0.125  # of a box's sides: beyond its middle, others move in front and behind
# Grey levels of 255. Three portraits pasted beside a film had 0.2 to 0.3, which is the codec's;
# of 80 tracks of people the stillest, a man who stood and read, his back to us, had 1.2.
STILL = 1.0
_MOTION_S = 0.5  # between the two pictures in which it must have changed by that much


@dataclass(frozen=True)
class TracksConfig:
    """How people are followed.

    Attributes:
        detect_fps: looks with the detector per second; null is what pays with the detector: 4 with
            yolox, 2 with the others.
        follow_fps: pictures per second on which boxes are followed between those.
        min_detections: a path seen less often is a mistake of the detector and not kept.
        min_alike: looks whose clothes' colours overlap less do not agree. On 12 real clips the
            same person half a second later had about 0.85 or more in 209 of 211 looks; two
            people of different videos had 0.71 or less in 95 % of the pairs.
        tracker: who joins boxes to people: own, or bytetrack, ocsort, botsort of the package
            `trackers`, installed by `pip install -e ".[tracking]"`.
        min_motion: whoever changes less in half a second is a poster: num_people leaves it out.
    """

    detect_fps: float | None = setting(None, above=0, high=60, unit="looks/s")
    follow_fps: float = setting(8.0, above=0, high=120, unit="pictures/s")
    min_detections: int = setting(2, low=1, high=1000)
    min_alike: float = setting(0.75, low=0, high=1)
    min_motion: float = setting(STILL, low=0, high=255, unit="grey levels")
    tracker: TrackerName = "own"

    def __post_init__(self) -> None:
        check_settings(self, "observe.tracks")
        if self.detect_fps is not None and self.detect_fps > self.follow_fps:
            raise ValueError(
                f"observe.tracks.detect_fps must be at most follow_fps ({self.follow_fps:g}), "
                f"got {self.detect_fps:g}"
            )


@dataclass(frozen=True)
class TrackPeople:
    """Find and follow the people of a clip.

    Reads  clip, mp4
    Adds   tracks: boxes, detected, score, coverage, area, purity, motion, shot_size;
           clip.num_people
    """

    detector: PersonDetector
    config: TracksConfig = field(default_factory=TracksConfig)
    name = "tracks"

    def process(self, row: ClipRow) -> ClipRow:
        looks = self.look(row.mp4)
        paths = self.follow(looks)
        tracks = tuple(self.as_track(row.clip, path, looks) for path in paths)
        alive = [path for path in paths if self._motion(path, looks) >= self.config.min_motion]
        num_people = _median_people(alive, len(looks))
        return replace(row, clip=replace(row.clip, num_people=num_people), tracks=tracks)

    def follow(self, looks: Sequence[Look]) -> list[Path]:
        """Return the people, each seen often enough and at least once for sure."""
        sure = sure_score(self.detector)
        tracker = load_tracker(self.config.tracker, self._looks_per_s)
        return [
            path
            for path in mend(tracker.track(looks))
            if len(path.scores) >= self.config.min_detections and max(path.scores) >= sure
        ]

    def look(self, mp4: bytes) -> list[Look]:
        """Return what the tracker sees of a clip."""
        step = max(1, round(self.config.follow_fps / self._looks_per_s))
        greys, pictures = [], {}
        for index, luma, picture in read_luma(mp4, self.config.follow_fps, step):
            greys.append((index, *small_grey(luma)))
            if picture is not None:
                pictures[index] = picture
        detections = self.detector.detect(list(pictures.values()))
        found = dict(zip(pictures, detections, strict=True))
        nobody = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        looks = []
        for index, grey, scale in greys:
            people = found.get(index, nobody)
            alike = [signature(pictures[index], box) for box in people.boxes]
            signatures = np.stack(alike) if alike else people.boxes
            looks.append(
                Look(index, people.boxes, people.scores, signatures, grey, scale, index in found)
            )
        return looks

    def as_track(self, clip: Clip, path: Path, looks: Sequence[Look]) -> Track:
        """Describe a path through the looks of a clip."""
        frames = [looks[i].frame_index for i in path.looks]
        boxes = every_frame(frames, np.stack(path.boxes))
        if path.looks[-1] == len(looks) - 1:  # the few frames after the last look
            after = clip.num_frames - 1 - frames[-1]
            boxes = np.concatenate([boxes, np.repeat(boxes[-1:], after, axis=0)])
        seen = {f for f, s in zip(frames, path.sources, strict=True) if s is BoxSource.DETECTED}
        middle = np.median(boxes, axis=0)
        place = [round(float(value)) for value in boxes[0]]
        detector = self.detector.info.id
        return Track(
            track_id=content_id("track", clip.clip_id, detector, frames[0], place),
            clip_id=clip.clip_id,
            video_id=clip.video_id,
            shot_id=clip.shot_id,
            detector=detector,
            detector_digest=self.detector.info.weights_digest,
            first_frame=frames[0],
            boxes=[[round(float(value), 2) for value in box] for box in boxes],
            detected=[frames[0] + i in seen for i in range(len(boxes))],
            score=float(np.mean(path.scores)),
            coverage=len(boxes) / clip.num_frames,
            area=float(np.median(area(boxes)) / (clip.width * clip.height)),
            purity=agreement(path.signatures, self.config.min_alike),
            motion=self._motion(path, looks),
            shot_size=shot_size(middle, clip.width, clip.height),
        )

    @property
    def _looks_per_s(self) -> float:
        return self.config.detect_fps or looks_per_s(self.detector)

    def _motion(self, path: Path, looks: Sequence[Look]) -> float:
        return motion(path, looks, round(_MOTION_S * self.config.follow_fps))


def every_frame(frames: Sequence[int], boxes: np.ndarray) -> np.ndarray:
    """Interpolate (N, 4) boxes at ascending frames to one box for each frame from the first."""
    wanted = np.arange(frames[0], frames[-1] + 1)
    columns = [np.interp(wanted, frames, boxes[:, side]) for side in range(4)]
    return np.stack(columns, axis=1).astype(np.float32)


def agreement(vectors: Sequence[np.ndarray], least: float) -> float:
    """Return the share of unit vectors that agree: whose cosine is at least `least`.

    With the neighbour, as Concat-ID (2503.14151) that drops a clip when more than 30 % disagree;
    or with the most typical one, because a single switch halfway has one bad neighbour only.
    The lower of the two shares.
    """
    if len(vectors) < 2:
        return 1.0
    stacked = np.stack(vectors)
    neighbours = float((np.sum(stacked[1:] * stacked[:-1], axis=1) >= least).mean())
    return min(neighbours, float(like_most(stacked, least).mean()))


def like_most(vectors: np.ndarray, least: float) -> np.ndarray:
    """Say of each unit vector (N, D) whether it agrees with the most typical one; (N,)."""
    cosines = vectors @ vectors.T
    typical = int(cosines.sum(axis=0).argmax())
    return cosines[typical] >= least


def two_people(vectors: np.ndarray, floor: float) -> bool:
    """Say whether unit vectors (N, D) of faces fall into two groups that are not alike.

    One person's faces may disagree at random, in bad light or with a grimace; those of two are
    alike among themselves.
    """
    from scipy.cluster.hierarchy import fcluster, linkage  # slow to import

    fewest = max(2, math.ceil(_GROUP * len(vectors)))
    if len(vectors) < 2 * fewest:
        return False
    cosines = np.clip(vectors @ vectors.T, -1, 1)
    apart = (1 - cosines)[np.triu_indices(len(vectors), 1)]
    labels = fcluster(linkage(np.maximum(apart, 0), "average"), 1 - floor, "distance")
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    groups = [group for group in groups if len(group) >= fewest]
    return any(
        float(cosines[np.ix_(one, other)].mean()) <= floor - _STRANGE
        for one, other in itertools.combinations(groups, 2)
    )


def motion(path: Path, looks: Sequence[Look], apart: int) -> float:
    """Return how much a person changes in half a second, in grey levels of 255.

    The mean difference inside the box where it was found last, the picture standing still; the
    median of all. People breathe and blink; a portrait on a wall or pasted into the film does not.
    `apart` is how many looks half a second has.
    """
    seen = path.detections()
    changes = []
    for first, second in _pairs_apart([path.looks[place] for place in seen], apart):
        before, after = looks[path.looks[seen[first]]], looks[path.looks[seen[second]]]
        part = _middle(path.boxes[seen[second]] * after.scale, after.grey.shape)
        changes.append(float(cv2.absdiff(before.grey[part], after.grey[part]).mean()))
    return float(np.median(changes)) if changes else math.nan


def _pairs_apart(places: Sequence[int], apart: int) -> list[tuple[int, int]]:
    """Pair every place, ascending, with the next that is so far from it; else first and last."""
    later = np.searchsorted(places, np.asarray(places) + apart).tolist()
    pairs = [pair for pair in enumerate(later) if pair[1] < len(places)]
    return pairs or [(0, len(places) - 1)] * (len(places) > 1)


def _middle(box: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return rows and columns of a box without its rim, at least one of each."""
    rim = _RIM * np.tile(box[2:] - box[:2], 2) * np.array([1, 1, -1, -1])
    limits = np.array([shape[1], shape[0]] * 2)
    x0, y0, x1, y1 = np.clip(np.round(box + rim), 0, limits).astype(int)
    x0, y0 = min(x0, shape[1] - 1), min(y0, shape[0] - 1)
    return slice(y0, max(y1, y0 + 1)), slice(x0, max(x1, x0 + 1))


def shot_size(box: np.ndarray, width: int, height: int, face_side: float | None = None) -> str:
    """Name how much of the person the picture shows, from the box and, if seen, the face."""
    tall, wide = float(box[3] - box[1]), float(box[2] - box[0])
    if box[3] < (1 - _ON_EDGE) * height and (face_side is None or tall > _MEDIUM * face_side):
        return "wide" if tall < _WIDE * height else "full"
    # Without a face: a box cut below is a bust when it is about as wide as high.
    visible = tall / face_side if face_side else _CLOSE_UP * tall / max(1.4 * wide, 1.0)
    if visible <= _CLOSE_UP:
        return "close-up"
    return "medium" if visible <= _MEDIUM else "full"


def _median_people(paths: Sequence[Path], num_looks: int) -> int:
    present = [sum(look in path.looks for path in paths) for look in range(num_looks)]
    return int(np.median(present)) if present else 0


@dataclass(frozen=True)
class PeopleConfig:
    """Which tracks may become training data: thresholds on what was measured.

    Rejects  too_many_people     more people on the clip than can be told apart
             still_picture       nothing of it moves: a portrait
             track_too_short     seen for too little of the clip
             person_too_small    box below `min_area` of the picture or `min_px`
             impure_track        neighbouring looks disagree: probably two people
             body_part           no face and not a whole body: hands, a trunk
             unconfirmed_person  a weak detector, and too few faces in it

    Attributes:
        max_people: median number in a frame; PexelsCustom-1M (2606.11783) drops clips with more
            than 3 of a class.
        min_motion: grey levels by which the person changes in half a second.
        min_coverage: share of the clip's frames with the person; people may enter or leave.
        min_s: seconds with the person.
        min_area: share of the picture; Phantom-Data (2506.18851) takes 4 to 90 %. There is no
            upper end here: in a talking-head close-up the person fills the picture.
        min_px: square root of the box's area in the clip; Phantom-Data asks for 128 x 128.
        min_purity: Concat-ID (2503.14151) drops when over 30 % of neighbours disagree.
        weak_detectors: beginnings of ids of detectors that need a face to be believed.
        min_faces: faces found in stills, for those.
        min_face_rate: share of the examined stills with a face, for those; others may show less if
            their box is that of a body.
        min_body_aspect: height over width of such a box. Hands had 0.7, a trunk behind a table
            0.5, people seen from behind 2.4 or more.
    """

    max_people: int = setting(3, low=1, high=1000)
    min_motion: float = setting(STILL, low=0, high=255, unit="grey levels")
    min_coverage: float = setting(0.6, low=0, high=1)
    min_s: float = setting(1.5, low=0, high=600, unit="s")
    min_area: float = setting(0.04, low=0, high=1)
    min_px: float = setting(128.0, low=0, high=8192, unit="pixels")
    min_purity: float = setting(0.7, low=0, high=1)
    weak_detectors: tuple[str, ...] = setting(("opencv-",))
    min_faces: int = setting(2, low=0, high=1000)
    min_face_rate: float = setting(0.2, low=0, high=1)
    min_body_aspect: float = setting(1.6, low=0, high=20)

    def __post_init__(self) -> None:
        check_settings(self, "pair.people")

    def check(self, track: Track, clip: Clip) -> Rejected | None:
        """Return why the track is refused, or None."""
        measures = vars(track) | {
            "num_people": clip.num_people,
            "seconds": len(track.boxes) / clip.fps,
            "size_px": (track.area * clip.width * clip.height) ** 0.5,
            "face_rate": None,  # asked below, of some tracks only
        }
        refusal = first_refusal(PEOPLE, self, measures)
        refusal = refusal or first_refusal(PEOPLE, self, self._confirming(track))
        if refusal is None:
            return None
        threshold = refusal.threshold
        return Rejected(threshold.reason, refusal.value, refusal.bound, threshold.unit)

    def _confirming(self, track: Track) -> dict[str, float]:
        """Return what must confirm that the track shows a person, and may go on to be one.

        A weak detector is believed where there are faces, another one also without: where the
        box is that of a body. A single face counts where half of the stills show it: a trunk at
        the picture's edge bends its head into it once.
        """
        if track.detector.startswith(self.weak_detectors):
            return {"num_faces": len(track.faces), "face_rate": track.face_rate}
        least = self.min_face_rate if len(track.faces) > 1 else max(_ONE_FACE, self.min_face_rate)
        if track.face_rate >= least:
            return {}
        left, top, right, bottom = np.median(np.asarray(track.boxes), axis=0)
        return {"body_aspect": float((bottom - top) / max(right - left, 1.0))}
