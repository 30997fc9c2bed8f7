"""How a decoded picture is displayed: upright, its size in square pixels, its rotation."""

import math
import struct
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer


@dataclass(frozen=True, slots=True)
class Orientation:
    """What makes a stored picture upright: a turn clockwise, then perhaps a mirror left-right."""

    rotation: int = 0  # degrees: 0, 90, 180, 270
    mirrored: bool = False

    @property
    def is_lying(self) -> bool:
        """Whether width and height change places."""
        return self.rotation in (90, 270)

    def turn(self, plane: np.ndarray) -> np.ndarray:
        """Return a picture or a plane of it upright."""
        if self.rotation:
            plane = cv2.rotate(plane, _TURNS[self.rotation])
        return cv2.flip(plane, 1) if self.mirrored else plane

    def lying(self, width: int, height: int) -> tuple[int, int]:
        """Return an upright size as the stored picture has it."""
        return (height, width) if self.is_lying else (width, height)


_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True, slots=True)
class FrameGeometry:
    """How the pictures of a stretch are displayed. Sizes in pixels."""

    coded_width: int  # as stored
    coded_height: int
    aspect: Fraction  # width of a stored pixel over its height
    orientation: Orientation

    @property
    def width(self) -> int:
        """Upright, in square pixels: the stored height is kept, the stored width adapts."""
        return self._upright[0]

    @property
    def height(self) -> int:
        return self._upright[1]

    @property
    def rotation(self) -> int:
        return self.orientation.rotation

    @property
    def mirrored(self) -> bool:
        return self.orientation.mirrored

    @property
    def _upright(self) -> tuple[int, int]:
        square = max(1, math.floor(self.coded_width * self.aspect + Fraction(1, 2)))
        return self.orientation.lying(square, self.coded_height)


def side_data_of(picture: av.VideoFrame) -> SideDataContainer:
    """Return what goes with a frame, for a moment.

    `picture.side_data` would be held by the frame that it holds: a frame then waits for Python's
    collector, and with it hundreds of others, 12 MB each of 4K.
    """
    return SideDataContainer(picture)  # pyright: ignore[reportCallIssue]: its stub has no argument


def orientation_of(picture: av.VideoFrame) -> Orientation:
    """Read a frame's display matrix; turns are rounded to quarters."""
    matrix = side_data_of(picture).get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    if a * d - b * c < 0:
        return Orientation(_quarters(b, -a), mirrored=True)
    return Orientation(_quarters(b, a))


def _quarters(sine: int, cosine: int) -> int:
    return round(math.degrees(math.atan2(sine, cosine)) / 90) * 90 % 360
