"""Find each track's faces in the full-size stills, and say in a vector who it is."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from pipeline.engines.faces.landmarks import complete, turned_away
from pipeline.engines.identity.spaces import deciding, spaces_of
from pipeline.engines.interfaces import FaceDetector, PersonImage, Picture, Recogniser
from pipeline.engines.interfaces import Faces as FoundFaces
from pipeline.execution.stage import ClipRow, Still
from pipeline.media.images import decode_image
from pipeline.observing.part_tracks import agree_in_clothes, change_in, part_of
from pipeline.observing.shared_boxes import shared_frames
from pipeline.observing.tracks import agreement, like_most, shot_size, two_people
from pipeline.pictures.boxes import clip_to, inside, iou, padded_crop
from schemas.settings import check_settings, setting
from schemas.tables import Clip, Embedding, FaceBox, Track

_MARGIN = 0.12  # around a person's box: hair and a box that lags behind
_HEAD_ROOM = 1.3  # the head lies within this many box widths of the top
# One face found twice, by two crops: the boxes agree, or most of one lies in the other (a part
# of a face at a crop's edge is found as a smaller one: 0.83 of it inside, while their IoU is 0.27).
_SAME_FACE, _PART_OF_FACE = 0.4, 0.6
_NO_FACE = 100.0  # cost of a track without a face; a face that sits badly costs 1
_FACES_TELL = 2  # who it is; the one look back of a man seen from behind was like a girl (0.53)
_FACES_DECIDE, _FACE_RATE_DECIDES = 3, 0.5  # faces, and share of looks with one
# Half of the networks' 112 px. Smaller ones, and profiles, of one woman with a dog agreed in 43 %.
_FACE_PX = 56.0
_FACE_GRID = 48  # pixels a side in which a face's motion is measured: a codec's noise averages out


@dataclass(frozen=True)
class FacesConfig:
    """How faces are found and recognised.

    Attributes:
        search_px: short side that a person's crop is scaled down to before faces are looked for.
        max_images: images per track that go into its mean vector, evenly spread in time.
        part_below: a track whose looks agree less becomes two where it changes the person;
            pair.people.min_purity refuses what stays one. 0: never.
    """

    search_px: int = setting(224, low=64, high=4096, unit="pixels")
    max_images: int = setting(8, low=1, high=1000)
    part_below: float = setting(0.7, low=0, high=1)

    def __post_init__(self) -> None:
        check_settings(self, "observe.faces")


@dataclass(frozen=True)
class FaceMatch:
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
    Adds   tracks: faces (in pixels of the clip), face_rate, shot_size, purity where faces or a
           box of two people tell it, motion where the face's is less; one embedding per track; two
           tracks for one that changes the person
    """

    detector: FaceDetector
    recogniser: Recogniser
    config: FacesConfig = field(default_factory=FacesConfig)
    name = "faces"

    def process(self, row: ClipRow) -> ClipRow:
        if not row.tracks or not row.stills:
            return row
        pictures = [decode_image(still.jpeg) for still in row.stills]
        matches = share_out(self._search(row.tracks, row.stills, pictures))
        known: list[tuple[Track, list[Embedding]]] = []
        for track in row.tracks:
            known += self._know(row, track, pictures, matches[track.track_id])
        tracks = _with_shared_boxes([track for track, _ in known], row.clip)
        found = (*row.embeddings, *(vector for _, own in known for vector in own))
        return replace(row, tracks=tracks, embeddings=found)

    def _know(
        self, row: ClipRow, track: Track, pictures: Sequence[Picture], own: Sequence[FaceMatch]
    ) -> list[tuple[Track, list[Embedding]]]:
        """Return a track with its faces and who it is; two, where it changes the person."""
        seen = self._signed(_with_faces(track, row.clip, row.stills, own))
        seen = replace(seen, motion=float(np.fmin(seen.motion, face_motion(own, pictures))))
        images = self._images(seen, row.stills, pictures, own)
        vectors = self.recogniser.embed(images)
        decisive = self._decisive(seen, images, vectors)
        if len(decisive):
            floor = self.recogniser.windows.reference_floor
            seen = replace(seen, purity=_purity(seen, decisive, floor))
            vectors = decisive[like_most(decisive, floor)]
        impure = seen.purity < self.config.part_below
        parts = self._parts(row, track, pictures, own) if impure else []
        if not parts:
            return [(seen, self._mean(seen, vectors))]
        return [
            known
            for part in parts
            for known in self._know(row, part, pictures, _within(own, part, row.stills))
        ]

    def _parts(
        self, row: ClipRow, track: Track, pictures: Sequence[Picture], own: Sequence[FaceMatch]
    ) -> list[Track]:
        """Return a track before and after it changes the person; nothing where it does not."""
        looks = [still for still in row.stills if box_in_still(track, still) is not None]
        spaces = spaces_of(self.recogniser)
        vectors = self.recogniser.embed(_every_look(track, row.stills, pictures, own))
        change = change_in(vectors, spaces)
        if change is None:
            return []
        end = track.first_frame + len(track.boxes)
        before, after = looks[change - 1].frame_index, looks[change].frame_index
        ranges = (track.first_frame, before + 1), (after, end)
        shares = (agree_in_clothes(side, spaces) for side in (vectors[:change], vectors[change:]))
        return [
            part_of(track, row.clip, *frames, share)
            for frames, share in zip(ranges, shares, strict=True)
        ]

    def _signed(self, track: Track) -> Track:
        info = self.detector.info
        return replace(track, face_detector=info.id, face_detector_digest=info.weights_digest)

    def _search(
        self, tracks: Sequence[Track], stills: Sequence[Still], pictures: Sequence[Picture]
    ) -> dict[str, list[FaceMatch]]:
        places, crops = [], []
        for track in tracks:
            for index, still in enumerate(stills):
                box = box_in_still(track, still)
                if box is not None:
                    crop, corner, scale = head_crop(pictures[index], box, self.config.search_px)
                    places.append((track.track_id, index, box, corner, scale))
                    crops.append(crop)
        matches: dict[str, list[FaceMatch]] = {track.track_id: [] for track in tracks}
        for (track_id, index, box, corner, scale), faces in zip(
            places, self.detector.detect(crops), strict=True
        ):
            matches[track_id] += plausible(faces, index, box, corner, scale)
        return matches

    def _images(
        self,
        track: Track,
        stills: Sequence[Still],
        pictures: Sequence[Picture],
        matches: Sequence[FaceMatch],
    ) -> list[PersonImage]:
        """Return the images that say who it is: with a face if faces can tell it.

        Faces turned away are left out, or say nothing where there are hardly any others; then the
        looks without a face count as well, for one or two looks are no more than a pose.
        """
        facing = [match for match in matches if not turned_away(match.landmarks)]
        if len(facing) < _FACES_TELL:
            looks = _every_look(track, stills, pictures, matches)
            chosen = _with_faces_first(looks, self.config.max_images)
            return [person.undecided() for person in chosen]
        return [
            PersonImage(
                pictures[m.still], _required_box(track, stills[m.still]), m.face, m.landmarks
            )
            for m in _spread(facing, self.config.max_images)
        ]

    def _decisive(
        self, track: Track, images: Sequence[PersonImage], vectors: np.ndarray
    ) -> np.ndarray:
        """Return the vectors of faces, if they can tell whether the track is one person.

        They do where most looks show a face, some of them well. Clothes, which tell it elsewhere,
        change with light and with what a close-up shows, and two people may wear the same.
        """
        known = np.array([_shows_well(image) for image in images], bool)
        known &= vectors.any(axis=1) & (deciding(vectors, spaces_of(self.recogniser)) == 0)
        if known.sum() < _FACES_DECIDE or track.face_rate < _FACE_RATE_DECIDES:
            return vectors[:0]
        return vectors[known]

    def _mean(self, track: Track, vectors: np.ndarray) -> list[Embedding]:
        """Average a track's vectors of the space that decides; nothing where there are none.

        A face and a body do not compare: their mean would be like neither.
        """
        vectors = vectors[vectors.any(axis=1)]
        if not len(vectors):
            return []
        where = deciding(vectors, spaces_of(self.recogniser))
        vectors = vectors[where == where.min()]
        mean = vectors.mean(axis=0)
        norm = float(np.linalg.norm(mean))
        if norm < 1e-6:
            return []
        return [embedding_row(track, "", self.recogniser, mean / norm, len(vectors))]


