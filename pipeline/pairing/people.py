"""Judge each track by what its clip is for: a lone person, a group's main one, a reference."""

import functools
from dataclasses import dataclass, replace

import numpy as np

from pipeline.execution.stage import Rejected
from pipeline.observing.tracks import PeopleConfig
from schemas.settings import check_settings, setting
from schemas.tables import Clip, Track

_RIM = 0.01  # of the picture's side: a box this near to it is cut by it
_INSIDE = 0.9  # share of the frames in which a whole body is inside the picture


@dataclass(frozen=True)
class GroupsConfig:
    """Who of a group of more than pair.people.max_people may be a sample: who is followed cleanly.

    Attributes:
        max_people: median number in a frame; above it is a crowd.
        min_coverage: share of the clip's frames with the person.
        min_purity: share of the looks that agree.
        min_area: share of the picture.
        min_face_rate: share of the examined stills with the person's face; without one, who walks
            in a crowd is easily mistaken for another.
    """

    max_people: int = setting(8, low=1, high=1000)
    min_coverage: float = setting(0.9, above=0, high=1)
    min_purity: float = setting(0.9, above=0, high=1)
    min_area: float = setting(0.06, above=0, high=1)
    min_face_rate: float = setting(0.5, above=0, high=1)

    def __post_init__(self) -> None:
        check_settings(self, "pair.groups")

    def admit(self, track: Track) -> bool:
        return (
            track.coverage >= self.min_coverage
            and track.purity >= self.min_purity
            and track.area >= self.min_area
            and track.face_rate >= self.min_face_rate
        )


def check_track(
    track: Track, clip: Clip, people: PeopleConfig, groups: GroupsConfig
) -> Rejected | None:
    """Return why a track is refused, or None."""
    is_admitted, is_inside = groups.admit(track), _is_inside(track, clip)
    return _thresholds(people, groups, is_admitted, clip.reference_only, is_inside).check(
        track, clip
    )


@functools.cache
def _thresholds(
    people: PeopleConfig,
    groups: GroupsConfig,
    is_admitted: bool,
    reference_only: bool,
    is_inside: bool,
) -> PeopleConfig:
    """Return what is asked of a track of this kind."""
    if is_admitted:
        people = replace(people, max_people=max(people.max_people, groups.max_people))
    if reference_only:  # half a second shows no motion, and few faces
        people = replace(people, min_s=0.0, min_motion=0.0, min_faces=min(people.min_faces, 1))
    if is_inside:  # lying or bent, a whole body is not upright
        people = replace(people, min_body_aspect=0.0)
    return people


def check_spare(
    track: Track, clip: Clip, people: PeopleConfig, groups: GroupsConfig
) -> Rejected | None:
    """Return why a track may not even be a reference of other clips, or None.

    Who is seen for too short a part of a clip to be trained on is seen all the same.
    """
    return check_track(track, clip, _for_references(people), groups)


@functools.cache
def _for_references(people: PeopleConfig) -> PeopleConfig:
    fewer = min(people.min_faces, 1)
    return replace(people, min_s=0.0, min_coverage=0.0, min_faces=fewer)


def _is_inside(track: Track, clip: Clip) -> bool:
    """Whether the sides of the picture hardly ever cut the person off."""
    boxes = np.asarray(track.boxes, dtype=float).reshape(-1, 4)
    size = np.array([clip.width, clip.height])
    inside = (boxes[:, :2] > _RIM * size) & (boxes[:, 2:] < (1 - _RIM) * size)
    return bool(len(boxes)) and float(inside.all(axis=1).mean()) >= _INSIDE
