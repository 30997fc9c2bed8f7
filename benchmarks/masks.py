"""How well masks of people agree with 60 that were drawn by eye, for each set of engines.

    python benchmarks/masks.py --media MEDIA --models WEIGHTS [--engines SET…] [--sheet FILE.png]

MEDIA holds the videos that tests/golden/mask_truth.json names. Boxes are those of the truth; crops,
others' boxes and faces are as a curation takes them. Printed are, of the people on whom thresholds
were set and of those unseen: median and worst IoU, boundary F (how much of each outline lies within
0.8 % of the crop's diagonal of the other), and what the mask gate lets pass. The sheet shows the
worst ten of each set: green is missing, red is too much.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from pipeline.engines.auto import settle  # noqa: E402
from pipeline.engines.engines_config import engines_preset  # noqa: E402
from pipeline.engines.interfaces import FaceDetector, PersonImage, Picture, Segmenter  # noqa: E402
from pipeline.engines.masks.neighbours import cut_people  # noqa: E402
from pipeline.engines.registry import load_engine  # noqa: E402
from pipeline.media.geometry import orientation_of  # noqa: E402
from pipeline.media.images import encode_jpeg  # noqa: E402
from pipeline.media.limits import ProbeConfig  # noqa: E402
from pipeline.media.reader import VideoReader  # noqa: E402
from pipeline.observing.candidates import CandidatesConfig  # noqa: E402
from pipeline.pairing.reference_gates import ReferencesConfig  # noqa: E402
from pipeline.pictures.boxes import clip_to  # noqa: E402
from pipeline.pictures.mask_measures import measure_mask  # noqa: E402

GOLDEN = ROOT / "tests" / "golden"
ENGINES = ("embedded", "auto", "auto@bare", "production")
BARE = "@bare"  # without weights: what a machine has that reaches package indexes only
_NEAR = 0.008  # of the diagonal, within which outlines agree; DAVIS takes the same
_BAD = 0.85  # IoU below which an eye calls a mask wrong
_WORST = 10


@dataclass(frozen=True)
class DrawnMask:
    """A person's mask by eye, in the crop that a curation would take."""

    name: str
    tuned_on: bool
    picture: Picture = field(repr=False)
    mask: np.ndarray = field(repr=False)  # (H, W) bool
    box: np.ndarray = field(repr=False)
    others: tuple[np.ndarray, ...] = field(repr=False)


@dataclass(frozen=True)
class Agreement:
    """How far an engine's mask agrees with the drawn one."""

    drawn: DrawnMask
    mask: np.ndarray = field(repr=False)
    iou: float
    boundary: float  # F, 0 to 1
    quality: float  # what the gate reads


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--media", type=Path, required=True, help="folder with videos/ and more/")
    parser.add_argument("--models", type=Path, required=True, help="folder with the weights")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--sheet", type=Path, help="write a picture of the worst here")
    parser.add_argument("--all", action="store_true", help="print every mask")
    given = parser.parse_args()
    drawn = list(load_drawn(given.media))
    results = {engines: judge(drawn, *_engines(engines, given.models)) for engines in given.engines}
    if given.all:
        for engines, found in results.items():
            print_all(engines, found)
    print_summary("unseen people", {k: _half(v, False) for k, v in results.items()})
    print_summary("people thresholds were set on", {k: _half(v, True) for k, v in results.items()})
    if given.sheet:
        rows = [_worst_row(engines, found) for engines, found in results.items()]
        width = max(row.shape[1] for row in rows)
        padded = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows]
        given.sheet.write_bytes(encode_jpeg(np.vstack(padded)))


