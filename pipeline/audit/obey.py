"""What a repair does of people's corrections without pairing anew: rename, leave out, rewrite.

A repair makes no new pairs. Whoever is one person now gets one id, whoever is two gets two, and a
sample whose reference shows somebody else by that is left out; the next curation pairs it again.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.audit.dataset import Dataset
from pipeline.audit.index import AuditIndex
from pipeline.dataset.corrections import marks_of_references, name_of, texts_of_tracks
from pipeline.dataset.decided import decide
from pipeline.dataset.tables import files_of, light_rows
from pipeline.pairing.captions import CORRECTED
from schemas.columns import schema_of
from schemas.corrections import BAD, CAPTION, NAME, SPLIT, Correction
from schemas.ids import content_id
from schemas.reasons import Reason
from schemas.tables import Character

_UNKNOWN = {"cohesion": math.nan, "weakest": math.nan, "next_similarity": math.nan,
            "next_character_id": ""}  # fmt: skip


@dataclass(frozen=True)
class Obeyed:
    """What corrections change of a version.

    Attributes:
        characters: track -> its character, of every track that changes its own.
        dropped: sample -> why it cannot stay.
        captions: track -> the caption of its sample.
        splits: track -> the split that a person wishes for it.
        names: track -> what a person calls its character.
        agreed: samples whose references all show their own character after that.
    """

    characters: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, tuple[Reason, str]] = field(default_factory=dict)
    captions: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    agreed: Set[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.characters or self.dropped or self.captions or self.names)


def obey(corrections: Sequence[Correction], dataset: Dataset, index: AuditIndex) -> Obeyed:
    """Plan what the corrections change of the audited version."""
    if not corrections or dataset.manifest is None:
        return Obeyed()
    characters = _renamed(corrections, index)
    captions = texts_of_tracks(corrections, CAPTION)
    now = dict(index.rows("SELECT track_id, caption FROM samples"))
    names, called = texts_of_tracks(corrections, NAME), dict(_called(index))
    dropped, agreed = _judged(corrections, characters, dataset, index)
    return Obeyed(
        characters,
        dropped,
        {id: text for id, text in captions.items() if now.get(id, text) != text},
        texts_of_tracks(corrections, SPLIT),
        {id: name for id, name in names.items() if called.get(id, name) != name},
        agreed,
    )


def _called(index: AuditIndex) -> Iterator[tuple[str, str]]:
    yield from index.rows(
        "SELECT t.track_id, coalesce(c.name, '') FROM tracks t JOIN characters c"
        " USING (character_id)"
    )


def _renamed(corrections: Sequence[Correction], index: AuditIndex) -> dict[str, str]:
    decided = decide(corrections)
    if not decided:
        return {}
    ids = [id for person in decided.people for id in person]
    concerned = (
        "SELECT character_id FROM tracks WHERE character_id <> ''"
        " AND track_id IN (SELECT unnest(?))"
    )
    rows = index.fetch(
        f"SELECT character_id, list(track_id) FROM tracks WHERE character_id IN ({concerned})"
        " GROUP BY 1 ORDER BY 1",
        [ids],
    )
    before = {track_id: who for who, tracks in rows for track_id in tracks}
    impossible = index.fetch(
        "SELECT s.track_id, t.track_id FROM tracks s JOIN tracks t ON s.clip_id = t.clip_id"
        " AND s.track_id < t.track_id AND s.first_frame < t.first_frame + t.num_boxes"
        " AND t.first_frame < s.first_frame + s.num_boxes"
        f" WHERE s.character_id IN ({concerned})",
        [ids],
    )
    after: dict[str, str] = {}
    for group in decided.regroup([tracks for _, tracks in rows], impossible):
        held = {before[track_id] for track_id in group}
        whole = len(held) == 1 and len(group) == sum(who in held for who in before.values())
        who = min(held) if whole else content_id("character", min(group))
        after |= {id: who for id in group if before[id] != who}
    return after


def _judged(
    corrections: Sequence[Correction],
    characters: Mapping[str, str],
    dataset: Dataset,
    index: AuditIndex,
) -> tuple[dict[str, tuple[Reason, str]], set[str]]:
    """Return why samples cannot stay, and those whose references now all show their character."""
    bad = {id for id, mark in marks_of_references(corrections).items() if mark == BAD}
    dropped, agreed = dict[str, tuple[Reason, str]](), set[str]()
    if dataset.manifest is None or not (bad or characters):
        return dropped, agreed
    now = {**dict(index.rows("SELECT track_id, character_id FROM tracks")), **characters}
    columns = ("sample_id", "track_id", "references", "others")
    for path in files_of("samples", dataset.manifest):
        for row in light_rows(path, columns, dataset.store):
            pairs = [
                (member["track_id"], image)
                for member in (row, *(row.get("others") or ()))
                for image in member["references"] or ()
            ]
            refused = [image["reference_id"] for _, image in pairs if image["reference_id"] in bad]
            others = [
                (own, image)
                for own, image in pairs
                if now.get(image["track_id"], now.get(own)) != now.get(own)
            ]
            told = [
                image["reference_id"]
                for own, image in others
                if own in characters or image["track_id"] in characters
            ]
            if refused:
                why = f"a person marked reference {refused[0]} bad"
                dropped[row["sample_id"]] = (Reason.VETOED, why)
            elif told:
                why = f"reference {told[0]} shows somebody else, as a person decided"
                dropped[row["sample_id"]] = (Reason.VETOED, why)
            elif not others:
                agreed.add(row["sample_id"])
    return dropped, agreed


def corrected(table: str, data: pa.Table, obeyed: Obeyed, index: AuditIndex) -> pa.Table:
    """Return a table's rows as the corrections have them; samples that are left out stay here."""
    if table == "characters":
        return _recounted(data, obeyed, index)
    if table == "suspects":
        return _undecided(data, obeyed, index)
    if table == "clips":
        return _captioned_clips(data, obeyed, index)
    if table not in ("samples", "tracks"):
        return data
    ids = data["track_id"].to_pylist()
    if obeyed.characters:
        own = [
            obeyed.characters.get(id, who)
            for id, who in zip(ids, data["character_id"].to_pylist(), strict=True)
        ]
        data = _put(data, "character_id", own)
    if table == "samples":
        return _captioned(_with_cast(data, obeyed), ids, obeyed)
    return _measured_no_more(data, ids, obeyed, index)


