"""Find everybody in clips and references who is not the sample's character.

Tracks know whom the curation followed. Here every picture is searched again, and more often, for
faces and people: who passes far behind for half a second is no track, and can be recognised.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.engines.interfaces import FaceDetector, PersonDetector, Picture
from pipeline.engines.interfaces import Faces as FoundFaces
from pipeline.media.clip_frames import read_clip
from pipeline.observing.faces import FaceMatch, head_crop, plausible, share_out
from pipeline.observing.tracks import every_frame
from pipeline.pictures.boxes import clip_to, inside, iou, suppress

_SAME_PERSON, _PART_OF_PERSON = 0.5, 0.75  # two boxes: their IoU, the share of one in the other
# Share of the smaller box that two finds of one face share; a chin with a beard was found a second
# time with 0.33, and faces of two people hardly cover each other.
_ONE_FACE = 0.25
_SEARCH_PX = 224  # short side of a crop in which a head is looked for once more
_LINK, _LINK_FACE, _FACE_REACH = 0.3, 0.1, 1.0  # least IoU from look to look; faces are grown
_GAP_S = 0.75  # a person who is not seen for longer is another one
_HELD_S = 0.3  # before the first and after the last look somebody is already and still there
_HEAD = (0.25, -0.02, 0.75, 0.55)  # of a body's width from its left and top: where a head can be
_COVERED = 0.3  # share of a face that the character's mask covers
_BESIDE = 0.1  # share of a person's box at or below which the character's mask leaves it alone


@dataclass(frozen=True)
class FollowedPerson:
    """Somebody through a clip: `boxes` (N, 4), one a frame from `first_frame` on."""

    name: str  # a track's id, or where nobody followed the person: unknown-0, unknown-1, …
    first_frame: int
    boxes: np.ndarray

    def box_at(self, frame: int) -> np.ndarray | None:
        """Return the box in a frame, or None."""
        place = frame - self.first_frame
        return self.boxes[place] if 0 <= place < len(self.boxes) else None


@dataclass(frozen=True)
class Bystander:
    """Somebody in a clip who is not its character.

    Attributes:
        person: the body, or a face's box where no body was found
        faces: (N, 4) where the face is in every frame of `person`; without `face_frames` it is
            where a body of this shape has its head
        face_frames: the examined frames in which the face was found
        seen_frames: the examined frames of `person`
        body: whether a body was found
    """

    person: FollowedPerson
    faces: np.ndarray
    face_frames: tuple[int, ...]
    seen_frames: tuple[int, ...]
    body: bool = True

    @property
    def found(self) -> bool:
        """Whether the face was found in any frame."""
        return bool(self.face_frames)


@dataclass(frozen=True)
class PeopleOfClip:
    """Who is in a clip. `cast_faces` has the characters' faces by frame, as far as known."""

    bystanders: tuple[Bystander, ...]
    cast_faces: Mapping[int, tuple[np.ndarray, ...]] = field(repr=False)
    examined: tuple[int, ...] = ()


@dataclass(frozen=True)
class PeopleOfPicture:
    """Who else is in a reference; all boxes xyxy in its pixels.

    Attributes:
        faces: of others, found
        bodies: of others
        heads: of those bodies without a face: where a body of this shape has its head
        own_face: the character's, or None
    """

    faces: tuple[np.ndarray, ...]
    bodies: tuple[np.ndarray, ...]
    heads: tuple[np.ndarray, ...]
    own_face: np.ndarray | None


@dataclass(frozen=True)
class _Look:
    """One examined frame; owner: of each face the name of whose it is, or ''."""

    frame: int
    faces: np.ndarray  # (K, 4)
    owner: list[str]


