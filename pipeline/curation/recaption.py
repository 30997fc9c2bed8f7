"""Write the captions of a finished dataset anew, as its next version; no source is decoded.

A captioner that looks is shown frames of the clips that lie in the samples. What it answered is
kept as it goes, so that a run that was killed asks for the rest only.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.dataset.commit import STAGING, publish, require_manifest, stage_file, table_path
from pipeline.dataset.parquet import encode_table, read_rows_by_key
from pipeline.dataset.sample_schema import sample_schema
from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of
from pipeline.engines.interfaces import Captioner, CaptionFacts, CaptionParts
from pipeline.media.clip_frames import read_clip
from pipeline.pairing.captions import CORRECTED, GIVEN, Caption, CaptionsConfig, ask
from schemas.bounded_parquet import BoundedParquet
from schemas.columns import from_table, schema_of
from schemas.ids import content_id
from schemas.manifest import DataFile, Manifest
from schemas.tables import Clip, Sample, Track

_FRAMES = 16  # decoded for a captioner that looks; it takes fewer if it wants
_WRITTEN = (
    "caption", "description", "caption_engine", "caption_digest", "action", "scene", "camera",
)  # fmt: skip


@dataclass
class Recaptioned:
    """What a run wrote. `manifest` is the current version, the old one when nothing changed."""

    manifest: Manifest
    changed: int = 0  # samples whose texts are others now
    samples: int = 0
    authors: Counter[str] = field(default_factory=Counter)  # samples by who wrote the caption
    problems: Counter[str] = field(default_factory=Counter)  # why a captioner was not used


def recaption(store: Store, captioner: Captioner, config: CaptionsConfig) -> Recaptioned:
    """Caption every sample and publish the next version, where any text changed.

    Captions that a person corrected stay, and those that came with the user's manifest where
    `config.prefer_given`. Raises ValueError where there is no dataset.
    """
    old, digest = require_manifest(store)
    done = Recaptioned(old)
    version, number, files = old.version + 1, 0, []
    by_clip: dict[str, Caption] = {}
    for file in old.files:
        if not file.path.startswith("samples/"):
            continue
        with store.open(file.path) as source:
            table, changed = _captioned(source, old, store, captioner, config, done, by_clip)
        if not changed:
            files.append(file)
            continue
        path = table_path("samples", version, number)
        number += 1
        files.append(stage_file(path, encode_table(table), table.num_rows, store))
    if done.changed:
        files += _other_files(old, version, by_clip, store)
        done.manifest = replace(
            old, version=version, parent=digest, engines=_engines(old, captioner),
            files=sorted(files, key=lambda file: file.path),
        )  # fmt: skip
        publish(done.manifest, store)
    _forget_answers(store)
    return done


def _captioned(
    source: Any, manifest: Manifest, store: Store, captioner: Captioner, config: CaptionsConfig,
    done: Recaptioned, by_clip: dict[str, Caption],
) -> tuple[pa.Table, bool]:  # fmt: skip
    """Return one file's samples with their new texts, and whether any differs."""
    parquet = BoundedParquet(source)
    groups, changed = [], False
    for number in range(parquet.num_row_groups):
        group = parquet.read_row_group(number)
        rows = group.to_pylist()
        written = []
        for top in range(0, len(rows), config.batch_size):
            part = rows[top : top + config.batch_size]
            written += _batch(part, manifest, store, captioner, config)
        for row, own in zip(rows, written, strict=True):
            _count(row, own[0], done)
            by_clip.setdefault(row["clip_id"], own[0])
        new = _with_texts(group, rows, written)
        differs = any(
            name not in group.column_names or not new[name].equals(group[name])
            for name in {*_WRITTEN, "others"} & set(new.column_names)
        )
        changed = changed or differs
        groups.append(new)
    table = pa.concat_tables(groups) if groups else parquet.schema_arrow.empty_table()
    return table.cast(sample_schema(table.schema)), changed


def _count(row: Mapping[str, Any], caption: Caption, done: Recaptioned) -> None:
    done.samples += 1
    done.authors[caption.engine] += 1
    done.changed += any(row.get(name) != text for name, text in _texts(caption).items())
    if caption.problem:
        done.problems[caption.problem] += 1


def _batch(
    rows: Sequence[dict], manifest: Manifest, store: Store, captioner: Captioner,
    config: CaptionsConfig,
) -> list[list[Caption]]:  # fmt: skip
    """Return, per sample, the captions of its character and of the others in it."""
    members = [
        [row["track_id"], *(one["track_id"] for one in row.get("others") or ())] for row in rows
    ]
    asked = content_id(
        "captions", captioner.info.id, captioner.info.weights_digest, asdict(config),
        [(row["sample_id"], own) for row, own in zip(rows, members, strict=True)],
    )  # fmt: skip
    path = f"{STAGING}/captions/{asked}.json"
    if store.exists(path):
        texts = [_caption(each) for each in json.loads(store.read(path))]
    else:
        facts = list(_facts(rows, members, manifest, store, bool(getattr(captioner, "looks", 0))))
        texts = ask(captioner, facts, config)
        store.write(path, json.dumps([asdict(text) for text in texts], sort_keys=True).encode())
    answers, captions = iter(texts), []
    for row, own in zip(rows, members, strict=True):
        first, *others = (next(answers) for _ in own)
        engine = row["caption_engine"]
        if engine == CORRECTED or (config.prefer_given and engine == GIVEN):
            given = {"text": row["caption"], "engine": engine, "digest": ""}
            first = replace(first, **given, parts=CaptionParts())
        captions.append([first, *others])
    return captions


