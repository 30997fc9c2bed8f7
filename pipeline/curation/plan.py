"""Plan a run: what is left to do, given what the output holds."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipeline.curation.curation_config import CurationConfig
from pipeline.dataset.commit import data_files, digest_of, read_manifest
from pipeline.dataset.corrections import read_corrections
from pipeline.dataset.forgotten import read_tombstones
from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.parquet import read_columns
from pipeline.dataset.settings_digest import differing_keys
from pipeline.dataset.store import Store
from pipeline.dataset.tags import read_tags, vetoed
from pipeline.dataset.units import (
    Identified,
    Receipt,
    Unit,
    Unread,
    drop_unit,
    has_all_units,
    is_observed,
    read_known_inputs,
    read_receipts,
    split_video,
    unreadable_id,
    write_known_inputs,
)
from pipeline.observing.observe_config import OBSERVE_VERSION
from schemas.corrections import Correction
from schemas.manifest import POINTER, Manifest
from schemas.old_settings import current_settings
from schemas.tables import Input
from schemas.tombstones import Tombstones
from schemas.uris import public_uri

SETTINGS = "units/settings.json"
_MADE = re.compile(
    r"manifests/\d{4,}\.json|edits/\w\w/\w+\.parquet|units/(settings\.json|inputs\.parquet)"
    r"|units/\w\w/[\w-]+/(\w+\.parquet|receipt\.json)"
)


@dataclass(frozen=True)
class CurationPlan:
    """The state of an output, and which inputs it lacks."""

    pending: tuple[InputVideo, ...]
    known: dict[str, Input]  # by uri
    receipts: dict[str, Receipt]  # by unit id
    manifest: Manifest | None  # the current version
    manifest_sha256: str
    finished: bool  # the current version is what the inputs and settings make
    tombstones: Tombstones  # what must not come back
    vetoes: frozenset[str]  # samples that a person refused
    corrections: tuple[Correction, ...] = ()  # what people decided
    observe_version: int = OBSERVE_VERSION  # of the code that observed the units
    unread: Mapping[str, str] = field(default_factory=dict)  # uri -> why it could not be read
    stale: Mapping[str, str] = field(default_factory=dict)  # the same; what was read before stays

    @property
    def video_ids(self) -> dict[str, str]:
        """The video behind each uri."""
        return {uri: known.video_id for uri, known in self.known.items()}

    def read(self, videos: Iterable[InputVideo]) -> list[InputVideo]:
        """Return those of the videos that were read, now or before."""
        return [video for video in videos if video.uri not in self.unread]

    def missing(self, units: Iterable[Unit]) -> list[Unit]:
        """Return the units that are not observed yet.

        Raises ValueError when the others were observed by code that may measure otherwise.
        """
        missing = [unit for unit in units if unit.unit_id not in self.receipts]
        if missing and self.observe_version != OBSERVE_VERSION:
            raise ValueError(
                f"the output was observed by an earlier version of the code "
                f"({self.observe_version}, now {OBSERVE_VERSION}), which may measure otherwise, "
                f"and {len(missing)} videos or parts are not observed yet; give the new ones "
                "another --output, or start over with --restart"
            )
        return missing

    def with_unread(self, uri: str, detail: str) -> "CurationPlan":
        """Return the plan without an input, or with what an earlier run has read of it."""
        if uri in self.known and has_all_units(self.known[uri], self.receipts):
            return replace(self, stale={**self.stale, uri: detail})
        return replace(self, unread={**self.unread, uri: detail})

    def with_observed(self, observed: Iterable[Receipt | Unread]) -> "CurationPlan":
        """Return the plan with further units, and without the inputs of which one is missing."""
        plan, observed = self, list(observed)
        new = {outcome.unit_id: outcome for outcome in observed if isinstance(outcome, Receipt)}
        plan = replace(plan, receipts=plan.receipts | new)
        for lost in (outcome for outcome in observed if isinstance(outcome, Unread)):
            video_id = lost.unit_id.rpartition("-")[0]
            same = [uri for uri, known in plan.known.items() if known.video_id == video_id]
            plan = replace(plan, unread={**plan.unread, **dict.fromkeys(same, lost.detail)})
        return plan

    def receipts_of(self, videos: Iterable[InputVideo]) -> list[Receipt]:
        """Return the receipts of these videos' units, from earlier runs and from this one."""
        wanted = {self.known[video.uri].video_id for video in self.read(videos)}
        return [receipt for receipt in self.receipts.values() if receipt.video_id in wanted]