def _with_shared_boxes(tracks: Sequence[Track], clip: Clip) -> tuple[Track, ...]:
    """Return the tracks, no purer than the share of frames in which their box is theirs alone."""
    shared = shared_frames(tracks, clip)
    own = {track.track_id: 1 - len(shared[track.track_id]) / len(track.boxes) for track in tracks}
    return tuple(replace(each, purity=min(each.purity, own[each.track_id])) for each in tracks)


def _every_look(
    track: Track, stills: Sequence[Still], pictures: Sequence[Picture], own: Sequence[FaceMatch]
) -> list[PersonImage]:
    """Return the track in every still that shows it, with its face where that was found."""
    faces = {match.still: (match.face, match.landmarks) for match in own}
    people = []
    for index, still in enumerate(stills):
        box = box_in_still(track, still)
        if box is not None:
            face, landmarks = faces.get(index, (None, None))
            people.append(PersonImage(pictures[index], box, face, landmarks))
    return people


def _with_faces_first(looks: Sequence[PersonImage], number: int) -> list[PersonImage]:
    """Return at most `number` looks, evenly spread; those with a face before those without."""
    seen = _spread([look for look in looks if look.face is not None], number)
    hidden = [look for look in looks if look.face is None]
    return [*seen, *_spread(hidden, number - len(seen))]