@dataclass(frozen=True)
class BystanderFinder:
    """Finds them by the detectors of a dataset.

    Attributes:
        looks_per_s: pictures a second that are searched
    """

    people: PersonDetector
    faces: FaceDetector
    looks_per_s: float = 8.0

    def in_clip(
        self, mp4: bytes, cast: Sequence[FollowedPerson], tracked: Sequence[FollowedPerson]
    ) -> PeopleOfClip:
        """Return who is in a clip beside its `cast`; `tracked` are others who are known."""
        frames, pictures = read_clip(mp4, fps=self.looks_per_s)
        if not frames:
            return PeopleOfClip((), {})
        step = frames[1] - frames[0] if len(frames) > 1 else 1
        span = (0, frames[-1] + step)
        others = [person for person in tracked if not _is_one_of(person, cast)]
        known = [*cast, *others]
        strangers = self._strangers(frames, pictures, known)
        once = {each.name for each in strangers if len(each.boxes) == 1}  # a hand, say
        others += strangers
        everybody = [*cast, *others]
        looks = [
            self._look(frame, picture, everybody)
            for frame, picture in zip(frames, pictures, strict=True)
        ]
        names = {person.name for person in cast}
        own, shared, stray = _faces_by_person(looks, names, step, self._gap)
        held = math.ceil(_HELD_S * self.looks_per_s * step)
        bystanders = [
            _bystander(_held(person, held, span), shared.get(person.name, {}), frames)
            for person in others
        ]
        bystanders = [each for each in bystanders if each.found or each.person.name not in once]
        bystanders += [
            _only_face(f"face-{number}", path, held, span, frames)
            for number, path in enumerate(stray)
        ]
        return PeopleOfClip(tuple(bystanders), _cast_faces(own, step * self._gap), tuple(frames))

    @property
    def _gap(self) -> int:
        return max(1, round(_GAP_S * self.looks_per_s))

    def _strangers(
        self,
        frames: Sequence[int],
        pictures: Sequence[Picture],
        known: Sequence[FollowedPerson],
    ) -> list[FollowedPerson]:
        """Return people whom no track follows, each from the first look on to the last."""
        found = [
            _unknown(detections.boxes, [person.box_at(frame) for person in known])
            for frame, detections in zip(frames, self.people.detect(pictures), strict=True)
        ]
        paths = _linked(found, _LINK, 0.0, self._gap)
        return [
            FollowedPerson(f"unknown-{number}", first, boxes)
            for number, path in enumerate(paths)
            for first, boxes in [_filled({frames[look]: box for look, box in path.items()})]
        ]

    def _look(self, frame: int, picture: Picture, everybody: Sequence[FollowedPerson]) -> _Look:
        """Find the faces of one frame, and say whose each is."""
        here = {
            p.name: box for p in everybody if (box := _inside_of(p, frame, picture)) is not None
        }
        found = self._search(picture, list(here.values()))
        claims = {name: plausible(found, frame, box, *_AS_IT_IS) for name, box in here.items()}
        owner = [""] * len(found.boxes)
        for name, matches in share_out(claims).items():
            for match in matches:
                owner[_place_of(match, found)] = name
        return _Look(frame, found.boxes, owner)

    def _search(self, picture: Picture, bodies: Sequence[np.ndarray]) -> FoundFaces:
        """Search all of a picture, and once more, enlarged, where heads of bodies can be."""
        crops = [head_crop(picture, box, _SEARCH_PX, enlarge=True) for box in bodies]
        whole, *parts = self.faces.detect([picture, *(crop for crop, _, _ in crops)])
        boxes, scores, points, yaws = [whole.boxes], [whole.scores], [whole.landmarks], [whole.yaw]
        for part, (_, corner, scale) in zip(parts, crops, strict=True):
            boxes.append(part.boxes / scale + np.tile(corner, 2))
            points.append(part.landmarks / scale + corner)
            scores.append(part.scores)
            yaws.append(part.yaw)
        stacked, sure = np.concatenate(boxes), np.concatenate(scores)
        kept = suppress(stacked, sure, _ONE_FACE)
        height, width = picture.shape[:2]
        return FoundFaces(
            clip_to(stacked[kept], width, height), sure[kept],
            np.concatenate(points)[kept], np.concatenate(yaws)[kept],
        )  # fmt: skip

    def in_picture(self, picture: Picture, mask: np.ndarray | None) -> PeopleOfPicture:
        """Return who is in a reference beside the person of its mask (height, width) uint8."""
        detected = self.people.detect([picture])[0].boxes
        own = _person_of(mask, detected, picture.shape)
        bodies = [box for box in detected if _is_beside(box, own, mask)]
        found = self._search(picture, [own, *bodies])
        claims = {"": [m for m in plausible(found, 0, own, *_AS_IT_IS) if _is_on(m.face, mask)]}
        claims |= {str(n): plausible(found, 0, b, *_AS_IT_IS) for n, b in enumerate(bodies)}
        owners = {_place_of(m, found): name for name, all in share_out(claims).items() for m in all}
        mine = next((found.boxes[place] for place, name in owners.items() if name == ""), None)
        return PeopleOfPicture(
            tuple(box for place, box in enumerate(found.boxes) if owners.get(place) != ""),
            tuple(bodies),
            tuple(head for n, head in enumerate(map(_likely_face, bodies))
                  if str(n) not in owners.values()),
            mine,
        )  # fmt: skip


_AS_IT_IS = (np.zeros(2, np.float32), 1.0)  # corner and scale of a picture that is no crop


