"""Whatever colours a film is stored in, its clips and stills show them in BT.709."""

from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from synthetic import moving_shapes, write_video

from pipeline.media.limits import ProbeConfig, Refused
from pipeline.media.pixels import Scaler, planes_of
from pipeline.media.reader import VideoReader
from schemas.reasons import Reason

PATCHES = (
    *((0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 60, 60)),
    *((60, 160, 70), (60, 80, 200), (210, 170, 140), (90, 60, 45)),
)
BT709, BT2020, YCGCO, ICTCP = 1, 9, 8, 14
WEIGHTS = {4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087),
           1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}  # fmt: skip
D65 = (0.3127, 0.3290)
PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}


def to_xyz(primaries: int) -> np.ndarray:
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES[primaries]]).T
    white = np.array((D65[0] / D65[1], 1, (1 - D65[0] - D65[1]) / D65[1]))
    return columns * np.linalg.solve(columns, white)


def in_primaries(primaries: int) -> np.ndarray:
    """Return the patches' R'G'B', 0 to 1, as a film in other primaries has them; a row each."""
    light = (np.array(PATCHES) / 255) ** 2.4
    other = light @ (np.linalg.inv(to_xyz(primaries)) @ to_xyz(1)).T
    return np.clip(other, 0, 1) ** (1 / 2.4)


def in_matrix(rgb: np.ndarray, matrix: int) -> np.ndarray:
    """Return Y from 0 to 1 and two chromas around 0."""
    if matrix == YCGCO:
        return rgb @ np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0, -0.5]]).T
    red, blue = WEIGHTS[matrix]
    luma = rgb @ np.array([red, 1 - red - blue, blue])
    chroma = [(rgb[:, 2] - luma) / (2 - 2 * blue), (rgb[:, 0] - luma) / (2 - 2 * red)]
    return np.stack([luma, *chroma], axis=1)


def write_patches(
    path: Path,
    matrix: int = BT709,
    primaries: int = 1,
    transfer: int = 1,
    full_range: bool = False,
    bits: int = 8,
    codes: np.ndarray | None = None,
) -> Path:
    """Write the patches, or other (8, 3) codes: Y from 0 to 1 and two chromas around 0."""
    if codes is None:
        codes = in_matrix(in_primaries(primaries), matrix)
    top = (1 << bits) - 1
    scale = np.array([top, top, top] if full_range else np.array([219, 224, 224]) << bits - 8)
    offset = np.array([0 if full_range else 16 << bits - 8, *(1 << bits - 1,) * 2])
    values = np.clip(np.round(codes * scale + offset), 0, top).astype(int)
    grid = np.kron(values.reshape(2, 4, 3), np.ones((80, 80, 1))).astype(int)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height = 320, 160
        name = "yuv420p" if bits == 8 else f"yuv420p{bits}le"
        stream.pix_fmt = name
        codec = stream.codec_context
        codec.colorspace, codec.color_primaries, codec.color_trc = matrix, primaries, transfer
        codec.color_range = 2 if full_range else 1
        for number in range(30):
            picture = av.VideoFrame(320, 160, name)
            for plane, of, halved in zip(picture.planes, range(3), (1, 2, 2), strict=True):
                kind = np.uint8 if bits == 8 else np.uint16
                rows = np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)
                rows[:, : plane.width] = grid[::halved, ::halved, of]
            picture.pts, picture.time_base = number, Fraction(1, 24)
            picture.colorspace, picture.color_range = matrix, codec.color_range
            picture.color_primaries, picture.color_trc = primaries, transfer
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def shown(path: Path, exact: bool, pixel_format: str) -> np.ndarray:
    """Return the patches of the first frame, (8, 3), R'G'B' of BT.709 up to 255."""
    with VideoReader(str(path), ProbeConfig()) as reader:
        picture = Scaler(320, 160, pixel_format, exact)(next(reader.frames()).picture)
    if pixel_format == "rgb24":
        rgb = picture.to_ndarray().astype(float)
        return rgb[40::80, 40::80].reshape(8, 3)
    assert (picture.colorspace, picture.color_range) == (1, 1)
    luma, *chromas = (plane.astype(float) for plane in planes_of(picture))
    y = (luma[40::80, 40::80].ravel() - 16) / 219
    cb, cr = ((plane[20::40, 20::40].ravel() - 128) / 224 for plane in chromas)
    red, blue = y + 1.5748 * cr, y + 1.8556 * cb
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    return 255 * np.stack([red, green, blue], axis=1)


