"""The whole graph on one screen: raw videos in, a published dataset out."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import MappingProxyType

from pipeline.curation.curation_config import CurationConfig
from pipeline.curation.plan import CurationPlan, is_published, remember
from pipeline.curation.release import release
from pipeline.dataset.column_rows import RowLog
from pipeline.dataset.commit import settle, sweep
from pipeline.dataset.fetched import VideoFetcher, batches, video_fetcher
from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.observed import Observed, read_observed
from pipeline.dataset.outcomes import unread_line
from pipeline.dataset.row_sets import plus
from pipeline.dataset.store import Store
from pipeline.dataset.units import Identified, Receipt, Unit, Unread, plan_units
from pipeline.engines.engines_config import chosen
from pipeline.engines.registry import engine_infos
from pipeline.execution import cluster
from pipeline.execution.placement import Placement, place_observing
from pipeline.execution.progress import Progress
from pipeline.execution.stage import Ledger
from pipeline.observing.observe import identify, observe
from pipeline.pairing.caption_pool import caption_clips
from pipeline.pairing.edit_references import edit_references
from pipeline.pairing.gates import apply_gates, describe_videos
from pipeline.pairing.pair import (
    Paired,
    by_sample,
    facts_for_captions,
    first_of_each,
    identity_spaces,
    light_tables,
    of_tracks,
    put_together,
    with_corrected,
)
from pipeline.pairing.samples import find_cast, in_time, plan_cast, without_vetoed
from schemas.corrections import Correction
from schemas.manifest import Manifest
from schemas.tables import Reject


@dataclass(frozen=True)
class CurationResult:
    """What a run did. `manifest` is None when there was nothing to do before the first version."""

    manifest: Manifest | None
    changed: bool
    new_units: list[Receipt] = field(default_factory=list)
    unread: Mapping[str, str] = field(default_factory=dict)  # uri -> why; the next run tries again


def curate(
    videos: Sequence[InputVideo], store: Store, config: CurationConfig, plan: CurationPlan
) -> CurationResult:
    """Turn videos into reference/clip pairs. Finished units are skipped.

    Raises ValueError when the output was made with other observing settings, and OSError when it
    cannot be written. Whatever was committed before stays, and the next run goes on from there.
    """
    if plan.finished and plan.manifest:
        settle(store)
        sweep(store)
        return CurationResult(plan.manifest, changed=False)
    placement, workers = _place(config)

    before = set(plan.receipts)
    limit_bytes = config.observe.probe.max_size_bytes
    with video_fetcher(config.run.remote, limit_bytes) as fetcher:
        for batch in batches(plan.pending, fetcher.files.limit_bytes):
            identified = _identify(batch, plan, config, workers, fetcher)  # probe
            plan = remember(plan, identified, store, config)
            read = [video for video in identified if isinstance(video, Identified)]
            units = plan.missing(plan_units(read, config.observe.part_s))
            observed = _observe(units, store, config, placement, fetcher)  # shots … candidates
            plan = plan.with_observed(observed)
            fetcher.files.clear()
    new_units = [plan.receipts[unit_id] for unit_id in sorted(plan.receipts.keys() - before)]
    not_read = {**plan.unread, **plan.stale}
    if plan.manifest and not new_units and is_published(plan.manifest, videos, plan, config):
        settle(store)
        sweep(store)
        return CurationResult(plan.manifest, changed=False, unread=not_read)

    paired = pair(
        read_observed(plan.receipts_of(videos), store), plan.read(videos), plan.video_ids,
        plan.vetoes, store, config, workers, plan.unread, plan.corrections,
    )  # fmt: skip
    manifest = release(paired, videos, plan, store, config, workers)
    return CurationResult(manifest, changed=True, new_units=new_units, unread=not_read)


def pair(
    observed: Observed,
    inputs: Sequence[InputVideo],
    video_ids: Mapping[str, str],
    vetoes: Set[str],
    store: Store,
    config: CurationConfig,
    workers: int = 1,
    unread: Mapping[str, str] = MappingProxyType({}),
    corrections: Sequence[Correction] = (),
) -> Paired:
    """Decide over everything observed.

    `video_ids` is by uri; `vetoes` are ids of samples; `unread` says by uri why other inputs could
    not be read; `corrections` are what people decided in the page.
    """
    settings, engines, processes = config.pair, config.engines, config.run.cluster
    first, copies = first_of_each(inputs, video_ids)
    videos = describe_videos(observed.videos, first)

    kept = apply_gates(observed, videos, settings.all_gates)  # videos, quality, people
    candidates, vectors = of_tracks(observed, kept)

    spaces = identity_spaces(engines.observing.recogniser, settings.windows)
    cast = find_cast(  # characters
        kept.clips, kept.tracks, vectors, spaces, settings.characters, corrections, kept.spare
    )
    plans = plan_cast(cast, candidates, vectors, settings, processes, workers)  # references

    edits = edit_references(
        plans, candidates, observed.unit_of_clip, cast.windows, store, engines, settings.edits,
        processes, workers,
    )  # fmt: skip
    if edits.candidates:
        candidates, vectors = plus(candidates, edits.candidates), plus(vectors, edits.embeddings)
        plans = plan_cast(cast, candidates, vectors, settings, processes, workers)
    plans, review = without_vetoed(plans, vetoes)
    plans = in_time(plans, kept.clips)

    facts, own_captions = facts_for_captions(plans, kept)
    captions = caption_clips(
        facts, own_captions, observed.unit_of_clip, store, engines.pairing.captions,
        settings.captions, processes, workers,
    )  # fmt: skip
    captions = by_sample(with_corrected(captions, facts, corrections), plans)
    samples = put_together(plans, kept, captions, observed.unit_of_clip, edits.paths)

    rejects = RowLog(Reject, observed.rejects)
    ledger = Ledger(rejects, dict(observed.counts))
    for part in (copies, kept.ledger, edits.ledger, plans.ledger, review):
        ledger.merge(part)
    for uri, detail in sorted(unread.items()):
        ledger.reject(unread_line(uri, detail))
    ledger.check("probe", "video", len(inputs) + len(unread))
    splits = Counter(plan.split for plan in plans.samples)
    tables = light_tables(observed, videos, plans, captions, rejects.rows())
    return Paired(samples, splits, tables, ledger)


def _place(config: CurationConfig) -> tuple[Placement, int]:
    """Choose the processes that observe the videos; return them and the number of workers."""
    processes = config.run.cluster
    workers = cluster.num_workers(processes)
    infos = engine_infos(chosen(config.observe.engines))
    for_gpu = [info.id for info in infos if info.gpu]
    placement = place_observing(processes, cluster.resources(processes), for_gpu, workers)
    if placement.note:
        print(placement.note, flush=True)
    return placement, workers


def _identify(
    videos: Sequence[InputVideo],
    plan: CurationPlan,
    config: CurationConfig,
    workers: int,
    fetcher: VideoFetcher,
) -> list[Identified | Unread]:
    sizes = {video.uri: max(video.size_bytes, 0) for video in videos}
    identified = []
    with Progress("identify", sum(sizes.values())) as progress:
        for video in identify(
            videos, config.observe.probe, config.run, workers, plan.tombstones, fetcher
        ):
            identified.append(video)
            progress.advance(sizes[video.uri], **_count_identified(video))
    return identified


def _count_identified(video: Identified | Unread) -> dict[str, int]:
    if isinstance(video, Unread):
        return {"not read": 1}
    return {"refused": int(video.video is None)}


def _observe(
    units: Sequence[Unit],
    store: Store,
    config: CurationConfig,
    placement: Placement,
    fetcher: VideoFetcher,
) -> list[Receipt | Unread]:
    durations = {unit.unit_id: unit.duration_s for unit in units}
    observed = []
    with Progress("observe", sum(durations.values())) as progress:
        for outcome in observe(
            units, store.location, config.observe, config.run, placement, fetcher
        ):
            observed.append(outcome)
            counts = {"not read": 1} if isinstance(outcome, Unread) else _count_observed(outcome)
            progress.advance(durations[outcome.unit_id], **counts)
    return observed


def _count_observed(receipt: Receipt) -> dict[str, int]:
    rows = {name: file["rows"] for name, file in receipt.files.items()}
    counted = {"clips": rows.get("clips", 0), "tracks": rows.get("tracks", 0)}
    lost = sum(count[3] for count in receipt.counts)
    failed = sum(count[4] for count in receipt.counts)
    return counted | {"rejects": lost, "failed": failed}