def _within(own: Sequence[FaceMatch], part: Track, stills: Sequence[Still]) -> list[FaceMatch]:
    return [match for match in own if box_in_still(part, stills[match.still]) is not None]


def _purity(track: Track, faces: np.ndarray, floor: float) -> float:
    """Return the purity by faces; that by clothes, if higher, unless faces are two people's."""
    agreed = agreement(list(faces), floor)
    return agreed if two_people(faces, floor) else max(agreed, track.purity)


def _shows_well(image: PersonImage) -> bool:
    """Say whether a face is large and frontal enough that its vector can contradict another."""
    if image.face is None or image.landmarks is None or not complete(image.landmarks):
        return False
    large = float(image.face[3] - image.face[1]) >= _FACE_PX
    return large and not turned_away(image.landmarks)


def told_by_faces(track: Track) -> bool:
    """Say whether faces of the track can tell who it is; else nearly all are turned away."""
    return sum(not turned_away(_points(face)) for face in track.faces) >= _FACES_TELL


def _points(face: FaceBox) -> np.ndarray:
    return np.asarray(face.landmarks, np.float32).reshape(-1, 2)


def face_motion(matches: Sequence[FaceMatch], pictures: Sequence[Picture]) -> float:
    """Return how much a face changes from one still to the next, in grey levels of 255.

    Measured where it was found last, the median of all; NaN for less than two faces. The box of
    a portrait may reach over somebody who moves beside it, its face does not. In 25 videos four
    portraits had 0.3 to 0.5, the stillest of 64 tracks of people 2.2.
    """
    changes = []
    for first, second in itertools.pairwise(matches):
        before, after = (_grey_face(pictures[m.still], second.face) for m in (first, second))
        changes.append(float(np.abs(before - after).mean()))
    return float(np.median(changes)) if changes else math.nan


def _grey_face(picture: Picture, face: np.ndarray) -> np.ndarray:
    grid = padded_crop(picture, face, (_FACE_GRID, _FACE_GRID))
    return cv2.cvtColor(grid, cv2.COLOR_RGB2GRAY).astype(np.float32)


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


