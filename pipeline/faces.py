"""Find each track's faces in the full-size stills, and say in a vector who it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from pipeline.engines.boxes import clip_to, iou
from pipeline.engines.interfaces import FaceDetector, PersonImage, Picture, Recogniser
from pipeline.engines.interfaces import Faces as FoundFaces
from pipeline.media import decode_image
from pipeline.stage import ClipRow, Still
from pipeline.tracks import shot_size
from schemas.tables import Clip, Embedding, FaceBox, Track

_MARGIN = 0.12  # around a person's box: hair and a box that lags behind
_HEAD_ROOM = 1.3  # the head lies within this many box widths of the top
_SAME_FACE = 0.4


@dataclass(frozen=True)
class Faces:
    """How faces are found and recognised.

    Attributes:
        search_px: short side that a person's crop is scaled down to before faces are looked for.
        max_images: images per track that go into its mean vector, evenly spread in time.
    """

    search_px: int = 224
    max_images: int = 8

    def __post_init__(self) -> None:
        if self.search_px < 64 or self.max_images < 1:
            raise ValueError(
                f"faces.search_px must be >= 64 and max_images >= 1, "
                f"got {self.search_px} and {self.max_images}"
            )


@dataclass(frozen=True)
class _Match:
    """A face in a still that belongs to a track, in pixels of the still."""

    still: int
    face: np.ndarray
    landmarks: np.ndarray
    score: float
    yaw: float
    fit: float  # distance of the face from where the head should be; 0 is best


@dataclass(frozen=True)
class FindFaces:
    """Find faces in the stills and embed every track.

    Reads  tracks, stills
    Adds   tracks: faces (in pixels of the clip), face_rate, shot_size; one embedding per track
    """

    detector: FaceDetector
    recogniser: Recogniser
    config: Faces = field(default_factory=Faces)
    name = "faces"

    def process(self, row: ClipRow) -> ClipRow:
        if not row.tracks or not row.stills:
            return row
        pictures = [decode_image(still.jpeg) for still in row.stills]
        matches = _one_owner(self._search(row.tracks, row.stills, pictures))
        tracks, embeddings = [], []
        for track in row.tracks:
            own = matches[track.track_id]
            track = _with_faces(track, row.clip, row.stills, own)
            tracks.append(self._signed(track))
            embedding = self._embed(track, row.stills, pictures, own)
            if embedding is not None:
                embeddings.append(embedding)
        found = (*row.embeddings, *embeddings)
        return replace(row, tracks=tuple(tracks), embeddings=found)

    def _signed(self, track: Track) -> Track:
        info = self.detector.info
        return replace(track, face_detector=info.id, face_detector_digest=info.weights_digest)

    def _search(
        self, tracks: Sequence[Track], stills: Sequence[Still], pictures: Sequence[Picture]
    ) -> dict[str, list[_Match]]:
        places, crops = [], []
        for track in tracks:
            for index, still in enumerate(stills):
                box = box_in_still(track, still)
                if box is not None:
                    crop, corner, scale = _head_crop(pictures[index], box, self.config.search_px)
                    places.append((track.track_id, index, box, corner, scale))
                    crops.append(crop)
        matches: dict[str, list[_Match]] = {track.track_id: [] for track in tracks}
        for (track_id, index, box, corner, scale), faces in zip(
            places, self.detector.detect(crops), strict=True
        ):
            match = _best_match(faces, index, box, corner, scale)
            if match is not None:
                matches[track_id].append(match)
        return matches

    def _embed(
        self,
        track: Track,
        stills: Sequence[Still],
        pictures: Sequence[Picture],
        matches: Sequence[_Match],
    ) -> Embedding | None:
        """Average the track's vectors, over images with a face if there are any."""
        images = [
            PersonImage(
                pictures[m.still], _required_box(track, stills[m.still]), m.face, m.landmarks
            )
            for m in _spread(matches, self.config.max_images)
        ]
        if not images:
            placed = [(i, box_in_still(track, still)) for i, still in enumerate(stills)]
            seen = [(i, box) for i, box in placed if box is not None]
            images = [
                PersonImage(pictures[i], box) for i, box in _spread(seen, self.config.max_images)
            ]
        if not images:
            return None
        mean = self.recogniser.embed(images).mean(axis=0)
        norm = float(np.linalg.norm(mean))
        if norm < 1e-6:
            return None
        return embedding_row(track, "", self.recogniser, mean / norm, len(images))


def embedding_row(
    track: Track, reference_id: str, recogniser: Recogniser, vector: np.ndarray, num_images: int
) -> Embedding:
    """Return the row that keeps a vector apart from everything else."""
    return Embedding(
        track_id=track.track_id,
        reference_id=reference_id,
        video_id=track.video_id,
        recogniser=recogniser.info.id,
        weights_digest=recogniser.info.weights_digest,
        num_images=num_images,
        vector=[float(value) for value in vector],
    )


