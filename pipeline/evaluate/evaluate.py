"""The whole evaluation on one screen: watch everything once, measure every system on every item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.evaluate.measure import Case, Measures, frame_cosines, measure, reference_face
from pipeline.evaluate.measurers import Measurers
from pipeline.evaluate.protocols import Protocol
from pipeline.evaluate.systems import (
    GROUND_TRUTH,
    MODEL,
    OTHER,
    SHUFFLED,
    STILL,
    somebody_else,
    why_left_out,
)
from pipeline.evaluate.watch import SeenFrame, SeenVideo, still_video, watch_picture, watch_video
from pipeline.execution.progress import Progress
from pipeline.media.images import decode_image
from schemas.benchmark import Benchmark, Item


@dataclass(frozen=True)
class MeasuredVideo:
    """One video of one system, measured."""

    system: str
    item_id: str
    identity: str
    num_frames: int
    measures: Measures
    cosines: list[float | None]  # of the frames that the protocol looks at
    strata: dict[str, str]  # what kind of clip it is, by the kind's name


@dataclass(frozen=True)
class ShownItem:
    """What a report shows of an item."""

    item: Item
    reference: np.ndarray = field(repr=False)
    videos: dict[str, SeenVideo] = field(repr=False)  # by system


@dataclass(frozen=True)
class Evaluation:
    """All that was measured by one protocol."""

    protocol: Protocol
    rows: list[MeasuredVideo]
    shown: list[ShownItem]
    left_out: dict[str, str]  # system or item -> why


@dataclass(frozen=True)
class _Watched:
    """An item as one protocol sees it."""

    item: Item
    picture: np.ndarray
    references: tuple[SeenFrame, ...]  # of each character, the first with a face
    truth: SeenVideo
    made: SeenVideo | None
    text: np.ndarray | None

    def case(self) -> Case:
        return Case(self.references[0], self.references[1:], self.truth, self.text)

    def still(self) -> SeenVideo:
        return still_video(self.picture, self.references[0], self.truth)


def evaluate(
    folder: Path,
    benchmark: Benchmark,
    videos: Mapping[str, Path],
    protocols: Sequence[Protocol],
    by: Measurers,
    seed: int = 0,
) -> list[Evaluation]:
    """Measure the videos (by item id; none for the controls alone) and the controls.

    Every file is looked at once, whatever the number of protocols.
    """
    watched: list[list[_Watched]] = []
    with Progress("evaluate", len(benchmark.items), unit="items") as progress:
        for item in benchmark.items:
            watched.append(_watch(folder, item, videos.get(item.item_id), protocols, by))
            progress.advance(1)
    other = somebody_else(benchmark.items, seed)
    return [
        _measure({one[place].item.item_id: one[place] for one in watched}, other, protocol, videos)
        for place, protocol in enumerate(protocols)
    ]


def _measure(
    watched: Mapping[str, _Watched],
    other: Mapping[str, Item],
    protocol: Protocol,
    videos: Mapping[str, Path],
) -> Evaluation:
    """Measure every system on every item by one protocol."""
    left_out = why_left_out([one.item for one in watched.values()], other, bool(videos))
    rows, shown = [], []
    for item_id, one in watched.items():
        if reference_face(one.references[0]) is None:
            left_out[item_id] = "no face is found in its references: nothing of faces is measured"
        if videos and one.made is None:
            left_out[item_id] = "no video of it was made"
        systems = {GROUND_TRUTH: (one.truth, one.case()), STILL: (one.still(), one.case())}
        if one.made is not None:
            systems[MODEL] = (one.made, one.case())
        if item_id in other:
            stranger = watched[other[item_id].item_id]
            systems[OTHER] = (stranger.truth, one.case())
            if one.made is not None:
                systems[SHUFFLED] = (one.made, stranger.case())
        rows += [_row(name, one.item, video, case, protocol)
                 for name, (video, case) in systems.items()]  # fmt: skip
        shown.append(
            ShownItem(one.item, one.picture, {k: video for k, (video, _) in systems.items()})
        )
    return Evaluation(protocol, rows, shown, left_out)


def _row(
    system: str, item: Item, video: SeenVideo, case: Case, protocol: Protocol
) -> MeasuredVideo:
    return MeasuredVideo(
        system,
        item.item_id,
        item.main.identity,
        len(video.frames),
        measure(video, case, protocol),
        frame_cosines(video, case, protocol),
        strata_of(item),
    )


def strata_of(item: Item) -> dict[str, str]:
    """Return the groups of items that are averaged apart; unknown ones are left out."""
    people = {0: "", 1: "one person", 2: "two people"}.get(item.num_people, "three or more people")
    named = {"shot_size": item.shot_size, "people": people}
    return {name: group for name, group in named.items() if group}


def _watch(
    folder: Path, item: Item, made: Path | None, protocols: Sequence[Protocol], by: Measurers
) -> list[_Watched]:
    references = [
        _reference(folder, [one.path for one in character.references], protocols, by)
        for character in item.characters
    ]
    truth = watch_video(str(folder / item.clip.path), protocols, by)
    videos = watch_video(str(made), protocols, by) if made else [None] * len(protocols)
    text = None if by.clip is None else by.clip.embed_texts([item.prompt])[0]
    return [
        _Watched(
            item,
            references[0][0],
            tuple(seen[place] for _, seen in references),
            truth[place],
            videos[place],
            text,
        )
        for place in range(len(protocols))
    ]


def _reference(
    folder: Path, paths: Sequence[str], protocols: Sequence[Protocol], by: Measurers
) -> tuple[np.ndarray, list[SeenFrame]]:
    """Return the first reference in which a face is known, else the first."""
    first = None
    for path in paths:
        picture = decode_image((folder / path).read_bytes())
        seen = watch_picture(picture, protocols, by)
        first = first or (picture, seen)
        if any(reference_face(one) is not None for one in seen):
            return picture, seen
    assert first is not None, "an item has references"
    return first