def _caption(values: dict[str, Any]) -> Caption:
    parts = CaptionParts(**values.pop("parts"))
    return Caption(**values, parts=parts)


def _facts(
    rows: Sequence[dict], members: Sequence[Sequence[str]], manifest: Manifest, store: Store,
    looks: bool,
) -> Iterator[CaptionFacts]:  # fmt: skip
    clip_ids = {row["clip_id"] for row in rows}
    clips = {clip.clip_id: clip for clip in _read(Clip, "clips", clip_ids, manifest, store)}
    tracks: dict[str, list[Track]] = {}
    for track in _read(Track, "tracks", clip_ids, manifest, store):
        if track.character_id:
            tracks.setdefault(track.clip_id, []).append(track)
    for row, own in zip(rows, members, strict=True):
        clip, seen = clips[row["clip_id"]], tuple(tracks.get(row["clip_id"], ()))
        frames = ()
        if looks:
            places = np.linspace(0, clip.num_frames - 1, _FRAMES).round().astype(int)
            _, pictures = read_clip(row["video"]["bytes"], indices=places.tolist())
            frames = tuple(pictures)
        for track_id in own:
            character = next((track for track in seen if track.track_id == track_id), None)
            yield CaptionFacts(clip, seen, character, frames)


def _read(
    kind: Any, table: str, clip_ids: set[str], manifest: Manifest, store: Store
) -> Iterator[Any]:
    for path in files_of(table, manifest):
        with store.open(path) as file:
            rows = list(read_rows_by_key(file, "clip_id", clip_ids))
        if rows:
            known = [name for name in schema_of(kind).names if name in rows[0]]
            schema = pa.schema([schema_of(kind).field(name) for name in known])
            yield from from_table(pa.Table.from_pylist(rows, schema), kind)


def _texts(caption: Caption) -> dict[str, str]:
    return {
        "caption": caption.text,
        "description": caption.description,
        "caption_engine": caption.engine,
        "caption_digest": caption.digest,
        **asdict(caption.parts),
    }


def _with_texts(
    group: pa.Table, rows: Sequence[dict], written: Sequence[Sequence[Caption]]
) -> pa.Table:
    texts = [_texts(own[0]) for own in written]
    for name in _WRITTEN:
        column = pa.array([each[name] for each in texts], pa.string())
        group = _put(group, schema_of(Sample).field(name), column)
    if "others" not in group.column_names:
        return group
    others = [
        [
            one | {"description": text.description}
            for one, text in zip(row["others"], rest, strict=True)
        ]
        for row, (_, *rest) in zip(rows, written, strict=True)
    ]
    where = group.schema.field("others")
    return _put(group, where, pa.array(others, where.type))


def _put(table: pa.Table, field_: pa.Field, values: pa.Array) -> pa.Table:
    if field_.name not in table.column_names:
        return table.append_column(field_, values)
    return table.set_column(table.schema.get_field_index(field_.name), field_, values)


def _other_files(
    old: Manifest, version: int, by_clip: Mapping[str, Caption], store: Store
) -> Iterator[DataFile]:
    """Yield the files that are no samples: clips with their new captions, the rest as it is."""
    number = 0
    for file in old.files:
        if file.path.startswith("samples/"):
            continue
        if not file.path.startswith("clips/"):
            yield file
            continue
        with store.open(file.path) as source:
            table = BoundedParquet(source).read()
        ids = table["clip_id"].to_pylist()
        for name in ("caption", "caption_engine", "caption_digest"):
            before = table[name].to_pylist() if name in table.column_names else [""] * len(ids)
            after = [
                _texts(by_clip[clip_id])[name] if clip_id in by_clip else value
                for clip_id, value in zip(ids, before, strict=True)
            ]
            table = _put(table, schema_of(Clip).field(name), pa.array(after, pa.string()))
        path = table_path("clips", version, number)
        number += 1
        yield stage_file(path, encode_table(table), table.num_rows, store)


def _engines(old: Manifest, captioner: Captioner) -> list[dict[str, Any]]:
    task = captioner.info.task
    return [engine for engine in old.engines if engine.get("task") != task] + [
        asdict(captioner.info)
    ]


def _forget_answers(store: Store) -> None:
    for path in store.list(f"{STAGING}/captions"):
        store.delete(path)