def make_plan(
    videos: Sequence[InputVideo],
    store: Store,
    config: CurationConfig,
    retry_failed: bool = False,
    replace_inputs: bool = False,
) -> CurationPlan:
    """Read the output and decide what is left to do; changes nothing but dropped failures.

    Raises ValueError when the output's units were made with other observing settings, or when it
    holds videos that are not among the inputs (unless `replace_inputs`).
    """
    version = _check_settings(store, config)
    receipts = read_receipts(store)
    tombstones = read_tombstones(store)
    known = _known_inputs(store, videos, tombstones)
    if retry_failed:
        for unit_id in _units_to_retry(receipts, known):
            drop_unit(unit_id, store)
            del receipts[unit_id]
    pending = tuple(v for v in videos if not is_observed(v, known.get(v.uri), receipts))
    current = read_manifest(store)
    manifest, sha256 = current or (None, "")
    if manifest is not None and not replace_inputs:
        _check_nothing_vanishes(manifest, store, videos)
    vetoes = frozenset(vetoed(read_tags(store)))
    plan = CurationPlan(
        pending, known, receipts, manifest, sha256, False, tombstones, vetoes,
        read_corrections(store), version,
    )  # fmt: skip
    finished = manifest is not None and not pending and is_published(manifest, videos, plan, config)
    return replace(plan, finished=finished)


def is_published(
    manifest: Manifest, videos: Sequence[InputVideo], plan: CurationPlan, config: CurationConfig
) -> bool:
    """Return whether a version is what the settings make of the inputs that could be read."""
    settings = config.identity() | {"observe_version": plan.observe_version}
    return not _changed(settings, manifest.config) and (
        manifest.inputs_digest == inputs_digest(videos, plan)
    )


def _units_to_retry(receipts: Mapping[str, Receipt], known: Mapping[str, Input]) -> list[str]:
    """Return the units whose process died, and those of inputs that could not be opened."""
    closed = {row.video_id for uri, row in known.items() if row.video_id == unreadable_id(uri)}
    return [
        unit_id
        for unit_id, receipt in receipts.items()
        if receipt.failed or receipt.video_id in closed
    ]


def _known_inputs(
    store: Store, videos: Iterable[InputVideo], tombstones: Tombstones
) -> dict[str, Input]:
    """Return what is known of inputs; a forgotten one is found under the stand-in of its uri."""
    written = read_known_inputs(store)
    known = {k: v for k, v in written.items() if not tombstones.holds_video(v.video_id)}
    if tombstones.videos:
        for video in videos:
            stand_in = known.pop(tombstones.stand_in(video.uri), None)
            if stand_in is not None:
                known[video.uri] = replace(stand_in, uri=video.uri)
    return known


def _check_settings(store: Store, config: CurationConfig) -> int:
    """Return the version of the code that observed the units; raises ValueError for other settings.

    What was observed by an earlier version stays usable: it is paired anew with new thresholds.
    """
    if not store.exists(SETTINGS):
        return OBSERVE_VERSION
    stored = json.loads(store.read(SETTINGS))
    version = stored.get("observe_version", OBSERVE_VERSION)
    changed = _changed(config.observe.identity() | {"observe_version": version}, stored)
    if changed:
        raise ValueError(
            f"{store.url} was observed with other settings; use them again, or another --output, "
            "or start over with --restart:\n  " + "\n  ".join(changed)
        )
    return version


