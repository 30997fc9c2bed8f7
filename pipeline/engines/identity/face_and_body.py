"""Recognisers of a face and of a body in one; see `pipeline.engines.identity.spaces`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from pipeline.engines.identity.appearance import Appearance
from pipeline.engines.identity.arcface import ArcFace
from pipeline.engines.identity.dlib_face import DlibFace
from pipeline.engines.identity.osnet import OsNet
from pipeline.engines.identity.sface import SFace
from pipeline.engines.identity.spaces import Space, Turned, Worn, join
from pipeline.engines.interfaces import EngineInfo, EngineNeeds, PersonImage, SimilarityWindows


class Part(Protocol):
    """A recogniser of one space, which says how long its vectors are."""

    info: EngineInfo
    windows: SimilarityWindows
    size: int

    def embed(self, people: Sequence[PersonImage]) -> np.ndarray: ...


class BodyPart(Part, Protocol):
    """One that also tells what somebody wears."""

    worn: Worn


class SideFace(Part, Protocol):
    """One of faces that also has vectors of those that are turned away; they decide nothing."""

    turned_same: float
    turned_apart: float

    def embed_turned(self, people: Sequence[PersonImage]) -> np.ndarray: ...


class FaceAndBody:
    """Faces decide; bodies only where no face is known.

    `windows` are those of faces. Whoever compares rows that a body decided takes that space's
    windows from `spaces`: a body's cosine of 0.5 is a stranger's, a face's is a friend's.
    """

    def __init__(self, face: Part, body: BodyPart, side: SideFace | None = None) -> None:
        self._face, self._body, self._side = face, body, side
        middle, last = face.size, face.size + body.size
        turned = None
        if side is not None:
            columns = (0, middle), (last, last + side.size)
            turned = Turned(*columns, side.turned_same, side.turned_apart)
        self.spaces = (
            Space("face", 0, middle, face.windows),
            Space("body", middle, last, body.windows, body.worn.placed(middle), turned),
        )
        self.windows = face.windows
        self.info = face.info.joined_with(body.info)

    def embed(self, people: Sequence[PersonImage]) -> np.ndarray:
        """Return (N, D) float32, rows of unit length."""
        blocks = [self._face.embed(people), self._body.embed(people)]
        if self._side is not None:
            blocks.append(self._side.embed_turned(people))
        return join(blocks)


class ArcfaceOsnet(FaceAndBody):
    """Faces by ArcFace, bodies by OSNet."""

    needs = EngineNeeds(
        packages=("insightface", "onnxruntime"),
        weights=(("arcface", "face_recognition"), ("osnet", "body_recognition")),
        landmarks=True,
        gpu=True,
        memory_mib=92,
    )

    def __init__(self, face: Part | None = None, body: BodyPart | None = None) -> None:
        super().__init__(face or ArcFace(), body or OsNet())


class DlibAppearance(FaceAndBody):
    """Faces by dlib's network, what somebody wears where no face is known."""

    needs = replace(DlibFace.needs, memory_mib=160)
    weights_identity = DlibFace.weights_identity

    def __init__(self) -> None:
        face = DlibFace()
        super().__init__(face, Appearance(), side=face)


class SfaceAppearance(FaceAndBody):
    """Faces by SFace, what somebody wears where no face is known."""

    needs = SFace.needs

    def __init__(self) -> None:
        super().__init__(SFace(), Appearance())
