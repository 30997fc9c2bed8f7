"""Pictures of known people: read, recognised, and compared in pairs."""

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from pipeline.engines.identity.spaces import compare, spaces_of
from pipeline.engines.interfaces import FaceDetector, PersonImage, Picture, Recogniser
from pipeline.engines.people.body_fit import person_around
from pipeline.media.images import decode_image, encode_jpeg
from pipeline.pairing.calibration import Calibration

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
LEAST_PEOPLE = 2
MOST_DIFFERENT = 2_000_000  # pairs; more say nothing new and fill the memory
_TRUE, _FALSE = ("1", "true", "yes", "same"), ("0", "false", "no", "different")
_BATCH = 16
_COPY_PX, _COPY_QUALITY, _COPY_CROP = 512, 70, 0.02


@dataclass(frozen=True)
class KnownPairs:
    """Which pictures show the same person, as indices into `paths`."""

    paths: tuple[Path, ...]
    same: tuple[tuple[int, int], ...]
    different: tuple[tuple[int, int], ...]


def read_known(source: Path) -> KnownPairs:
    """Read a folder with one folder per person, or a CSV with path_a, path_b, same.

    Raises ValueError when it is neither, or says too little.
    """
    if source.is_dir():
        return _from_folders(source)
    if source.suffix.lower() == ".csv" and source.is_file():
        return _from_csv(source)
    raise ValueError(
        f"{source} is neither a folder with one folder of pictures per person, nor a .csv with "
        "the columns path_a, path_b, same"
    )


