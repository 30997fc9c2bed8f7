"""The whole evaluation on one screen: extract features once, measure every system on every item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from pipeline.evaluate.evaluation_engines import EvaluationEngines
from pipeline.evaluate.features import (
    FrameFeatures,
    VideoFeatures,
    extract_picture,
    extract_video,
    still_video,
)
from pipeline.evaluate.identity import cosine
from pipeline.evaluate.protocols import Protocol
from pipeline.evaluate.systems import (
    GROUND_TRUTH,
    MODEL,
    OTHER,
    SHUFFLED,
    STILL,
    choose_other_identities,
    why_left_out,
)
from pipeline.evaluate.video_metrics import (
    Measures,
    Target,
    frame_cosines,
    mean_face,
    measure_video,
    reference_face,
)
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
    cosines: list[float | None]  # of the frames that the protocol samples
    strata: dict[str, str]  # kind -> group, such as shot_size -> wide


@dataclass(frozen=True)
class ShownItem:
    """What a report shows of an item."""

    item: Item
    reference: np.ndarray = field(repr=False)
    videos: dict[str, VideoFeatures] = field(repr=False)  # by system


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured by one protocol."""

    protocol: Protocol
    rows: list[MeasuredVideo]
    shown: list[ShownItem]
    left_out: dict[str, str]  # system or item -> reason


@dataclass(frozen=True)
class _ItemFeatures:
    """The features of an item's pictures and videos, as one protocol samples them."""

    item: Item
    picture: np.ndarray
    references: tuple[FrameFeatures, ...]  # of each character, the first with a face
    truth: VideoFeatures
    generated: VideoFeatures | None
    beside: Mapping[str, VideoFeatures]  # of further systems, by name
    text: np.ndarray | None
    gme_text: np.ndarray | None

    def target(self) -> Target:
        return Target(self.references[0], self.references[1:], self.truth, self.text, self.gme_text)

    def still(self) -> VideoFeatures:
        return still_video(self.picture, self.references[0], self.truth)


def evaluate(
    folder: Path,
    benchmark: Benchmark,
    videos: Mapping[str, Path],
    protocols: Sequence[Protocol],
    engines: EvaluationEngines,
    seed: int = 0,
    beside: Mapping[str, Mapping[str, Path]] = MappingProxyType({}),
) -> list[Evaluation]:
    """Measure videos, given by item id, and the controls; without videos the controls alone.

    `beside` has the videos of further systems, by name and item id. Every file is decoded once,
    whatever the number of protocols.
    """
    extracted: list[list[_ItemFeatures]] = []  # by item, then by protocol
    with Progress("evaluate", len(benchmark.items), unit="items") as progress:
        for item in benchmark.items:
            paths = {name: found.get(item.item_id) for name, found in beside.items()}
            paths = {MODEL: videos.get(item.item_id), **paths}
            made = {name: path for name, path in paths.items() if path is not None}
            extracted.append(_extract_item(folder, item, made, protocols, engines))
            progress.advance(1)
    others = choose_other_identities(benchmark.items, seed)
    by_protocol = zip(*extracted, strict=True)
    return [
        _measure_items(
            {f.item.item_id: f for f in features}, others, protocol, bool(videos), list(beside)
        )
        for protocol, features in zip(protocols, by_protocol, strict=True)
    ]