def box_in_still(track: Track, still: Still) -> np.ndarray | None:
    """Return the person's box in pixels of the still, or None outside the track."""
    position = still.frame_index - track.first_frame
    if not 0 <= position < len(track.boxes):
        return None
    box = to_still(np.asarray(track.boxes[position], np.float32), still)
    box = clip_to(box, still.width, still.height)
    return box if min(box[2] - box[0], box[3] - box[1]) >= 8 else None


def to_still(boxes: np.ndarray, still: Still) -> np.ndarray:
    """Map xyxy boxes, or x,y points, from pixels of the clip to pixels of the still."""
    corner = np.array([still.left, still.top], np.float32)
    return boxes * still.scale + np.resize(corner, boxes.shape[-1])


def to_clip(boxes: np.ndarray, still: Still) -> np.ndarray:
    """Map xyxy boxes, or x,y points, from pixels of the still to pixels of the clip."""
    corner = np.array([still.left, still.top], np.float32)
    return (boxes - np.resize(corner, boxes.shape[-1])) / still.scale


def _required_box(track: Track, still: Still) -> np.ndarray:
    box = box_in_still(track, still)
    assert box is not None, "a face was matched where the track has no box"
    return box


def _head_crop(
    picture: Picture, box: np.ndarray, search_px: int
) -> tuple[Picture, np.ndarray, float]:
    """Cut out where the head can be; return the crop, its corner, its pixels per still pixel."""
    width, height = box[2] - box[0], box[3] - box[1]
    margin = _MARGIN * max(width, 0.3 * height)
    bottom = box[1] + min(height, _HEAD_ROOM * width + 0.15 * height)
    corners = np.array([box[0] - margin, box[1] - margin, box[2] + margin, bottom + margin])
    limits = [picture.shape[1], picture.shape[0]] * 2
    x0, y0, x1, y1 = np.clip(np.round(corners), 0, limits).astype(int)
    crop = picture[y0:y1, x0:x1]
    scale = min(1.0, search_px / min(crop.shape[:2]))
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    return small, np.array([x0, y0], np.float32), scale


def _best_match(
    faces: FoundFaces, still: int, box: np.ndarray, corner: np.ndarray, scale: float
) -> _Match | None:
    """Choose the face that sits where this person's head should be."""
    best = None
    for k, found in enumerate(faces.boxes):
        face = found / scale + np.tile(corner, 2)
        centre, side = (face[:2] + face[2:]) / 2, max(float(face[2] - face[0]), 1.0)
        aside = abs(float(centre[0]) - float(box[0] + box[2]) / 2) / float(box[2] - box[0])
        below = abs(float(face[1] - box[1])) / side
        if aside > 0.5 or below > 2.0:
            continue
        fit = aside + 0.25 * below
        landmarks = faces.landmarks[k] / scale + corner
        if best is None or fit < best.fit:
            score, yaw = float(faces.scores[k]), float(faces.yaw[k])
            best = _Match(still, face, landmarks, score, yaw, fit)
    return best


def _one_owner(matches: dict[str, list[_Match]]) -> dict[str, list[_Match]]:
    """Leave a face that two tracks claim to the one in which it sits better."""
    everything = [(track_id, match) for track_id, own in matches.items() for match in own]
    kept: dict[str, list[_Match]] = {track_id: [] for track_id in matches}
    for track_id, match in everything:
        rivals = [
            other
            for other_id, other in everything
            if other_id != track_id
            and other.still == match.still
            and float(iou(match.face[None], other.face[None])[0, 0]) > _SAME_FACE
        ]
        if all(match.fit <= other.fit for other in rivals):
            kept[track_id].append(match)
    return kept


def _with_faces(
    track: Track, clip: Clip, stills: Sequence[Still], matches: Sequence[_Match]
) -> Track:
    examined = sum(box_in_still(track, still) is not None for still in stills)
    faces = [_face_box(stills[match.still], match) for match in matches]
    size = track.shot_size
    if faces:
        side = float(np.median([face.box[2] - face.box[0] for face in faces]))
        middle = np.median(np.asarray(track.boxes, np.float32), axis=0)
        size = shot_size(middle, clip.width, clip.height, side)
    rate = len(faces) / examined if examined else 0.0
    return replace(track, faces=faces, face_rate=rate, shot_size=size)


def _face_box(still: Still, match: _Match) -> FaceBox:
    landmarks = to_clip(match.landmarks, still).ravel()
    known = bool(np.isfinite(landmarks).any())
    return FaceBox(
        frame_index=still.frame_index,
        box=[round(float(value), 2) for value in to_clip(match.face, still)],
        landmarks=[round(float(value), 2) for value in landmarks] if known else [],
        score=match.score,
        yaw=match.yaw,
    )


def _spread(items: Sequence, number: int) -> list:
    """Return at most `number` items, evenly spread, first and last included."""
    if len(items) <= number:
        return list(items)
    places = np.linspace(0, len(items) - 1, number).round().astype(int)
    return [items[place] for place in places]
