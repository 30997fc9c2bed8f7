"""The sound of a clip is that of its pictures, to the sample, and survives its MP4 unchanged."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from synthetic import moving_shapes, number_frame, write_video

from pipeline.dataset.units import VideoPart
from pipeline.media.clip_frames import read_clip
from pipeline.media.limits import ProbeConfig
from pipeline.media.probe import probe
from pipeline.media.sound import RATE, Stretch, cut_sounds, has_sound, read_sound, with_sound
from pipeline.observing.clips import ClipsConfig, cut_video
from pipeline.observing.observe_config import ObserveConfig
from pipeline.observing.trim import cut_to
from schemas.tables import Video

CODECS = {  # file -> codec, its sample format and rate
    "a.mp4": ("aac", "fltp", 44_100),
    "b.mkv": ("flac", "s16", 48_000),
    "c.mov": ("pcm_s16le", "s16", 22_050),
    "d.ts": ("mp2", "s16", 48_000),
    "e.webm": ("libopus", "s16", 48_000),
}


def clicks(path: Path, codec: str, kind: str, rate: int, seconds: int = 6, fps: int = 24) -> Path:
    """Write a film with a click at every whole second, numbered frames, and a sound codec."""
    samples = np.zeros(seconds * rate, np.float32)
    burst = 0.9 * np.sin(np.arange(rate // 100) * 0.5)
    for second in range(1, seconds):
        samples[second * rate : second * rate + len(burst)] = burst
    with av.open(str(path), "w") as target:
        pictures = target.add_stream("vp8" if path.suffix == ".webm" else "libx264", rate=fps)
        pictures.width, pictures.height, pictures.pix_fmt = 320, 192, "yuv420p"
        sound: Any = target.add_stream(codec, rate=rate, layout="mono")
        for number, frame in enumerate(moving_shapes(seconds * fps)):
            picture = av.VideoFrame.from_ndarray(number_frame(frame, number), format="bgr24")
            target.mux(pictures.encode(picture.reformat(format="yuv420p")))
        target.mux(pictures.encode(None))
        whole = samples if kind == "fltp" else np.round(samples * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(whole[None], format=kind, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        target.mux(sound.encode(frame))
        target.mux(sound.encode(None))
    return path


def onsets(samples: np.ndarray) -> list[int]:
    """Return the first sample of every click."""
    loud = np.flatnonzero(np.abs(samples[:, 0].astype(int)) > 3000)
    return [
        int(at) for at, before in zip(loud, [-RATE, *loud[:-1]], strict=True) if at - before > 4800
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", CODECS)
def test_a_stretch_begins_and_ends_at_its_samples(tmp_path, name):
    path = clicks(tmp_path / name, *CODECS[name])
    with av.open(str(path)) as container:  # MPEG-TS does not begin at 0
        origin = Fraction(container.streams.video[0].start_time or 0)
        origin *= container.streams.video[0].time_base or 1
    stretches = [
        Stretch.of_frames(origin + Fraction(1, 2), 40, 16),
        Stretch.of_frames(origin + Fraction(21, 8), 24, 24),
    ]
    first, second = cut_sounds(str(path), ProbeConfig(), stretches)
    assert first is not None
    assert second is not None
    assert (len(first), len(second)) == (120_000, 48_000)
    for found, wanted in zip(onsets(first), (24_000, 72_000), strict=True):
        assert abs(found - wanted) <= 2
    assert abs(onsets(second)[0] - 18_000) <= 2


def test_a_film_without_sound_has_none_and_a_gap_is_silent(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_shapes(48), 24)
    assert cut_sounds(str(path), ProbeConfig(), [Stretch(0, 100)]) == [None]
    path = clicks(tmp_path / "b.mkv", "flac", "s16", 48_000, seconds=2)
    late, beyond = cut_sounds(str(path), ProbeConfig(), [Stretch(RATE, 2 * RATE), Stretch(9**6, 9)])
    assert beyond is None
    assert late is not None
    assert onsets(late) == [pytest.approx(0, abs=2)]
    assert not late[RATE + 2000 :].any()


def test_a_clip_keeps_its_pictures_and_gets_its_sound_without_loss(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_shapes(48), 16)
    mp4 = path.read_bytes()
    samples = np.random.default_rng(0).integers(-32768, 32767, (3 * RATE, 2)).astype(np.int16)
    heard = with_sound(mp4, samples)
    assert heard == with_sound(mp4, samples)
    assert np.array_equal(read_sound(heard), samples)
    assert (has_sound(heard), has_sound(mp4)) == (True, False)
    before, after = (np.stack(read_clip(each)[1]) for each in (mp4, heard))
    assert np.array_equal(before, after)
    with av.open(io.BytesIO(heard)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert audio.duration
        assert audio.time_base
        assert float(audio.duration * audio.time_base) == 3.0
        assert (video.start_time, audio.start_time) == (0, 0)


def test_clips_and_what_is_trimmed_of_them_are_in_step_with_their_sound(tmp_path):
    path = clicks(tmp_path / "a.mkv", "flac", "s16", 48_000)
    config = ObserveConfig(clips=ClipsConfig(min_s=1.0, max_s=2.5, audio="keep"))
    video = probe(str(path), "video", config.probe)
    assert isinstance(video, Video)
    rows = cut_video(str(path), video, VideoPart(), config).clips
    assert len(rows) == 3
    for row in rows:
        whole_s = [second - row.begins_s for second in range(1, 6)]
        inside = [round(at * RATE) for at in whole_s if 0 <= at * 16 < row.clip.num_frames]
        assert row.sound is not None
        assert len(row.sound) == row.clip.num_frames * RATE // 16
        assert onsets(row.sound) == pytest.approx(inside, abs=2)
    trimmed, whole = cut_to(rows[1], 4, 36, config.clips.encoding).sound, rows[1].sound
    assert trimmed is not None
    assert whole is not None
    assert np.array_equal(trimmed, whole[12_000:108_000])
    silent = ObserveConfig(clips=ClipsConfig(min_s=1.0, max_s=2.5))
    without = cut_video(str(path), video, VideoPart(), silent).clips
    assert [row.mp4 for row in without] == [row.mp4 for row in rows]
    assert all(row.sound is None for row in without)
