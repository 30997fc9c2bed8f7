"""Cut the sound of clips out of a source, to the sample, and put it into their MP4.

Sound is 48 kHz stereo of 16 bits, stored as FLAC: what is cut again loses nothing, there is no
delay of an encoder to be undone, and the same samples give the same bytes.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.container.core import Flags
from av.error import FFmpegError
from av.stream import Disposition

from pipeline.media.containers import open_container
from pipeline.media.limits import ProbeConfig

RATE = 48_000  # samples a second
_JUMP = RATE // 50  # samples by which times may differ from the count of samples: 20 ms
_EARLIER_S = 1.0  # before the first wanted sample, where a decoder may still settle


@dataclass(frozen=True)
class Stretch:
    """A stretch of a source's time, in samples: [start, start + length)."""

    start: int
    length: int

    @classmethod
    def of_frames(cls, start_s: Fraction, num_frames: int, fps: int) -> "Stretch":
        """Return the time of so many frames of a constant rate."""
        return cls(round(start_s * RATE), round(Fraction(num_frames * RATE, fps)))


def cut_sounds(
    path: str, limits: ProbeConfig, stretches: Sequence[Stretch]
) -> list[np.ndarray | None]:
    """Return (length, 2) int16 for every stretch, in order; None where the source has no sound.

    What the source lacks inside a stretch, or its decoder refuses, is silent.
    """
    if not stretches:
        return []
    cut = [np.zeros((stretch.length, 2), np.int16) for stretch in stretches]
    heard = [False] * len(cut)
    end = max(stretch.start + stretch.length for stretch in stretches)
    with contextlib.closing(open_container(path, limits)) as container:
        for start, samples in _pieces(container, min(s.start for s in stretches)):
            if start >= end:
                break
            for place, stretch in enumerate(stretches):
                first = max(start, stretch.start)
                last = min(start + len(samples), stretch.start + stretch.length)
                if first < last:
                    heard[place] = True
                    into = slice(first - stretch.start, last - stretch.start)
                    cut[place][into] = samples[first - start : last - start]
    return [samples if there else None for samples, there in zip(cut, heard, strict=True)]


def _pieces(container: InputContainer, first: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (place of the first sample, samples) from a little before a sample on."""
    streams = container.streams.audio
    if not streams:
        return
    stream = max(streams, key=lambda each: bool(each.disposition & Disposition.default))
    stream.codec_context.thread_count = 1
    assert stream.time_base is not None, "a stream that holds samples has a clock"
    if first > RATE * _EARLIER_S:
        at = Fraction(first, RATE) - Fraction(_EARLIER_S)
        with contextlib.suppress(FFmpegError):  # it cannot be sought: it is read from its start
            container.seek(int(at / stream.time_base), stream=stream, backward=True)
    run: _Run | None = None
    for frame in _frames(container, stream):
        if frame.pts is None or frame.time_base is None:
            continue
        at = round(Fraction(frame.pts) * frame.time_base * RATE)
        if run is None or run.is_broken(frame, at):
            if run is not None:
                yield from run.finish()
            run = _Run(frame, at)
        yield from run.add(frame)
    if run is not None:
        yield from run.finish()


def _frames(container: InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    """Yield what decodes; a packet that does not leaves a gap."""
    with contextlib.suppress(FFmpegError):  # the file ends badly
        for packet in container.demux(stream):
            with contextlib.suppress(FFmpegError):
                yield from packet.decode()  # type: ignore[misc]


class _Run:
    """Resamples frames that follow each other without a gap."""

    def __init__(self, first: av.AudioFrame, at: int) -> None:
        self._resampler = av.AudioResampler(format="s16", layout="stereo", rate=RATE)
        self._kind = (first.sample_rate, first.layout.name, first.format.name)
        self._start, self._taken = at, Fraction(0)  # samples that went in, at RATE
        self._place = at

    def is_broken(self, frame: av.AudioFrame, at: int) -> bool:
        kind = (frame.sample_rate, frame.layout.name, frame.format.name)
        return kind != self._kind or abs(at - self._start - self._taken) > _JUMP

    def add(self, frame: av.AudioFrame) -> Iterator[tuple[int, np.ndarray]]:
        self._taken += Fraction(frame.samples * RATE, frame.sample_rate)
        frame.pts = None  # the count of samples is the clock within a run
        yield from self._placed(self._resampler.resample(frame))

    def finish(self) -> Iterator[tuple[int, np.ndarray]]:
        yield from self._placed(self._resampler.resample(None))

    def _placed(self, frames: Iterable[av.AudioFrame]) -> Iterator[tuple[int, np.ndarray]]:
        for frame in frames:
            samples = frame.to_ndarray().reshape(-1, 2)
            yield self._place, samples
            self._place += len(samples)


def with_sound(mp4: bytes, samples: np.ndarray) -> bytes:
    """Return a clip's MP4 with its sound, (N, 2) int16, as a FLAC stream beside the pictures."""
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(mp4), "r", format="mp4") as source,
        av.open(file, "w", format="mp4") as target,
    ):
        target.flags |= Flags.bitexact.value
        pictures = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("flac", rate=RATE, layout="stereo")
        sound.time_base = Fraction(1, RATE)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = pictures
                target.mux(packet)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        target.mux(sound.encode(frame))
        target.mux(sound.encode(None))
    return file.getvalue()


def has_sound(mp4: bytes) -> bool:
    """Return whether a clip has a stream of sound."""
    with av.open(io.BytesIO(mp4), "r", format="mp4") as container:
        return bool(container.streams.audio)


def read_sound(mp4: bytes) -> np.ndarray:
    """Return the sound of a clip of ours, (N, 2) int16."""
    with av.open(io.BytesIO(mp4), "r", format="mp4") as container:
        frames = [frame.to_ndarray().reshape(-1, 2) for frame in container.decode(audio=0)]
    return np.concatenate(frames) if frames else np.zeros((0, 2), np.int16)
