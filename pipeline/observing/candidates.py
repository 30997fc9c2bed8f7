"""Propose images of each track that may become references, with everything measured on them."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import cv2
import numpy as np

from pipeline.engines.interfaces import (
    CutOut,
    FaceDetector,
    PersonImage,
    Picture,
    Recogniser,
    Segmenter,
)
from pipeline.engines.masks.neighbours import cut_people
from pipeline.execution.stage import ClipRow, Still
from pipeline.media.images import decode_image, encode_jpeg, encode_png_mask
from pipeline.observing.clothes import garment_colour
from pipeline.observing.faces import box_in_still, embedding_row, to_still, told_by_faces
from pipeline.observing.hair import hair_colour
from pipeline.observing.quality import light_of_people
from pipeline.observing.surroundings import PlacedMask, surroundings_of
from pipeline.observing.traits import other_face_share, search_size, traits_of
from pipeline.pictures.boxes import clip_to
from pipeline.pictures.hashes import difference_hash
from pipeline.pictures.image_measures import (
    Measured,
    combined_quality,
    exposure_of,
    occlusion_of,
    sharpness_of,
    truncation_of,
)
from pipeline.pictures.looks import look_of
from pipeline.pictures.mask_measures import measure_mask
from schemas.ids import content_id
from schemas.settings import check_settings, setting
from schemas.tables import Candidate, Clip, Embedding, FaceBox, Track

_EDGE = 0.02  # of the still's side: a box this near is cut by the picture's edge
_BODY_SIDES = 5.5  # a box this many faces high holds feet; knees end at 5
_BODY_ASPECT = 2.2  # the same without a face: height over width
_LEGS = ("full", "wide")  # shot sizes in which legs are seen
_LIT, _APART = 0.6, 0.1  # exposure, and share under others, for a garment's colour to be named
_TRUSTED = 0.5  # of its mask
_HASH_PX = 64


@dataclass(frozen=True)
class CandidatesConfig:
    """Which images are kept as possible references.

    Attributes:
        per_track: at most this many; three or four of a clip differ enough to be worth it, and
            characters are seen in several clips (MAGREF and OpenS2V keep 8 to 10 an identity).
        margin: the crop's sides over the person's; Stand-In uses 1.5, the range seen is 1.3-1.6.
        max_side: longest side of a crop, pixels.
        min_px: smaller people (square root of the box's area in the still) are not proposed.
        jpeg_quality: of the crop.
    """

    per_track: int = setting(4, low=1, high=100)
    margin: float = setting(1.4, low=1, high=4)
    max_side: int = setting(1024, low=64, high=8192, unit="pixels")
    min_px: float = setting(64.0, low=0, high=8192, unit="pixels")
    jpeg_quality: int = setting(95, low=1, high=100)

    def __post_init__(self) -> None:
        check_settings(self, "observe.candidates")


@dataclass(frozen=True)
class _Shown:
    """A person in one still, in pixels of the still, before anything is cut."""

    still: Still
    picture: Picture = field(repr=False)
    box: np.ndarray
    face: FaceBox | None
    face_box: np.ndarray | None
    others: tuple[np.ndarray, ...]  # boxes of other people
    measured: Measured


@dataclass(frozen=True)
class ProposeReferences:
    """Choose, crop and cut out the best images of every track.

    Reads  tracks with faces, stills
    Adds   candidates; one embedding each; tracks: hair_colour, top_colour, bottom_colour, looks;
           clip: person_dark, person_bright, background_…, warmth, chroma
    """

    segmenter: Segmenter
    recogniser: Recogniser
    config: CandidatesConfig = field(default_factory=CandidatesConfig)
    faces: FaceDetector | None = None  # looks for other people's faces in the crops
    name = "candidates"

    def process(self, row: ClipRow) -> ClipRow:
        if not row.tracks or not row.stills:
            return row
        pictures = [decode_image(still.jpeg) for still in row.stills]
        tracks, candidates, embeddings = [], [], []
        placed: list[PlacedMask] = []
        for track in row.tracks:
            shown = self._shown(row, track, pictures)
            chosen = choose(shown, self.config.per_track)
            track, own, vectors, masks = self._propose(row.clip, track, chosen)
            placed += masks
            tracks.append(replace(track, looks=_looks(track, row.stills, pictures)))
            candidates += own
            embeddings += vectors
        dark, bright = _light(row.tracks, row.stills, pictures)
        around = asdict(surroundings_of(row.tracks, row.stills, pictures, placed))
        return replace(
            row,
            clip=replace(row.clip, person_dark=dark, person_bright=bright, **around),
            tracks=tuple(tracks),
            candidates=(*row.candidates, *candidates),
            embeddings=(*row.embeddings, *embeddings),
        )

    def _shown(self, row: ClipRow, track: Track, pictures: Sequence[Picture]) -> list[_Shown]:
        faces = {face.frame_index: face for face in track.faces}
        shown = []
        for still, picture in zip(row.stills, pictures, strict=True):
            box = box_in_still(track, still)
            if box is None or math.sqrt(_area(box)) < self.config.min_px:
                continue
            others = [box_in_still(other, still) for other in row.tracks if other is not track]
            face = faces.get(still.frame_index)
            shown.append(_measure(row.clip, still, picture, box, face, others))
        return shown

    def _propose(
        self, clip: Clip, track: Track, chosen: Sequence[_Shown]
    ) -> tuple[Track, list[Candidate], list[Embedding], list[PlacedMask]]:
        if not chosen:
            return track, [], [], []
        people = [_crop(shown, self.config) for shown in chosen]
        cuts = cut_people(self.segmenter, people)
        masks = [cut.mask for cut in cuts]
        known = people if told_by_faces(track) else [replace(p, landmarks=None) for p in people]
        vectors = self.recogniser.embed(known)  # in the space that decides the track
        others = other_faces(self.faces, people, masks)
        candidates = [
            self._candidate(clip, track, *each)
            for each in zip(chosen, people, cuts, others, strict=True)
        ]
        embeddings = [
            embedding_row(track, candidate.reference_id, self.recogniser, vector, 1)
            for candidate, vector in zip(candidates, vectors, strict=True)
        ]
        clear = [
            k for k, pair in enumerate(zip(chosen, cuts, strict=True)) if _shows_colours(*pair)
        ]
        seen, cut = [people[k] for k in clear], [masks[k] for k in clear]
        top = garment_colour("top", seen, cut)
        below = garment_colour("bottom", seen, cut) if _legs_seen(clip, track) else ""
        bottom = below if below != top else ""  # of a dress, which has no bottoms
        hair = hair_colour(seen, cut)
        track = replace(track, hair_colour=hair, top_colour=top, bottom_colour=bottom)
        placed = [
            PlacedMask(track.track_id, each.still, _Cut.of(each, self.config).around, mask)
            for each, mask in zip(chosen, masks, strict=True)
        ]
        return track, candidates, embeddings, placed

    def _candidate(
        self,
        clip: Clip,
        track: Track,
        shown: _Shown,
        person: PersonImage,
        cut: CutOut,
        other_face: float,
    ) -> Candidate:
        mask = cut.mask
        height, width = person.picture.shape[:2]
        x0, y0, x1, y1 = np.round(person.box).astype(int)
        inside = mask[y0:y1, x0:x1] > 127
        mask_area, reach = float(inside.mean()), float(inside.any(axis=1).mean())
        fit = measure_mask(person.picture, mask, person.box, person.face)
        masked = round(fit.quality * cut.trust, 6)
        measured = replace(shown.measured, mask_quality=masked, mask_reach=reach)
        return Candidate(
            reference_id=content_id("reference", track.track_id, round(shown.still.time_s, 6)),
            track_id=track.track_id,
            clip_id=track.clip_id,
            video_id=track.video_id,
            shot_id=track.shot_id,
            time_s=shown.still.time_s,
            width=width,
            height=height,
            box=_plain(person.box),
            face=[] if person.face is None else _plain(person.face),
            size_px=_source_size(clip, shown),
            sharpness=measured.sharpness,
            exposure=measured.exposure,
            frontal=measured.frontal,
            yaw=shown.face.yaw if shown.face else math.nan,
            occlusion=measured.occlusion,
            truncation=measured.truncation,
            whole_body=_whole_body(shown),
            mask_area=mask_area,
            mask_engine=self.segmenter.info.id,
            mask_digest=self.segmenter.info.weights_digest,
            perceptual_hash=hash_of(person.picture),
            quality=combined_quality(measured),
            image=encode_jpeg(person.picture, self.config.jpeg_quality),
            mask=encode_png_mask(mask),
            other_face=other_face,
            mask_quality=masked,
            **asdict(traits_of(person, mask)),
        )


def _legs_seen(clip: Clip, track: Track) -> bool:
    """Whether the feet are in the picture: above a cut, a long jacket may hide what is below."""
    bottoms = np.asarray(track.boxes, float)[:, 3]
    return track.shot_size in _LEGS and float(np.median(bottoms)) < (1 - _EDGE) * clip.height


def hash_of(picture: Picture) -> str:
    """Return the difference hash of a crop, in hex."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_HASH_PX, _HASH_PX), interpolation=cv2.INTER_AREA)
    return f"{difference_hash(small):016x}"


def other_faces(
    faces: FaceDetector | None, people: Sequence[PersonImage], masks: Sequence[np.ndarray]
) -> list[float]:
    """Return, per picture, how much of somebody else's face its mask covers; see Candidate."""
    if faces is None:
        return [0.0] * len(people)
    small = [search_size(person.picture) for person in people]
    found = faces.detect([picture for picture, _ in small])
    return [
        other_face_share(each, scale, person, mask)
        for each, (_, scale), person, mask in zip(found, small, people, masks, strict=True)
    ]


def _looks(track: Track, stills: Sequence[Still], pictures: Sequence[Picture]) -> list[bytes]:
    boxes = [box_in_still(track, still) for still in stills]
    return [
        look_of(picture, box)
        for picture, box in zip(pictures, boxes, strict=True)
        if box is not None
    ]


def _light(
    tracks: Sequence[Track], stills: Sequence[Still], pictures: Sequence[Picture]
) -> tuple[float, float]:
    """Return how much of the people is dark, and how much is bright."""
    seen, boxes = [], []
    for track in tracks:
        for picture, still in zip(pictures, stills, strict=True):
            box = box_in_still(track, still)
            if box is not None:
                seen.append(picture)
                boxes.append(box)
    return light_of_people(seen, boxes)


def choose(shown: Sequence[_Shown], number: int) -> list[_Shown]:
    """Return up to `number` images, best first, each unlike those before it.

    Greedy: quality, less up to a half where a chosen one is near in time and in yaw.
    """
    left = sorted(shown, key=lambda each: (-combined_quality(each.measured), each.still.time_s))
    chosen: list[_Shown] = []
    while left and len(chosen) < number:
        best = max(left, key=lambda each: _worth(each, chosen, shown))
        chosen.append(best)
        left.remove(best)
    return chosen


def _worth(each: _Shown, chosen: Sequence[_Shown], everything: Sequence[_Shown]) -> float:
    quality = combined_quality(each.measured)
    if not chosen:
        return quality
    times = [other.still.time_s for other in everything]
    span = max(max(times) - min(times), 1e-6)

    def likeness(other: _Shown) -> float:
        apart = min(1.0, 3 * abs(each.still.time_s - other.still.time_s) / span)
        turned = abs(_yaw(each) - _yaw(other)) > 30
        return (1 - apart) * (0.5 if turned else 1.0)

    return quality * (1 - 0.5 * max(likeness(other) for other in chosen))


def _yaw(shown: _Shown) -> float:
    yaw = shown.face.yaw if shown.face else math.nan
    return 90.0 if math.isnan(yaw) else yaw


def _measure(
    clip: Clip,
    still: Still,
    picture: Picture,
    box: np.ndarray,
    face: FaceBox | None,
    others: Sequence[np.ndarray | None],
) -> _Shown:
    face_box = None
    if face is not None:
        placed = to_still(np.asarray(face.box, np.float32), still)
        face_box = clip_to(placed, still.width, still.height)
    yaw = face.yaw if face is not None else math.nan
    beside = tuple(other for other in others if other is not None)
    measured = Measured(
        size_px=math.sqrt(_area(box)),
        sharpness=sharpness_of(picture, box),
        exposure=exposure_of(picture, box if face_box is None else face_box),
        frontal=0.0 if math.isnan(yaw) else max(0.0, 1 - abs(yaw) / 90),
        face_seen=face is not None,
        occlusion=occlusion_of(box, beside),
        truncation=truncation_of(box, still.width, still.height, _EDGE),
    )
    return _Shown(still, picture, box, face, face_box, beside, measured)


def _crop(shown: _Shown, config: CandidatesConfig) -> PersonImage:
    """Cut the person out with a margin, whole, and never beyond the still."""
    still, cut = shown.still, _Cut.of(shown, config)
    x0, y0, x1, y1 = cut.around
    part = shown.picture[y0:y1, x0:x1]
    picture = part if cut.scale == 1 else cv2.resize(part, cut.size, interpolation=cv2.INTER_AREA)
    face = None if shown.face_box is None else cut.place(shown.face_box)
    landmarks = None
    if shown.face is not None and shown.face.landmarks:
        points = to_still(np.asarray(shown.face.landmarks, np.float32), still)
        landmarks = (points.reshape(5, 2) - np.array([x0, y0], np.float32)) * cut.scale
    others = tuple(cut.place(other) for other in shown.others)
    return PersonImage(np.ascontiguousarray(picture), cut.place(shown.box), face, landmarks, others)


@dataclass(frozen=True)
class _Cut:
    """Which part of a still a crop is."""

    around: tuple[int, int, int, int]  # xyxy in pixels of the still
    scale: float  # pixels of the crop per pixel of the still
    size: tuple[int, int]

    @classmethod
    def of(cls, shown: _Shown, config: CandidatesConfig) -> "_Cut":
        box, still = shown.box, shown.still
        margin = (config.margin - 1) / 2 * (box[2:] - box[:2])
        x0, y0 = np.maximum(np.floor(box[:2] - margin), 0).astype(int).tolist()
        limits = [still.width, still.height]
        x1, y1 = np.minimum(np.ceil(box[2:] + margin), limits).astype(int).tolist()
        scale = min(1.0, config.max_side / max(x1 - x0, y1 - y0))
        size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
        return cls((x0, y0, x1, y1), scale, size)

    def place(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes from pixels of the still to those of the crop."""
        corner = np.array([*self.around[:2]] * 2, np.float32)
        return clip_to((boxes - corner) * self.scale, *self.size)


def _shows_colours(shown: _Shown, cut: CutOut) -> bool:
    """Whether light and mask are good enough for a colour, and nobody else is in the way.

    Who is seen from behind in black is dark himself; there the light around counts.
    """
    lit = shown.face is None or shown.measured.exposure >= _LIT
    return lit and shown.measured.occlusion <= _APART and cut.trust >= _TRUSTED


def _whole_body(shown: _Shown) -> bool:
    x0, y0, x1, y1 = shown.box
    height, width = shown.still.height, shown.still.width
    cut = y0 < _EDGE * height or y1 > (1 - _EDGE) * height or x0 <= 0 or x1 >= width
    if cut:
        return False
    if shown.face_box is None:
        return bool(y1 - y0 >= _BODY_ASPECT * (x1 - x0))
    return bool(y1 - y0 >= _BODY_SIDES * max(shown.face_box[2:] - shown.face_box[:2]))


def _source_size(clip: Clip, shown: _Shown) -> float:
    """Return the person's size in pixels of the source, whatever the still was scaled to."""
    per_source_px = shown.still.scale * clip.scale
    return math.sqrt(_area(shown.box)) / (per_source_px if per_source_px > 0 else 1.0)


def _area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _plain(box: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in box]
