"""What is measured of two people: held-out clips, who is where in them, and their references."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from benchmarks.characters.cast import Film, Identity, Shot
from benchmarks.characters.draw import FPS, draw_frame, width_of
from benchmarks.characters.items import EDGE, SHARE
from benchmarks.characters.measures import Seen
from benchmarks.characters.truth import Truth, labels_of
from pipeline.dataset.commit import require_manifest
from pipeline.dataset.media_rows import read_samples
from pipeline.dataset.store import open_store
from pipeline.media.clip_frames import read_clip
from pipeline.media.images import decode_image
from trainer.data.cast import Member, members_of, prompt_of

Box = tuple[float, float, float, float]  # shares of the picture


@dataclass(frozen=True)
class Person:
    """One of the people of a clip."""

    name: str  # as the prompt calls it, '' of one who is alone
    figure: int  # its place in the film's cast
    identity: Identity
    shot: Shot
    reference: np.ndarray  # (h, w, 3)
    boxes: tuple[Box, ...]  # of every frame


@dataclass(frozen=True)
class Scene:
    """A held-out clip."""

    film: Film
    numbers: tuple[int, ...]  # of its frames in the film
    prompt: str
    people: tuple[Person, ...]
    truth: np.ndarray  # (F, H, W, 3) uint8
    labels: np.ndarray  # (F, H, W), EDGE where two things meet

    def seen(self, frames: np.ndarray, person: Person) -> Seen:
        """Return frames with the regions of one person; what is of the other is an edge."""
        return Seen(frames, labels_of(self.labels, person.figure, EDGE))


def read_scenes(
    dataset: Path, films: Path, people: int, size: tuple[int, int, int], per_film: int = 2
) -> list[Scene]:
    """Return scenes of the test split that show so many people, each with a reference."""
    truth, store = Truth.read(films), open_store(str(dataset))
    manifest, _ = require_manifest(store)
    videos = pd.read_parquet(dataset / "videos", columns=["video_id", "uri"])
    names = {str(row.video_id): Path(str(row.uri)).stem for row in videos.itertuples()}
    found: dict[str, list[Scene]] = {}
    for row in read_samples(manifest, store):
        members = members_of(row, people)
        enough = row["split"] == "test" and len(members) == people
        mine = found.setdefault(names[row["video_id"]], [])
        if enough and row["num_frames"] >= size[2] and len(mine) < per_film:
            mine.append(_scene(row, members, truth, names[row["video_id"]], size))
    return [scene for name in sorted(found) for scene in found[name]]


def _scene(
    row: Mapping[str, Any], members: list[Member], truth: Truth, name: str, size: tuple[int, ...]
) -> Scene:
    height, width, frames = size
    index = next(at for at, film in enumerate(truth.films) if film.name == name)
    film, first = truth.films[index], round(row["start_s"] * FPS)
    numbers = tuple(range(first, first + frames))
    drawn = truth.boxes[int(truth.starts[index]) + first]
    pictures = read_clip(row["video"]["bytes"])[1][:frames]
    people = [_person(member, film, first, drawn, row, frames) for member in members]
    assert len({person.figure for person in people}) == len(people), "one figure is two people"
    return Scene(
        film=film,
        numbers=numbers,
        prompt=prompt_of(row, members),
        people=tuple(people),
        truth=np.stack([_small(picture, height, width) for picture in pictures]),
        labels=labels_at(film, numbers, height, width),
    )


def _person(
    member: Member,
    film: Film,
    first: int,
    drawn: np.ndarray,
    row: Mapping[str, Any],
    frames: int,
) -> Person:
    scale = np.array([row["width"], row["height"]] * 2, float)
    boxes = np.clip(np.asarray(member.row["boxes"], float) / scale, 0, 1)
    places = (drawn[:, 0] + drawn[:, 2]) / 2 / width_of(film)
    figure = int(np.abs(places - boxes[0, [0, 2]].mean()).argmin())
    identity, shot = film.figures(first)[figure]
    picture = decode_image(member.references[0]["image"]["bytes"])
    told = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in boxes[:frames])
    return Person(member.name, figure, identity, shot, picture, told)


def _small(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def labels_at(film: Film, numbers: tuple[int, ...], height: int, width: int) -> np.ndarray:
    """Return what every pixel of these frames shows, EDGE where two things meet."""
    found = np.full((len(numbers), height, width), EDGE, np.uint8)
    for place, number in enumerate(numbers):
        labels = draw_frame(film, number)[1]
        for label in np.unique(labels):
            share = _small((labels == label).astype(np.float32), height, width)
            found[place][share >= SHARE] = label
    return found


def exchanged(scene: Scene) -> np.ndarray:
    """Return the clip as it would look if each stood where the other does: all are swapped."""
    assert scene.film.second is not None, "one person cannot be swapped"
    film = replace(scene.film, identity=scene.film.second, second=scene.film.identity)
    height, width = scene.truth.shape[1:3]
    return np.stack([_small(draw_frame(film, n)[0], height, width) for n in scene.numbers])