def load_drawn(media: Path) -> Iterator[DrawnMask]:
    """Yield every drawn mask with the crop that it lies on."""
    people = json.loads((GOLDEN / "people_truth.json").read_text())
    margin = (CandidatesConfig().margin - 1) / 2
    for each in json.loads((GOLDEN / "mask_truth.json").read_text())["masks"]:
        size = people["videos"][each["video"]]
        frame = frame_at(media / each["video"], each["time_s"], size["width"], size["height"])
        box = np.array(each["box"], np.float32)
        sides = np.tile(box[2:] - box[:2], 2) * np.array([-margin, -margin, margin, margin])
        x0, y0, x1, y1 = np.round(clip_to(box + sides, *frame.shape[1::-1])).astype(int)
        corner = np.array([x0, y0] * 2, np.float32)
        mask = fill(frame.shape[:2], each["polygons"], each["holes"])
        yield DrawnMask(
            f"{Path(each['video']).stem} {each['person']}",
            each["video"] in people["tuned_on"],
            np.ascontiguousarray(frame[y0:y1, x0:x1]),
            mask[y0:y1, x0:x1],
            box - corner,
            tuple(
                clip_to(np.array(other, np.float32) - corner, x1 - x0, y1 - y0)
                for other in each["others"]
            ),
        )


def frame_at(path: Path, time_s: float, width: int, height: int) -> Picture:
    """Return the upright frame shown at a time, with square pixels."""
    with VideoReader(str(path), ProbeConfig()) as reader:
        frame = next(reader.frames(start_s=max(0.0, time_s - 1e-3)))
    picture = orientation_of(frame.picture).turn(frame.picture.to_ndarray(format="rgb24"))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)


def fill(
    shape: Sequence[int],
    polygons: Sequence[Sequence[Sequence[float]]],
    holes: Sequence[Sequence[Sequence[float]]] = (),
) -> np.ndarray:
    """Return (H, W) bool: inside any of the polygons and none of the holes."""
    mask = np.zeros(shape[:2], np.uint8)
    for value, rings in ((1, polygons), (0, holes)):
        for ring in rings:
            points = np.round(np.array(ring) * 16).astype(np.int32)  # sixteenths of a pixel
            cv2.fillPoly(mask, [points], value, shift=4)
    return mask.astype(bool)


def judge(drawn: Sequence[DrawnMask], faces: FaceDetector, segmenter: Segmenter) -> list[Agreement]:
    """Mask every person and hold it against the drawn mask."""
    found = []
    for each in drawn:
        face = own_face(faces, each)
        box = clip_to(each.box, *each.picture.shape[1::-1])
        person = PersonImage(each.picture, box, face, others=each.others)
        [cut] = cut_people(segmenter, [person])
        measures = measure_mask(each.picture, cut.mask, person.box, face)
        inside = cut.mask > 127
        found.append(
            Agreement(
                each,
                inside,
                overlap(inside, each.mask),
                boundary_f(inside, each.mask),
                measures.quality * cut.trust,
            )
        )
    return found


def own_face(faces: FaceDetector, drawn: DrawnMask) -> np.ndarray | None:
    """Return the box of the largest face whose middle lies on the drawn mask."""
    height, width = drawn.mask.shape
    best, most = None, 0.0
    for box in faces.detect([drawn.picture])[0].boxes:
        x, y = np.clip((box[:2] + box[2:]) / 2, 0, [width - 1, height - 1]).astype(int)
        size = float(np.prod(box[2:] - box[:2]))
        if drawn.mask[y, x] and size > most:
            best, most = box, size
    return best


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the IoU of two masks."""
    return float((first & second).sum()) / max(float((first | second).sum()), 1.0)


def boundary_f(found: np.ndarray, drawn: np.ndarray) -> float:
    """Return F of two outlines: the harmonic mean of how much of each lies near the other."""
    reach = max(1, round(_NEAR * float(np.hypot(*drawn.shape))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    one, other = outline(found), outline(drawn)
    precision = float((one * cv2.dilate(other, kernel)).sum()) / max(float(one.sum()), 1.0)
    recall = float((other * cv2.dilate(one, kernel)).sum()) / max(float(other.sum()), 1.0)
    return 2 * precision * recall / max(precision + recall, 1e-9)


def outline(mask: np.ndarray) -> np.ndarray:
    """Return (H, W) uint8: the mask's edge, but not where the picture ends."""
    whole = mask.astype(np.uint8)
    return whole - cv2.erode(
        whole, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1
    )


