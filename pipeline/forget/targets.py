"""Find what must go: from a request to the videos, and from these to every id derived from them.

A character is forgotten by forgetting the videos that show it, whole: the tracker does not see a
person in every frame that shows the person, and a later curation of the same file would find the
person again. A video takes its copies with it: those whose clips repeat its clips.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.dataset.store import Store
from pipeline.dataset.tables import files_of, light_rows
from pipeline.dataset.units import read_known_inputs
from pipeline.dataset.vacuum import find_leftovers
from pipeline.forget.erasure import Erasure
from schemas.manifest import Manifest
from schemas.reasons import Reason
from schemas.tables import Input

_ID_COLUMNS = ("id", "shot_id", "clip_id", "track_id", "sample_id", "reference_id", "edit_id")
_PEOPLE = ("character_id", "other_character_id")
_LIGHT = ("video_id", "level", *_ID_COLUMNS, *_PEOPLE, "references", "others")
_REPEATS = "repeats "


@dataclass(frozen=True)
class ForgetRequest:
    """Whom and what to remove."""

    characters: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()


@dataclass
class Targets:
    """Everything of the request that the dataset holds."""

    videos: set[str] = field(default_factory=set)
    copies: set[str] = field(default_factory=set)  # of them, found by repeated clips
    named: set[str] = field(default_factory=set)  # characters of the request
    characters: set[str] = field(default_factory=set)  # seen in no other video
    ids: set[str] = field(default_factory=set)  # of every row that goes
    uris: set[str] = field(default_factory=set)  # of the videos
    rows: dict[str, int] = field(default_factory=dict)  # table -> rows that go
    shortened: int = 0  # samples that stay with fewer references


def find_targets(request: ForgetRequest, manifest: Manifest, store: Store) -> Targets:
    """Resolve a request. Raises ValueError naming an id that the dataset does not hold."""
    seen = _videos_of_characters(manifest, store)
    known = read_known_inputs(store)
    every = {video for videos in seen.values() for video in videos}
    every |= {row.video_id for row in known.values()} | set(_video_ids(manifest, store))
    older = _older_files(store)
    _check_ids("character", request.characters, seen, older)
    _check_ids("video", request.videos, every, older)
    targets = Targets(videos=set(request.videos), named=set(request.characters))
    for character_id in request.characters:
        targets.videos |= seen[character_id]
    _add_copies(targets, manifest, store)
    targets.characters = set(request.characters)
    targets.characters |= {key for key, videos in seen.items() if videos <= targets.videos}
    _add_ids(targets, manifest, store)
    _add_uris(targets, known, manifest, store)
    return targets


def _older_files(store: Store) -> str:
    """Say what to do about files that no longer belong to the dataset, where there are any."""
    leftovers = find_leftovers(store)
    if not leftovers:
        return ""
    return (
        f"; {sum(len(each.paths) for each in leftovers)} files of older versions are still there: "
        "`contextanyone vacuum DATASET --yes` removes them with whoever is in them alone"
    )


def _check_ids(kind: str, ids: Iterable[str], held: Iterable[str], older: str) -> None:
    held = set(held)
    for id in ids:
        if id not in held:
            raise ValueError(
                f"no {kind} {id!r} in this dataset, which holds {len(held)}; ids are in the tables "
                f"{kind if kind == 'video' else 'track'}s/ and in `jobs/browse.py`{older}"
            )


def _videos_of_characters(manifest: Manifest, store: Store) -> dict[str, set[str]]:
    """Return the videos that show each character, by tracks and by samples."""
    seen: dict[str, set[str]] = {}
    for table in ("tracks", "samples"):
        for path in files_of(table, manifest):
            columns = ("character_id", "video_id", "references", "others")
            for row in light_rows(path, columns, store):
                for member in (row, *(row.get("others") or ())):
                    if member.get("character_id"):
                        videos = seen.setdefault(member["character_id"], set())
                        videos.add(row["video_id"])
                        videos.update(
                            reference["video_id"] for reference in member.get("references") or ()
                        )
    return seen


def _video_ids(manifest: Manifest, store: Store) -> Iterable[str]:
    for table in ("inputs", "videos", "clips", "samples", "rejects"):
        for path in files_of(table, manifest):
            for row in light_rows(path, ("video_id",), store):
                yield row["video_id"]


def _add_copies(targets: Targets, manifest: Manifest, store: Store) -> None:
    """Add videos with clips that repeat a clip of the videos, and the other way round."""
    video_of = {
        row["clip_id"]: row["video_id"]
        for path in files_of("clips", manifest)
        for row in light_rows(path, ("clip_id", "video_id"), store)
    }
    links: dict[str, set[str]] = {}
    for path in files_of("rejects", manifest):
        for row in light_rows(path, ("video_id", "reason", "detail"), store):
            if row["reason"] == Reason.DUPLICATE_CLIP and row["detail"].startswith(_REPEATS):
                other = video_of.get(row["detail"].removeprefix(_REPEATS), row["video_id"])
                links.setdefault(row["video_id"], set()).add(other)
                links.setdefault(other, set()).add(row["video_id"])
    waiting = list(targets.videos)
    while waiting:
        for other in links.get(waiting.pop(), ()):
            if other not in targets.videos:
                targets.videos.add(other)
                targets.copies.add(other)
                waiting.append(other)


def _add_ids(targets: Targets, manifest: Manifest, store: Store) -> None:
    """Collect the ids of all rows that go, of references that go, and of samples that change."""
    targets.ids |= targets.videos | targets.characters
    for table in ("inputs", "videos", "clips", "tracks", "samples", "embeddings", "rejects"):
        number = sum(_add_row(row, targets) for row in _rows(files_of(table, manifest), store))
        targets.rows[table] = number
    edits = [path for path in store.list("edits") if path.endswith(".parquet")]
    targets.rows["edits"] = sum(_add_row(row, targets) for row in _rows(edits, store))
    erasure = Erasure(targets.videos, targets.ids)
    for table in ("characters", "suspects"):  # they name no video, so they come last
        targets.rows[table] = sum(map(erasure.drops, _rows(files_of(table, manifest), store)))


def _rows(paths: Iterable[str], store: Store) -> Iterator[dict]:
    for path in paths:
        yield from light_rows(path, _LIGHT, store)


def _add_row(row: dict, targets: Targets) -> bool:
    """Add the ids that go with a row; return whether the whole row goes."""
    references = row.get("references") or []
    cast = [reference for member in row.get("others") or () for reference in member["references"]]
    lost = [
        reference for reference in (*references, *cast) if reference["video_id"] in targets.videos
    ]
    shown = row["video_id"] in targets.videos
    goes = shown or (bool(references) and all(r["video_id"] in targets.videos for r in references))
    targets.shortened += bool(lost) and not goes
    if shown:
        own = (name for name in _ID_COLUMNS if name != "id" or row.get("level") != "candidate")
        targets.ids.update(row[name] for name in own if row.get(name))  # a candidate is another's
        targets.ids.update(member["track_id"] for member in row.get("others") or ())
    elif lost:
        targets.ids.add(row["sample_id"])
    for reference in lost:
        targets.ids.update(reference[name] for name in ("reference_id", "track_id", "clip_id"))
    return goes


def _add_uris(targets: Targets, known: dict[str, Input], manifest: Manifest, store: Store) -> None:
    targets.uris |= {row.uri for row in known.values() if row.video_id in targets.videos}
    for path in (*files_of("videos", manifest), *files_of("inputs", manifest)):
        for row in light_rows(path, ("video_id", "uri"), store):
            if row["video_id"] in targets.videos and row.get("uri"):
                targets.uris.add(row["uri"])
