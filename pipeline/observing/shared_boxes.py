"""Find boxes that hold two people, where a detector sees only one.

Who steps behind somebody is lost in that one's box, or comes out of it again: a track ends or
begins inside another's box, away from the sides of the picture. In between the box is of both.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np

from pipeline.pictures.boxes import inside, iou
from schemas.tables import Clip, Track

_INSIDE = 0.6  # share of who is hidden that lies in the other's box
# IoU from which a detector may take two for one; one who covers a smaller other keeps an own box:
# a girl behind whom a boy kneels had 0.3, two girls in one box 0.44 and more.
_MERGED = 0.4
_SIDE = 0.02  # of the picture's width: nearer to its side somebody leaves or enters there
_FACES_SEEN = 2  # of who is lost: weak second boxes on one person show none


@dataclass(frozen=True)
class _Meeting:
    """A track that ends or begins in another's box; frames and pixels of the clip."""

    frame: int
    ends: bool
    box: np.ndarray


@dataclass(frozen=True)
class _Hidden:
    """Somebody who is not seen in frames [first, end), and where that was last or is next."""

    first: int
    end: int
    box: np.ndarray


def shared_frames(tracks: Sequence[Track], clip: Clip) -> dict[str, Set[int]]:
    """Return, for the tracks of one clip, the frames in which their box is somebody else's too."""
    people = list(_hidden(sorted(_meetings(tracks, clip), key=_in_time), clip.num_frames))
    return {
        track.track_id: {frame for one in people for frame in _frames_around(track, one)}
        for track in tracks
    }


def _meetings(tracks: Sequence[Track], clip: Clip) -> Iterator[_Meeting]:
    for track in tracks:
        seen = np.flatnonzero(track.detected)
        if len(track.faces) < _FACES_SEEN or not len(seen):
            continue
        for ends, place in ((False, int(seen[0])), (True, int(seen[-1]))):
            frame = track.first_frame + place
            box = np.asarray(track.boxes[place], np.float32)
            goes_on = track.first_frame + len(track.boxes) >= clip.num_frames
            at_rim = goes_on if ends else track.first_frame == 0
            if not at_rim and not _at_side(box, clip) and _merges(box, frame, track, tracks):
                yield _Meeting(frame, ends, box)


def _at_side(box: np.ndarray, clip: Clip) -> bool:
    return bool(box[0] < _SIDE * clip.width or box[2] > (1 - _SIDE) * clip.width)


def _merges(box: np.ndarray, frame: int, track: Track, tracks: Sequence[Track]) -> bool:
    """Whether a box lies so in that of another track that a detector may take both for one."""
    others = [_box_at(other, frame) for other in tracks if other is not track]
    return any(
        bool(iou(box[None], other) >= _MERGED) and bool(inside(box[None], other) >= _INSIDE)
        for other in others
        if len(other)
    )


def _box_at(track: Track, frame: int) -> np.ndarray:
    """Return the track's box in a frame, (1, 4), or (0, 4) where it has none."""
    place = frame - track.first_frame
    boxes = track.boxes[place : place + 1] if place >= 0 else []
    return np.asarray(boxes, np.float32).reshape(-1, 4)


def _in_time(meeting: _Meeting) -> tuple[int, bool, list[float]]:
    return meeting.frame, not meeting.ends, meeting.box.tolist()


def _hidden(meetings: Sequence[_Meeting], num_frames: int) -> Iterator[_Hidden]:
    """Yield who is hidden from when to when: lost and seen again, or one of the two."""
    lost: list[_Meeting] = []
    for meeting in meetings:
        if meeting.ends:
            lost.append(meeting)
            continue
        first = lost.pop(0).frame + 1 if lost else 0
        yield _Hidden(first, meeting.frame, meeting.box)
    for meeting in lost:
        yield _Hidden(meeting.frame + 1, num_frames, meeting.box)


def _frames_around(track: Track, person: _Hidden) -> Iterator[int]:
    first = max(person.first, track.first_frame)
    end = min(person.end, track.first_frame + len(track.boxes))
    if first >= end:
        return
    places = slice(first - track.first_frame, end - track.first_frame)
    boxes = np.asarray(track.boxes[places], np.float32)
    held = inside(person.box[None], boxes)[0] >= _INSIDE
    yield from (first + np.flatnonzero(held)).tolist()
