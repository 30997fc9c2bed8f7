"""What every export starts from: the samples in order, and facts about the dataset."""

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from pipeline.dataset.commit import require_manifest
from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, open_table
from pipeline.dataset.tags import read_tags, vetoed
from pipeline.export.options import NO_OPTIONS, ExportOptions
from pipeline.export.others import OTHERS_FILE, OthersOfSamples, OthersReport, shown
from schemas.files import make_folder
from schemas.manifest import Manifest

_NAME = re.compile(r"[A-Za-z0-9_-]{1,120}")
_SPLIT = re.compile(r"[a-z]{1,30}")


@dataclass
class CardFacts:
    """The facts of a dataset card, counted while samples are exported."""

    name: str
    samples: Counter[str] = field(default_factory=Counter)  # by split
    licences: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    characters: set[str] = field(default_factory=set)
    videos: set[str] = field(default_factory=set)
    seconds: float = 0.0
    left_out: int = 0  # vetoed
    others: OthersReport | None = None  # who was hidden

    @property
    def total(self) -> int:
        return self.samples.total()

    def add(self, row: dict[str, Any]) -> None:
        self.samples[row["split"]] += 1
        self.licences[row["licence"] or "unknown"] += 1
        self.sources[row["source"] or "unknown"] += 1
        self.kinds.update(reference["kind"] for reference in row["references"])
        self.characters.add(row["character_id"])
        self.videos.add(row["video_id"])
        self.seconds += row["num_frames"] / row["fps"] if row["fps"] else 0.0


@dataclass(frozen=True)
class ExportSource:
    """One version of a dataset, to be exported."""

    manifest: Manifest
    store: Store
    facts: CardFacts
    without: frozenset[str]  # sample ids
    options: ExportOptions = NO_OPTIONS
    place: Path = Path()  # where the export will lie, absolute: for formats that cannot be moved
    others: OthersOfSamples | None = None  # hides people who are not a sample's character

    def groups(self) -> Iterator[pa.Table]:
        """Yield samples, a row group at a time, without those that are left out; counts them.

        Raises ValueError for an id or a split that could not be a file's name.
        """
        for path in files_of("samples", self.manifest):
            file = open_table(path, self.store)
            for number in range(file.num_row_groups):
                group = file.read_row_group(number)
                ids = group["sample_id"].to_pylist()
                if not self.without.isdisjoint(ids):
                    self.facts.left_out += sum(id in self.without for id in ids)
                    group = group.filter(pa.array([id not in self.without for id in ids]))
                light = [n for n in group.column_names if n not in ("video", "boxes", "references")]
                kinds = _kinds(group)
                for row, references in zip(group.select(light).to_pylist(), kinds, strict=True):
                    check_names(row, path)
                    self.facts.add(row | {"references": references})
                yield group if self.others is None else self.others.in_group(group)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield samples one by one, media included."""
        for group in self.groups():
            yield from group.to_pylist()


def _kinds(group: pa.Table) -> list[list[dict[str, str]]]:
    column = group["references"].combine_chunks()
    kinds = iter(column.flatten().field("kind").to_pylist())
    lengths = [len(references) if references is not None else 0 for references in column]
    return [[{"kind": next(kinds)} for _ in range(length)] for length in lengths]


def check_names(row: dict[str, Any], path: str) -> None:
    """Refuse ids that would leave a folder or clash in it."""
    if not _NAME.fullmatch(row["sample_id"] or "") or not _SPLIT.fullmatch(row["split"] or ""):
        raise ValueError(
            f"{path}: sample {str(row['sample_id'])[:60]!r} of split {str(row['split'])[:40]!r} "
            "cannot be a file's name: letters, digits, _ and - are allowed; mend the ids first"
        )


class Exporter(Protocol):
    """An export of your own, run by `jobs/export.py dataset/ --format module:Class`.

    The class is built without arguments. What it writes stands beside the output until it is
    whole; `source.rows()` yields the samples as dicts, media included and vetoed ones left out.
    """

    def write(self, source: ExportSource, folder: Path) -> None:
        """Write all files of the export into an empty folder."""
        ...


def export(
    write: Callable[[ExportSource, Path], None],
    store: Store,
    output: Path,
    with_vetoed: bool = False,
    options: ExportOptions = NO_OPTIONS,
) -> CardFacts:
    """Write an export to a temporary folder, and move it to the output when it is complete.

    Whom `options.blur_others` hid stands in `facts.others`, and in others.jsonl of the export.

    Raises ValueError when there is no dataset, FileExistsError when the output has content.
    """
    manifest, _ = require_manifest(store)
    make_folder("the parent of --output", output.parent)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} has content; name an --output that is new or empty")
    without = frozenset() if with_vetoed else frozenset(vetoed(read_tags(store)))
    facts = CardFacts(store.url.rstrip("/").rsplit("/", 1)[-1])
    others = None
    if options.blur_others:
        others = OthersOfSamples.of(store, manifest, options.blur_others)
        facts.others = others.report
    output = output.absolute()
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        with shown(others):
            write(ExportSource(manifest, store, facts, without, options, output, others), partial)
        if others is not None:
            others.report.write(partial / OTHERS_FILE)
        if output.exists():
            output.rmdir()
        partial.rename(output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return facts
