"""What time and place alone say about two tracks: two people, or one person seen twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from schemas.tables import Clip, Track

MIN_COMMON_FRAMES = 3  # fewer common frames decide nothing about two overlapping clips
SAME_PICTURE = 0.01  # clips whose crops differ by more than this share are not compared by place


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
    same moments decides, at or above `one_person`, at or below `two_people`, nothing between.
    """
    apart, together = set(), set()
    for first, second in _neighbours(tracks, clips):
        pair = tuple(sorted((first.track_id, second.track_id)))
        if first.clip_id == second.clip_id:
            if _share_a_frame(first, second):
                apart.add(pair)
            continue
        overlap = _overlap(first, clips[first.clip_id], second, clips[second.clip_id])
        if overlap is None:
            continue
        if overlap >= one_person:
            together.add(pair)
        elif overlap <= two_people:
            apart.add(pair)
    return Constraints(frozenset(apart), frozenset(together))


def _neighbours(tracks: Sequence[Track], clips: Mapping[str, Clip]) -> list[tuple[Track, Track]]:
    """Return the pairs of tracks whose clips overlap in one source video."""
    by_video: dict[str, list[Track]] = {}
    for track in tracks:
        by_video.setdefault(track.video_id, []).append(track)
    pairs = []
    for members in by_video.values():
        members.sort(key=lambda track: (clips[track.clip_id].start_s, track.track_id))
        running: list[Track] = []
        for track in members:
            start_s = clips[track.clip_id].start_s
            running = [other for other in running if clips[other.clip_id].end_s > start_s]
            pairs += [(other, track) for other in running]
            running.append(track)
    return pairs


def _share_a_frame(first: Track, second: Track) -> bool:
    last = min(each.first_frame + len(each.boxes) for each in (first, second))
    return max(first.first_frame, second.first_frame) < last


def _overlap(first: Track, clip: Clip, second: Track, other: Clip) -> float | None:
    """Return the mean IoU at the moments that both show, None when that says nothing."""
    crops_differ = abs(clip.cropped - other.cropped) > SAME_PICTURE
    if crops_differ or clip.width * other.height != clip.height * other.width:
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
