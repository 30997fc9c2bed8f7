"""What the numbers of a decoded picture mean, and how they become BT.709 in limited range.

A picture is brought to its size in its own matrix first. Another matrix of the same primaries is
then one small sum on the planes. Other primaries, HDR and matrices that are none (ICtCp, YCgCo) go
through light: code values, R'G'B' or L'M'S', linear light, BT.709 light, code values again.

SDR: the display is taken for one of BT.1886, a power of 2.4 on both sides (sRGB's curve for what
is tagged as sRGB), so greys stay what they are. Colours outside BT.709 are clipped.

HDR: PQ as stored; HLG with the system gamma of 1.2 for a peak of 1000 cd/m2 (BT.2100). Light is
then compressed by the curve of BT.2390 (EETF) on the largest of R, G and B, from 1000 cd/m2 to the
203 cd/m2 of reference white (BT.2408), and shown in BT.709. Only elementwise operations are used,
so that every machine computes the same bytes.
"""

import functools
from dataclasses import dataclass

import av
import numpy as np

# AVCOL_SPC_*: luma weights of red and blue
_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
_RGB, BT709, _UNKNOWN, _BT601, _YCGCO, _BT2020, _DERIVED, _ICTCP = 0, 1, 2, 6, 8, 9, 12, 14
_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
_RED_GREEN_BLUE = {  # AVCOL_PRI_*: chromaticities of red, green, blue and white
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65),
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
_LINEAR, _SRGB, _PQ, _HLG = 8, 13, 16, 18  # AVCOL_TRC_*
HDR_TRANSFERS = {_PQ: "PQ", _HLG: "HLG"}
_REFERENCE_WHITE, _PEAK = 203.0, 1000.0  # cd/m2: BT.2408; of the display that HDR is graded for
_SD_LINES = 576
_LEVELS = 65535
_AT_ONCE = 1 << 15  # pixels whose intermediate arrays stay in a processor's cache
_ICTCP_TO_LMS = {  # BT.2100, tables 6 and 7: the inverses of the matrices there
    _PQ: ((2048, 2048, 0), (6610, -13613, 7003), (17933, -17390, -543)),
    _HLG: ((2048, 2048, 0), (3625, -7465, 3840), (9500, -9212, -288)),
}
_RGB_TO_LMS = ((1688, 2146, 262), (683, 2951, 462), (99, 309, 3688))  # over 4096, of BT.2020


@dataclass(frozen=True, slots=True)
class Colours:
    """How a picture's numbers are to be read, with guesses for what is not said."""

    matrix: int  # AVCOL_SPC_*
    primaries: int  # AVCOL_PRI_*
    transfer: int  # AVCOL_TRC_*
    full_range: bool
    depth: int  # bits of a component

    @property
    def through_light(self) -> bool:
        """Whether more than the matrix is another than that of BT.709."""
        if self.primaries != BT709 or self.transfer in (_PQ, _HLG, _LINEAR):
            return True
        return self.matrix not in _WEIGHTS and self.matrix != _RGB

    @property
    def problem(self) -> str:
        """Name what no rule is known for here, or ''."""
        if self.matrix not in (*_WEIGHTS, _RGB, _YCGCO, _DERIVED, _ICTCP):
            return f"matrix {_MATRIX_NAMES.get(self.matrix, self.matrix)} is not supported"
        if self.primaries not in _RED_GREEN_BLUE:
            return f"primaries {self.primaries} are not supported"
        return ""


_MATRIX_NAMES = {10: "bt2020c", 11: "smpte2085", 13: "chroma-derived-c", 15: "ipt-c2"}


def colours_of(picture: av.VideoFrame) -> Colours:
    """Read a frame's tags.

    What is not tagged is what players take it for: BT.601 up to 576 lines and BT.709 above, the
    primaries that go with a matrix of BT.2020, else those of BT.709.
    """
    is_rgb = picture.format.is_rgb
    matrix, primaries = int(picture.colorspace), int(picture.color_primaries)
    if primaries in (0, _UNKNOWN, 3):
        primaries = _BT2020 if matrix in (_BT2020, 10, _ICTCP) and not is_rgb else BT709
    if is_rgb:
        matrix = _RGB
    elif matrix in (_RGB, _UNKNOWN, 3):
        is_hd = picture.width >= 1280 or picture.height > _SD_LINES
        matrix = _BT2020 if primaries == _BT2020 else BT709 if is_hd else _BT601
    return Colours(
        matrix, primaries, int(picture.color_trc), is_full_range(picture), _depth_of(picture)
    )


