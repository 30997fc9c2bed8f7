"""What every export to a trainer shares: media as files, a list of samples, a page that is honest.

    videos/SAMPLE.mp4  references/SAMPLE-0.jpg …  README.md

The page says how to train, what each model will use of the clips, and what the format cannot say.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.export.export_source import ExportSource
from pipeline.export.reference_pictures import reference_jpeg
from pipeline.media.sound import has_sound
from schemas.clip_rules import ClipRules, best_length

_NEVER_SAID = (
    "boxes of the character in each frame",
    "scores, pair kinds and similarities (the dataset has them; join by the sample's id)",
)


@dataclass(frozen=True)
class TrainerSample:
    """A sample as files: paths are relative to the export's folder, references best first.

    `padded` are the same references on white in the clip's proportions, for trainers that crop a
    reference to the clip's shape; empty unless the format wants them.
    """

    sample_id: str
    split: str
    video: str
    references: tuple[str, ...]
    padded: tuple[str, ...]
    descriptions: tuple[str, ...]  # of who is seen in each reference
    prompt: str  # the caption behind the trigger word
    caption: str
    description: str
    character_id: str
    width: int
    height: int
    fps: float
    num_frames: int


@dataclass
class TrainerFolder:
    """The samples of an export, and what is lost on the way.

    Attributes:
        most_references: what the format takes per clip
        whole: write references as they are
        padded: write them padded to the clip's proportions
    """

    source: ExportSource
    folder: Path
    most_references: int
    whole: bool = True
    padded: bool = False
    samples: list[TrainerSample] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    sounds: int = 0  # clips that have some

    @property
    def most(self) -> int:
        """Return how many references a clip gets at most: the format's number or the person's."""
        return min(self.most_references, self.source.options.references or self.most_references)

    def write_media(self) -> list[TrainerSample]:
        """Write all clips and references, and return the samples."""
        (self.folder / "videos").mkdir()
        if self.whole:
            (self.folder / "references").mkdir()
        if self.padded:
            (self.folder / "padded").mkdir()
        self.samples = [sample for row in self.source.rows() if (sample := self._write(row))]
        if not self.samples:
            raise ValueError("there is no clip to train on: every sample is vetoed or has no video")
        return self.samples

    def _write(self, row: dict[str, Any]) -> TrainerSample | None:
        content = (row["video"] or {}).get("bytes")
        if not content:
            self.lost["samples without a clip, left out"] += 1
            return None
        key = row["sample_id"]
        video = f"videos/{key}.mp4"
        (self.folder / video).write_bytes(content)
        self.sounds += has_sound(content)
        caption = row["caption"] or ""
        found = list(references_in_turn(row))
        self.lost["references beyond the number per clip"] += max(0, len(found) - self.most)
        trigger = self.source.options.trigger
        shape = (row["width"], row["height"])
        return TrainerSample(
            key, row["split"], video,
            tuple(self._references(row, "references", None)) if self.whole else (),
            tuple(self._references(row, "padded", shape)) if self.padded else (),
            tuple(description for description, _ in found[: self.most]),
            f"{trigger} {caption}".strip(), caption, row["description"] or "", row["character_id"],
            row["width"], row["height"], row["fps"], row["num_frames"],
        )  # fmt: skip

    def _references(
        self, row: dict[str, Any], where: str, shape: tuple[int, int] | None
    ) -> Iterator[str]:
        options = self.source.options
        for place, (_, reference) in enumerate(islice(references_in_turn(row), self.most)):
            path = f"{where}/{row['sample_id']}-{place}.jpg"
            mask = (reference["mask"] or {}).get("bytes") or b""
            picture = reference_jpeg(reference["image"]["bytes"], mask, options.background, shape)
            (self.folder / path).write_bytes(picture)
            yield path

    def splits(self) -> dict[str, list[TrainerSample]]:
        """Return the samples by split, `train` first."""
        names = sorted({sample.split for sample in self.samples}, key=lambda n: (n != "train", n))
        return {name: [each for each in self.samples if each.split == name] for name in names}

    def fit(self, rules: ClipRules) -> "Fit":
        """Return what a model will use of the clips of the first split."""
        samples = next(iter(self.splits().values()))
        lengths = [rules.frames(sample.num_frames, sample.fps) for sample in samples]
        released = [length for length in lengths if length >= rules.fewest]
        sizes = Counter(rules.size(sample.width, sample.height) for sample in samples)
        rates = Counter(sample.fps for sample in samples)
        return Fit(rules, best_length(released or lengths), lengths, sizes, rates)

    def write_readme(
        self,
        title: str,
        sources: Iterable[str],
        how: str,
        fits: Iterable["Fit"],
        loses: Iterable[str],
    ) -> None:
        """Write README.md: how to train, what is used, what is lost, and whose pages say so."""
        counts = [f"{name}: {number:,}" for name, number in sorted(self.lost.items()) if number]
        splits = ", ".join(f"{name} {len(part):,}" for name, part in self.splits().items())
        text = "\n".join([
            f"# {title}", "",
            f"{len(self.samples):,} samples ({splits}), of {self.source.facts.name}, "
            f"version {self.source.manifest.version}.", "",
            "## Train", "", how.strip(), "",
            *_used(fits),
            *self._hidden(),
            "## What this format cannot say", "",
            *(f"- {line}" for line in [*loses, *_NEVER_SAID, *counts]), "",
            "## Read before this was written", "", *(f"- {page}" for page in sources), "",
        ])  # fmt: skip
        (self.folder / "README.md").write_text(text, encoding="utf-8")

    def _hidden(self) -> list[str]:
        """Return the part of the page on who was hidden; none where nobody was to be."""
        others = self.source.others
        if others is None:
            return []
        lines = others.report.summary(others.what)
        return ["## Who else was in these clips", "", *(f"- {line}" for line in lines), ""]


@dataclass(frozen=True)
class Fit:
    """What one model uses of the clips of the first split.

    Attributes:
        num_frames: length per clip at which most frames are used; 0 when every clip is too short
        lengths: the most that the model could use of each clip
        sizes: how many clips have each size, cut to the model's multiple
        rates: how many clips have each frame rate
    """

    rules: ClipRules
    num_frames: int
    lengths: list[int]
    sizes: Counter[tuple[int, int]]
    rates: Counter[float]

    @property
    def size(self) -> tuple[int, int]:
        """Return the most frequent width and height."""
        return self.sizes.most_common(1)[0][0]

    @property
    def shorter_than_released(self) -> bool:
        """Return whether no clip is as long as those that the model was made with."""
        return self.num_frames < self.rules.fewest

    def lines(self) -> Iterator[str]:
        """Yield the lines of the page."""
        rules, total = self.rules, len(self.lengths)
        form = f"{rules.step}n+{rules.offset}" if rules.offset else f"{rules.step}n"
        long_enough = sum(length >= self.num_frames > 0 for length in self.lengths)
        yield (
            f"- **{rules.model}** takes {form} frames, sizes in multiples of "
            f"{rules.size_multiple}: {long_enough:,} of {total:,} clips have the {self.num_frames} "
            "frames of the commands above"
        )
        if self.shorter_than_released:
            at = f" at {rules.fps:g} fps" if rules.fps else ""
            yield (
                f"    - **no clip is as long as the model was made for** ({rules.fewest} frames"
                f"{at}): curate longer clips"
            )
        for rate, number in sorted(self.rates.items()):
            if rules.fps is not None and abs(rate - rules.fps) > 0.01:
                yield (
                    f"    - {number:,} clips have {rate:g} fps and are turned to {rules.fps:g} by "
                    f"{'showing frames twice' if rate < rules.fps else 'leaving frames out'}"
                )
        if others := total - self.sizes[self.size]:
            yield f"    - {others:,} clips have another size than {self.size[0]}x{self.size[1]}"


def _used(fits: Iterable[Fit]) -> list[str]:
    """Return the part of the page on what models use; none where no model is meant."""
    lines = [line for fit in fits for line in fit.lines()]
    return ["## What the trainer uses of these clips", "", *lines, ""] if lines else []


def references_in_turn(row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (who is seen, reference), best first; of several characters one of each in turn."""
    casts = [
        [(member["description"] or "", each) for each in member["references"] or ()]
        for member in (row, *(row.get("others") or ()))
    ]
    for place in range(max(map(len, casts))):
        for cast in casts:
            if place < len(cast):
                yield cast[place]


def write_json_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_json(path: Path, records: list[dict[str, Any]] | dict[str, dict[str, Any]]) -> None:
    """Write JSON objects, as a list or by id."""
    path.write_text(json.dumps(records, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
