"""The labelled cuts of tests/golden/cuts.json, and what a detector finds of them."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from places import GOLDEN

from pipeline.media.limits import ProbeConfig
from pipeline.media.pixels import Scaler
from pipeline.media.reader import VideoReader
from pipeline.observing.shots import ShotDetector, ShotsConfig, Verdict

TOLERANCE = 1  # frames that a cut may be found early or late


@dataclass(frozen=True)
class Truth:
    """What one video shows, in frames; spans are half open.

    `unclear` is what two people would label in two ways, such as a jump in a damaged film: a
    boundary there is neither asked for nor wrong.
    """

    name: str
    half: str
    cuts: tuple[int, ...]
    gradual: tuple[tuple[int, int], ...] = ()
    unclear: tuple[tuple[int, int], ...] = ()


def labelled_videos(path: Path = GOLDEN / "cuts.json") -> list[Truth]:
    """Read all labels."""
    return [
        Truth(
            name,
            known["half"],
            tuple(known["cuts"]),
            tuple((first, end) for first, end in known.get("gradual", [])),
            tuple((first, end) for first, end in known.get("unclear", [])),
        )
        for name, known in json.loads(path.read_text()).items()
    ]


def small_pictures(path: Path) -> tuple[float, Iterator[np.ndarray]]:
    """Return a video's frame rate and its pictures, as the shot detector is shown them."""
    reader = VideoReader(str(path), ProbeConfig()).__enter__()
    codec = reader.stream.codec_context
    scale = min(1.0, ShotsConfig.picture_width / max(codec.width, codec.height))
    scaler = Scaler(round(codec.width * scale), round(codec.height * scale), "bgr24", exact=False)
    return float(reader.stream.average_rate or 25), _pictures(reader, scaler)


def _pictures(reader: VideoReader, scaler: Scaler) -> Iterator[np.ndarray]:
    try:
        for frame in reader.frames():
            yield scaler(frame.picture).to_ndarray()
    finally:
        reader.__exit__(None, None, None)


def shot_of_frames(
    pictures: Iterable[np.ndarray], fps: float, config: ShotsConfig | None = None
) -> list[int]:
    """Return the number of the shot that each frame belongs to, from 1; 0 is none."""
    detector = ShotDetector(config or ShotsConfig(), fps)
    verdicts = [
        verdict
        for index, picture in enumerate(pictures)
        for verdict in detector.add(index, index, picture)
    ]
    return numbered([*verdicts, *detector.finish()])


def numbered(verdicts: Sequence[Verdict]) -> list[int]:
    """Number the shots of verdicts, frame by frame."""
    shots, number = [], 0
    for verdict in verdicts:
        number += bool(verdict.opened_by)
        shots.append(number if verdict.inside else 0)
    return shots


@dataclass
class Score:
    """What was found in one video or several."""

    cuts: int = 0
    missed: list[tuple[str, int]] = field(default_factory=list)
    false: list[tuple[str, int]] = field(default_factory=list)
    gradual: int = 0
    spanned: list[tuple[str, int]] = field(default_factory=list)  # gradual ones inside one shot

    @property
    def recall(self) -> float:
        return 1 - len(self.missed) / self.cuts if self.cuts else 1.0

    @property
    def precision(self) -> float:
        found = self.cuts - len(self.missed)
        return found / (found + len(self.false)) if found + len(self.false) else 1.0

    def add(self, truth: Truth, shots: Sequence[int], fps: float) -> None:
        """Count a video, given the shot of every frame.

        A cut is missed if one shot holds frames from both sides of it. An edge of a shot is false
        if no cut is beside it and no gradual change within a second, which is what the windows
        in which these are looked for may take with them.
        """
        name, last = truth.name, len(shots) - 1
        self.cuts += len(truth.cuts)
        self.gradual += len(truth.gradual)
        self.missed += [
            (name, cut)
            for cut in truth.cuts
            if _one_shot(shots, cut - 1 - TOLERANCE, min(last, cut + TOLERANCE))
        ]
        self.spanned += [
            (name, first)
            for first, end in truth.gradual
            if _one_shot(shots, max(0, first - 1), min(last, end))
        ]
        second = round(fps)
        known = [range(cut - TOLERANCE, cut + TOLERANCE + 1) for cut in truth.cuts]
        known += [range(first - second, end + second + 1) for first, end in truth.gradual]
        known += [range(first - TOLERANCE, end + TOLERANCE + 1) for first, end in truth.unclear]
        edges = [place for place in range(1, len(shots)) if shots[place] != shots[place - 1]]
        self.false += [(name, edge) for edge in edges if not any(edge in span for span in known)]


def _one_shot(shots: Sequence[int], before: int, after: int) -> bool:
    return before >= 0 and shots[before] == shots[after] != 0