def head_crop(
    picture: Picture, box: np.ndarray, search_px: int, enlarge: bool = False
) -> tuple[Picture, np.ndarray, float]:
    """Cut out where the head can be; return the crop, its corner, its pixels per still pixel.

    Its short side is `search_px` at most, or, with `enlarge`, always.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    margin = _MARGIN * max(width, 0.3 * height)
    bottom = box[1] + min(height, _HEAD_ROOM * width + 0.15 * height)
    corners = np.array([box[0] - margin, box[1] - margin, box[2] + margin, bottom + margin])
    limits = [picture.shape[1], picture.shape[0]] * 2
    x0, y0, x1, y1 = np.clip(np.round(corners), 0, limits).astype(int)
    crop = picture[y0:y1, x0:x1]
    scale = search_px / min(crop.shape[:2])
    scale = scale if enlarge else min(1.0, scale)
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(crop, size, interpolation=method)
    return small, np.array([x0, y0], np.float32), scale


def plausible(
    faces: FoundFaces, still: int, box: np.ndarray, corner: np.ndarray, scale: float
) -> list[FaceMatch]:
    """Return the faces that sit where this person's head could be."""
    found = []
    for k, box_found in enumerate(faces.boxes):
        face = box_found / scale + np.tile(corner, 2)
        centre, side = (face[:2] + face[2:]) / 2, max(float(face[2] - face[0]), 1.0)
        aside = abs(float(centre[0]) - float(box[0] + box[2]) / 2) / float(box[2] - box[0])
        below = abs(float(face[1] - box[1])) / side
        if aside <= 0.5 and below <= 2.0:
            landmarks = faces.landmarks[k] / scale + corner
            score, yaw = float(faces.scores[k]), float(faces.yaw[k])
            found.append(FaceMatch(still, face, landmarks, score, yaw, aside + 0.25 * below))
    return found


def share_out(claims: dict[str, list[FaceMatch]]) -> dict[str, list[FaceMatch]]:
    """Give every track at most one face a still, and every face to at most one track.

    As many tracks as possible get a face; among those ways, faces sit as well as possible: who
    stands behind somebody's shoulder keeps the own face, though it is in both boxes.
    """
    kept: dict[str, list[FaceMatch]] = {track_id: [] for track_id in claims}
    for still in sorted({match.still for own in claims.values() for match in own}):
        here = {
            track_id: [match for match in own if match.still == still]
            for track_id, own in claims.items()
        }
        for track_id, match in _best_shares(here):
            kept[track_id].append(match)
    return kept


def _best_shares(claims: dict[str, list[FaceMatch]]) -> list[tuple[str, FaceMatch]]:
    from scipy.optimize import linear_sum_assignment  # slow to import

    faces: list[np.ndarray] = []  # each once, though found in the crops of several tracks
    cost = np.full((len(claims), sum(map(len, claims.values()))), _NO_FACE)
    chosen: dict[tuple[int, int], FaceMatch] = {}
    for row, own in enumerate(claims.values()):
        for match in own:
            column = _place_of(match.face, faces)
            if match.fit < cost[row, column]:
                cost[row, column] = match.fit
                chosen[row, column] = match
    rows, columns = linear_sum_assignment(cost)
    names = list(claims)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(names[pair[0]], chosen[pair]) for pair in pairs if pair in chosen]


def _place_of(face: np.ndarray, faces: list[np.ndarray]) -> int:
    """Return the position of a face in the list, to which a new one is added."""
    if faces:
        others = np.stack(faces)
        overlap = iou(face[None], others)[0]
        held = np.maximum(inside(face[None], others)[0], inside(others, face[None])[:, 0])
        same = (overlap > _SAME_FACE) | (held > _PART_OF_FACE)
        if same.any():
            return int(np.where(same, overlap, -1).argmax())
    faces.append(face)
    return len(faces) - 1


def _with_faces(
    track: Track, clip: Clip, stills: Sequence[Still], matches: Sequence[FaceMatch]
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


def _face_box(still: Still, match: FaceMatch) -> FaceBox:
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
