"""Forget, in an order in which a kill at any moment leaves nothing that comes back.

journal      what must go, so that an interrupted run is finished by the next
tombstones   from here on no curation takes the videos in
version      published without their rows; the files of older versions are swept
latents      the same; until then the trainer refuses them, as they are of another version
edits        what an editor made of their pictures
units        what was measured of the videos, and where they were read from
notes        tags and corrections that speak of them
uploads      what a kill left of those in parts, on S3
scan         every byte of the folder; the journal goes when nothing is found
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipeline.dataset.commit import require_manifest
from pipeline.dataset.corrections import read_corrections, write_corrections
from pipeline.dataset.cut_uploads import CutUploads, find_cut_uploads, remove_cut_uploads
from pipeline.dataset.forgotten import read_tombstones
from pipeline.dataset.store import Store
from pipeline.dataset.tags import read_tags, write_tags
from pipeline.dataset.units import read_known_inputs, write_known_inputs
from pipeline.forget.erasure import Erasure, renamed_samples
from pipeline.forget.rewrite import publish_without, rewrite_edits, rewrite_latents
from pipeline.forget.scan import Scan, scan
from pipeline.forget.search_patterns import SearchPatterns, collect_patterns, unit_files
from pipeline.forget.targets import Targets
from schemas.tombstones import TOMBSTONES

JOURNAL = "_forget.json"


@dataclass(frozen=True)
class Job:
    """A removal that has begun: all that is needed to finish it."""

    manifest_sha256: str  # of the version before
    version: int
    videos: list[str]
    characters: list[str]
    ids: list[str]
    renamed: dict[str, str]  # samples that lose references: old id -> new
    rows: dict[str, int]  # table -> rows that go
    shortened: int
    copies: int
    units: int
    size_bytes: int  # of the dataset before
    patterns: dict[str, list[str]] = field(default_factory=dict)
    same: int = 0  # characters that a person decided are the one who was named
    different: list[str] = field(default_factory=list)  # that a person decided are somebody else


@dataclass(frozen=True)
class Forgotten:
    """What was done, and what the scan afterwards found."""

    job: Job
    version: int
    latents: int
    scan: Scan
    keys: list[str]  # of the tombstones
    uploads: CutUploads  # that were removed, or could not be listed

    @property
    def clean(self) -> bool:
        return self.scan.clean


def begin(targets: Targets, store: Store, same: int = 0, different: Iterable[str] = ()) -> Job:
    """Write down what must go, and what was decided of doubts. Nothing is removed yet."""
    manifest, digest = require_manifest(store)
    erasure = Erasure(targets.videos, targets.ids)
    job = Job(
        manifest_sha256=digest,
        version=manifest.version,
        videos=sorted(targets.videos),
        characters=sorted(targets.characters),
        ids=sorted(targets.ids),
        renamed=renamed_samples(erasure, manifest, store),
        rows={name: number for name, number in sorted(targets.rows.items()) if number},
        shortened=targets.shortened,
        copies=len(targets.copies),
        units=sum(path.endswith("/receipt.json") for path in unit_files(targets.videos, store)),
        size_bytes=sum(file.size_bytes for file in manifest.files),
        patterns=collect_patterns(targets, manifest, store).to_json(),
        same=same,
        different=sorted(different),
    )
    store.write(JOURNAL, json.dumps(asdict(job), indent=1, sort_keys=True).encode())
    return job


def interrupted(store: Store) -> Job | None:
    """Return the removal that a killed run has begun."""
    if not store.exists(JOURNAL):
        return None
    try:
        raw: dict[str, Any] = json.loads(store.read(JOURNAL))
        if "needles" in raw:  # as earlier versions called them
            raw["patterns"] = raw.pop("needles")
        return Job(**raw)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{store.url}/{JOURNAL}, the journal of a removal that was interrupted, is damaged "
            f"({error}); restore it, or delete it and name again what to forget"
        ) from error


def finish(job: Job, store: Store) -> Forgotten:
    """Do all that is left to do, whatever was done before; the journal goes if nothing is found."""
    patterns = SearchPatterns.from_json(job.patterns)
    erasure = Erasure(set(job.videos), set(job.ids), job.renamed)
    store.check_held()
    tombstones = read_tombstones(store)
    more = tombstones.adding(job.videos, job.characters, job.different)
    if more != tombstones:
        store.write(TOMBSTONES, more.to_json())
    manifest = publish_without(erasure, store)
    store.check_held()  # encoding what is forgotten may have taken long
    latents = rewrite_latents(erasure, job.manifest_sha256, store)
    rewrite_edits(erasure, store)
    _drop_units(job, store)
    _drop_tags(job, store)
    _drop_corrections(job, store)
    uploads = remove_cut_uploads(find_cut_uploads(store), store)
    done = scan(patterns, store, leave_out=JOURNAL)
    keys = [more.key("video", id) for id in job.videos]
    keys += [more.key("character", id) for id in job.characters]
    return Forgotten(job, manifest.version, latents, done, sorted(keys), uploads)


def close(store: Store) -> None:
    """Remove the journal: the removal is complete and told."""
    store.delete(JOURNAL)


def _drop_units(job: Job, store: Store) -> None:
    for path in unit_files(set(job.videos), store):
        store.delete(path)
    known = read_known_inputs(store)
    left = {uri: row for uri, row in known.items() if row.video_id not in job.videos}
    if len(left) < len(known):
        write_known_inputs(left, store)


def _drop_tags(job: Job, store: Store) -> None:
    tags = read_tags(store)
    ids = set(job.ids)
    renamed = [replace(t, sample_id=job.renamed.get(t.sample_id, t.sample_id)) for t in tags]
    left = [tag for tag in renamed if tag.sample_id not in ids]
    if left != tags:
        write_tags(left, store)


def _drop_corrections(job: Job, store: Store) -> None:
    corrections = read_corrections(store)
    ids = set(job.ids)
    shortened = (each.without(ids) for each in corrections)
    left = tuple(each for each in shortened if each is not None)
    if left != corrections:
        write_corrections(left, store)
