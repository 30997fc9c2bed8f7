"""Build an evaluation set from a curated dataset, of people whom no training sample shows."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.dataset.commit import require_manifest
from pipeline.dataset.media_rows import read_samples
from pipeline.dataset.store import Store, open_store
from schemas.benchmark import (
    BENCHMARK,
    VIDEOS,
    Benchmark,
    Item,
    ItemCharacter,
    MediaFile,
    read_video_list,
)
from schemas.ids import content_id, unit_interval
from schemas.reasons import PairKind, Split
from schemas.settings import check_settings, setting

_NOUNS = "man|woman|boy|girl|lady|gentleman|child|person"
_SOMEBODY = re.compile(rf"\b(?:an?|one|the)\s+((?:[\w-]+\s+)??)({_NOUNS})\b", re.IGNORECASE)
_AMONG = re.compile(r"\bone of them\b", re.IGNORECASE)
_KNOWN = re.compile(rf"\b({_NOUNS})\b", re.IGNORECASE)


@dataclass(frozen=True)
class ItemsConfig:
    """Which samples become items of an evaluation set.

    Attributes:
        name: of the set; it stands in every result.
        splits: of the dataset; train is for trials only, and is recorded in the set.
        limit: items at most, drawn by the seed; 0 takes all.
        per_identity: items of one identity at most.
        references: pictures of one character at most.
        seed: of the draw, and of the videos.
    """

    name: str = setting("evaluation", least=1)
    splits: tuple[str, ...] = (Split.TEST, Split.VALIDATION)
    limit: int = setting(0, low=0, high=10**7)
    per_identity: int = setting(4, low=1, high=10**6)
    references: int = setting(3, low=1, high=1000)
    seed: int = setting(42, low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        check_settings(self, "items")
        unknown = sorted({*self.splits} - {*Split})
        if unknown or not self.splits:
            raise ValueError(
                f"--splits must be some of {', '.join(Split)}, got {', '.join(unknown) or 'none'}"
            )


def build_benchmark(dataset: Store, output: Path, config: ItemsConfig) -> Benchmark:
    """Write references, clips and, last, benchmark.json. Raises ValueError without items."""
    manifest, sha256 = require_manifest(dataset)
    light = [_without_media(row) for row in read_samples(manifest, dataset)]
    chosen = choose_samples(light, config)
    if not chosen:
        available = ", ".join(f"{n} {split}" for split, n in manifest.splits.items())
        raise ValueError(
            f"no sample of {', '.join(config.splits)} can be used; the dataset has {available}. "
            "Curate more video, or with a larger pair.splits.test; --splits train makes a set for "
            "trials"
        )
    store, items = open_store(output), {}
    clip_ids = {row["clip_id"] for row in chosen}
    for row in read_samples(manifest, dataset):
        if row["clip_id"] in clip_ids and row["split"] in config.splits and row["references"]:
            items[row["sample_id"]] = (row["clip_id"], _item(row, store, config))
    with_others = [_with_others(row["sample_id"], items) for row in chosen]
    benchmark = Benchmark(config.name, sha256, sorted(config.splits), with_others)
    _write_once(benchmark, store)
    return benchmark


def _without_media(row: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a sample that the choice depends on."""
    columns = ("sample_id", "clip_id", "video_id", "character_id", "split")
    members = [row, *(row.get("others") or ())]
    shown = (reference["video_id"] for member in members for reference in member["references"])
    return {name: row[name] for name in columns} | {
        "references": len(row["references"]),
        "videos": sorted({row["video_id"], *shown}),
        "identities": [member["character_id"] for member in members],
    }


def choose_samples(light: Sequence[dict[str, Any]], config: ItemsConfig) -> list[dict[str, Any]]:
    """Draw samples; identities and videos of training are excluded unless its split is named."""
    training = [row for row in light if row["split"] == Split.TRAIN]
    if Split.TRAIN in config.splits:
        training = []
    trained_identities = {identity for row in training for identity in row["identities"]}
    trained_videos = {video for row in training for video in row["videos"]}
    held_out = [
        row
        for row in light
        if row["split"] in config.splits
        and row["references"]
        and trained_identities.isdisjoint(row["identities"])
        and trained_videos.isdisjoint(row["videos"])
    ]
    held_out.sort(key=lambda row: unit_interval("benchmark", config.seed, row["sample_id"]))
    kept, per_identity = [], Counter()
    for row in held_out:
        if per_identity[row["character_id"]] < config.per_identity:
            per_identity[row["character_id"]] += 1
            kept.append(row)
    return kept[: config.limit or None]


