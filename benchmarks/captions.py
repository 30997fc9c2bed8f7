"""How much of what captions say is true, held against what an eye saw.

    python benchmarks/captions.py DATASET…

DATASET is a curation of the videos that tests/golden/caption_truth.json names, as
`benchmarks/people.py --keep` leaves it. A caption is taken apart into statements; each is true if
the truth lists it for the person and the stretch. What was not judged there is not counted. The
people of the videos in `tuned_on` (people_truth.json), on whom thresholds were set, are counted
apart from the others. Of all captions it prints how many differ, and how often one is repeated.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import pyarrow.parquet as pq  # noqa: E402

from benchmarks.people import GOLDEN, judge, read_dataset  # noqa: E402
from benchmarks.people_metrics import load_truth  # noqa: E402
from pipeline.dataset.tables import current_files  # noqa: E402

TRUTH = ROOT / "tests" / "golden" / "caption_truth.json"
_COLOURS = r"(?:dark|white|grey|red|orange|yellow|green|teal|blue|purple|pink|beige|brown)"
_SAID = {  # by kind, what a caption of measured attributes may say
    "size": r"\b(tight close-up|close-up|medium shot|full shot|wide shot)\b",
    "people": r"\b(two|three) people\b|\b(among others)\b",
    "hair": r"\b(dark|blond) hair\b",
    "clothes": rf"\b({_COLOURS} (?:top|bottoms))\b",
    "place": r"\bon the (left|right) of the picture\b|\b((?:left|right) of the centre)\b",
    "head": r"\b(facing the camera|(?:in profile, facing|half turned|turned a little)"
    r"(?: to)? the (?:left|right)|turning the head(?: to the (?:left|right)| from side to side"
    r"| a little)?|head tilted to the (?:left|right)|tilting the head|keeping the head still)\b",
    "motion": r"\b(staying in place|coming closer|moving away"
    r"|moving (?:quickly )?to the (?:left|right)(?: at first| at the end)?)\b",
    "background": r"\bin front of an? ([a-z ]+?) background\b|\bbackground is ([a-z ]+?)\.",
    "camera": r"\bcamera (?:is (static)|moves (left|right|up|down)|(moves))\b"
    r"|\bview (closes in|widens)\b",
    "light": r"\bscene is (dark|bright)\b",
    "tones": r"\bfilm is (black and white)\b|\bcolours are (warm)\b",
}
KINDS = tuple(_SAID)


@dataclass(frozen=True)
class Seen:
    """What may truly be said of one person in one stretch of a video, by kind."""

    video: str
    from_s: float
    to_s: float
    person: str
    true: dict[str, list[str]]

    def shows(self, video: str, person: str, time_s: float) -> bool:
        return (video, person) == (self.video, self.person) and self.from_s <= time_s < self.to_s


@dataclass
class Tally:
    """How many statements of each kind were made, and how many of them were true."""

    said: Counter[str] = field(default_factory=Counter)
    true: Counter[str] = field(default_factory=Counter)
    false: list[str] = field(default_factory=list)
    captions: int = 0

    def add(self, caption: str, seen: Seen) -> None:
        """Judge a caption's statements."""
        self.captions += 1
        for kind, value in statements(caption):
            if kind not in seen.true:
                continue
            self.said[kind] += 1
            if value in seen.true[kind]:
                self.true[kind] += 1
            else:
                self.false.append(f"{seen.video}, {seen.person}: {value!r} in {caption!r}")


def load_seen(path: Path = TRUTH) -> list[Seen]:
    """Read the truth; `video` becomes the file's name."""
    rows = json.loads(path.read_text())["clips"]
    return [Seen(**{**row, "video": row["video"].rsplit("/", 1)[-1]}) for row in rows]


def statements(caption: str) -> list[tuple[str, str]]:
    """Take a caption apart into (kind, what is said)."""
    return [
        (kind, next(filter(None, found.groups())).replace("quickly ", ""))
        for kind, pattern in _SAID.items()
        for found in re.finditer(pattern, caption.lower())
    ]


@dataclass(frozen=True)
class Judged:
    """The captions of a dataset: true statements by half of the people, and every text."""

    tuned_on: Tally
    others: Tally
    texts: Counter[str]


def judge_captions(folder: Path, seen: Iterable[Seen]) -> Judged:
    """Judge the captions of a dataset's samples."""
    dataset, seen, truths = read_dataset(folder), list(seen), load_truth(GOLDEN)
    judged = Judged(Tally(), Tally(), Counter())
    person_of = judge(dataset, truths).total.person_of
    tables = [pq.read_table(path) for path in current_files(folder, "samples")]
    columns = ["track_id", "clip_id", "caption"]
    for row in (row for table in tables for row in table.select(columns).to_pylist()):
        clip, person = dataset.clips[row["clip_id"]], person_of(row["track_id"])
        middle, video = (clip.start_s + clip.end_s) / 2, dataset.file_of(clip.video_id)
        judged.texts[row["caption"]] += 1
        half = judged.tuned_on if truths[video].tuned_on else judged.others
        for each in (each for each in seen if each.shows(video, person, middle)):
            half.add(row["caption"], each)
    return judged


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("datasets", nargs="+", type=Path)
    results = [judge_captions(folder, load_seen()) for folder in parser.parse_args().datasets]
    for result in results:
        print("\n".join(result.tuned_on.false + result.others.false), end="\n\n")
    halves = [half for result in results for half in (result.tuned_on, result.others)]
    heads = [f"{half.captions} captions" for half in halves]
    print(f"| true statements: tuned on, the others | {' | '.join(heads)} |")
    print("|---" * (1 + len(halves)) + "|")
    for kind in KINDS:
        print(f"| {kind} | {' | '.join(f'{t.true[kind]} / {t.said[kind]}' for t in halves)} |")
    sums = [(tally.true.total(), tally.said.total()) for tally in halves]
    print(f"| all | {' | '.join(f'{t} / {s} ({t / max(s, 1):.1%})' for t, s in sums)} |")
    for folder, result in zip(parser.parse_args().datasets, results, strict=True):
        commonest, times = result.texts.most_common(1)[0]
        samples = result.texts.total()
        print(f"{folder}: {len(result.texts)} captions of {samples} samples; {times} x {commonest}")


if __name__ == "__main__":
    main()
