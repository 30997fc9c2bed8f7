"""An evaluation set of drawn people, and engines that know them by their colours."""

from pathlib import Path

import cv2
import numpy as np
from tiny_dataset import tiny_sample, write_samples

from pipeline.dataset.store import open_store
from pipeline.engines.interfaces import EngineInfo, Faces, SimilarityWindows
from pipeline.evaluate.benchmark import ItemsConfig, build_benchmark
from pipeline.evaluate.evaluation_engines import EvaluationEngines
from schemas.benchmark import Benchmark

SKIN = np.array([224, 172, 140])


class HeadFinder:
    """Finds the round heads of drawn people by their skin, the largest first."""

    info = EngineInfo("heads/1", "face_detection", "Apache-2.0", commercial=True)

    def detect(self, pictures):
        return [self._detect(picture) for picture in pictures]

    def _detect(self, picture):
        skin = (np.abs(picture.astype(int) - SKIN).max(2) < 16).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(skin)
        found = [r for r in stats[1:] if r[4] > 0.6 * r[2] * r[3] and 0.7 < r[2] / r[3] < 1.4]
        found = [row for row in found if row[4] >= 80]
        found.sort(key=lambda row: -row[4])
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in found], np.float32)
        points = [[[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]]] * len(found)
        landmarks = np.array(points, np.float32).reshape(-1, 5, 2)
        if len(boxes):
            landmarks = landmarks * (boxes[:, None, 2:] - boxes[:, None, :2]) + boxes[:, None, :2]
        number = len(found)
        return Faces(boxes.reshape(-1, 4), np.ones(number), landmarks, np.zeros(number))


class ShirtReader:
    """Recognises drawn people by the colour of the shirt below the head."""

    info = EngineInfo("shirts/1", "recognition", "Apache-2.0", commercial=True)
    windows = SimilarityWindows(0.9, 0.9, 0.5, 0.999)

    def embed(self, people):
        return np.stack([self._embed(person) for person in people])

    def _embed(self, person):
        x0, y0, x1, _ = person.face
        middle, side = (x0 + x1) / 2, x1 - x0
        rows = []
        for below in (1.3, 2.0):
            top = int(y0 + below * side)
            patch = person.picture[top : top + 3, int(middle - 2) : int(middle + 2)].reshape(-1, 3)
            rows.append((patch.mean(0) if len(patch) else np.full(3, 128.0)) - 128)
        vector = np.concatenate(rows).astype(np.float32)
        return vector / max(float(np.linalg.norm(vector)), 1e-6)


def drawn_engines() -> EvaluationEngines:
    return EvaluationEngines(
        HeadFinder(), ShirtReader(), not_computed={"clip_text": "no model is named"}
    )


def write_set(folder: Path, num: int = 4, characters: int = 2) -> tuple[Path, Benchmark]:
    """Write a dataset whose test split has `num` samples, and the evaluation set made of it."""
    from dataclasses import replace

    samples = [
        replace(
            tiny_sample(n, num_characters=characters),
            split="test",
            shot_size="full" if n % 4 < 2 else "wide",
        )
        for n in range(num)
    ]
    samples.append(replace(tiny_sample(99, num_characters=100), split="train"))
    write_samples(folder / "dataset", samples)
    choice = ItemsConfig(name="drawn", per_identity=9)
    made = build_benchmark(open_store(folder / "dataset"), folder / "set", choice)
    return folder / "set", made
