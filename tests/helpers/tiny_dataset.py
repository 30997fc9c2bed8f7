"""Write a whole dataset in a second: drawn characters, each with colours of its own, that move."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np

from pipeline.dataset.commit import publish, read_manifest, stage_file, table_path
from pipeline.dataset.parquet import encode_rows
from pipeline.dataset.sample_schema import sample_schema
from pipeline.dataset.store import open_store
from schemas.ids import content_id
from schemas.manifest import Manifest
from schemas.tables import CastMember, Reference, Sample

# top, trousers: a character can be told from any other by its colours
_COLOURS = (
    ("red", (200, 40, 40)), ("blue", (40, 60, 200)), ("green", (40, 160, 60)),
    ("yellow", (220, 200, 40)), ("white", (235, 235, 235)), ("black", (25, 25, 25)),
)  # fmt: skip
_SKIN = (224, 172, 140)
_GROUNDS = ((150, 170, 200), (170, 150, 120), (120, 150, 120), (140, 120, 150))


def write_dataset(
    folder: Path,
    num_samples: int = 8,
    size: tuple[int, int] = (160, 96),
    frames: int = 25,
    *,
    num_validation: int = 2,
    num_characters: int = 4,
    references: int = 2,
    fps: int = 16,
    per_file: int = 4,
    seed: int = 0,
    broken: dict[int, bytes] | None = None,
) -> Path:
    """Write samples of `size` (width, height); the last `num_validation` are held out.

    `broken` gives some samples, by number, other bytes than their clip. Same arguments, same bytes.
    """
    made = [
        tiny_sample(number, size, frames, num_characters, references, fps, seed)
        for number in range(num_samples)
    ]
    for number in range(num_samples - num_validation, num_samples):
        made[number] = replace(made[number], split="validation")
    for number, content in (broken or {}).items():
        video = made[number].video | {"bytes": content}
        made[number] = replace(made[number], video=video)
    return write_samples(folder, made, per_file)


def write_samples(folder: Path, samples: list[Sample], per_file: int = 4) -> Path:
    """Publish samples as the next version of a dataset, and as all that is in it."""
    store = open_store(folder)
    current = read_manifest(store)
    version, parent = (current[0].version + 1, current[1]) if current else (1, "")
    files = []
    for number, top in enumerate(range(0, len(samples), per_file)):
        part = samples[top : top + per_file]
        content = encode_rows(part, Sample, sample_schema())
        files.append(stage_file(table_path("samples", version, number), content, len(part), store))
    splits = [sample.split for sample in samples]
    manifest = Manifest(
        version=version, parent=parent, inputs_digest="", observe_digest="", config_digest="",
        config={}, engines=[], libraries={}, funnel=[], files=files,
        splits={name: splits.count(name) for name in splits},
    )  # fmt: skip
    publish(manifest, store)
    return folder


def tiny_sample(
    number: int,
    size: tuple[int, int] = (160, 96),
    frames: int = 25,
    num_characters: int = 4,
    references: int = 2,
    fps: int = 16,
    seed: int = 0,
) -> Sample:
    """Return a sample of character `number % num_characters` that walks across the picture."""
    who = number % num_characters
    (top, _), (bottom, _) = _colours(who)
    character_id = content_id("tiny", seed, who)
    sample_id = content_id("tiny", seed, number, size, frames)
    to_right = (number // num_characters) % 2 == 0
    pictures, boxes = _walk(number, who, size, frames, to_right, seed)
    way = "right" if to_right else "left"
    return Sample(
        sample_id=sample_id, clip_id=f"clip-{number}", video_id=f"video-{number}",
        shot_id=f"shot-{number}", track_id=f"track-{number}", character_id=character_id,
        split="train", caption=f"A person in a {top} top and {bottom} trousers walks {way}.",
        description=f"A person in a {top} top and {bottom} trousers.", caption_engine="tiny/1",
        width=size[0], height=size[1], fps=float(fps), num_frames=frames, licence="CC0-1.0",
        source="drawn", start_s=0.0, end_s=frames / fps, num_people=1, shot_size="full",
        sharpness=100.0, brightness=0.5, motion=1.0, camera_motion=0.0, purity=1.0, coverage=1.0,
        area=0.1, face_rate=0.0, first_frame=0, boxes=boxes,
        references=[_reference(number, who, other, size) for other in range(references)],
        video={"bytes": encode_clip(pictures, fps), "path": f"clip-{number}.mp4"},
    )  # fmt: skip


def pair_sample(number: int, size: tuple[int, int] = (160, 96), frames: int = 25) -> Sample:
    """Return a sample of characters `number % 4` on the left and the next one on the right."""
    alone = tiny_sample(number, size, frames)
    first, second = number % 4, (number + 1) % 4
    width, height = size
    ground = _ground(size, content_id("pair ground", number))
    pictures, boxes = [], ([], [])
    for frame in range(frames):
        picture = ground.copy()
        for who, place, its in zip((first, second), (0.25, 0.75), boxes, strict=True):
            x = width * (place + 0.1 * np.sin(frame / 8))
            its.append(draw_figure(picture, who, x, height * 0.9, height * 0.75, frame))
        pictures.append(picture)
    member = CastMember(
        track_id=f"track-{number}-2", character_id=content_id("tiny", 0, second),
        description=tiny_sample(second).description, shot_size="full", purity=1.0, coverage=1.0,
        area=0.1, face_rate=0.0, first_frame=0, boxes=boxes[1],
        references=[_reference(1000 + number, second, other, size) for other in range(2)],
    )  # fmt: skip
    return replace(
        alone, boxes=boxes[0], others=[member], num_people=2,
        sample_id=content_id("tiny pair", number, size, frames),
        video={"bytes": encode_clip(pictures), "path": f"clip-{number}.mp4"},
        caption=f"{alone.description.rstrip('.')} stands beside another person.",
    )  # fmt: skip


def _colours(who: int) -> tuple[tuple[str, tuple[int, ...]], tuple[str, tuple[int, ...]]]:
    return _COLOURS[who % 6], _COLOURS[(who + 1 + who // 6) % 6]


def _walk(
    number: int, who: int, size: tuple[int, int], frames: int, to_right: bool, seed: int
) -> tuple[list[np.ndarray], list[list[float]]]:
    width, height = size
    ground = _ground(size, content_id("ground", seed, number))
    pictures, boxes = [], []
    for frame in range(frames):
        picture = ground.copy()
        share = frame / max(1, frames - 1)
        x = width * (0.25 + 0.5 * (share if to_right else 1 - share))
        boxes.append(draw_figure(picture, who, x, height * 0.9, height * 0.75, frame))
        pictures.append(picture)
    return pictures, boxes


def _ground(size: tuple[int, int], key: str) -> np.ndarray:
    width, height = size
    drawn = int(key[:8], 16)
    noise = np.random.default_rng(drawn).integers(0, 40, (height // 16, width // 16, 3))
    texture = cv2.resize(noise.astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)
    return cv2.add(texture, np.full_like(texture, _GROUNDS[drawn % len(_GROUNDS)]))


def draw_figure(
    picture: np.ndarray, who: int, x: float, feet: float, tall: float, phase: int = 0
) -> list[float]:
    """Draw a character of `tall` px, standing at (x, feet), and return its box, xyxy."""
    (_, top), (_, bottom) = _colours(who)
    half = tall * 0.16
    stride = half * 0.5 * np.sin(phase / 2)
    hips, neck = feet - tall * 0.4, feet - tall * 0.78
    for side in (-1, 1):
        foot = x + side * (half * 0.5 + stride)
        cv2.line(picture, _at(x + side * half * 0.5, hips), _at(foot, feet), bottom, _px(half))
    cv2.rectangle(picture, _at(x - half, neck), _at(x + half, hips), top, -1)
    cv2.circle(picture, _at(x, feet - tall * 0.88), _px(tall * 0.12), _SKIN, -1)
    return [float(v) for v in (x - 1.3 * half, feet - tall, x + 1.3 * half, feet + 0.4 * half)]


def _at(x: float, y: float) -> tuple[int, int]:
    return round(x), round(y)


def _px(length: float) -> int:
    return max(1, round(length))


def _reference(number: int, who: int, other: int, size: tuple[int, int]) -> Reference:
    """Draw the character on another ground, standing otherwise, with its mask."""
    width, height = size[1] * 2 // 3, size[1]
    name = content_id("reference", number, other)
    picture = _ground((width, height), name)
    drawn = picture.copy()
    box = draw_figure(drawn, who, width / 2, height * 0.95, height * 0.9, 3 * other + 1)
    mask = np.where((drawn != picture).any(2), 255, 0).astype(np.uint8)
    assert box[0] >= 0
    image = _encode(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), ".jpg")
    return Reference(
        reference_id=name, kind="cross_video", track_id=f"other-{name}", clip_id=f"other-{name}",
        video_id=f"other-{name}", time_s=0.0, time_gap_s=float("nan"), similarity=0.9,
        recogniser="tiny/1", quality=0.9, yaw=0.0, whole_body=True, augmentation="",
        sha256=hashlib.sha256(image).hexdigest(), image={"bytes": image, "path": f"{name}.jpg"},
        mask={"bytes": _encode(mask, ".png"), "path": f"{name}.png"},
    )  # fmt: skip


def _encode(picture: np.ndarray, suffix: str) -> bytes:
    done, content = cv2.imencode(suffix, picture)
    assert done
    return content.tobytes()


def encode_clip(pictures: list[np.ndarray], fps: int = 16) -> bytes:
    """Encode RGB frames as the pipeline does: H.264 in MP4, BT.601, no reordering."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.thread_count, codec.gop_size, codec.max_b_frames = 1, 48, 0
        codec.color_range, codec.colorspace = 1, 6
        stream.options = {"preset": "ultrafast", "crf": "14"}
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=5, dst_color_range=1, threads=1)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