def _members(obeyed: Obeyed, index: AuditIndex) -> dict[str, list[tuple[str, ...]]]:
    """Return the tracks of every character as corrected: track, clip, shot and video of each."""
    tracks: dict[str, list[tuple[str, ...]]] = {}
    sql = "SELECT character_id, track_id, clip_id, shot_id, video_id FROM tracks"
    for who, track_id, *places in index.rows(sql):
        now = obeyed.characters.get(track_id, who)
        if now:
            tracks.setdefault(now, []).append((track_id, *places))
    return tracks


def _changed(obeyed: Obeyed, index: AuditIndex) -> set[str]:
    """Return the characters that gain or lose tracks."""
    sql = "SELECT track_id, character_id FROM tracks"
    lost = {who for track_id, who in index.rows(sql) if track_id in obeyed.characters}
    return lost | set(obeyed.characters.values())


def _undecided(data: pa.Table, obeyed: Obeyed, index: AuditIndex) -> pa.Table:
    """Leave out the doubts about characters that change: they were answered, or ask otherwise."""
    changed = _changed(obeyed, index)
    named = zip(
        data["character_id"].to_pylist(), data["other_character_id"].to_pylist(), strict=True
    )
    return data.filter(pa.array([not changed & set(pair) for pair in named], pa.bool_()))


def _measured_no_more(
    data: pa.Table, ids: Sequence[str], obeyed: Obeyed, index: AuditIndex
) -> pa.Table:
    """Unset what was measured against characters that are others now."""
    if not obeyed.characters:
        return data
    changed = _changed(obeyed, index)
    own = data["character_id"].to_pylist()
    for name, unknown, about in (
        ("own_similarity", math.nan, own),
        ("next_similarity", math.nan, data["next_character_id"].to_pylist()),
        ("next_character_id", "", data["next_character_id"].to_pylist()),
    ):
        old = data[name].to_pylist()
        new = [unknown if who in changed else value for value, who in zip(old, about, strict=True)]
        data = _put(data, name, new)
    return data


