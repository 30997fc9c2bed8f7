"""Videos and strips are written whole, in their colours, or not at all."""

import av
import numpy as np
import pytest
from PIL import Image

from trainer.sampling.video_file import picture_strip, write_video


def test_a_video_file_holds_every_frame_in_its_colours(tmp_path):
    colours = np.array([[200, 40, 40], [40, 180, 60], [50, 60, 200]], np.uint8)
    frames = np.repeat(colours, 4, 0)[:, None, None].repeat(48, 1).repeat(80, 2)
    path = tmp_path / "new" / "a.mp4"
    write_video(path, frames, fps=8)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 8
        assert stream.codec_context.pix_fmt == "yuv420p"
        read = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(read) == 12
    assert np.abs(np.stack(read).astype(int) - frames).max() <= 6
    assert [file.name for file in path.parent.iterdir()] == ["a.mp4"]


def test_a_video_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="even size"):
        write_video(path, np.zeros((2, 15, 16, 3), np.uint8))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(OSError, match="No space"):
        write_video(path, np.zeros((2, 16, 16, 3), np.uint8))
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("num_frames", [1, 5, 30])
def test_a_strip_shows_references_and_frames(tmp_path, suffix, num_frames):
    frames = np.full((num_frames, 48, 80, 3), (0, 0, 255), np.uint8)
    path = tmp_path / f"strip{suffix}"
    red = np.full((60, 30, 3), (255, 0, 0), np.uint8)
    picture_strip([red, red], frames, path, count=4, caption="x" * 5000, truth=frames)
    with Image.open(path) as strip:
        assert strip.width <= 2040
        pixels = np.asarray(strip.convert("RGB")).astype(int)
    reds = (np.abs(pixels - (255, 0, 0)).max(-1) < 40).any(0)
    blues = (np.abs(pixels - (0, 0, 255)).max(-1) < 40).any(0)
    assert reds.argmax() < blues.argmax()
    assert (np.diff(reds.astype(int)) == 1).sum() == 2
    assert (np.diff(blues.astype(int)) == 1).sum() == min(4, num_frames)
    with pytest.raises(ValueError, match=r"\.jpg or \.png"):
        picture_strip(red, frames, tmp_path / "strip.gif")
