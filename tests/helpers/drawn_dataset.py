"""Write a whole dataset in a second, every table of it and nothing wrong with it.

Characters are drawn figures; each is seen in two videos of two clips, before other grounds.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import rows
from tiny_dataset import encode_clip

from pipeline.dataset.commit import publish, stage_file, table_path
from pipeline.dataset.parquet import encode_rows
from pipeline.dataset.sample_schema import sample_schema
from pipeline.dataset.store import open_store
from pipeline.media.images import encode_jpeg, encode_png_mask
from pipeline.observing.quality import QualityMeter
from schemas.ids import content_id
from schemas.manifest import FunnelRow, Manifest
from schemas.reasons import PairKind
from schemas.tables import Character, Clip, Embedding, Reference, Reject, Sample, Track, Video

RECOGNISER = "opencv-appearance/1"
SIZE, FPS, FRAMES = (256, 144), 16, 24
CLOTHES = (("red", (190, 40, 40)), ("blue", (40, 60, 190)), ("green", (30, 140, 60)))
_SKIN, _HAIR = (224, 172, 140), (60, 40, 30)
_KINDS = (Video, Clip, Track, Character, Embedding, Sample)
_SPLITS = ("train", "validation", "train")


def write_drawn_dataset(folder: Path, num_characters: int = 3, seed: int = 0) -> Path:
    """Publish `num_characters` x 2 videos x 2 clips, each clip one sample with two references."""
    tables: dict[type, list] = {kind: [] for kind in _KINDS}
    for who in range(num_characters):
        for each in _character(who, seed):
            tables[type(each)].append(each)
    rejects = [
        Reject("quality", "clip", content_id("gone", n), tables[Video][0].video_id, "blurry", False,
               8.0 + n, 15.0, "sharpness")
        for n in range(2)
    ]  # fmt: skip
    return publish_tables(folder, tables | {Reject: rejects})


def publish_tables(folder: Path, tables: dict[type, list]) -> Path:
    """Publish rows as version 1, with a funnel and counts that fit."""
    store = open_store(folder)
    names = {Video: "videos", Clip: "clips", Track: "tracks", Character: "characters",
             Embedding: "embeddings", Sample: "samples", Reject: "rejects"}  # fmt: skip
    files = []
    for kind, some in tables.items():
        schema = sample_schema() if kind is Sample else None
        path = table_path(names[kind], 1, 0)
        files.append(stage_file(path, encode_rows(some, kind, schema), len(some), store))
    samples, clips = tables[Sample], len(tables[Clip])
    splits = [sample.split for sample in samples]
    manifest = Manifest(
        version=1, parent="", inputs_digest="", observe_digest="", config_digest="",
        config={"engines": {"recogniser": "appearance"}},
        engines=[{"id": RECOGNISER, "task": "recognition", "licence": "Apache-2.0",
                  "commercial": True, "weights_digest": "none"}],
        libraries={},
        funnel=[
            FunnelRow("quality", "clip", clips + 2, clips, 2, 0, {"blurry": 2}),
            FunnelRow("references", "sample", len(samples), len(samples), 0, 0, {}),
        ],
        splits={name: splits.count(name) for name in ("train", "validation", "test")},
        files=sorted(files, key=lambda file: file.path),
    )  # fmt: skip
    publish(manifest, store)
    return folder


def _character(who: int, seed: int) -> list:
    direction = rows.person(who, 32)
    character_id = content_id("drawn", seed, who)
    made: list = [
        Character(character_id, 4, 4, 4, 2, 0.9, 0.9, 0.1, "", RECOGNISER, ""),
    ]
    clips: list[tuple[Clip, Track, bytes]] = []
    for take in range(2):
        video_id = content_id("video", seed, who, take)
        made.append(_video(video_id, take))
        for part in range(2):
            clips.append(_clip(video_id, who, take, part, character_id, seed))
    pictures = {}
    for number, (clip, track, _) in enumerate(clips):
        vector = rows.looks_like(direction, 0.97, 100 * who + number)
        made += [clip, track, _embedding(vector, track, "")]
        reference_id = content_id("reference", track.track_id)
        own = rows.looks_like(direction, 0.97, 100 * who + 50 + number)
        made.append(_embedding(own, track, reference_id))
        image, mask = portrait(who, 10 * who + number)
        pictures[clip.clip_id] = (reference_id, own, image, mask)
    for number, (clip, track, mp4) in enumerate(clips):
        others = [clips[(number + step) % 4] for step in (2, 1 if number % 2 == 0 else 3)]
        vector = rows.looks_like(direction, 0.97, 100 * who + number)
        references = [_reference(clip, vector, *other[:2], *pictures[other[0].clip_id])
                      for other in others]  # fmt: skip
        made.append(_sample(clip, track, references, mp4, who))
    return made


def _video(video_id: str, take: int) -> Video:
    return rows.video(video_id, licence="CC0-1.0", source=f"https://example.org/{take}")


def _clip(
    video_id: str, who: int, take: int, part: int, character_id: str, seed: int
) -> tuple[Clip, Track, bytes]:
    pictures, boxes = walk(who, 100 * who + 10 * take + part + 1000 * seed)
    mp4 = encode_clip(pictures, FPS)
    meter = QualityMeter(FPS)
    for picture in pictures:
        yuv = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
        meter.add(np.ascontiguousarray(yuv[: SIZE[1]] * 0.859 + 16).astype(np.uint8))
    measured = vars(meter.finish())
    clip = rows.clip(
        content_id("clip", video_id, part), video_id, content_id("shot", video_id, part),
        start_s=5.0 + 20 * part, length_s=FRAMES / FPS, mp4=mp4, width=SIZE[0], height=SIZE[1],
        size_class=SIZE[1], **measured,
    )  # fmt: skip
    track = rows.track(
        content_id("track", clip.clip_id), clip, boxes=boxes, character_id=character_id,
        detected=[True] * len(boxes), area=0.12,
    )  # fmt: skip
    return clip, track, mp4


def walk(who: int, seed: int, frames: int = FRAMES) -> tuple[list[np.ndarray], list[list[float]]]:
    """Draw a character that walks across a ground; returns pictures and the character's boxes."""
    ground = drawn_ground(seed, (SIZE[0] + 80, SIZE[1]))
    pictures, boxes = [], []
    for frame in range(frames):
        picture = ground[:, 2 * frame : 2 * frame + SIZE[0]].copy()  # the camera pans
        left = 60 + 3 * frame + seed % 7
        boxes.append(draw_person(picture, who, left, 22, 110, frame + seed))
        pictures.append(picture)
    return pictures, boxes