@pytest.mark.parametrize("matrix", [1, 4, 5, 6, 7, 9, YCGCO])
@pytest.mark.parametrize("full_range", [False, True])
def test_every_matrix_and_range_becomes_bt709(
    tmp_path: Path, matrix: int, full_range: bool
) -> None:
    path = write_patches(tmp_path / "a.mkv", matrix, full_range=full_range)
    for exact, pixel_format in ((True, "yuv420p"), (False, "rgb24")):
        assert np.abs(shown(path, exact, pixel_format) - PATCHES).max() <= 4


@pytest.mark.parametrize("primaries", [5, 6, 9, 12])
@pytest.mark.parametrize(
    ("full_range", "bits"), [(False, 8), (True, 8), (False, 10), (True, 10), (False, 12)]
)
def test_every_primaries_and_depth_become_bt709(
    tmp_path: Path, primaries: int, full_range: bool, bits: int
) -> None:
    matrix = {5: 5, 6: 6, 9: 9, 12: 1}[primaries]
    path = write_patches(tmp_path / "a.mkv", matrix, primaries, 1, full_range, bits)
    for exact, pixel_format in ((True, "yuv420p"), (False, "rgb24")):
        assert np.abs(shown(path, exact, pixel_format) - PATCHES).max() <= 4


@pytest.mark.parametrize("transfer", [1, 4, 5, 6, 7, 13, 14, 15])
def test_greys_of_sdr_stay_what_they_are(tmp_path: Path, transfer: int) -> None:
    path = write_patches(tmp_path / "a.mkv", BT2020, 9, transfer)
    assert np.abs(shown(path, True, "yuv420p")[:3] - PATCHES[:3]).max() <= 1


@pytest.mark.parametrize("pixel_format", ["gray", "gray10le", "gray12le"])
@pytest.mark.parametrize("full_range", [False, True])
def test_monochrome_has_its_range(tmp_path: Path, pixel_format: str, full_range: bool) -> None:
    bits = 8 if pixel_format == "gray" else int(pixel_format[4:6])
    path = tmp_path / "a.mkv"
    levels = np.repeat([[0, 64, 128, 255]], 160, axis=0).repeat(80, axis=1) / 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 320, 160, pixel_format
        stream.codec_context.color_range = 2 if full_range else 1
        top = (1 << bits) - 1
        codes = levels * top if full_range else (16 + 219 * levels) * (1 << bits - 8)
        picture = av.VideoFrame(320, 160, pixel_format)
        plane = picture.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8 if bits == 8 else np.uint16)
        rows.reshape(160, -1)[:, :320] = np.round(codes)
        picture.color_range = 2 if full_range else 1
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    for exact, kind in ((True, "yuv420p"), (False, "rgb24")):
        with VideoReader(str(path), ProbeConfig()) as reader:
            picture = Scaler(320, 160, kind, exact)(next(reader.frames()).picture)
        grey = planes_of(picture)[0][80, 40::80].astype(float)
        if kind == "yuv420p":
            grey = (grey - 16) * 255 / 219
        else:
            grey = picture.to_ndarray()[80, 40::80, 0].astype(float)
        assert np.abs(grey - (0, 64, 128, 255)).max() <= 2


