"""One recogniser of a face network and a body network; see `pipeline.engines.identity.spaces`."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from pipeline.engines.identity.arcface import ArcFace
from pipeline.engines.identity.osnet import OsNet
from pipeline.engines.identity.spaces import Space, join
from pipeline.engines.interfaces import EngineInfo, EngineNeeds, PersonImage, SimilarityWindows


class _Part(Protocol):
    info: EngineInfo
    windows: SimilarityWindows
    size: int

    def embed(self, people: Sequence[PersonImage]) -> np.ndarray: ...


class ArcfaceOsnet:
    """Faces by ArcFace; bodies by OSNet, which decide only where no face is known.

    `windows` are those of faces. Whoever compares rows that a body decided takes that space's
    windows from `spaces`: a body's cosine of 0.5 is a stranger's, a face's is a friend's.
    """

    needs = EngineNeeds(
        packages=("insightface", "onnxruntime"),
        weights=(("arcface", "face_recognition"), ("osnet", "body_recognition")),
        landmarks=True,
        gpu=True,
        memory_mib=92,
    )

    def __init__(self, face: _Part | None = None, body: _Part | None = None) -> None:
        self._face: _Part = face or ArcFace()
        self._body: _Part = body or OsNet()
        middle, last = self._face.size, self._face.size + self._body.size
        self.spaces = (
            Space("face", 0, middle, self._face.windows),
            Space("body", middle, last, self._body.windows),
        )
        self.windows = self._face.windows
        self.info = self._face.info.joined_with(self._body.info)

    def embed(self, people: Sequence[PersonImage]) -> np.ndarray:
        """Return (N, D) float32, rows of unit length."""
        return join([self._face.embed(people), self._body.embed(people)])
