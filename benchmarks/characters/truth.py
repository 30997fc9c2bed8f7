"""Write the films as video files, and beside them what is true of every frame."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.characters.cast import Film
from benchmarks.characters.draw import FPS, GROUND, SECOND, SIDE, draw_frame, width_of
from benchmarks.characters.duos import captions_of
from pipeline.execution.progress import Progress
from pipeline.media.encode import ClipEncoder, EncodingConfig

TRUTH, LOOKS = "truth.json", "looks.npz"
_LOOK_SIDE = 12  # cells of a frame's look; enough to tell any two frames apart
_BT709 = 1


def write_films(films: Sequence[Film], folder: Path) -> None:
    """Write NAME.mp4 with NAME.json beside it, and an index of all frames. What is there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    looks, boxes = [], []
    with Progress("draw", len(films), unit="films") as progress:
        for film in films:
            known = folder / f"{film.name}.npz"
            if not known.is_file():
                _write_film(film, folder, known)
            with np.load(known) as kept:
                looks.append(kept["looks"])
                boxes.append(kept["boxes"])
            progress.advance(1)
    starts = np.cumsum([0, *(len(each) for each in looks)])
    np.savez(
        folder / LOOKS, looks=np.concatenate(looks), boxes=np.concatenate(boxes), starts=starts
    )
    (folder / TRUTH).write_text(json.dumps([film.to_json() for film in films]))


def _write_film(film: Film, folder: Path, known: Path) -> None:
    encoder = ClipEncoder(width_of(film), SIDE, FPS, EncodingConfig(crf=16), _BT709)
    looks, boxes, frames = [], [], []
    for number in range(sum(shot.num_frames for shot in film.shots)):
        picture, labels = draw_frame(film, number)
        encoder.write(_to_yuv(picture))
        looks.append(look_of(picture))
        boxes.append(boxes_of(labels, len(film.cast)))
        caption = " ".join(captions_of(film, number))
        told = [[round(float(side), 1) for side in box] for box in boxes[-1]]
        frames.append({"boxes": told, "caption": caption})
    (folder / f"{film.name}.mp4").write_bytes(encoder.close())
    truth = film.to_json() | {"frames": frames}
    (folder / f"{film.name}.json").write_text(json.dumps(truth, indent=1))
    np.savez(known, looks=np.stack(looks), boxes=np.stack(boxes).astype(np.float32))


def _to_yuv(frame: np.ndarray) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
    return picture.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=1)


def box_of(labels: np.ndarray) -> np.ndarray:
    """Return the figure's box, xyxy, in pixels of the frame."""
    rows, columns = (np.flatnonzero((labels != GROUND).any(axis)) for axis in (1, 0))
    scale = SIDE / len(labels)
    return scale * np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def boxes_of(labels: np.ndarray, people: int) -> np.ndarray:
    """Return the boxes of all figures, (people, 4)."""
    return np.stack([box_of(labels_of(labels, who)) for who in range(people)])


def labels_of(labels: np.ndarray, who: int, nobody: int = GROUND) -> np.ndarray:
    """Return the labels of one person as if alone: those of the other become `nobody`'s."""
    inside = (labels // SECOND == who) & (labels % SECOND != GROUND) & (labels < 2 * SECOND)
    rest = np.where(labels == GROUND, GROUND, nobody)
    return np.where(inside, labels % SECOND, rest).astype(np.uint8)


def look_of(picture: np.ndarray) -> np.ndarray:
    """Return a frame as a few cells, uint8, whatever size it comes in."""
    return cv2.resize(picture, (_LOOK_SIDE, _LOOK_SIDE), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Truth:
    """All films, and which frame of which of them a picture is."""

    films: list[Film]
    starts: np.ndarray  # first frame of every film among all frames, and the end
    looks: np.ndarray  # (N, cells) float32
    boxes: np.ndarray  # (N, people, 4) in pixels of a frame

    @classmethod
    def read(cls, folder: Path) -> "Truth":
        if not (folder / TRUTH).is_file():
            raise ValueError(f"no drawn films at {folder}: {TRUTH} is missing; run 'make' first")
        films = [Film.from_json(raw) for raw in json.loads((folder / TRUTH).read_text())]
        with np.load(folder / LOOKS) as kept:
            looks = kept["looks"].reshape(len(kept["looks"]), -1).astype(np.float32)
            boxes = kept["boxes"].reshape(len(looks), -1, 4)
            return cls(films, kept["starts"], looks, boxes)

    def find(self, picture: np.ndarray) -> int:
        """Return the number, among all frames, of the frame that a picture of it shows."""
        look = look_of(picture).reshape(-1).astype(np.float32)
        return int(np.argmin(self._lengths - 2 * (self.looks @ look)))

    @cached_property
    def _lengths(self) -> np.ndarray:
        return np.einsum("nc,nc->n", self.looks, self.looks)

    def place(self, frame: int) -> tuple[Film, int]:
        """Return the film of one of all frames, and the frame's number in it."""
        index = int(np.searchsorted(self.starts, frame, side="right")) - 1
        return self.films[index], frame - int(self.starts[index])
