"""What a shot detector is told, and what it answers."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from schemas.settings import check_settings, setting

_FINDERS = {
    "adaptive": "pipeline.observing.adaptive_cuts:AdaptiveCuts",
    "scenedetect": "pipeline.observing.scenedetect_cuts:PySceneDetectCuts",
    "transnetv2": "pipeline.observing.transnet_cuts:TransnetCuts",
    "none": "pipeline.observing.boundaries:NoBoundaries",
}


@dataclass(frozen=True)
class ShotsConfig:
    """How shots are found. The defaults were chosen by benchmarks/shots_and_clips.py --cuts.

    Attributes:
        detector: adaptive is ours; scenedetect is PySceneDetect's, for hard cuts alone;
            transnetv2 is a network, installed by `pip install -e ".[shots]"`; none is for clips
            that are cut already; or one of your own as module:Class.
        picture_width: pixels of the long side of the picture that the detector is shown.
        cut_score: what a change must score above to be a cut; more finds fewer.
        flash_s: the longest flash, after which the picture comes back, that is no cut.
        dark_level: of 255; a frame with 98 % of its cells below belongs to no shot.
        fade_windows_s: lengths at which fades, dissolves and wipes are looked for.
        fade_change: of 255, between the ends of a fade or dissolve.
        fade_residual: of that change, what in the frames between may be no mix of the ends.
        fade_likeness: correlation of the ends; more alike, it is motion or a change of light.
        scenedetect_ratio: change at a cut of PySceneDetect's, over the mean change around it.
        transition_score: what the network must say, from 0 to 1, to call a frame a boundary.
    """

    detector: str = "adaptive"
    picture_width: int = setting(160, low=64, high=1024, unit="px")
    cut_score: float = setting(0.0, low=-20, high=50)
    flash_s: float = setting(0.3, low=0, high=2, unit="s")
    dark_level: float = setting(24.0, low=0, high=255)
    fade_windows_s: tuple[float, ...] = setting((0.25, 0.5, 1.0, 2.0), above=0, high=5, unit="s")
    fade_change: float = setting(6.0, low=0, high=255)
    fade_residual: float = setting(0.20, low=0, high=1)
    fade_likeness: float = setting(0.80, low=-1, high=1)
    scenedetect_ratio: float = setting(4.0, low=0, high=1000)
    transition_score: float = setting(0.5, low=0, high=1)

    def __post_init__(self) -> None:
        check_settings(self, "observe.shots")
        if self.detector not in _FINDERS and ":" not in self.detector:
            known = ", ".join(_FINDERS)
            raise ValueError(
                f"observe.shots.detector must be one of {known}, or module:Class, "
                f"got {self.detector!r}"
            )


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where one shot gives way to the next: frames from `first` until `end` belong to neither.

    A hard cut has none of these: both are the first frame of the new shot. Frames count from 0,
    the first one that was shown.
    """

    first: int
    end: int


class BoundaryFinder(Protocol):
    """Looks at one picture after another and says, a little later, where shots meet.

    It is made as `Finder(config: ShotsConfig, fps: float)`, once for a video or a part of one.
    """

    @property
    def delay(self) -> int:
        """Number of frames after which nothing more is said about a frame."""
        ...

    def add(self, picture: np.ndarray) -> Iterator[Boundary]:
        """Take the next picture, BGR uint8; yield the boundaries that have become known."""
        ...

    def finish(self) -> Iterator[Boundary]:
        """Yield what is left when the last picture has been shown."""
        ...


class NoBoundaries:
    """Says that all is one shot: for clips that are cut already."""

    delay = 0

    def __init__(self, config: ShotsConfig, fps: float) -> None:
        pass

    def add(self, picture: np.ndarray) -> Iterator[Boundary]:
        return iter(())

    def finish(self) -> Iterator[Boundary]:
        return iter(())


def load_finder(config: ShotsConfig, fps: float) -> BoundaryFinder:
    """Make the detector that is configured. Raises ValueError saying why one cannot be made."""
    module, _, name = _FINDERS.get(config.detector, config.detector).partition(":")
    try:
        made = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"observe.shots.detector={config.detector} cannot be loaded: {error}; "
            'transnetv2 comes with pip install -e ".[shots]"'
        ) from error
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"observe.shots.detector={config.detector} cannot be loaded: {error}"
        ) from error
    return made(config, fps)
