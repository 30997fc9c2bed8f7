"""Compare what a curation says about people with what an eye saw.

The truth (`tests/golden/people_truth.json`) has, at some moments of each video, the box of every
person. Everything here is arithmetic on a dataset's tables and that file; nothing is decoded.
"""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.media.bars import NO_BARS, Bars
from pipeline.pictures.boxes import inside, iou
from schemas.tables import Clip, Reference, Track

SAME = 0.5  # overlap from which a box shows a person, as in most detection benchmarks
IGNORED = 0.5  # share of a box in an ignored part of the picture, from which it is not counted
NEAR_S = 1.01  # a moment this far from the next labelled one is judged by that one


@dataclass(frozen=True)
class Seen:
    """One person at one moment, by eye; the box in shares of the picture."""

    box: np.ndarray
    whole: bool  # head and feet
    face: bool  # a recogniser may know it


@dataclass(frozen=True)
class Moment:
    """Everybody at one moment of a video."""

    time_s: float  # in the file, as clips count it
    people: Mapping[str, Seen]
    ignore: np.ndarray  # (K, 4) in shares of the picture


@dataclass(frozen=True)
class Truth:
    """One video by eye."""

    moments: tuple[Moment, ...]
    path: str = ""  # below the folder of media
    tuned_on: bool = False  # thresholds were set on these people

    @property
    def people(self) -> set[str]:
        return {name for moment in self.moments for name in moment.people}


def load_truth(path: Path) -> dict[str, Truth]:
    """Return the truth by the name of the file, without its folder."""
    content = json.loads(path.read_text())
    return {
        name.rsplit("/", 1)[-1]: _truth(name, video, name in content["tuned_on"])
        for name, video in content["videos"].items()
    }


def _truth(path: str, video: dict, tuned_on: bool) -> Truth:
    size = np.array([video["width"], video["height"]] * 2, np.float32)
    moments = []
    for frame in video["frames"]:
        people = {
            name: Seen(np.array(one["box"]) / size, one.get("whole", False), one.get("face", False))
            for name, one in frame["people"].items()
        }
        ignored = [*video["ignore"], *frame.get("ignore", [])]
        time_s = video.get("start_s", 0.0) + frame["time_s"]
        moments.append(Moment(time_s, people, np.array(ignored, np.float32).reshape(-1, 4) / size))
    return Truth(tuple(moments), path, tuned_on)


@dataclass(frozen=True)
class Place:
    """The way from a clip's pixels to shares of the upright source picture."""

    clip: Clip
    width: int  # of the source, upright, square pixels
    height: int
    bars: Bars = NO_BARS

    def boxes(self, track: Track, time_s: float) -> np.ndarray | None:
        """Return a track's box (4,) at a moment of the source, or None where it has none."""
        frame = round((time_s - self.clip.start_s) * self.clip.fps) - track.first_frame
        if not 0 <= frame < len(track.boxes):
            return None
        scaled = np.array([self.width, self.height] * 2) * self.clip.scale
        size = np.array([self.clip.width, self.clip.height] * 2)
        bars = self.bars
        uneven = np.array([bars.left - bars.right, bars.above - bars.below] * 2)
        corner = (np.maximum(scaled - size, 0) + scaled * uneven) / 2
        return (np.array(track.boxes[frame]) + corner) / scaled


