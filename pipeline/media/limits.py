"""What a file may be, and how it is refused."""

from dataclasses import dataclass

from pipeline.execution.stage import Rejected
from schemas.reasons import Reason


@dataclass(frozen=True)
class ProbeConfig:
    """What a file may be. Checked at probing, and again while frames are decoded."""

    max_size_bytes: int = 64 * 2**30
    max_pixels: int = 8192 * 4320  # 8K; a frame of it is 53 MB
    min_side: int = 64  # below, nothing can become a clip
    min_duration_s: float = 1.0
    max_duration_s: float = 6 * 3600.0
    max_frames: int = 6 * 3600 * 60
    min_fps: float = 9.0  # slower video would stutter in a clip of 16 frames a second
    max_fps: float = 300.0
    max_expansion: float = 20_000.0  # decoded over stored bytes; a black 1080p bomb has 49,000
    max_streams: int = 100
    integrity: str = "reject"  # reject | flag: what to do with truncated and damaged files
    max_missing: float = 0.01  # share of the declared frames that may be absent

    def __post_init__(self) -> None:
        if self.integrity not in ("reject", "flag"):
            raise ValueError(f"integrity must be 'reject' or 'flag', got {self.integrity!r}")


class Refused(Exception):
    """Raised while a file is read that must not be used; carries the reason."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(f"{rejected.reason}: {rejected.detail}")
        self.rejected = rejected


def refuse(reason: Reason, value: float | None, threshold: float | None, detail: str) -> Refused:
    """Return the exception that refuses a file, to be raised by the caller."""
    return Refused(Rejected(reason, value, threshold, detail))