def _changed(now: dict[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Return the settings that differ from stored ones, also from those of an older version.

    A setting that the older version did not have yet has its default there.
    """
    older = current_settings(stored)
    defaults = json.loads(json.dumps(asdict(CurationConfig())))
    for section in ("observe", "pair"):
        if section in older:
            older[section] = _filled(defaults[section], older[section])
    return differing_keys(json.loads(json.dumps(now)), older)


def _filled(defaults: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored settings, with defaults where they have none."""
    filled = dict(defaults) | dict(stored)
    for name, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(filled[name], Mapping):
            filled[name] = _filled(value, filled[name])
    return filled


def _check_nothing_vanishes(manifest: Manifest, store: Store, videos: Sequence[InputVideo]) -> None:
    present = {video.uri for video in videos}
    gone = []
    for file in manifest.files:
        if file.path.startswith("videos/"):
            with store.open(file.path) as table:
                uris = map(public_uri, read_columns(table, ["uri"])["uri"].to_pylist())
                gone += [uri for uri in uris if uri not in present]
    if gone:
        raise ValueError(
            f"{store.url} holds {len(gone)} videos that are not among the inputs (the first is "
            f"{gone[0]}); name all inputs, or pass --replace to publish a version without them"
        )


def inputs_digest(videos: Sequence[InputVideo], plan: CurationPlan) -> str:
    """Digest which bytes the inputs hold, what their owner says, and what people decided.

    And which units failed: what a retry made of them is published, by whichever run comes next.
    """
    facts = [
        [plan.known[v.uri].video_id, v.uri, v.licence, v.source, v.caption]
        + ([v.caption_from] if v.caption_from else [])
        for v in plan.read(videos)
    ]
    unread = [["unread", uri] for uri in plan.unread]
    failed = [["failed", each.unit_id] for each in plan.receipts_of(videos) if each.failed]
    corrected = [["corrected", each.id] for each in plan.corrections]
    return digest_of(
        [*sorted(facts), *sorted(unread), *sorted(failed), *sorted(plan.vetoes), *corrected]
    )


def remember(
    plan: CurationPlan,
    identified: Iterable[Identified | Unread],
    store: Store,
    config: CurationConfig,
) -> CurationPlan:
    """Record what was identified, and the settings that the units are made with."""
    if not plan.pending:
        return plan
    files = {video.uri: video for video in plan.pending}
    known = dict(plan.known)
    for video in identified:
        if isinstance(video, Unread):
            plan = plan.with_unread(video.uri, video.detail)
            continue
        file, num_parts = files[video.uri], len(split_video(video.video, config.observe.part_s))
        known[video.uri] = Input(
            video.uri, file.size_bytes, file.changed, video.video_id, num_parts
        )
    write_known_inputs(_without_forgotten(known, plan.tombstones), store)
    identity = config.observe.identity() | {"observe_version": plan.observe_version}
    _write_settings(json.dumps(identity, indent=1, sort_keys=True).encode(), store)
    return replace(plan, known=known)


def _write_settings(content: bytes, store: Store) -> None:
    """Write the settings; the first of two runs decides with which the output is observed."""
    if store.exists(SETTINGS):
        store.write(SETTINGS, content)
        return
    try:
        store.create(SETTINGS, content)
    except FileExistsError:
        raise ValueError(
            f"another run began to observe into {store.url} with other settings; run again, or "
            "choose another --output"
        ) from None


def _without_forgotten(known: dict[str, Input], tombstones: Tombstones) -> dict[str, Input]:
    """Replace the uris of forgotten inputs, which may name a person, by their stand-ins."""
    if not tombstones.videos:
        return known
    stand_ins = {uri: tombstones.stand_in(uri) for uri in known}
    named = [
        replace(row, uri=row.video_id) if row.video_id == stand_ins[uri] else row
        for uri, row in known.items()
    ]
    return {row.uri: row for row in named}


def restart(store: Store) -> None:
    """Remove every version and unit, pointer first, so that all is made again; tombstones stay.

    Manifests go before what they list, the first before those made on top of it. Only files of a
    dataset go. Raises ValueError when `manifest.json` is of something else.
    """
    if store.exists(POINTER):
        if not _is_pointer(store.read(POINTER)):
            raise ValueError(
                f"{store.url}/{POINTER} was not written by this program, so --restart removes "
                "nothing here: choose another --output"
            )
        store.delete(POINTER)
    elif not store.exists(SETTINGS):
        return
    made = [path for folder in ("manifests", "edits", "units") for path in store.list(folder)]
    made = [path for path in made if _MADE.fullmatch(path)]
    for path in (*made, *data_files(store)):
        store.delete(path)


def _is_pointer(content: bytes) -> bool:
    try:
        return json.loads(content).keys() == {"path", "sha256"}
    except (ValueError, AttributeError):
        return False
