"""The contact sheet shows every part of a sample, whatever its shape."""

import av
import numpy as np
import pytest
from PIL import Image, ImageFont
from rows import pixels

from pipeline.browse import contact_sheet
from pipeline.browse.contact_sheet import (
    BOX,
    CELL_WIDTH,
    CELLS_PER_LINE,
    WIDTH,
    draw_contact_sheet,
    wrap,
)
from pipeline.media.encode import ClipEncoder, EncodingConfig
from pipeline.pictures.overlay import mask_overlay
from schemas.columns import to_dict
from schemas.tables import InputOutcome, Reference, Sample

GROUND = (40, 90, 160)


def clip_bytes(width: int, height: int, num_frames: int = 12) -> bytes:
    encoder = ClipEncoder(width, height, 16, EncodingConfig(), 1)
    for _ in range(num_frames):
        picture = np.full((height, width, 3), GROUND, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        encoder.write(frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=1))
    return encoder.close()


def reference(number: int, kind: str = "cross_video") -> Reference:
    image, mask = pixels(seed=number)
    return Reference(
        reference_id=f"r{number}", kind=kind, track_id="t", clip_id="c", video_id="v", time_s=1.0,
        time_gap_s=float("nan"), similarity=0.71, recogniser="test/1", quality=0.8, yaw=0.0,
        whole_body=True, augmentation="", sha256="", image={"bytes": image, "path": "r.jpg"},
        mask={"bytes": mask, "path": "r.png"},
    )  # fmt: skip


def sample(width: int = 832, height: int = 480, references: int = 2, caption: str = "A walk."):
    return Sample(
        sample_id="s" * 24, clip_id="c" * 24, video_id="v", shot_id="h", track_id="t",
        character_id="hero", split="train", caption=caption, description="A person in red.",
        caption_engine="test/1", width=width, height=height, fps=16.0, num_frames=12,
        licence="CC0-1.0", source="test", start_s=0.0, end_s=0.75, num_people=1, shot_size="full",
        sharpness=1.0, brightness=0.5, motion=1.0, camera_motion=0.0, purity=1.0, coverage=1.0,
        area=0.1, face_rate=1.0, first_frame=0, boxes=[[100.0, 50.0, 200.0, 400.0]] * 12,
        references=[reference(number) for number in range(references)],
        video={"bytes": clip_bytes(width, height), "path": "c.mp4"},
    )  # fmt: skip


def sheet(tmp_path, samples, **options) -> np.ndarray:
    draw_contact_sheet(samples, tmp_path / "sheet.png", **options)
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def area_of(picture: np.ndarray, colour: tuple[int, int, int], within: int = 24) -> int:
    return int((np.abs(picture - colour).max(axis=2) <= within).sum())


@pytest.mark.parametrize(("width", "height"), [(832, 480), (480, 832), (640, 640)])
def test_frames_of_any_shape_fill_their_part_with_the_box_on_them(tmp_path, width, height):
    picture = sheet(tmp_path, [sample(width, height)])
    assert picture.shape[1] == WIDTH
    assert area_of(picture, GROUND) > 80_000  # six frames
    assert area_of(picture, BOX) > 6 * 200  # outlines, two pixels thin
    left = picture[:, : WIDTH // 2]
    assert area_of(left, GROUND) == area_of(picture, GROUND)  # none under the references


def test_many_references_continue_on_further_lines(tmp_path):
    few = sheet(tmp_path, [sample(references=1)])
    many = sheet(tmp_path, [sample(references=10)])
    assert many.shape[0] > few.shape[0] + 150
    assert CELLS_PER_LINE * CELL_WIDTH < WIDTH
    red, paler = (200, 40, 40), 24
    ratio = area_of(many, red, paler) / area_of(few, red, paler)
    assert ratio == pytest.approx(10, rel=0.05)


def test_rows_beyond_the_bound_are_counted_not_drawn(tmp_path):
    one = sheet(tmp_path, [sample()])
    bounded = sheet(tmp_path, (sample() for _ in range(5)), max_rows=1)
    assert 30 < bounded.shape[0] - one.shape[0] < 100  # only the note


def test_long_captions_take_lines_not_width(tmp_path):
    short = sheet(tmp_path, [sample()])
    long = sheet(tmp_path, [sample(caption="many words " * 200)])
    assert long.shape[1] == short.shape[1]
    assert 30 < long.shape[0] - short.shape[0] < 100  # three lines at most
    assert (long[:, -30:] == 255).all()  # the right margin stays white


def test_no_samples_are_an_empty_sheet_and_rows_may_be_dicts(tmp_path):
    from schemas.columns import to_dict

    assert sheet(tmp_path, []).shape[0] < 200
    assert np.array_equal(sheet(tmp_path, [to_dict(sample())]), sheet(tmp_path, [sample()]))


def test_a_box_outside_the_picture_and_a_short_track_do_no_harm(tmp_path):
    from dataclasses import replace

    odd = replace(sample(), boxes=[[-50.0, -50.0, 2000.0, 2000.0]], first_frame=11)
    assert area_of(sheet(tmp_path, [odd]), BOX) > 100


def test_wrapping_keeps_every_word_until_the_last_line():
    font = ImageFont.load_default(20)
    text = "the quick brown fox jumps over the lazy dog"
    assert " ".join(wrap(text, font, 150, 99)) == text
    cut = wrap(text, font, 150, 2)
    assert len(cut) == 2
    assert cut[-1].endswith("…")
    assert all(font.getlength(line) <= 150 for line in [*cut, *wrap("x" * 99, font, 150, 99)])
    assert wrap("", font, 150, 2) == []


def test_overlay_keeps_the_person_and_pales_the_rest():
    image = np.full((4, 4, 3), (200, 40, 40), np.uint8)
    mask = np.zeros((4, 4), np.uint8)
    mask[:, :2] = 255
    shown = mask_overlay(image, mask)
    assert (shown[:, :2] == image[:, :2]).all()
    assert shown[:, 2:].min() > 150


def test_bounds_are_checked():
    with pytest.raises(ValueError, match="got 0 and 6"):
        draw_contact_sheet([], "unused.png", max_rows=0)


def test_inputs_that_are_not_in_the_dataset_are_listed_by_name(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        contact_sheet, "_line", lambda text: lines.append(text) or contact_sheet._draw_note(text)
    )
    kept = {"uri": "/v/a.mp4", "video_id": "video", "outcome": "kept"}
    lost = [
        InputOutcome("/v/small.mp4", "s", 9, "refused", "probe", "picture_too_small", 32.0, 64.0),
        InputOutcome("s3://b/away.mp4", "w", -1, "not_read", "probe", "io", detail="HTTP 503"),
    ]
    rows = [kept, *map(to_dict, lost)]
    contact_sheet.draw_contact_sheet([], tmp_path / "sheet.png", inputs=rows)
    assert lines == [
        "small.mp4: refused, picture_too_small, 32, allowed 64",
        "away.mp4: not read, io (HTTP 503)",
    ]
