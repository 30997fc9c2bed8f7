"""The whole graph on one screen: raw videos in, a published dataset out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.curation.curation_config import CurationConfig
from pipeline.curation.plan import CurationPlan, remember
from pipeline.curation.release import release
from pipeline.dataset.commit import sweep
from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.observed import read_observed
from pipeline.dataset.store import Store
from pipeline.dataset.units import Identified, Receipt, Unit, plan_units
from pipeline.engines.registry import engine_infos
from pipeline.execution import cluster
from pipeline.execution.placement import Placement, place_observing
from pipeline.execution.progress import Progress
from pipeline.observing.observe import identify, observe
from pipeline.pairing.pair import pair
from schemas.manifest import Manifest


@dataclass(frozen=True)
class CurationResult:
    """What a run did. `manifest` is None when there was nothing to do before the first version."""

    manifest: Manifest | None
    changed: bool
    new_units: list[Receipt] = field(default_factory=list)


def curate(
    videos: Sequence[InputVideo], store: Store, config: CurationConfig, plan: CurationPlan
) -> CurationResult:
    """Turn videos into reference/clip pairs. Finished units are skipped.

    Raises ValueError when the output was made with other observing settings, and OSError when it
    cannot be written. Whatever was committed before stays, and the next run goes on from there.
    """
    if plan.finished and plan.manifest:
        sweep(plan.manifest, store)
        return CurationResult(plan.manifest, changed=False)
    workers = cluster.num_workers(config.cluster)
    infos = engine_infos(config.engines)
    placement = place_observing(config.cluster, cluster.resources(config.cluster), infos, workers)
    if placement.note:
        print(placement.note, flush=True)

    identified = _identify(plan, config, workers)
    plan = remember(plan, identified, store, config)
    units = [unit for unit in plan_units(identified, config.part_s) if plan.lacks(unit)]
    receipts = _observe(units, store, config, placement)

    observed = read_observed(plan.receipts_of(videos, receipts), store)
    paired = pair(observed, videos, plan.video_ids, store, config, workers, plan.vetoes)
    manifest = release(paired, videos, plan, store, config, workers)
    return CurationResult(manifest, changed=True, new_units=receipts)


def _identify(plan: CurationPlan, config: CurationConfig, workers: int) -> list[Identified]:
    sizes = {video.uri: max(video.size_bytes, 0) for video in plan.pending}
    identified = []
    with Progress("identify", sum(sizes.values())) as progress:
        for each in identify(plan.pending, config, workers, plan.tombstones):
            identified.append(each)
            progress.advance(sizes[each.uri], refused=int(each.video is None))
    return identified


def _observe(
    units: Sequence[Unit], store: Store, config: CurationConfig, placement: Placement
) -> list[Receipt]:
    durations = {unit.unit_id: unit.duration_s for unit in units}
    receipts = []
    with Progress("observe", sum(durations.values())) as progress:
        for receipt in observe(units, store.url, config, placement):
            receipts.append(receipt)
            progress.advance(durations[receipt.unit_id], **_came_out(receipt))
    return receipts


def _came_out(receipt: Receipt) -> dict[str, int]:
    rows = {name: file["rows"] for name, file in receipt.files.items()}
    counted = {"clips": rows.get("clips", 0), "tracks": rows.get("tracks", 0)}
    lost = sum(count[3] for count in receipt.counts)
    failed = sum(count[4] for count in receipt.counts)
    return counted | {"rejects": lost, "failed": failed}
