"""What is erased from a table, row by row: whole rows, references, and every mention by id.

row of a forgotten video, character or track    goes
reference of a forgotten video                  goes from its sample, which gets another id; a
                                                sample (or a member of its cast) without any goes
nearest other character                         unnamed, with its cosine
line of the ledger that names an id             says (forgotten) in its place
character that stays but loses tracks           is counted again
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, light_rows, open_table
from schemas.ids import content_id
from schemas.manifest import Manifest

FORGOTTEN = "(forgotten)"
_PEOPLE = ("character_id", "other_character_id", "track_id")
_PLAIN = ("video_id", "sample_id", "id", "detail", "next_character_id", *_PEOPLE)
_NESTED = {
    "references": "references.list.element.video_id",
    "others": "others.list.element.references.list.element.video_id",
}


@dataclass(frozen=True)
class Erasure:
    """What to erase, and what the rows that stay become.

    Attributes:
        videos: ids of videos.
        ids: every id that goes with them, of characters and tracks too.
        renamed: samples that lose references: old id -> new.
        counts: columns of `characters/` for those that stay and lose tracks.
    """

    videos: set[str]
    ids: set[str]
    renamed: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def affects(self, path: str, store: Store) -> bool:
        """Whether a file has to change; its media are not read."""
        file = open_table(path, store)
        columns = _light_columns(file.schema_arrow.names)
        return bool(columns) and any(
            self._touches(row)
            for group in range(file.num_row_groups)
            for row in file.read_row_group(group, columns=columns).to_pylist()
        )

    def without(self, data: pa.Table) -> pa.Table:
        """Return the table without what is erased; other rows keep their bytes."""
        names = [name for name in (*_PLAIN, *_NESTED) if name in data.column_names]
        light = [{} for _ in range(len(data))]
        for name in names:
            for row, value in zip(light, _without_media(data[name]), strict=True):
                row[name] = value
        parts, start = [], 0
        for place in (place for place, row in enumerate(light) if self._touches(row)):
            parts.append(data.slice(start, place - start))
            changed = self._changed(data.slice(place, 1).to_pylist()[0])
            if changed is not None:
                parts.append(pa.Table.from_pylist([changed], schema=data.schema))
            start = place + 1
        return pa.concat_tables([*parts, data.slice(start)])

    def drops(self, row: Mapping[str, Any]) -> bool:
        """Whether the whole row goes, whatever remains of its references."""
        if "video_id" in row:
            return row["video_id"] in self.videos
        return any(row.get(name) in self.ids for name in _PEOPLE)

    def remaining_references(self, references: Iterable[dict]) -> list[dict]:
        """Return the references that stay."""
        return [reference for reference in references if reference["video_id"] not in self.videos]

    def _touches(self, row: Mapping[str, Any]) -> bool:
        groups = [row.get("references") or [], *(m["references"] for m in row.get("others") or ())]
        return (
            self.drops(row)
            or any(reference["video_id"] in self.videos for group in groups for reference in group)
            or row.get("sample_id") in self.renamed
            or row.get("next_character_id") in self.ids
            or row.get("id") in self.ids
            or self._without_ids(row.get("detail")) != row.get("detail")
            or ("video_id" not in row and row.get("character_id") in self.counts)
        )

    def _without_ids(self, detail: str | None) -> str | None:
        """Return a detail with the erased ids that it names replaced."""
        if not detail:
            return detail
        for word in set(detail.replace(",", " ").replace(":", " ").split()) & self.ids:
            detail = detail.replace(word, FORGOTTEN)
        return detail

    def _changed(self, row: dict) -> dict | None:
        if self.drops(row):
            return None
        if row.get("id") in self.ids:  # a picture of theirs that was refused for somebody else
            row["id"] = FORGOTTEN
        if "detail" in row:
            row["detail"] = self._without_ids(row["detail"])
        if row.get("next_character_id") in self.ids:
            row |= {"next_character_id": "", "next_similarity": math.nan}
        if "references" in row:
            return self.shortened(row)
        if "video_id" not in row and row.get("character_id") in self.counts:
            row |= self.counts[row["character_id"]]
            if row["num_tracks"] == 1:
                row |= {"cohesion": math.nan, "weakest": math.nan}
        return row

    def shortened(self, row: dict) -> dict | None:
        """Return a sample with the references that stay, None without any."""
        row["references"] = self.remaining_references(row["references"])
        if not row["references"]:
            return None
        if "others" in row:
            cast = [
                m | {"references": self.remaining_references(m["references"])}
                for m in row["others"]
            ]
            row["others"] = [member for member in cast if member["references"]]
        row["sample_id"] = self.renamed.get(row["sample_id"], row["sample_id"])
        return row


def renamed_samples(erasure: Erasure, manifest: Manifest, store: Store) -> dict[str, str]:
    """Return the samples that stay with fewer references: old id -> new."""
    columns = ("video_id", "sample_id", "clip_id", "track_id", "references", "others")
    renamed = {}
    for path in files_of("samples", manifest):
        for row in light_rows(path, columns, store):
            before = row["sample_id"]
            if not erasure.drops(row) and (left := erasure.shortened(row)):
                after = sample_id_of(left)
                if after != before:
                    renamed[before] = after
    return renamed


def sample_id_of(row: Mapping[str, Any]) -> str:
    """Return a sample's id: the hash of what it is made of."""
    members = [row, *(row.get("others") or ())]
    ids = [
        content_id(
            "sample",
            row["clip_id"],
            member["track_id"],
            [reference["reference_id"] for reference in member["references"]],
        )
        for member in members
    ]
    return content_id("sample", ids) if len(ids) > 1 else ids[0]


def count_again(erasure: Erasure, manifest: Manifest, store: Store) -> dict[str, dict[str, int]]:
    """Return the counts of the characters that stay and lose tracks."""
    columns = ("character_id", "track_id", "clip_id", "shot_id", "video_id")
    left: dict[str, list[dict]] = {}
    loses = set()
    for path in files_of("tracks", manifest):
        for row in light_rows(path, columns, store):
            if erasure.drops(row):
                loses.add(row["character_id"])
            else:
                left.setdefault(row["character_id"], []).append(row)
    named = {"num_tracks": "track_id", "num_clips": "clip_id"}
    named |= {"num_shots": "shot_id", "num_videos": "video_id"}
    return {
        key: {name: len({row[id] for row in left[key]}) for name, id in named.items()}
        for key in loses & left.keys() - {""}
    }


def _light_columns(names: Sequence[str]) -> list[str]:
    plain = [name for name in _PLAIN if name in names]
    return plain + [inner for name, inner in _NESTED.items() if name in names]


def _without_media(column: pa.ChunkedArray) -> list[Any]:
    """Return a column as Python values; of references only the ids of their videos."""
    return [value for chunk in column.chunks for value in _light(chunk)]


def _light(array: pa.Array) -> list[Any]:
    if not isinstance(array, pa.ListArray) or not isinstance(array.type.value_type, pa.StructType):
        return array.to_pylist()
    inner = array.values
    names = [n for n in ("video_id", "references") if array.type.value_type.get_field_index(n) >= 0]
    columns = [_light(inner.field(name)) for name in names]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    offsets = array.offsets.to_pylist()
    return [rows[start:end] for start, end in itertools.pairwise(offsets)]
