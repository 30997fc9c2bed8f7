"""Limits of input files, and how a file is refused."""

from dataclasses import dataclass
from typing import Literal

from pipeline.execution.stage import Rejected
from schemas.reasons import Reason
from schemas.settings import check_settings, setting


@dataclass(frozen=True)
class ProbeConfig:
    """Limits of an input file, checked at probing and again while frames are decoded.

    Attributes:
        max_size_bytes: size of the file.
        max_pixels: of a picture; 8K has 35 million, a frame of it is 53 MB.
        min_side: shorter side of a picture; below 64 nothing can become a clip.
        min_duration_s: length of the video.
        max_duration_s: length of the video.
        max_frames: frames of the video.
        min_fps: frame rate; slower video would stutter in a clip of 16 frames a second.
        max_fps: frame rate.
        max_expansion: decoded bytes over stored bytes; a black 1080p bomb has 49,000.
        max_streams: streams of the container.
        integrity: what becomes of truncated and damaged files: reject, or flag and use.
        max_missing: share of the declared frames that may be absent.
        hdr: what becomes of PQ and HLG: tone_map to BT.709, or refuse.
    """

    max_size_bytes: int = setting(64 * 2**30, low=1, high=2**50, unit="bytes")
    max_pixels: int = setting(8192 * 4320, low=64 * 64, high=2**30, unit="pixels")
    min_side: int = setting(64, low=1, high=8192, unit="pixels")
    min_duration_s: float = setting(1.0, low=0, high=3600, unit="s")
    max_duration_s: float = setting(6 * 3600.0, above=0, high=1e6, unit="s")
    max_frames: int = setting(6 * 3600 * 60, low=1, high=10**9)
    min_fps: float = setting(9.0, low=0, high=240, unit="frames/s")
    max_fps: float = setting(300.0, above=0, high=10_000, unit="frames/s")
    max_expansion: float = setting(20_000.0, low=1, high=1e9)
    max_streams: int = setting(100, low=1, high=10_000)
    integrity: Literal["reject", "flag"] = "reject"
    max_missing: float = setting(0.01, low=0, high=1)
    hdr: Literal["tone_map", "refuse"] = "tone_map"

    def __post_init__(self) -> None:
        check_settings(self, "observe.probe")
        if self.min_duration_s > self.max_duration_s or self.min_fps > self.max_fps:
            raise ValueError(
                "observe.probe.min_duration_s and min_fps must not be above max_duration_s and "
                f"max_fps, got {self.min_duration_s:g} of {self.max_duration_s:g} s and "
                f"{self.min_fps:g} of {self.max_fps:g} frames/s"
            )


class Refused(Exception):
    """Raised when a file must not be used; carries the reason."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(f"{rejected.reason}: {rejected.detail}")
        self.rejected = rejected


def refuse(reason: Reason, value: float | None, threshold: float | None, detail: str) -> Refused:
    """Return the exception that refuses a file, to be raised by the caller."""
    return Refused(Rejected(reason, value, threshold, detail))