def drawn_ground(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Return a ground of coarse colours with some edges in it."""
    random = np.random.default_rng(seed)
    coarse = random.integers(70, 190, (6, 9, 3)).astype(np.uint8)
    ground = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    for _ in range(14):
        x, y = random.integers(0, size[0]), random.integers(0, size[1])
        colour = tuple(int(v) for v in random.integers(60, 200, 3))
        cv2.rectangle(ground, (int(x), int(y)), (int(x) + 18, int(y) + 12), colour, -1)
    return ground


def draw_person(
    picture: np.ndarray, who: int, left: int, top: int, tall: int, pose: int = 0
) -> list[float]:
    """Draw a figure of the character's colours; returns its box."""
    _, top_colour = CLOTHES[who % len(CLOTHES)]
    trousers = tuple(int(v * 0.4) for v in top_colour[::-1])
    wide, unit = tall * 2 // 5, tall / 10
    middle = left + wide // 2
    cv2.ellipse(picture, (middle, round(top + 1.2 * unit)), (round(unit), round(1.25 * unit)),
                0, 0, 360, _SKIN, -1)  # fmt: skip
    cv2.ellipse(picture, (middle, round(top + 0.7 * unit)), (round(unit), round(0.75 * unit)),
                0, 180, 360, _HAIR, -1)  # fmt: skip
    shoulder, hip = round(top + 2.4 * unit), round(top + 6 * unit)
    cv2.rectangle(
        picture, (left + wide // 5, shoulder), (left + 4 * wide // 5, hip), top_colour, -1
    )
    swing = round(0.6 * unit * np.sin(pose / 2))
    for side, sign in ((left + wide // 3, 1), (left + 2 * wide // 3, -1)):
        cv2.line(picture, (side, hip), (side + sign * swing, round(top + 10 * unit)), trousers,
                 max(3, round(1.2 * unit)))  # fmt: skip
    stripe = round(top + 3.5 * unit)
    cv2.line(
        picture, (left + wide // 5, stripe), (left + 4 * wide // 5, stripe + pose % 3), _SKIN, 2
    )
    return [float(left), float(top), float(left + wide), float(top + tall + unit / 2)]


def portrait(who: int, seed: int) -> tuple[bytes, bytes]:
    """Return (JPEG, PNG mask) of the character, leaning, in side light, before another ground."""
    size = (120, 200)
    figure = np.zeros((size[1], size[0], 3), np.uint8)
    draw_person(figure, who, 30 + seed % 9, 18 + seed % 5, 150, 7 * seed + 3)
    lean = cv2.getRotationMatrix2D((60, 110), 10 if seed % 2 else -10, 1.0)
    figure = cv2.warpAffine(figure, lean, size, flags=cv2.INTER_NEAREST)
    mask = (figure.max(axis=2) > 0).astype(np.uint8) * 255
    light = np.linspace(0.55, 1.25, size[0])[None, :, None]
    lit = np.clip(figure * (light if seed % 2 else light[:, ::-1]), 0, 255).astype(np.uint8)
    ground = drawn_ground(5000 + seed, size)
    picture = np.where(mask[..., None] > 0, lit, ground)
    return encode_jpeg(picture, 95), encode_png_mask(mask)


def _embedding(vector: np.ndarray, track: Track, reference_id: str) -> Embedding:
    row = rows.embedding(vector, track.track_id, reference_id, RECOGNISER)
    return replace(row, video_id=track.video_id)


def _reference(
    clip: Clip, vector: np.ndarray, source: Clip, track: Track, reference_id: str,
    own: np.ndarray, image: bytes, mask: bytes,
) -> Reference:  # fmt: skip
    same = source.video_id == clip.video_id
    kind = PairKind.SAME_VIDEO_OTHER_SHOT if same else PairKind.CROSS_VIDEO
    time_s = source.start_s + 0.5
    gap = max(clip.start_s - time_s, time_s - clip.end_s, 0.0) if same else float("nan")
    return Reference(
        reference_id=reference_id, kind=str(kind), track_id=track.track_id,
        clip_id=source.clip_id, video_id=source.video_id, time_s=time_s, time_gap_s=gap,
        similarity=float(own @ vector), recogniser=RECOGNISER, quality=0.8,
        yaw=0.0 if same else 20.0, whole_body=True, augmentation="",
        sha256=hashlib.sha256(image).hexdigest(),
        image={"bytes": image, "path": f"{reference_id}.jpg"},
        mask={"bytes": mask, "path": f"{reference_id}.png"},
    )  # fmt: skip


def _sample(clip: Clip, track: Track, references: list[Reference], mp4: bytes, who: int) -> Sample:
    colour = CLOTHES[who % len(CLOTHES)][0]
    return Sample(
        sample_id=content_id("sample", clip.clip_id, track.track_id), clip_id=clip.clip_id,
        video_id=clip.video_id, shot_id=clip.shot_id, track_id=track.track_id,
        character_id=track.character_id, split=_SPLITS[who % len(_SPLITS)],
        caption=f"A person in a {colour} top walks to the right across the picture.",
        description=f"A person in a {colour} top.", caption_engine="drawn/1", width=clip.width,
        height=clip.height, fps=clip.fps, num_frames=clip.num_frames, licence="CC0-1.0",
        source="https://example.org/drawn", start_s=clip.start_s, end_s=clip.end_s, num_people=1,
        shot_size="full", sharpness=clip.sharpness, brightness=clip.brightness, motion=clip.motion,
        camera_motion=clip.camera_motion, purity=1.0, coverage=1.0, area=0.12, face_rate=1.0,
        first_frame=0, boxes=[list(box) for box in track.boxes], references=references,
        video={"bytes": mp4, "path": f"{clip.clip_id}.mp4"},
    )  # fmt: skip