def _pq(light: float) -> float:
    root = (light / 10000) ** (2610 / 16384)
    return float(((3424 / 4096 + 18.8515625 * root) / (1 + 18.6875 * root)) ** (2523 / 32))


def write_hdr(path: Path, lights: tuple[float, ...]) -> Path:
    """Write greys of these cd/m2 in PQ, BT.2020, 10 bits."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 320, 160, "yuv420p10le"
        picture = av.VideoFrame(320, 160, "yuv420p10le")
        codes = np.repeat([round(64 + 876 * _pq(light)) for light in lights], 320 // len(lights))
        for plane, values in zip(picture.planes, (codes, 512, 512), strict=True):
            rows = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)
            rows[:, : plane.width] = values
        for tagged in (stream.codec_context, picture):
            tagged.colorspace, tagged.color_primaries, tagged.color_trc = 9, 9, 16
            tagged.color_range = 1
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def test_hdr_is_tone_mapped_to_reference_white(tmp_path: Path) -> None:
    path = write_hdr(tmp_path / "hdr.mkv", (0.0, 20.0, 203.0, 1000.0))
    with VideoReader(str(path), ProbeConfig()) as reader:
        picture = Scaler(320, 160, "rgb24")(next(reader.frames()).picture)
    rgb = picture.to_ndarray()[80, 40::80].astype(int)
    assert (np.ptp(rgb, axis=1) <= 1).all(), "grey stays grey"
    black, dim, white, peak = rgb[:, 1]
    assert black == 0
    assert abs(dim - 255 * (20 / 203) ** (1 / 2.4)) <= 3, "below the knee light is as graded"
    assert 200 < white < 245
    assert peak >= 253


def test_ictcp_shows_what_the_plain_matrix_shows(tmp_path: Path) -> None:
    """The same light in both of BT.2100's encodings; ICtCp by its tables 6 and 7."""
    light = 203 * in_primaries(BT2020) ** 2.4
    pq = np.vectorize(_pq)
    to_lms = np.array([[1688, 2146, 262], [683, 2951, 462], [99, 309, 3688]]) / 4096
    to_ictcp = np.array([[2048, 2048, 0], [6610, -13613, 7003], [17933, -17390, -543]]) / 4096
    plain = in_matrix(pq(light), BT2020)
    ictcp = pq(light @ to_lms.T) @ to_ictcp.T
    pictures = [
        shown(
            write_patches(tmp_path / f"{matrix}.mkv", matrix, 9, 16, bits=12, codes=codes),
            exact=False,
            pixel_format="rgb24",
        )
        for matrix, codes in ((BT2020, plain), (ICTCP, ictcp))
    ]
    assert np.abs(pictures[0] - pictures[1]).max() <= 4
    assert np.ptp(pictures[0][3]) > 80, "red is red"


def test_hdr_is_refused_by_name_where_it_is_not_wanted(tmp_path: Path) -> None:
    path = write_hdr(tmp_path / "hdr.mkv", (0.0, 203.0))
    with pytest.raises(Refused) as refused, VideoReader(str(path), ProbeConfig(hdr="refuse")):
        pass
    assert refused.value.rejected.reason == Reason.UNSUPPORTED_TRANSFER
    assert "PQ" in refused.value.rejected.detail
    with pytest.raises(ValueError, match="hdr"):
        ProbeConfig(hdr=cast(Any, "clip"))


def test_matrix_without_a_rule_is_refused_by_name(tmp_path: Path) -> None:
    options = {"x264-params": "colormatrix=bt2020c:colorprim=bt2020:transfer=bt2020-10"}
    path = write_video(tmp_path / "a.mp4", moving_shapes(26), options=options)
    with VideoReader(str(path), ProbeConfig()) as reader, pytest.raises(Refused) as refused:
        next(reader.frames())
    assert refused.value.rejected.reason == Reason.UNSUPPORTED_COLOURS
    assert "bt2020c" in refused.value.rejected.detail