def _from_folders(source: Path) -> KnownPairs:
    people = [
        sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        for folder in sorted(source.iterdir())
        if folder.is_dir()
    ]
    people = [pictures for pictures in people if pictures]
    if len(people) < LEAST_PEOPLE or all(len(pictures) < 2 for pictures in people):
        raise ValueError(
            f"{source} holds pictures of {len(people)} people, "
            f"{sum(len(pictures) > 1 for pictures in people)} of them with two or more; at least "
            f"{LEAST_PEOPLE} people are needed, one of them twice: one folder per person with "
            f"files {', '.join(SUFFIXES)}"
        )
    who = np.repeat(np.arange(len(people)), [len(pictures) for pictures in people])
    pairs = itertools.combinations(range(len(who)), 2)
    same, different = [], []
    for first, second in pairs:
        (same if who[first] == who[second] else different).append((first, second))
    step = -(-len(different) // MOST_DIFFERENT)  # every n-th, so that all people take part
    paths = tuple(path for pictures in people for path in pictures)
    return KnownPairs(paths, tuple(same), tuple(different[::step]))


def _from_csv(source: Path) -> KnownPairs:
    with open(source, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"path_a", "path_b", "same"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{source} has no column {', '.join(sorted(missing))}")
        rows = [(row["path_a"], row["path_b"], row["same"].strip().lower()) for row in reader]
    for number, (_, _, same) in enumerate(rows, start=2):
        if same not in _TRUE + _FALSE:
            raise ValueError(
                f"{source}, line {number}: same must be one of {', '.join(_TRUE + _FALSE)}, "
                f"got {same!r}"
            )
    names = sorted({name for row in rows for name in row[:2]})
    place = {name: index for index, name in enumerate(names)}
    pairs = [(place[a], place[b], same in _TRUE) for a, b, same in rows]
    same = tuple((a, b) for a, b, alike in pairs if alike)
    different = tuple((a, b) for a, b, alike in pairs if not alike)
    if not same or not different:
        raise ValueError(
            f"{source} has {len(same)} pairs of the same person and {len(different)} of different "
            "people; both are needed"
        )
    return KnownPairs(tuple(source.parent / name for name in names), same, different)


@dataclass(frozen=True)
class Recognised:
    """The vectors of pictures and of their copies; zeros where nobody was recognised."""

    vectors: np.ndarray
    copies: np.ndarray
    unread: tuple[Path, ...] = field(default=())
    faceless: tuple[Path, ...] = field(default=())


def recognise(paths: Sequence[Path], faces: FaceDetector, recogniser: Recogniser) -> Recognised:
    """Find the largest face of every picture and its vector; also of a copy of the picture."""
    vectors, copies, unread, faceless = [], [], [], []
    for first in range(0, len(paths), _BATCH):
        pictures: list[Picture] = []
        for path in paths[first : first + _BATCH]:
            picture = _read(path)
            unread += [path] if picture is None else []
            pictures.append(np.zeros((64, 64, 3), np.uint8) if picture is None else picture)
        people = _people(pictures, faces)
        faceless += [
            path
            for path, person in zip(paths[first : first + _BATCH], people, strict=True)
            if person.face is None and path not in unread
        ]
        vectors.append(recogniser.embed(people))
        copies.append(recogniser.embed(_people([_copy(each) for each in pictures], faces)))
    stacked, copied = np.concatenate(vectors), np.concatenate(copies)
    for path in unread:
        stacked[paths.index(path)] = copied[paths.index(path)] = 0
    return Recognised(stacked, copied, tuple(unread), tuple(faceless))


def _read(path: Path) -> Picture | None:
    try:
        return decode_image(path.read_bytes())
    except (OSError, ValueError, cv2.error):
        return None


def _people(pictures: Sequence[Picture], faces: FaceDetector) -> list[PersonImage]:
    people = []
    for picture, found in zip(pictures, faces.detect(pictures), strict=True):
        if not len(found.boxes):
            whole = np.array([0, 0, picture.shape[1], picture.shape[0]], np.float32)
            people.append(PersonImage(picture, whole))
            continue
        best = int(np.argmax(found.boxes[:, 2] - found.boxes[:, 0]))
        face = found.boxes[best]
        box = person_around(picture, face, np.delete(found.boxes, best, axis=0))
        people.append(PersonImage(picture, box, face, found.landmarks[best]))
    return people


def _copy(picture: Picture) -> Picture:
    """Return what a re-upload makes of a picture: cropped, smaller, compressed."""
    rim = [round(_COPY_CROP * side) for side in picture.shape[:2]]
    part = picture[rim[0] :, rim[1] :]
    scale = min(1.0, _COPY_PX / max(part.shape[:2]))
    size = [max(1, round(side * scale)) for side in part.shape[1::-1]]
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return decode_image(encode_jpeg(np.ascontiguousarray(small), _COPY_QUALITY))


def calibrations(known: KnownPairs, found: Recognised, recogniser: Recogniser) -> list[Calibration]:
    """Compare the pairs, each in the first space in which both people are seen.

    Raises ValueError when too few pairs are left.
    """
    spaces = spaces_of(recogniser)
    results = []
    for index, space in enumerate(spaces):
        same, different = (
            _cosines(pairs, found.vectors, spaces, index) for pairs in (known.same, known.different)
        )
        if not len(same) or not len(different):
            continue
        copies = _cosines(
            [(i, i + len(known.paths)) for i in range(len(known.paths))],
            np.concatenate([found.vectors, found.copies]),
            spaces,
            index,
        )
        results.append(Calibration(space.name, same, different, copies))
    if not results:
        lost = len(known.paths) - int(np.any(found.vectors, axis=1).sum())
        raise ValueError(
            f"no pair can be compared: nobody was recognised in {lost} of {len(known.paths)} "
            "pictures; faces must be at least about 30 pixels wide and seen from the front"
        )
    return results


def _cosines(
    pairs: Iterable[tuple[int, int]], vectors: np.ndarray, spaces: Sequence, index: int
) -> np.ndarray:
    """Return the cosines of the pairs that this space decides."""
    by_first: dict[int, list[int]] = {}
    for first, second in pairs:
        by_first.setdefault(first, []).append(second)
    found = []
    for first, seconds in by_first.items():
        cosines, where = compare(vectors[first], vectors[seconds], spaces)
        found.append(cosines[where == index])
    return np.round(np.concatenate(found), 6) if found else np.zeros(0)


def complaints(known: KnownPairs, found: Recognised) -> Mapping[str, Sequence[Path]]:
    """Return what is wrong with pictures, and with which."""
    of = f"of {len(known.paths)} pictures"
    wrong = {
        f"{len(found.unread)} {of} cannot be read": found.unread,
        f"no face found in {len(found.faceless)} {of}": found.faceless,
    }
    return {text: paths for text, paths in wrong.items() if paths}