def _depth_of(picture: av.VideoFrame) -> int:
    return max(part.bits for part in picture.format.components)


def is_full_range(picture: av.VideoFrame) -> bool:
    name = picture.format.name
    return picture.color_range == 2 or name.startswith("yuvj") or picture.format.is_rgb


def chroma_change(matrix: int) -> np.ndarray:
    """Return (3, 2): what Cb and Cr of a matrix add to Y, Cb and Cr of BT.709.

    Both in limited range, where luma has 219 steps and chroma 224.
    """
    change = np.linalg.inv(_to_rgb(BT709)) @ _to_rgb(matrix)
    change[0] *= 219 / 224
    return change[:, 1:]


def _to_rgb(matrix: int) -> np.ndarray:
    """Return the matrix from Y (0 to 1), Cb and Cr (-0.5 to 0.5) to R'G'B'."""
    red, blue = _WEIGHTS[matrix]
    return _to_rgb_by(red, blue)


def _to_rgb_by(red: float, blue: float) -> np.ndarray:
    green = 1 - red - blue
    to_red, to_blue = 2 * (1 - red), 2 * (1 - blue)
    return np.array(
        [
            [1, 0, to_red],
            [1, -to_blue * blue / green, -to_red * red / green],
            [1, to_blue, 0],
        ]
    )


class ToSdr:
    """Turns pictures of one kind of colours into R'G'B' of BT.709, 8 bits, through light."""

    def __init__(self, colours: Colours) -> None:
        self._colours = colours
        self._decode = _decoding(colours)
        self._light = _light_curve(colours.transfer)
        self._to_709 = _light_to_709(colours)
        self._show = _display_curve(colours.transfer)

    def __call__(self, planes: list[np.ndarray]) -> np.ndarray:
        """Take three planes of 16 bits: Y, Cb, Cr or R', G', B'. Return (h, w, 3) uint8."""
        height, width = planes[0].shape
        shown = np.empty((height, width, 3), np.uint8)
        rows = max(1, _AT_ONCE // width)
        for top in range(0, height, rows):
            shown[top : top + rows] = self._convert([plane[top : top + rows] for plane in planes])
        return shown

    def _convert(self, planes: list[np.ndarray]) -> np.ndarray:
        floats = [plane.astype(np.float32) for plane in planes]
        codes = [_coded(row, floats) for row in self._decode]
        light = [self._light[code] for code in codes]
        if self._colours.transfer == _PQ:
            light = _compress(light, np.maximum(np.maximum(*codes[:2]), codes[2]), _pq_gains())
        elif self._colours.transfer == _HLG:
            light = _compress(light, _hlg_brightness(light), _hlg_gains())
        shown = [self._show[_levels(_sum(row, light))] for row in self._to_709]
        return np.stack(shown, axis=-1)


def _sum(row: np.ndarray, planes: list[np.ndarray]) -> np.ndarray:
    total = row[0] * planes[0]
    for weight, plane in zip(row[1:], planes[1:], strict=True):
        if weight:
            total = total + weight * plane
    return total


def _coded(row: np.ndarray, planes: list[np.ndarray]) -> np.ndarray:
    """Return one of R', G', B' as an index of 16 bits; row: three weights and what is added."""
    total = _sum(row[:3], planes) + row[3]
    return np.clip(total, 0, _LEVELS, out=total).astype(np.uint16)


def _levels(light: np.ndarray) -> np.ndarray:
    """Return light as an index: its square root in 16 bits, so that shadows keep theirs."""
    light = np.clip(light, 0, 1)
    return (np.sqrt(light) * np.float32(_LEVELS) + np.float32(0.5)).astype(np.uint16)


def _decoding(colours: Colours) -> np.ndarray:
    """Return (3, 4): from the planes, in 16 bits, to R'G'B' or L'M'S' in 16 bits."""
    if colours.matrix == _RGB:
        return np.eye(3, 4, dtype=np.float32)
    full = colours.full_range
    largest = ((1 << colours.depth) - 1) << 16 - colours.depth
    luma, chroma = (largest, largest) if full else (219 << 8, 224 << 8)
    offset = np.array([0 if full else 16 << 8, 1 << 15, 1 << 15])
    rows = _code_matrix(colours) * (_LEVELS / np.array([luma, chroma, chroma]))
    return np.concatenate([rows, -(rows @ offset)[:, None] + 0.5], axis=1).astype(np.float32)


def _code_matrix(colours: Colours) -> np.ndarray:
    if colours.matrix == _YCGCO:
        return np.array([[1.0, -1, 1], [1, 1, 0], [1, -1, -1]])
    if colours.matrix == _ICTCP:
        forward = np.array(_ICTCP_TO_LMS[_HLG if colours.transfer == _HLG else _PQ]) / 4096
        return np.linalg.inv(forward)
    if colours.matrix == _DERIVED:
        luminance = _to_xyz(colours.primaries)[1]
        return _to_rgb_by(luminance[0], luminance[2])
    return _to_rgb(colours.matrix)


def _light_to_709(colours: Colours) -> np.ndarray:
    """Return (3, 3) from linear R, G, B (or L, M, S) to linear R, G, B of BT.709."""
    to_709 = np.linalg.inv(_to_xyz(BT709)) @ _adapt(colours.primaries)
    if colours.matrix == _ICTCP:
        to_709 = to_709 @ np.linalg.inv(np.array(_RGB_TO_LMS) / 4096)
    return to_709.astype(np.float32)


def _to_xyz(primaries: int) -> np.ndarray:
    *points, white = _RED_GREEN_BLUE[primaries]
    directions = np.array([[x / y, 1, (1 - x - y) / y] for x, y in points]).T
    return directions * np.linalg.solve(directions, _xyz(white))


def _xyz(white: tuple[float, float]) -> np.ndarray:
    x, y = white
    return np.array([x / y, 1, (1 - x - y) / y])


def _adapt(primaries: int) -> np.ndarray:
    """Return the way to XYZ under D65 (Bradford's adaptation), so that white stays white."""
    white = _RED_GREEN_BLUE[primaries][3]
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    gain = (bradford @ _xyz(_D65)) / (bradford @ _xyz(white))
    return np.linalg.inv(bradford) @ np.diag(gain) @ bradford @ _to_xyz(primaries)


@functools.cache
def _light_curve(transfer: int) -> np.ndarray:
    """Return linear light for every code of 16 bits; 1 is SDR's white, or reference white."""
    code = np.linspace(0, 1, _LEVELS + 1)
    if transfer == _LINEAR:
        light = code
    elif transfer == _SRGB:
        light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    elif transfer == _PQ:
        light = _from_pq(code) / _REFERENCE_WHITE
    elif transfer == _HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    else:
        light = code**2.4
    return light.astype(np.float32)


@functools.cache
def _display_curve(transfer: int) -> np.ndarray:
    """Return the code of 8 bits for every square root of light of 16 bits."""
    light = np.linspace(0, 1, _LEVELS + 1) ** 2
    code = light ** (1 / 2.4)
    if transfer == _SRGB:
        code = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * code).astype(np.uint8)