def _measure_items(
    items: Mapping[str, _ItemFeatures],
    others: Mapping[str, Item],
    protocol: Protocol,
    has_model: bool,
    named: Sequence[str],
) -> Evaluation:
    """Measure every system on every item by one protocol."""
    left_out = why_left_out([f.item for f in items.values()], others, has_model, bool(named))
    rows, shown = [], []
    faces: dict[tuple[str, str], np.ndarray | None] = {}  # by system and item
    for item_id, features in items.items():
        if reference_face(features.references[0]) is None:
            left_out[item_id] = "no face is found in its references: nothing of faces is measured"
        if has_model and features.generated is None:
            left_out[item_id] = "no video of it was made"
        for name in named:
            if name not in features.beside:
                left_out[f"{name}: {item_id}"] = "its folder has no video of it"
        target = features.target()
        systems = {GROUND_TRUTH: (features.truth, target), STILL: (features.still(), target)}
        if features.generated is not None:
            systems[MODEL] = (features.generated, target)
        systems |= {name: (video, target) for name, video in features.beside.items()}
        if item_id in others:
            other = items[others[item_id].item_id]
            systems[OTHER] = (other.truth, target)
            if features.generated is not None:
                systems[SHUFFLED] = (features.generated, other.target())
        rows += [_row(name, features.item, video, against, protocol)
                 for name, (video, against) in systems.items()]  # fmt: skip
        faces |= {
            (name, item_id): mean_face(video, against, protocol)
            for name, (video, against) in systems.items()
        }
        videos_shown = {name: video for name, (video, _) in systems.items()}
        shown.append(ShownItem(features.item, features.picture, videos_shown))
    return Evaluation(protocol, [_across(row, rows, faces) for row in rows], shown, left_out)


def _across(
    row: MeasuredVideo,
    rows: Sequence[MeasuredVideo],
    faces: Mapping[tuple[str, str], np.ndarray | None],
) -> MeasuredVideo:
    """Add how like a video's person is to that of the system's other videos of the same one."""
    own = faces[row.system, row.item_id]
    alike = [
        cosine(own, other)
        for each in rows
        if (each.system, each.identity) == (row.system, row.identity)
        and each.item_id != row.item_id
        and own is not None
        and (other := faces[each.system, each.item_id]) is not None
    ]
    known = [value for value in alike if value is not None]
    across = float(np.mean(known)) if known else None
    return replace(row, measures=row.measures | {"face_across_videos": across})


def _row(
    system: str, item: Item, video: VideoFeatures, target: Target, protocol: Protocol
) -> MeasuredVideo:
    return MeasuredVideo(
        system,
        item.item_id,
        item.main.identity,
        len(video.frames),
        measure_video(video, target, protocol),
        frame_cosines(video, target, protocol),
        strata_of(item),
    )


def strata_of(item: Item) -> dict[str, str]:
    """Return kind -> group of an item, for averages apart; unknown groups are left out."""
    people = {0: "", 1: "one person", 2: "two people"}.get(item.num_people, "three or more people")
    groups = {"shot_size": item.shot_size, "people": people}
    return {kind: group for kind, group in groups.items() if group}


def _extract_item(
    folder: Path,
    item: Item,
    made: Mapping[str, Path],
    protocols: Sequence[Protocol],
    engines: EvaluationEngines,
) -> list[_ItemFeatures]:
    """Return the features of an item for each protocol; `made` has its videos by system."""
    references = [
        _extract_reference(folder, [file.path for file in character.references], protocols, engines)
        for character in item.characters
    ]
    truth = extract_video(str(folder / item.clip.path), protocols, engines)
    videos = {name: extract_video(str(path), protocols, engines) for name, path in made.items()}
    text = None if engines.clip is None else engines.clip.embed_texts([item.prompt])[0]
    gme_text = None if engines.gme is None else engines.gme.embed_texts([item.prompt])[0]
    picture, _ = references[0]
    return [
        _ItemFeatures(
            item,
            picture,
            tuple(frames[index] for _, frames in references),
            truth[index],
            videos[MODEL][index] if MODEL in videos else None,
            {name: found[index] for name, found in videos.items() if name != MODEL},
            text,
            gme_text,
        )
        for index in range(len(protocols))
    ]


def _extract_reference(
    folder: Path, paths: Sequence[str], protocols: Sequence[Protocol], engines: EvaluationEngines
) -> tuple[np.ndarray, list[FrameFeatures]]:
    """Return the first reference with a face that the recogniser accepts, else the first."""
    first = None
    for path in paths:
        picture = decode_image((folder / path).read_bytes())
        frames = extract_picture(picture, protocols, engines)
        first = first or (picture, frames)
        if any(reference_face(frame) is not None for frame in frames):
            return picture, frames
    assert first is not None, "an item has references"
    return first
