"""The folder `edits/`: every edit ever made for a dataset, accepted or not.

    edits/<first two digits>/<digest of its edit ids>.parquet

A file is written once, whole, by the worker that made its edits. What is missing is a set
difference over edit ids, so a killed run goes on, and other thresholds edit nothing again.
"""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

from pipeline.dataset.commit import digest_of
from pipeline.dataset.parquet import encode_rows, read_columns, read_rows_by_key
from pipeline.dataset.store import Store
from schemas.tables import Candidate, Edit

_READERS = 16


def write_edits(edits: Sequence[Edit], store: Store) -> str:
    """Write a batch of edits; returns its path, which depends on the ids alone."""
    path = edits_path([edit.edit_id for edit in edits])
    store.write(path, encode_rows(edits, Edit))
    return path


def edits_path(edit_ids: Iterable[str]) -> str:
    """Return the path of a batch of edits."""
    name = digest_of(edit_ids)[:24]
    return f"edits/{name[:2]}/{name}.parquet"


def read_edits(store: Store) -> dict[str, tuple[str, Edit]]:
    """Return every edit by id with the path of its file; candidates come without pixels."""
    paths = [path for path in store.list("edits") if path.endswith(".parquet")]
    found: dict[str, tuple[str, Edit]] = {}
    with ThreadPoolExecutor(_READERS) as pool:
        for path, edits in zip(paths, pool.map(lambda one: _light(one, store), paths), strict=True):
            found |= {edit.edit_id: (path, edit) for edit in edits}
    return found


def _light(path: str, store: Store) -> list[Edit]:
    pixels = {"image", "mask"}
    inner = [field.name for field in fields(Candidate) if field.name not in pixels]
    columns = [field.name for field in fields(Edit) if field.name != "candidate"]
    columns += [f"candidate.list.element.{name}" for name in inner]
    with store.open(path) as file:
        data = read_columns(file, columns)
    rows = data.to_pylist()
    for row in rows:
        found = row["candidate"] or []
        row["candidate"] = [Candidate(**(values | {"image": b"", "mask": b""})) for values in found]
    return [Edit(**row) for row in rows]


def read_edited(path: str, wanted: Iterable[str], store: Store) -> dict[str, Candidate]:
    """Return the candidates of some edits with their pixels, as references: by edit id."""
    with store.open(path) as file:
        rows = list(read_rows_by_key(file, "edit_id", set(wanted)))
    return {row["edit_id"]: Candidate(**row["candidate"][0]) for row in rows}


def recipe_of(edit: Edit) -> str:
    """Return what a reference records of its edit, as one line of JSON."""
    names = ("prompt_id", "prompt", "seed", "engine", "weights_digest", "recogniser")
    recipe = {name: getattr(edit, name) for name in names} | {"checks": json.loads(edit.measured)}
    return json.dumps(recipe, sort_keys=True, separators=(",", ":"))


def as_candidate(edit: Edit) -> Candidate:
    """Return the edit as a candidate, marked as an edit."""
    [candidate] = edit.candidate
    return replace(candidate, edit=recipe_of(edit))