@dataclass
class Score:
    """Counts that add up over clips and videos."""

    expected: int = 0  # people at labelled moments inside clips
    found: int = 0  # of them, with a track's box on them
    false: int = 0  # boxes of tracks with nobody under them
    switches: int = 0  # a person's track is another one than before
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    who: dict[str, Counter] = field(default_factory=lambda: defaultdict(Counter))
    moments: dict[tuple[str, float], str] = field(default_factory=dict)

    @property
    def precision(self) -> float:
        return self.found / max(self.found + self.false, 1)

    @property
    def recall(self) -> float:
        return self.found / max(self.expected, 1)

    def person_of(self, track_id: str) -> str:
        """Return whom a track mostly shows, '' for nobody."""
        return self.who[track_id].most_common(1)[0][0] if self.who.get(track_id) else ""

    def add(self, other: "Score") -> None:
        """Add another clip's or video's counts."""
        for name in ("expected", "found", "false", "switches"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.ids.update(other.ids)
        self.who.update(other.who)
        self.moments.update(other.moments)


def match(boxes: np.ndarray, people: np.ndarray) -> list[tuple[int, int]]:
    """Pair boxes with people one to one: most pairs that overlap enough, then most overlap."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    if not len(boxes) or not len(people):
        return []
    overlap = iou(boxes, people)
    gain = np.where(overlap >= SAME, 1 + overlap, 0)
    rows, columns = linear_sum_assignment(-gain)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if overlap[row, column] >= SAME]


def score_clip(place: Place, tracks: Sequence[Track], truth: Truth) -> Score:
    """Follow the labelled moments of one clip in time."""
    score, last = Score(), {}
    for moment in truth.moments:
        if not place.clip.start_s <= moment.time_s < place.clip.end_s:
            continue
        placed = [(track, place.boxes(track, moment.time_s)) for track in tracks]
        seen = [(track, box) for track, box in placed if box is not None]
        boxes = np.array([box for _, box in seen], np.float32).reshape(-1, 4)
        names = sorted(moment.people)
        known = np.array([moment.people[name].box for name in names], np.float32).reshape(-1, 4)
        matched = dict(match(boxes, known))
        score.expected += len(names)
        score.found += len(matched)
        for index, (track, box) in enumerate(seen):
            if index not in matched:
                score.false += not _ignored(box, moment.ignore)
                continue
            name = names[matched[index]]
            score.switches += last.get(name, track.track_id) != track.track_id
            last[name] = track.track_id
            score.ids[name].add(track.track_id)
            score.who[track.track_id][name] += 1
            score.moments[track.track_id, moment.time_s] = name
    return score


def _ignored(box: np.ndarray, ignore: np.ndarray) -> bool:
    return len(ignore) > 0 and float(inside(box[None].astype(np.float32), ignore).max()) >= IGNORED


@dataclass(frozen=True)
class Pairs:
    """Pairs of tracks that show one person: by eye, by the curation, by both."""

    true: int
    claimed: int
    right: int
    wrong_across: int = 0  # claimed of two people in two videos

    @property
    def precision(self) -> float:
        return self.right / self.claimed if self.claimed else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        return 2 * self.right / max(self.true + self.claimed, 1)


def identity_pairs(
    person: Mapping[str, str],
    character: Mapping[str, str],
    video: Mapping[str, str] | None = None,
) -> Pairs:
    """Compare two groupings of the same tracks, over all pairs of tracks.

    `person` is by eye, '' for a track that shows nobody: such a one belongs with no other. `video`
    says where a track is seen.
    """
    true = claimed = right = across = 0
    for one, other in itertools.combinations(sorted(character), 2):
        same = bool(person[one]) and person[one] == person[other]
        said = character[one] == character[other]
        true, claimed, right = true + same, claimed + said, right + (same and said)
        across += said and not same and video is not None and video[one] != video[other]
    return Pairs(true, claimed, right, across)


@dataclass(frozen=True)
class Clusters:
    """How well a grouping of tracks agrees with who they show; shares from 0 to 1."""

    bcubed_precision: (
        float  # of a track's character, those who are its person; the mean over tracks
    )
    bcubed_recall: float  # of a person's tracks, those in the track's character
    nmi: float  # mutual information over the mean of the two entropies
    wcp: (
        float  # weighted cluster purity: tracks that show the person whom their character mostly is
    )
    predicted: int  # characters
    true: int  # people


def clusters_of(person: Mapping[str, str], character: Mapping[str, str]) -> Clusters:
    """Compare two groupings of tracks, as for `identity_pairs`; who shows nobody is nobody else."""
    people = [person[track] or track for track in sorted(character)]
    groups = [character[track] for track in sorted(character)]
    names, who = np.unique(people, return_inverse=True)
    ids, which = np.unique(groups, return_inverse=True)
    table = np.zeros((len(ids), len(names)))
    np.add.at(table, (which, who), 1)
    number = max(float(table.sum()), 1.0)
    sizes, shown = table.sum(axis=1, keepdims=True), table.sum(axis=0, keepdims=True)
    return Clusters(
        bcubed_precision=float((table**2 / np.maximum(sizes, 1)).sum() / number),
        bcubed_recall=float((table**2 / np.maximum(shown, 1)).sum() / number),
        nmi=_nmi(table / number),
        wcp=float(table.max(axis=1, initial=0).sum() / number),
        predicted=len(ids),
        true=len(names),
    )


def _nmi(joint: np.ndarray) -> float:
    rows, columns = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    entropy = -sum(float((p[p > 0] * np.log(p[p > 0])).sum()) for p in (rows, columns)) / 2
    seen = joint > 0
    shared = float((joint[seen] * np.log((joint / (rows * columns))[seen])).sum())
    return shared / entropy if entropy > 0 else 1.0


@dataclass
class References:
    """How well references were chosen."""

    number: int = 0
    right: int = 0  # of the person whom the clip's track shows
    own_clip: int = 0
    # samples with a reference at a labelled moment, of a person whose whole body is seen somewhere
    could_be_whole: int = 0
    whole: int = 0  # of them, those with a reference that shows it
    flags: int = 0  # references at labelled moments
    flags_right: int = 0  # of them, those whose `whole_body` is what the eye says


def judge_references(
    samples: Iterable[tuple[str, str, Sequence[Reference]]],
    score: Score,
    truths: Mapping[str, Truth],
    video_of: Mapping[str, str],
) -> References:
    """Judge samples (track_id, clip_id, references); `video_of` gives a track's file."""
    result = References()
    whole_people = {
        name
        for truth in truths.values()
        for moment in truth.moments
        for name, seen in moment.people.items()
        if seen.whole
    }
    for track_id, clip_id, references in samples:
        person = score.person_of(track_id)
        shown = [_shown(ref, score, truths[video_of[ref.track_id]]) for ref in references]
        result.number += len(references)
        result.right += sum(name == person != "" for name, _ in shown)
        result.own_clip += sum(ref.clip_id == clip_id for ref in references)
        if person in whole_people and any(seen is not None for _, seen in shown):
            result.could_be_whole += 1
            result.whole += any(seen is not None and seen.whole for _, seen in shown)
        for ref, (_, seen) in zip(references, shown, strict=True):
            if seen is not None:
                result.flags += 1
                result.flags_right += seen.whole == ref.whole_body
    return result


def _shown(reference: Reference, score: Score, truth: Truth) -> tuple[str, Seen | None]:
    """Return whom a reference shows, by its track at the nearest labelled moment."""
    near = sorted(truth.moments, key=lambda moment: abs(moment.time_s - reference.time_s))
    for moment in near:
        if abs(moment.time_s - reference.time_s) > NEAR_S:
            break
        name = score.moments.get((reference.track_id, moment.time_s))
        if name is not None:
            return name, moment.people[name]
    return score.person_of(reference.track_id), None