def _engines(name: str, models: Path) -> tuple[FaceDetector, Segmenter]:
    """Build the faces and the masks of a preset, or of one with `:masks=name`."""
    preset, _, changes = name.removesuffix(BARE).partition(":")
    bare = {"CONTEXTANYONE_MODELS": "", "XDG_CACHE_HOME": os.devnull}
    os.environ |= bare if name.endswith(BARE) else {"CONTEXTANYONE_MODELS": str(models)}
    chosen = asdict(settle(engines_preset(preset).observing, {}, offline=True))
    chosen |= dict(change.split("=") for change in filter(None, changes.split(",")))
    return load_engine("faces", chosen["faces"]), load_engine("masks", chosen["masks"])


def _half(found: Sequence[Agreement], tuned_on: bool) -> list[Agreement]:
    return [each for each in found if each.drawn.tuned_on == tuned_on]


def print_all(engines: str, found: Sequence[Agreement]) -> None:
    print(f"\n{engines}: IoU, boundary F, quality")
    for each in sorted(found, key=lambda a: a.iou):
        half = "tuned" if each.drawn.tuned_on else "unseen"
        name = each.drawn.name
        print(f"  {each.iou:.3f} {each.boundary:.2f} {each.quality:.2f} {half:6} {name}")


def print_summary(about: str, results: Mapping[str, Sequence[Agreement]]) -> None:
    """Print a table: one line a measure, one column a set of engines."""
    number = len(next(iter(results.values())))
    print(f"\n| {number} masks of {about} | {' | '.join(results)} |")
    print("|---" * (1 + len(results)) + "|")
    for label, of in _LINES.items():
        print(f"| {label} | {' | '.join(of(found) for found in results.values())} |")


def _passed(found: Sequence[Agreement]) -> list[Agreement]:
    least = ReferencesConfig().min_mask_quality
    return [each for each in found if each.quality >= least]


def _bad(found: Sequence[Agreement]) -> int:
    return sum(each.iou < _BAD for each in found)


def _median(values: Sequence[float]) -> str:
    return f"{np.median(values):.3f}"


_LINES = {
    "IoU, median": lambda found: _median([a.iou for a in found]),
    "IoU, mean of the worst ten": lambda found: (
        f"{np.mean(sorted(a.iou for a in found)[:_WORST]):.3f}"
    ),
    "boundary F, median": lambda found: _median([a.boundary for a in found]),
    f"IoU below {_BAD}": lambda found: str(_bad(found)),
    f"… that the gate lets pass, IoU below {_BAD}": lambda found: str(_bad(_passed(found))),
    "… good ones that it refuses": lambda found: str(
        (len(found) - _bad(found)) - (len(_passed(found)) - _bad(_passed(found)))
    ),
}


def _worst_row(engines: str, found: Sequence[Agreement], height: int = 220) -> np.ndarray:
    tiles = []
    for each in sorted(found, key=lambda a: a.iou)[:_WORST]:
        shown = each.drawn.picture.copy()
        shown[each.drawn.mask & ~each.mask] = (0, 220, 0)
        shown[each.mask & ~each.drawn.mask] = (230, 0, 0)
        width = round(shown.shape[1] * height / shown.shape[0])
        tile = cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA)
        label = f"{engines} {each.iou:.2f} q{each.quality:.2f}"
        cv2.putText(tile, label, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 0), 1)
        tiles.append(np.pad(tile, ((0, 0), (0, 4), (0, 0))))
    return np.hstack(tiles)


if __name__ == "__main__":
    main()