def _from_pq(code: np.ndarray) -> np.ndarray:
    """Return cd/m2 for a code of 0 to 1: SMPTE ST 2084."""
    root = code ** (32 / 2523)
    return 10000 * (np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)) ** (
        16384 / 2610
    )


def _to_pq(light: np.ndarray) -> np.ndarray:
    root = (light / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * root) / (1 + 2392 / 128 * root)) ** (2523 / 32)


def _compressed(light: np.ndarray) -> np.ndarray:
    """Return cd/m2 after BT.2390's curve from the peak to reference white."""
    source = float(_to_pq(np.array(_PEAK)))
    code = np.clip(_to_pq(light) / source, 0, 1)
    most = float(_to_pq(np.array(_REFERENCE_WHITE))) / source
    knee = 1.5 * most - 0.5
    t = np.clip((code - knee) / (1 - knee), 0, 1)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * most
    )
    return _from_pq(np.where(code < knee, code, spline) * source)


@functools.cache
def _pq_gains() -> np.ndarray:
    """Return by what light is multiplied, for every largest code of R', G' and B'."""
    light = _from_pq(np.linspace(0, 1, _LEVELS + 1))
    return (_compressed(light) / np.maximum(light, 1e-6)).astype(np.float32)


@functools.cache
def _hlg_gains() -> np.ndarray:
    """Return the same for the square root of the scene's light; includes the system gamma."""
    scene = np.linspace(0, 1, _LEVELS + 1) ** 2
    light = _PEAK * scene**1.2
    return (_compressed(light) / np.maximum(scene, 1e-9) / _REFERENCE_WHITE).astype(np.float32)


def _hlg_brightness(light: list[np.ndarray]) -> np.ndarray:
    return _levels(np.maximum(np.maximum(light[0], light[1]), light[2]))


def _compress(light: list[np.ndarray], index: np.ndarray, gains: np.ndarray) -> list[np.ndarray]:
    gain = gains[index]
    return [plane * gain for plane in light]
