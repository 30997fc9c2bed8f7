"""What trainers demand of clips: how many frames, at which rate, in sizes of which multiple."""

from collections.abc import Iterable
from dataclasses import dataclass


def longest_length(num_frames: int, first: int, step: int) -> int:
    """Return the largest of first, first + step, first + 2 step, … within num_frames, else 0."""
    return num_frames - (num_frames - first) % step if num_frames >= first else 0


@dataclass(frozen=True)
class ClipRules:
    """What one model takes of a clip.

    Attributes:
        model: the name that its trainer calls it by
        step, offset: a clip has `step * n + offset` frames
        size_multiple: width and height are multiples of it
        fps: rate that the trainer turns every clip to, or None when it takes frames as they are
        fewest, most: frames that the model was released for, at that rate
    """

    model: str
    step: int
    offset: int
    size_multiple: int
    fps: float | None = None
    fewest: int = 1
    most: int = 100_000

    def frames(self, num_frames: int, fps: float) -> int:
        """Return how many frames of a clip the model can use; 0 when it has too few for any."""
        if self.fps is not None and fps > 0:
            num_frames = int(num_frames * self.fps / fps)
        first = self.offset or self.step
        return longest_length(min(num_frames, self.most), first, self.step)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the largest size within the picture's that the model takes."""
        by = self.size_multiple
        return max(by, width // by * by), max(by, height // by * by)


def best_length(lengths: Iterable[int]) -> int:
    """Return the length at which most frames are used, when each clip gives one piece or none."""
    longest_first = sorted((length for length in lengths if length > 0), reverse=True)
    if not longest_first:
        return 0
    used = [(length * rank, length) for rank, length in enumerate(longest_first, start=1)]
    return max(used)[1]
