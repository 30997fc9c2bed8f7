"""What time and place alone say about two tracks: two people, or one person seen twice."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.dataset.row_sets import grouped, together
from schemas.tables import Clip, Track

MIN_COMMON_FRAMES = 3  # fewer common frames decide nothing about two overlapping clips
SAME_PICTURE = 0.01  # clips whose crops differ by more than this share are not compared by place
NEXT_S = 0.25  # a clip that begins this soon after another of its shot goes on with it
# Who comes back to the same place within this time may be told by clothes. People who did lay up to
# 10 s apart; two men in black, seen from behind, stood on one spot 30 s apart.
BACK_S = 20.0
EDGE_S = 0.15  # a track that ends or begins this near its clip's end or start goes on there


@dataclass(frozen=True)
class Constraints:
    """Pairs of track ids, each pair sorted."""

    apart: frozenset[tuple[str, str]]  # two people
    together: frozenset[tuple[str, str]]  # one person


def constraints(
    tracks: Sequence[Track], clips: Mapping[str, Clip], one_person: float, two_people: float
) -> Constraints:
    """Read pairs off time and place.

    Two tracks in one clip that share a frame are two people. Clips of one shot may overlap in
    time (stride shorter than length): there the mean intersection over union of the boxes at the
    same moments decides, at or above `one_person`, at or below `two_people`, nothing between. Where
    one clip goes on where another of its shot ended, the boxes there prove one person alike.
    """
    apart, together = set(), set()
    for first, second in _neighbours(tracks, clips):
        pair = tuple(sorted((first.track_id, second.track_id)))
        if first.clip_id == second.clip_id:
            if _share_a_frame(first, second):
                apart.add(pair)
            continue
        here, there = clips[first.clip_id], clips[second.clip_id]
        if here.end_s <= there.start_s:
            if _goes_on(first, here, second, there) >= one_person:
                together.add(pair)
            continue
        overlap = _overlap(first, here, second, there)
        if overlap is None:
            continue
        if overlap >= one_person:
            together.add(pair)
        elif overlap <= two_people:
            apart.add(pair)
    return Constraints(frozenset(apart), frozenset(together))


def _neighbours(
    tracks: Sequence[Track], clips: Mapping[str, Clip]
) -> Iterator[tuple[Track, Track]]:
    """Yield the pairs of tracks whose clips overlap in one video, or follow at once, in order."""
    for _, members in grouped(tracks, "video_id"):
        filmed = together(clips, (track.clip_id for track in members))
        members.sort(key=lambda track: (filmed[track.clip_id].start_s, track.track_id))
        running: list[Track] = []
        for track in members:
            start_s = filmed[track.clip_id].start_s
            running = [each for each in running if filmed[each.clip_id].end_s > start_s - NEXT_S]
            for other in running:
                yield other, track
            running.append(track)


def _share_a_frame(first: Track, second: Track) -> bool:
    last = min(each.first_frame + len(each.boxes) for each in (first, second))
    return max(first.first_frame, second.first_frame) < last


def returns(
    tracks: Sequence[Track], clips: Mapping[str, Clip], one_person: float
) -> list[tuple[str, str]]:
    """Return pairs of one shot of which the second begins where the first has ended, by place.

    Up to BACK_S may lie between them: it is somebody who came back, or another in the same place.
    """
    pairs = []
    for _, rows in grouped(tracks, "shot_id"):
        members = [(_begins_s(track, clips[track.clip_id]), track) for track in rows]
        members.sort(key=lambda member: (member[0], member[1].track_id))
        times = [begins_s for begins_s, _ in members]
        for begins_s, first in members:
            here = clips[first.clip_id]
            ends_s = begins_s + len(first.boxes) / here.fps
            later = slice(bisect_left(times, ends_s), bisect_right(times, ends_s + BACK_S))
            pairs += [
                (first.track_id, second.track_id)
                for _, second in members[later]
                if _meet(first, here, second, clips[second.clip_id]) >= one_person
            ]
    return pairs


def _begins_s(track: Track, clip: Clip) -> float:
    return clip.start_s + track.first_frame / clip.fps


def _goes_on(first: Track, clip: Clip, second: Track, following: Clip) -> float:
    """Return the IoU of where one track ends and the next begins, 0 where they do not meet."""
    ends = (clip.num_frames - first.first_frame - len(first.boxes)) / clip.fps
    begins = second.first_frame / following.fps
    if clip.shot_id != following.shot_id or max(ends, begins) > EDGE_S:
        return 0.0
    return _meet(first, clip, second, following)


def _meet(first: Track, clip: Clip, second: Track, later: Clip) -> float:
    """Return the IoU of a track's last box and another's first, 0 where the crops differ."""
    if not _same_picture(clip, later):
        return 0.0
    there = np.asarray(second.boxes[0]) * (clip.width / later.width)
    return box_iou(first.boxes[-1], there.tolist())


def _same_picture(clip: Clip, other: Clip) -> bool:
    alike = abs(clip.cropped - other.cropped) <= SAME_PICTURE
    return alike and clip.width * other.height == clip.height * other.width


def _overlap(first: Track, clip: Clip, second: Track, other: Clip) -> float | None:
    """Return the mean IoU at the moments that both show, None when that says nothing."""
    if not _same_picture(clip, other):
        return None
    ratios = []
    for index, box in enumerate(first.boxes, start=first.first_frame):
        time_s = clip.start_s + index / clip.fps
        frame = round((time_s - other.start_s) * other.fps) - second.first_frame
        if 0 <= frame < len(second.boxes):
            there = np.asarray(second.boxes[frame]) * (clip.width / other.width)
            ratios.append(box_iou(box, there.tolist()))
    return float(np.mean(ratios)) if len(ratios) >= MIN_COMMON_FRAMES else None


def box_iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Return intersection over union of two xyxy boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return common / (areas - common) if areas > common else 0.0