def same_person(caption: str, description: str = "") -> str:
    """Return the prompt: the caption, with "the same" before the person that it is about.

    >>> same_person("A woman in a red coat walks.")
    'The same woman in a red coat walks.'
    """
    if _AMONG.search(caption):
        return _AMONG.sub("one of them the same person", caption, count=1)
    mention = _SOMEBODY.search(caption)
    if mention:
        the = "The same" if mention.start() == 0 else "the same"
        person = f"{the} {mention[1].removeprefix('same ')}{mention[2]}"
        return f"{caption[: mention.start()]}{person}{caption[mention.end() :]}"
    noun = _KNOWN.search(description)
    return f"The same {noun[1].lower() if noun else 'person'}. {caption}".strip()


def _item(row: dict[str, Any], store: Store, config: ItemsConfig) -> Item:
    others = [other for other in row.get("others") or () if other["references"]]
    return Item(
        item_id=content_id("item", row["sample_id"]),
        prompt=same_person(row["caption"], row["description"]),
        caption=row["caption"],
        characters=[_character(each, store, config, bool(others)) for each in (row, *others)],
        clip=_write(store, "clips", row["video"]["bytes"], ".mp4"),
        width=row["width"],
        height=row["height"],
        num_frames=row["num_frames"],
        fps=row["fps"],
        seed=config.seed,
        shot_size=row.get("shot_size") or "",
        num_people=row.get("num_people") or 0,
    )


def _character(
    row: dict[str, Any], store: Store, config: ItemsConfig, described: bool
) -> ItemCharacter:
    """Write the references of a sample's character, or of one of its others."""
    unaugmented = [r for r in row["references"] if r["kind"] != PairKind.IN_CLIP_AUGMENTED]
    pictures = (unaugmented or row["references"])[: config.references]
    references = [_write(store, "references", r["image"]["bytes"], ".jpg") for r in pictures]
    description = (row.get("description") or "") if described else ""
    return ItemCharacter(row["character_id"], references, description)


def _with_others(sample_id: str, items: dict[str, tuple[str, Item]]) -> Item:
    """Add the other characters of the same clip, so that swaps can be measured."""
    clip_id, item = items[sample_id]
    others = [other.main for name, (clip, other) in sorted(items.items())
              if clip == clip_id and name != sample_id]  # fmt: skip
    return replace(item, characters=[*item.characters, *others])


def _write(store: Store, folder: str, content: bytes, suffix: str) -> MediaFile:
    digest = hashlib.sha256(content).hexdigest()
    path = f"{folder}/{digest[:24]}{suffix}"
    if not store.exists(path):
        store.write(path, content)
    return MediaFile(path, digest)


def _write_once(benchmark: Benchmark, store: Store) -> None:
    content = benchmark.to_json()
    if store.exists(BENCHMARK) and store.read(BENCHMARK) != content:
        raise ValueError(
            f"{store.url} holds another evaluation set, whose results would not compare; choose "
            "another folder, or remove it"
        )
    store.write(BENCHMARK, content)


def read_benchmark(folder: Path) -> Benchmark:
    """Read an evaluation set and check every file against its SHA-256. Raises ValueError."""
    path = folder / BENCHMARK
    if not path.is_file():
        raise ValueError(
            f"no evaluation set at {folder}: {BENCHMARK} is missing; build one with "
            "jobs/benchmark.py"
        )
    try:
        benchmark = Benchmark.from_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}; build the set again with jobs/benchmark.py") from error
    for item in benchmark.items:
        references = [file for character in item.characters for file in character.references]
        for file in (item.clip, *references):
            media = folder / file.path
            if not media.is_file():
                raise ValueError(f"{media} is missing; build the evaluation set again")
            if hashlib.sha256(media.read_bytes()).hexdigest() != file.sha256:
                raise ValueError(f"{media} has changed since it was built; build the set again")
    return benchmark


def list_videos(folder: Path, benchmark: Benchmark) -> dict[str, Path]:
    """Return the video of every item, by videos.json or by names ITEM.mp4. Raises ValueError."""
    if not folder.is_dir():
        raise ValueError(f"--videos must be a folder of videos, got {folder}")
    listed = {item.item_id: f"{item.item_id}.mp4" for item in benchmark.items}
    if (folder / VIDEOS).is_file():
        try:
            listed = read_video_list((folder / VIDEOS).read_bytes())
        except json.JSONDecodeError as error:
            raise ValueError(f"{folder / VIDEOS} is not JSON: {error}") from error
        unknown = sorted({*listed} - {item.item_id for item in benchmark.items})
        if unknown:
            raise ValueError(
                f"{folder / VIDEOS} names {len(unknown)} items that are not in the evaluation set "
                f"{benchmark.name!r}, the first {unknown[0]!r}: videos of another set?"
            )
    found = {name: folder / path for name, path in listed.items() if (folder / path).is_file()}
    if not found:
        raise ValueError(
            f"{folder} has no video of the {len(benchmark.items)} items; name them ITEM.mp4 or "
            f'list them in {VIDEOS}: {{"videos": {{"item": "file.mp4"}}}}'
        )
    return found