def _with_cast(data: pa.Table, obeyed: Obeyed) -> pa.Table:
    if not obeyed.characters or "others" not in data.column_names:
        return data
    type_ = data.schema.field("others").type
    names = [type_.value_type.field(place).name for place in range(type_.value_type.num_fields)]
    if not any(data["others"].to_pylist()) or "track_id" not in names:
        return data
    cast = [
        [
            member
            | {"character_id": obeyed.characters.get(member["track_id"], member["character_id"])}
            for member in row or ()
        ]
        for row in data["others"].to_pylist()
    ]
    place = data.schema.get_field_index("others")
    return data.set_column(place, data.schema.field(place), pa.array(cast, type_))


def _captioned(data: pa.Table, ids: Sequence[str], obeyed: Obeyed) -> pa.Table:
    if not obeyed.captions.keys() & set(ids):
        return data
    values = {"caption_engine": CORRECTED, "caption_digest": "", "action": "", "scene": "",
              "camera": ""}  # fmt: skip
    data = _put(data, "caption", [obeyed.captions.get(id, text) for id, text in
                                  zip(ids, data["caption"].to_pylist(), strict=True)])  # fmt: skip
    for name, value in values.items():
        if name in data.column_names:
            old = data[name].to_pylist()
            new = [
                value if id in obeyed.captions else text for id, text in zip(ids, old, strict=True)
            ]
            data = _put(data, name, new)
    return data


def _captioned_clips(data: pa.Table, obeyed: Obeyed, index: AuditIndex) -> pa.Table:
    """Give clips the captions of the samples whose caption they had, where it was corrected."""
    spoken = index.rows(
        "SELECT s.clip_id, s.track_id FROM samples s JOIN clips c USING (clip_id)"
        " WHERE s.caption = c.caption"
    )
    texts = {clip: obeyed.captions[id] for clip, id in spoken if id in obeyed.captions}
    ids = data["clip_id"].to_pylist()
    for name, value in (("caption", None), ("caption_engine", CORRECTED), ("caption_digest", "")):
        if texts and name in data.column_names:
            old = data[name].to_pylist()
            new = [
                text if id not in texts else texts[id] if value is None else value
                for id, text in zip(ids, old, strict=True)
            ]
            data = _put(data, name, new)
    return data


def _put(data: pa.Table, name: str, values: Sequence[Any]) -> pa.Table:
    place = data.schema.get_field_index(name)
    field_ = data.schema.field(place)
    return data.set_column(place, field_, pa.array(values, field_.type))


def _recounted(data: pa.Table, obeyed: Obeyed, index: AuditIndex) -> pa.Table:
    """Count the characters that change again; how alike their tracks are, nobody has measured."""
    tracks, changed = _members(obeyed, index), _changed(obeyed, index)
    there = data.to_pylist()
    new = sorted(changed - {row["character_id"] for row in there}) if there else []
    rows = []
    for row in [*there, *({**there[0], "character_id": who, "name": ""} for who in new)]:
        who = row["character_id"]
        if who not in tracks:
            continue
        if who in changed:
            row = row | _counts(tracks[who]) | _UNKNOWN
        elif row["next_character_id"] in changed:
            row = row | {"next_similarity": math.nan, "next_character_id": ""}
        name = name_of((track[0] for track in tracks[who]), obeyed.names)
        rows.append({**row, "name": name or row.get("name", "")})
    schema = data.schema
    if "name" not in schema.names:
        schema = schema.append(schema_of(Character).field("name"))
    rows.sort(key=lambda row: row["character_id"])
    return pa.Table.from_pylist(rows, schema=schema)


def _counts(tracks: Sequence[tuple[str, ...]]) -> dict[str, int]:
    names = ("num_tracks", "num_clips", "num_shots", "num_videos")
    return {name: len({row[place] for row in tracks}) for place, name in enumerate(names)}


def summary(obeyed: Obeyed) -> list[str]:
    """Say what is obeyed, a line a kind."""
    counts = Counter({
        "tracks change their character": len(obeyed.characters),
        "samples are left out by a correction": len(obeyed.dropped),
        "captions are corrected": len(obeyed.captions),
        "tracks get a name": len(obeyed.names),
    })  # fmt: skip
    return [f"repair: {number} {what}" for what, number in counts.items() if number]