def _is_one_of(person: FollowedPerson, cast: Sequence[FollowedPerson]) -> bool:
    """Say whether a track is a second one of a member of the cast."""
    for member in cast:
        shared = [
            _overlap(box, own)
            for place, box in enumerate(person.boxes)
            if (own := member.box_at(person.first_frame + place)) is not None
        ]
        if shared and float(np.median(shared)) > _SAME_PERSON:
            return True
    return False


def _overlap(box: np.ndarray, other: np.ndarray) -> float:
    return float(iou(box[None], other[None])[0, 0])


def _within(box: np.ndarray, other: np.ndarray) -> float:
    return float(inside(box[None], other[None])[0, 0])


def _unknown(boxes: np.ndarray, known: Sequence[np.ndarray | None]) -> np.ndarray:
    """Return the boxes (K, 4) that are neither a known person's nor a part of one."""
    kept = [box for box in boxes if not any(_are_one(box, k) for k in known if k is not None)]
    return np.array(kept, np.float32).reshape(-1, 4)


def _are_one(box: np.ndarray, known: np.ndarray) -> bool:
    part = max(_within(box, known), _within(known, box))
    return _overlap(box, known) > _SAME_PERSON or part > _PART_OF_PERSON


def _linked(
    looks: Sequence[np.ndarray], least: float, reach: float, gap: int
) -> list[dict[int, np.ndarray]]:
    """Join the boxes (K, 4) of looks to paths, {look: box}; the best overlaps are joined first.

    reach: share of a box's sides by which it is grown before it is compared.
    """
    paths: list[dict[int, np.ndarray]] = []
    for look, boxes in enumerate(looks):
        open_paths = [path for path in paths if look - max(path) <= gap]
        pairs = sorted(
            ((-_overlap(_wide(path[max(path)], reach), _wide(box, reach)), p, b)
             for p, path in enumerate(open_paths) for b, box in enumerate(boxes)),
        )  # fmt: skip
        joined_paths, joined = set(), set()
        for overlap, p, b in pairs:
            if -overlap >= least and p not in joined_paths and b not in joined:
                open_paths[p][look] = boxes[b]
                joined_paths.add(p)
                joined.add(b)
        paths += [{look: box} for b, box in enumerate(boxes) if b not in joined]
    return paths


def _wide(box: np.ndarray, reach: float) -> np.ndarray:
    room = reach / 2 * (box[2:] - box[:2])
    return np.concatenate([box[:2] - room, box[2:] + room])


def _filled(boxes: Mapping[int, np.ndarray]) -> tuple[int, np.ndarray]:
    """Return the first frame, and a box for each frame from there to the last, interpolated."""
    frames = sorted(boxes)
    return frames[0], every_frame(frames, np.stack([boxes[frame] for frame in frames]))


def _held(person: FollowedPerson, frames: int, span: tuple[int, int]) -> FollowedPerson:
    """Return the person with the first and the last box held for so many frames more."""
    first = max(span[0], person.first_frame - frames)
    end = min(span[1], person.first_frame + len(person.boxes) + frames)
    before = person.first_frame - first
    after = max(0, end - person.first_frame - len(person.boxes))
    boxes = np.pad(person.boxes, ((before, after), (0, 0)), mode="edge")
    return FollowedPerson(person.name, first, boxes)


def _inside_of(person: FollowedPerson, frame: int, picture: Picture) -> np.ndarray | None:
    """Return the person's box in the picture, or None where there is next to nothing of it."""
    box = person.box_at(frame)
    if box is None:
        return None
    box = clip_to(box, picture.shape[1], picture.shape[0])
    return box if min(box[2] - box[0], box[3] - box[1]) >= 8 else None


def _place_of(match: FaceMatch, found: FoundFaces) -> int:
    return int(iou(match.face[None], found.boxes)[0].argmax())


def _faces_by_person(
    looks: Sequence[_Look], cast: set[str], step: int, gap: int
) -> tuple[
    dict[str, dict[int, np.ndarray]], dict[str, dict[int, np.ndarray]], list[dict[int, np.ndarray]]
]:
    """Return faces by frame: of the cast, of others, and of nobody whose body was found.

    A face is followed, and is whose it is in most looks around: a single look errs where people
    touch, and a path may go over from one face to another where they cross.
    """
    own: dict[str, dict[int, np.ndarray]] = {}
    others: dict[str, dict[int, np.ndarray]] = {}
    stray: list[dict[int, np.ndarray]] = []
    for path in _linked([look.faces for look in looks], _LINK_FACE, _FACE_REACH, gap):
        owners = {look: _owner_of(box, looks[look]) for look, box in path.items()}
        nobodys: dict[int, np.ndarray] = {}
        for look, box in path.items():
            around = Counter(who for at, who in owners.items() if abs(at - look) <= gap)
            name = max(around, key=lambda who: (around[who], who))
            faces = nobodys
            if name != "":
                faces = (own if name in cast else others).setdefault(name, {})
            faces[looks[look].frame] = box
        if nobodys:
            stray.append(nobodys)
    return own, others, stray


