"""The whole evaluation on one screen: watch everything once, measure every system on every item."""

from collections.abc import Mapping
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
from pipeline.evaluate.watch import SeenFrame, SeenVideo, still_video, watch_pictures, watch_video
from pipeline.media import decode_image
from pipeline.show.funnel import Progress
from schemas.benchmark import Benchmark, Item


@dataclass(frozen=True)
class Row:
    """One video of one system, measured."""

    system: str
    item_id: str
    identity: str
    num_frames: int
    measures: Measures
    cosines: list[float | None]  # of the frames that the protocol looks at


@dataclass(frozen=True)
class Shown:
    """What a report shows of an item."""

    item: Item
    reference: np.ndarray = field(repr=False)
    videos: dict[str, SeenVideo] = field(repr=False)  # by system


@dataclass(frozen=True)
class Evaluation:
    """All that was measured by one protocol."""

    protocol: Protocol
    rows: list[Row]
    shown: list[Shown]
    left_out: dict[str, str]  # system or item -> why


@dataclass(frozen=True)
class _Watched:
    item: Item
    picture: np.ndarray
    references: tuple[SeenFrame, ...]  # of each character, the first with a face
    truth: SeenVideo
    made: SeenVideo | None
    text: np.ndarray | None

    def case(self) -> Case:
        return Case(self.references[0], self.references[1:], self.truth, self.text)


def evaluate(
    folder: Path,
    benchmark: Benchmark,
    videos: Mapping[str, Path],
    protocol: Protocol,
    by: Measurers,
    seed: int = 0,
) -> Evaluation:
    """Measure the videos (by item id; none for the controls alone) and the controls."""
    other = somebody_else(benchmark.items, seed)
    left_out = why_left_out(benchmark.items, other, bool(videos))
    watched = {}
    with Progress(protocol.name, len(benchmark.items), unit="items") as progress:
        for item in benchmark.items:
            watched[item.item_id] = _watch(folder, item, videos.get(item.item_id), protocol, by)
            progress.advance(1)
    rows, shown = [], []
    for item_id, one in watched.items():
        if reference_face(one.references[0]) is None:
            left_out[item_id] = "no face is found in its references: nothing of faces is measured"
        if videos and one.made is None:
            left_out[item_id] = "no video of it was made"
        still = still_video(one.picture, one.truth, protocol, by)
        systems = {GROUND_TRUTH: (one.truth, one.case()), STILL: (still, one.case())}
        if one.made is not None:
            systems[MODEL] = (one.made, one.case())
        if item_id in other:
            stranger = watched[other[item_id].item_id]
            systems[OTHER] = (stranger.truth, one.case())
            if one.made is not None:
                systems[SHUFFLED] = (one.made, stranger.case())
        rows += [_row(name, one.item, video, case, protocol)
                 for name, (video, case) in systems.items()]  # fmt: skip
        shown.append(Shown(one.item, one.picture, {k: video for k, (video, _) in systems.items()}))
    return Evaluation(protocol, rows, shown, left_out)


def _row(system: str, item: Item, video: SeenVideo, case: Case, protocol: Protocol) -> Row:
    return Row(
        system,
        item.item_id,
        item.main.identity,
        len(video.frames),
        measure(video, case, protocol),
        frame_cosines(video, case, protocol),
    )


def _watch(
    folder: Path, item: Item, made: Path | None, protocol: Protocol, by: Measurers
) -> _Watched:
    pictures, references = [], []
    for character in item.characters:
        picture, seen = _reference(folder, [one.path for one in character.references], protocol, by)
        pictures.append(picture)
        references.append(seen)
    return _Watched(
        item,
        pictures[0],
        tuple(references),
        watch_video(str(folder / item.clip.path), protocol, by),
        None if made is None else watch_video(str(made), protocol, by),
        None if by.clip is None else by.clip.embed_texts([item.prompt])[0],
    )


def _reference(
    folder: Path, paths: list[str], protocol: Protocol, by: Measurers
) -> tuple[np.ndarray, SeenFrame]:
    """Return the first reference in which a face is known, else the first."""
    first = None
    for path in paths:
        picture = decode_image((folder / path).read_bytes())
        [seen] = watch_pictures([picture], protocol, by)
        first = first or (picture, seen)
        if reference_face(seen) is not None:
            return picture, seen
    assert first is not None, "an item has references"
    return first
