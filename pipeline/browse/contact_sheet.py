"""Draw samples on one picture, so that a person can judge them at a glance."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.media.clip_frames import read_clip
from pipeline.media.images import decode_image
from pipeline.pictures.overlay import mask_overlay
from schemas.columns import to_dict
from schemas.tables import Sample

WIDTH, MARGIN, GAP = 1800, 40, 10
FRAMES_WIDTH, FRAMES_HEIGHT = 760, 300  # the clip's part of a row
CELL_WIDTH, CELL_HEIGHT = 227, 172  # a reference beside its mask
CELLS_PER_LINE = 4
LABEL_HEIGHT = 40  # two lines under a reference
PAPER, INK, SOFT, LINE = (255, 255, 255), (28, 30, 34), (112, 117, 125), (226, 228, 232)
EMPTY = (243, 244, 246)
BOX = (255, 122, 0)
KIND_COLOURS = {  # how much a kind can be trusted, from green to red; readable on white
    "cross_video": (21, 128, 61),
    "same_video_other_shot": (13, 116, 144),
    "same_shot_other_clip": (180, 83, 9),
    "in_clip_augmented": (185, 28, 28),
}
Row = Mapping[str, Any]


def draw_contact_sheet(
    samples: Iterable[Sample | Row],
    path: str | Path,
    max_rows: int = 24,
    frames: int = 6,
    title: str = "Contact sheet",
    inputs: Iterable[Row] = (),
) -> None:
    """Write a PNG: per sample its frames, its references with their masks, caption and ids.

    Rows keep the order of `samples`. All are counted in the header, the first `max_rows` are
    drawn. `inputs` are rows of `inputs/`: they name each sample's file, and those that are not in
    the dataset are listed at the end. Text uses the font inside Pillow: signs outside Latin show as
    boxes.
    """
    if max_rows < 1 or frames < 1:
        raise ValueError(f"max_rows and frames must be >= 1, got {max_rows} and {frames}")
    counted = _Counts()
    drawn: list[Image.Image] = []
    inputs = list(inputs)
    names = {row["video_id"]: row["uri"] for row in inputs if row["outcome"] == "kept"}
    for sample in samples:
        row = sample if isinstance(sample, Mapping) else to_dict(sample)
        counted.add(row)
        if len(drawn) < max_rows:
            drawn.append(_draw_row(row, len(drawn) + 1, frames, names))
    parts = [_draw_header(title, counted), *drawn]
    if counted.samples > len(drawn):
        parts.append(_draw_note(f"… and {counted.samples - len(drawn)} more"))
    parts += _draw_lost([row for row in inputs if row["outcome"] != "kept"], max_rows)
    sheet = Image.new("RGB", (WIDTH, sum(part.height for part in parts) + MARGIN // 2), PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    sheet.save(path, format="PNG")


class _Counts:
    """The counts in the header, of all samples, drawn or not."""

    def __init__(self) -> None:
        self.samples = 0
        self.characters: set[str] = set()
        self.videos: set[str] = set()
        self.kinds: Counter[str] = Counter()
        self.splits: Counter[str] = Counter()

    def add(self, row: Row) -> None:
        self.samples += 1
        self.characters.add(row["character_id"])
        self.videos.add(row["video_id"])
        self.splits[row["split"]] += 1
        self.kinds.update(reference["kind"] for reference in row["references"])


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _draw_header(title: str, counts: _Counts) -> Image.Image:
    image = Image.new("RGB", (WIDTH, 148), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, 30), title, INK, _font(34))
    totals = [
        _plural(counts.samples, "sample"),
        _plural(len(counts.characters), "character"),
        _plural(len(counts.videos), "video"),
        *(f"{number:,} {split}" for split, number in sorted(counts.splits.items()) if split),
    ]
    draw.text((MARGIN, 78), "  ·  ".join(totals), SOFT, _font(19))
    left = MARGIN
    for kind in [*KIND_COLOURS, *sorted(counts.kinds.keys() - KIND_COLOURS.keys())]:
        if counts.kinds[kind]:
            text = f"{kind.replace('_', ' ')}: {_plural(counts.kinds[kind], 'reference')}"
            left = _draw_dot(draw, left, 112, kind, text, 17) + 28
    return image


def _draw_dot(
    draw: ImageDraw.ImageDraw, left: float, top: float, kind: str, text: str, size: int
) -> float:
    """Draw a coloured dot and text; returns where the text ends."""
    radius, middle = size * 0.3, top + size * 0.62
    dot = (left, middle - radius, left + 2 * radius, middle + radius)
    draw.ellipse(dot, fill=KIND_COLOURS.get(kind, SOFT))
    start = left + 2 * radius + 6
    draw.text((start, top), text, INK, _font(size))
    return start + draw.textlength(text, _font(size))


def _draw_note(text: str) -> Image.Image:
    image = Image.new("RGB", (WIDTH, 64), PAPER)
    draw = ImageDraw.Draw(image)
    draw.line((MARGIN, 0, WIDTH - MARGIN, 0), LINE, 2)
    draw.text((MARGIN, 20), text, SOFT, _font(22))
    return image


def _draw_lost(inputs: Sequence[Row], most: int) -> list[Image.Image]:
    """Draw a line for each input that is not in the dataset: its file, and why."""
    if not inputs:
        return []
    lines = [f"{_file_name(row['uri'])}: {_why(row)}" for row in inputs[:most]]
    if len(inputs) > most:
        lines.append(f"… and {len(inputs) - most} more in inputs/")
    return [_draw_note(f"{_plural(len(inputs), 'input')} not in the dataset"), *map(_line, lines)]


def _why(row: Row) -> str:
    measured = ""
    if row["value"] is not None and row["threshold"] is not None:
        measured = f", {row['value']:g}, allowed {row['threshold']:g}"
    detail = f" ({row['detail']})" if row["detail"] else ""
    return f"{row['outcome'].replace('_', ' ')}, {row['reason']}{measured}{detail}"


def _file_name(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]


def _line(text: str) -> Image.Image:
    image = Image.new("RGB", (WIDTH, 24), PAPER)
    [shown] = wrap(text, _font(16), WIDTH - 2 * MARGIN, 1)
    ImageDraw.Draw(image).text((MARGIN, 2), shown, SOFT, _font(16))
    return image


def _draw_row(row: Row, number: int, frames: int, names: Mapping[str, str]) -> Image.Image:
    text = _text_of(row, number, names.get(row["video_id"], ""))
    strip = _draw_frames(row, frames)
    references = _draw_references(row["references"])
    body = max(strip.height, references.height)
    image = Image.new("RGB", (WIDTH, text.height + body + 28), PAPER)
    ImageDraw.Draw(image).line((MARGIN, 0, WIDTH - MARGIN, 0), LINE, 2)
    image.paste(text, (MARGIN, 14))
    image.paste(strip, (MARGIN, text.height + 14))
    image.paste(references, (MARGIN + FRAMES_WIDTH + 2 * GAP, text.height + 14))
    return image


def _text_of(row: Row, number: int, uri: str) -> Image.Image:
    """Draw the caption, the description and the ids, wrapped to the width of the sheet."""
    width = WIDTH - 2 * MARGIN
    known = [
        f"{row['width']}x{row['height']}, {row['num_frames']} frames at {row['fps']:g}/s",
        _file_name(uri),
        row["split"],
        row["shot_size"],
        _plural(row["num_people"], "person").replace("persons", "people"),
    ]
    ids = [f"{name} {row[f'{name}_id']}" for name in ("sample", "clip", "character", "video")]
    blocks = [
        (f"{number}.  {row['caption'] or '(no caption)'}", 22, INK, 3),
        (row["description"], 18, SOFT, 2),
        ("  ·  ".join([*filter(None, known), *ids]), 15, SOFT, 2),
    ]
    lines = [
        (line, size, colour)
        for text, size, colour, most in blocks
        for line in wrap(text, _font(size), width, most)
    ]
    image = Image.new("RGB", (width, sum(round(1.36 * size) for _, size, _ in lines) + 12), PAPER)
    draw = ImageDraw.Draw(image)
    top = 0
    for line, size, colour in lines:
        draw.text((0, top), line, colour, _font(size))
        top += round(1.36 * size)
    return image


def wrap(text: str, font: Any, width: float, most_lines: int) -> list[str]:
    """Break text into lines that fit; what does not fit in the last line ends in an ellipsis."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        for piece in _pieces(word, font, width):
            longer = f"{line} {piece}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                line = piece
            else:
                line = longer
    lines += [line] if line else []
    if len(lines) <= most_lines:
        return lines
    last = lines[most_lines - 1]
    while last and font.getlength(f"{last}…") > width:
        last = last[:-1]
    return [*lines[: most_lines - 1], f"{last.rstrip()}…"]


