"""A matrix of containers, codecs and timings, against what FFmpeg's own program decodes.

    python benchmarks/containers.py

Every combination that FFmpeg can write here: frames (ours, FFmpeg's), the length in seconds, and
the largest difference of the mean colour of a frame. FFmpeg is the program of imageio-ffmpeg.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

os.environ.setdefault("SVT_LOG", "0")  # the encoder writes a page a film
import av  # noqa: E402
import numpy as np  # noqa: E402
from av.error import FFmpegError  # noqa: E402
from synthetic import moving_shapes  # noqa: E402

from pipeline.media.limits import ProbeConfig, Refused  # noqa: E402
from pipeline.media.pixels import Scaler  # noqa: E402
from pipeline.media.probe import probe  # noqa: E402
from pipeline.media.reader import VideoReader  # noqa: E402
from schemas.tables import Video  # noqa: E402

SIZE, FRAMES, FPS = (320, 192), 60, 25
CODECS = {  # encoder: pixel format, options
    "libx264": ("yuv420p", {"bf": "2", "g": "25"}),
    "libx265": ("yuv420p10le", {"x265-params": "log-level=none:keyint=25"}),
    "mpeg4": ("yuv420p", {"bf": "2", "g": "12"}),
    "mpeg2video": ("yuv420p", {"bf": "2", "g": "12"}),
    "wmv2": ("yuv420p", {"g": "12"}),
    "flv": ("yuv420p", {"g": "12"}),
    "mjpeg": ("yuvj420p", {}),
    "ffv1": ("yuv444p", {}),
    "libvpx": ("yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "16"}),
    "libvpx-vp9": ("yuv420p", {"cpu-used": "8", "deadline": "realtime"}),
    "gif": ("rgb8", {}),
    "rawvideo": ("yuv420p", {}),
    "libsvtav1": ("yuv420p10le", {"preset": "12", "svtav1-params": "keyint=25"}),
    "prores_ks": ("yuv422p10le", {}),
    "msmpeg4": ("yuv420p", {"g": "12"}),
    "huffyuv": ("yuv422p", {}),
    "dvvideo": ("yuv420p", {}),
}
SIZES = {"dvvideo": (720, 576)}  # of codecs that know only a few
CONTAINERS = {  # suffix: encoders
    "mp4": "libx264 libx265 mpeg4 mpeg2video libvpx-vp9 mjpeg libsvtav1",
    "mov": "libx264 libx265 mpeg4 mjpeg prores_ks",
    "mkv": "libx264 libx265 mpeg4 mpeg2video libvpx libvpx-vp9 ffv1 mjpeg libsvtav1",
    "webm": "libvpx libvpx-vp9 libsvtav1",
    "avi": "libx264 mpeg4 mjpeg ffv1 wmv2 rawvideo msmpeg4 huffyuv dvvideo",
    "ts": "libx264 libx265 mpeg2video",
    "mpg": "mpeg2video",
    "vob": "mpeg2video",
    "flv": "libx264 flv",
    "f4v": "libx264",
    "wmv": "wmv2 mpeg4 libx264",
    "asf": "wmv2",
    "3gp": "libx264 mpeg4",
    "mxf": "mpeg2video",
    "nut": "libx264 mpeg4 ffv1",
    "ivf": "libvpx libvpx-vp9",
    "gif": "gif",
    "dv": "dvvideo",
    "ogv": "libvpx",
    "y4m": "rawvideo",
}
FORMATS = {"y4m": "yuv4mpegpipe", "f4v": "mp4"}
CONSTANT_ONLY = ("gif", "y4m", "mxf", "avi", "mpg", "vob", "dv")
TIMINGS = {
    "constant": list(range(FRAMES)),
    "dropped": [n + n // 3 for n in range(FRAMES)],
    "late": [n + 250 for n in range(FRAMES)],
}


def combinations() -> Iterator[tuple[str, str, str]]:
    for container, codecs in CONTAINERS.items():
        for codec in codecs.split():
            for timing in TIMINGS:
                if timing == "constant" or container not in CONSTANT_ONLY:
                    yield container, codec, timing


def size_of(codec: str) -> tuple[int, int]:
    return SIZES.get(codec, SIZE)


def write(path: Path, codec: str, timing: str) -> None:
    kind, options = CODECS[codec]
    with av.open(str(path), "w", format=FORMATS.get(path.suffix[1:])) as container:
        stream = container.add_stream(codec, rate=FPS)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size_of(codec), kind
        stream.codec_context.time_base = Fraction(1, FPS)
        stream.options = options
        for pts, frame in zip(TIMINGS[timing], moving_shapes(FRAMES, size_of(codec)), strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=kind)
            picture.pts, picture.time_base = pts, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def ours(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Return the mean colour of every frame, (frames, 3), and the length in seconds."""
    video = probe(str(path), "x", ProbeConfig())
    assert isinstance(video, Video), f"{video.reason}: {video.detail}"
    with VideoReader(str(path), ProbeConfig()) as reader:
        scale = Scaler(*size, "rgb24", exact=False)
        means = [scale(f.picture).to_ndarray().mean(axis=(0, 1)) for f in reader.frames()]
        assert (reader.count.errors, reader.count.corrupt) == (0, 0)
        assert reader.count.frames >= reader.count.packets
    return np.array(means), video.duration_s


def theirs(path: Path, size: tuple[int, int]) -> np.ndarray:
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path)]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, size[0] * size[1], 3).mean(axis=1)


def main() -> None:
    """Compare all, or the combinations with one of the names that are given."""
    names = set(sys.argv[1:])
    print(f"{'container':9} {'codec':11} {'timing':8} {'frames':>7} {'FFmpeg':>7} {'s':>6} colour")
    good = tried = 0
    with tempfile.TemporaryDirectory() as folder:
        for container, codec, timing in combinations():
            if names and not names & {container, codec, timing}:
                continue
            path = Path(folder) / f"{codec}-{timing}.{container}"
            try:
                write(path, codec, timing)
            except (FFmpegError, ValueError) as error:
                print(f"{container:9} {codec:11} {timing:8} cannot be written here: {error}")
                continue
            tried += 1
            try:
                means, seconds = ours(path, size_of(codec))
                truth = theirs(path, size_of(codec))
            except (AssertionError, Refused) as error:
                print(f"{container:9} {codec:11} {timing:8} {error}", flush=True)
                continue
            same = len(means) == len(truth)
            colour = np.abs(means - truth).max() if same else np.nan
            good += same and colour <= 3
            print(
                f"{container:9} {codec:11} {timing:8} {len(means):7} {len(truth):7}"
                f" {seconds:6.2f} {colour:6.1f}",
                flush=True,
            )
    print(f"{good} of {tried} agree in frames and within 3 of 255 in colour")


if __name__ == "__main__":
    main()
