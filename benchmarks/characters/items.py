"""What is generated and measured: items of an evaluation set, with the truth of every pixel."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from benchmarks.characters.cast import Film, Shot
from benchmarks.characters.draw import FPS, draw_frame
from benchmarks.characters.truth import Truth
from pipeline.evaluate.benchmark import read_benchmark
from pipeline.media.clip_frames import read_clip
from pipeline.media.images import decode_image
from schemas.benchmark import Item
from schemas.ids import content_id
from trainer.encoders.lapped import LappedCodec

SHARE = 0.85  # of a pixel's area that a region covers; pixels on an edge are nobody's
EDGE = 255


@dataclass(frozen=True)
class Case:
    """One item: what the model is given, what the real clip shows, and where."""

    item: Item
    film: Film
    shot: Shot
    reference: np.ndarray  # (h, w, 3) the picture that the model gets
    reference_shot: Shot
    truth: np.ndarray  # (F, H, W, 3) uint8, the real clip
    regions: np.ndarray  # (F, H, W) labels, 255 on edges
    still: np.ndarray  # (F, H, W, 3) the frame that the reference was cut from, F times
    still_regions: np.ndarray  # (F, H, W)


def read_cases(evaluation: Path, dataset: Path, films: Path, side: int, frames: int) -> list[Case]:
    """Return the items of an evaluation set in its order, each with its truth."""
    benchmark, truth = read_benchmark(evaluation), Truth.read(films)
    by_name = {film.name: film for film in truth.films}
    columns = ["sample_id", "video_id", "start_s", "references"]
    samples = pd.read_parquet(dataset / "samples", columns=columns)
    rows = {content_id("item", row.sample_id): row for row in samples.itertuples()}
    videos = pd.read_parquet(dataset / "videos", columns=["video_id", "uri"])
    names = {row.video_id: Path(str(row.uri)).stem for row in videos.itertuples()}
    cases = []
    for item in benchmark.items:
        row = rows[item.item_id]
        film = by_name[names[str(row.video_id)]]
        first = round(float(str(row.start_s)) * FPS)
        numbers = [first + number for number in range(frames)]
        taken = _taken(row.references, item.main.references[0].sha256)
        stills = [taken] * frames
        picture = decode_image((evaluation / item.main.references[0].path).read_bytes())
        cases.append(
            Case(
                item=item,
                film=film,
                shot=film.place(first)[0],
                reference=picture,
                reference_shot=film.place(taken)[0],
                truth=_scaled(read_clip((evaluation / item.clip.path).read_bytes())[1], side)[
                    :frames
                ],
                regions=regions_of(film, numbers, side),
                still=_scaled([draw_frame(film, number)[0] for number in stills], side),
                still_regions=regions_of(film, stills, side),
            )
        )
    return cases


def _taken(references, sha256: str) -> int:
    """Return the frame of the film that a reference was cut from."""
    [chosen] = [one for one in references if one["sha256"] == sha256]
    return round(Fraction(chosen["time_s"]) * FPS)


def _scaled(pictures, side: int) -> np.ndarray:
    small = [cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in pictures]
    return np.stack(small)


def regions_of(film: Film, numbers: list[int], side: int) -> np.ndarray:
    """Return what every pixel of these frames shows, (F, side, side), 255 where two things meet."""
    drawn = {number: _regions(draw_frame(film, number)[1], side) for number in set(numbers)}
    return np.stack([drawn[number] for number in numbers])


def _regions(labels: np.ndarray, side: int) -> np.ndarray:
    regions = np.full((side, side), EDGE, np.uint8)
    for label in np.unique(labels):
        share = cv2.resize(
            (labels == label).astype(np.float32), (side, side), interpolation=cv2.INTER_AREA
        )
        regions[share >= SHARE] = label
    return regions


def through_codec(frames: np.ndarray) -> np.ndarray:
    """Return frames (F, H, W, 3) uint8 as the codec gives them back: the best a model can do."""
    codec = LappedCodec()
    signed = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    decoded = codec.decode(codec.encode(signed))[0].permute(1, 2, 3, 0)
    return ((decoded + 1) * 127.5).round().clamp(0, 255).byte().numpy()
