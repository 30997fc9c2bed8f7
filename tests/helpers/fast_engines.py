"""Engines that cost nothing, for tests of what surrounds them; and engines that kill.

They are real engines to the pipeline, chosen by "fast_engines:FastPeople". A person stands in the
middle of every picture, and looks like the mean colour of it.
"""

import os
import signal
import time

import numpy as np

from pipeline.engines.interfaces import Detections, EngineInfo, Faces, SimilarityWindows

SETTINGS = [
    "--set", "observe.engines.people=fast_engines:FastPeople",
    "--set", "observe.engines.faces=fast_engines:FastFaces",
    "--set", "observe.engines.recogniser=fast_engines:FastRecogniser",
    "--set", "observe.engines.masks=fast_engines:FastMasks",
    "--set", "pair.quality.min_motion=0",
    "--set", "pair.references.min_mask_quality=0.1",  # a mask is the box
]  # fmt: skip


def _info(task):
    return EngineInfo(f"fast-{task}/1", task, "Apache-2.0", commercial=True)


class FastPeople:
    info = _info("person_detection")

    def detect(self, pictures):
        return [self._detect(picture) for picture in pictures]

    def _detect(self, picture):
        height, width = picture.shape[:2]
        box = np.array([[0.3 * width, 0.05 * height, 0.7 * width, 0.95 * height]], np.float32)
        return Detections(box, np.array([0.9], np.float32))


class FastFaces:
    info = _info("face_detection")

    def detect(self, pictures):
        nothing = np.zeros((0, 4), np.float32)
        none = np.zeros(0, np.float32)
        return [Faces(nothing, none, np.zeros((0, 5, 2), np.float32), none) for _ in pictures]


class FastRecogniser:
    info = _info("recognition")
    windows = SimilarityWindows(0.95, 0.99, 0.5, 0.99999)

    def embed(self, people):
        means = np.array([p.picture.mean(axis=(0, 1)) for p in people], np.float32).reshape(-1, 3)
        return (means + 1) / np.linalg.norm(means + 1, axis=1, keepdims=True)


class FastMasks:
    info = _info("segmentation")

    def segment(self, people):
        masks = []
        for person in people:
            mask = np.zeros(person.picture.shape[:2], np.uint8)
            left, top, right, bottom = (round(float(side)) for side in person.box)
            mask[top:bottom, left:right] = 255
            masks.append(mask)
        return masks


class GpuMasks(FastMasks):
    """The same, in the way of an engine that wants a GPU."""

    info = EngineInfo("fast-segmentation/1", "segmentation", "Apache-2.0", True, gpu=True)


class GpuCaptions:
    """Says how many frames it was shown, in the way of a captioner that wants a GPU."""

    info = EngineInfo("fast-captions/1", "captioning", "Apache-2.0", True, "d" * 64, gpu=True)
    looks = True

    def caption(self, facts):
        return [(f"It was shown {len(row.frames)} frames.", "Somebody.") for row in facts]


def _exhaust():
    hoard = []
    while True:
        hoard.append(np.ones(4_000_000))


# what a picture of pure colour does to the process that looks at it
POISON = {
    "red": ((255, 0, 0), lambda: os._exit(3)),
    "green": ((0, 255, 0), lambda: os.kill(os.getpid(), signal.SIGSEGV)),
    "blue": ((0, 0, 255), _exhaust),
    "white": ((255, 255, 255), lambda: time.sleep(600)),
}


DOSES = "CONTEXTANYONE_TEST_DOSES"  # environment: a file that gets a line for each poison taken
CURED = "CONTEXTANYONE_TEST_CURED"  # environment: 1, and no poison kills


class PoisonedPeople(FastPeople):
    def _detect(self, picture):
        corner = picture[8:24, 8:24].reshape(-1, 3).mean(axis=0)
        for name, (colour, kill) in POISON.items():
            if np.abs(corner - colour).max() < 20:
                with open(os.environ.get(DOSES, os.devnull), "a") as file:
                    file.write(f"{name}\n")
                if not os.environ.get(CURED):
                    kill()
        return super()._detect(picture)