def _owner_of(face: np.ndarray, look: _Look) -> str:
    return look.owner[int(iou(face[None], look.faces)[0].argmax())]


def _bystander(
    person: FollowedPerson, faces: Mapping[int, np.ndarray], frames: Sequence[int]
) -> Bystander:
    seen = tuple(frame for frame in frames if person.box_at(frame) is not None)
    found = {frame: face for frame, face in faces.items() if person.box_at(frame) is not None}
    return Bystander(person, _faces_of(person, found), tuple(sorted(found)), seen)


def _faces_of(person: FollowedPerson, found: Mapping[int, np.ndarray]) -> np.ndarray:
    """Return (N, 4): the face in every frame; between finds it goes along with the body."""
    corners, sizes = np.tile(person.boxes[:, :2], 2), _sizes(person.boxes)
    if not found:
        return np.stack([_likely_face(box) for box in person.boxes])
    frames = sorted(found)
    places = np.array(frames) - person.first_frame
    relative = (np.stack([found[frame] for frame in frames]) - corners[places]) / sizes[places]
    wanted = np.arange(len(person.boxes))
    between = [np.interp(wanted, places, relative[:, side]) for side in range(4)]
    return (np.stack(between, axis=1) * sizes + corners).astype(np.float32)


def _sizes(boxes: np.ndarray) -> np.ndarray:
    return np.tile(np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0), 2)


def _likely_face(box: np.ndarray) -> np.ndarray:
    """Return where a body of this shape has its head."""
    width, height = float(box[2] - box[0]), float(box[3] - box[1])
    unit = np.array([width, min(width, height)] * 2)
    return (np.tile(box[:2], 2) + np.array(_HEAD) * unit).astype(np.float32)


def _only_face(
    name: str,
    faces: Mapping[int, np.ndarray],
    held: int,
    span: tuple[int, int],
    frames: Sequence[int],
) -> Bystander:
    person = _held(FollowedPerson(name, *_filled(faces)), held, span)
    seen = tuple(frame for frame in frames if person.box_at(frame) is not None)
    return Bystander(person, person.boxes, tuple(sorted(faces)), seen, body=False)


def _cast_faces(
    own: Mapping[str, Mapping[int, np.ndarray]], gap: int
) -> dict[int, tuple[np.ndarray, ...]]:
    """Return the characters' faces by frame, interpolated where they were found on both sides."""
    by_frame: dict[int, tuple[np.ndarray, ...]] = {}
    for faces in own.values():
        for stretch in _stretches(faces, gap):
            first, boxes = _filled(stretch)
            for place, box in enumerate(boxes):
                by_frame[first + place] = (*by_frame.get(first + place, ()), box)
    return by_frame


def _stretches(faces: Mapping[int, np.ndarray], gap: int) -> Iterator[dict[int, np.ndarray]]:
    """Yield the faces in stretches without a gap of more frames than that."""
    stretch: dict[int, np.ndarray] = {}
    for frame in sorted(faces):
        if stretch and frame - max(stretch) > gap:
            yield stretch
            stretch = {}
        stretch[frame] = faces[frame]
    if stretch:
        yield stretch


def _person_of(mask: np.ndarray | None, detected: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the box of a reference's person: of its mask, else the largest, else all of it."""
    if mask is not None and (mask > 127).any():
        rows, columns = np.nonzero(mask > 127)
        sides = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        return np.array(sides, np.float32)
    if len(detected):
        return detected[int(np.argmax((detected[:, 2:] - detected[:, :2]).prod(axis=1)))]
    return np.array([0, 0, shape[1], shape[0]], np.float32)


def _is_beside(box: np.ndarray, own: np.ndarray, mask: np.ndarray | None) -> bool:
    """Say whether a person of a reference is not the one of its mask."""
    if mask is not None and _share_of(box, mask) <= _BESIDE:
        return True
    return not _are_one(box, own)


def _is_on(face: np.ndarray, mask: np.ndarray | None) -> bool:
    return mask is None or _share_of(face, mask) >= _COVERED


def _share_of(box: np.ndarray, mask: np.ndarray) -> float:
    x0, y0 = np.maximum(np.floor(box[:2]), 0).astype(int)
    x1, y1 = np.ceil(box[2:]).astype(int)
    part = mask[y0:y1, x0:x1]
    return float((part > 127).mean()) if part.size else 0.0