def _pieces(word: str, font: Any, width: float) -> Iterable[str]:
    """Cut a word that is wider than the line."""
    while font.getlength(word) > width:
        most = max(1, int(len(word) * width / font.getlength(word)) - 1)
        yield word[:most]
        word = word[most:]
    yield word


@dataclass(frozen=True)
class _Grid:
    """How equal pictures fill a space: columns, rows, and the size of each."""

    columns: int
    rows: int
    width: int
    height: int


def _best_grid(number: int, aspect: float, width: int, height: int) -> _Grid:
    """Return the grid in which pictures of this aspect come out largest."""
    grids = []
    for columns in range(1, number + 1):
        rows = -(-number // columns)
        wide = (width - GAP * (columns - 1)) / columns
        high = (height - GAP * (rows - 1)) / rows
        scale = int(min(wide / aspect, high))
        empty = columns * rows - number
        grids.append(((scale, -empty), _Grid(columns, rows, int(scale * aspect), scale)))
    return max(grids, key=lambda grid: grid[0])[1]


def _draw_frames(row: Row, frames: int) -> Image.Image:
    """Draw frames spread evenly over the clip, with the character's box."""
    number = min(frames, row["num_frames"])
    wanted = np.linspace(0, row["num_frames"] - 1, number).round().astype(int).tolist()
    indices, pictures = read_clip(row["video"]["bytes"], indices=sorted(set(wanted)))
    grid = _best_grid(len(pictures), row["width"] / row["height"], FRAMES_WIDTH, FRAMES_HEIGHT)
    height = grid.rows * (grid.height + GAP) - GAP
    image = Image.new("RGB", (FRAMES_WIDTH, height), PAPER)
    for place, (index, picture) in enumerate(zip(indices, pictures, strict=True)):
        shown = Image.fromarray(picture).resize((grid.width, grid.height), Image.Resampling.LANCZOS)
        _draw_box(shown, row, index, grid.width / picture.shape[1])
        line, column = divmod(place, grid.columns)
        image.paste(shown, (column * (grid.width + GAP), line * (grid.height + GAP)))
    return image


def _draw_box(image: Image.Image, row: Row, index: int, scale: float) -> None:
    place = index - row["first_frame"]
    if 0 <= place < len(row["boxes"]):
        limits = (image.width - 1, image.height - 1) * 2
        box = [min(max(v * scale, 0), m) for v, m in zip(row["boxes"][place], limits, strict=True)]
        if box[2] > box[0] and box[3] > box[1]:
            ImageDraw.Draw(image).rectangle(box, outline=BOX, width=2)


def _draw_references(references: Sequence[Row]) -> Image.Image:
    """Draw every reference beside its mask, its kind and similarity below."""
    lines = max(1, -(-len(references) // CELLS_PER_LINE))
    high = CELL_HEIGHT + LABEL_HEIGHT + GAP
    image = Image.new("RGB", (CELLS_PER_LINE * (CELL_WIDTH + GAP), lines * high), PAPER)
    draw = ImageDraw.Draw(image)
    for index, reference in enumerate(references):
        line, column = divmod(index, CELLS_PER_LINE)
        left, top = column * (CELL_WIDTH + GAP), line * high
        half = (CELL_WIDTH - 4) // 2
        picture = decode_image(reference["image"]["bytes"])
        mask = decode_image(reference["mask"]["bytes"])[..., 0]
        image.paste(_fitted(picture, half), (left, top))
        image.paste(_fitted(mask_overlay(picture, mask), half), (left + half + 4, top))
        below = top + CELL_HEIGHT + 3
        kind = reference["kind"]
        _draw_dot(draw, left, below, kind, kind.replace("_", " "), 14)
        scores = f"cosine {reference['similarity']:.2f}  quality {reference['quality']:.2f}"
        draw.text((left, below + 18), scores, SOFT, _font(14))
    return image


def _fitted(picture: np.ndarray, width: int) -> Image.Image:
    """Fit a picture into half a cell, on grey where its shape differs."""
    scale = min(width / picture.shape[1], CELL_HEIGHT / picture.shape[0])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    shown = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    image = Image.new("RGB", (width, CELL_HEIGHT), EMPTY)
    image.paste(shown, ((width - size[0]) // 2, (CELL_HEIGHT - size[1]) // 2))
    return image
