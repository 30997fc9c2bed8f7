"""Publish one version of the dataset: shards, light tables, manifest."""

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from pipeline.curation.curation_config import CurationConfig
from pipeline.curation.plan import CurationPlan, inputs_digest
from pipeline.curation.shards import build_shards, plan_shards
from pipeline.dataset.commit import publish, stage_file, table_path
from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.outcomes import describe_inputs
from pipeline.dataset.parquet import encode_rows
from pipeline.dataset.settings_digest import settings_digest
from pipeline.dataset.store import Store
from pipeline.engines.registry import engine_infos
from pipeline.execution.progress import Progress, funnel
from pipeline.pairing.pair import Paired
from schemas.columns import Row
from schemas.manifest import DataFile, FunnelRow, Manifest
from schemas.reasons import Split
from schemas.tables import (
    Character,
    Clip,
    Embedding,
    InputOutcome,
    Reject,
    Suspect,
    Track,
    Video,
)

_FOLDERS = {
    InputOutcome: "inputs",
    Video: "videos",
    Clip: "clips",
    Track: "tracks",
    Character: "characters",
    Suspect: "suspects",
    Embedding: "embeddings",
    Reject: "rejects",
}
_ROWS_PER_FILE = 50_000  # a track's row holds up to 160 boxes: about 128 MB
_LIBRARIES = ("contextanyone", "av", "opencv-python", "numpy", "scipy", "pyarrow")


def release(
    paired: Paired,
    videos: Sequence[InputVideo],
    plan: CurationPlan,
    store: Store,
    config: CurationConfig,
    workers: int,
) -> Manifest:
    """Build all files of the next version and make it the current one."""
    version = plan.manifest.version + 1 if plan.manifest else 1
    observed = {"observe_version": plan.observe_version}
    files = [*_stage_samples(paired, version, store, config, workers)]
    outcomes = describe_inputs(
        videos, plan.video_ids, plan.unread, paired.ledger.rejects, plan.tombstones
    )
    files += _stage_tables({InputOutcome: outcomes, **paired.tables}, version, store)
    manifest = Manifest(
        version=version,
        parent=plan.manifest_sha256,
        inputs_digest=inputs_digest(videos, plan),
        observe_digest=settings_digest(config.observe.identity() | observed),
        config_digest=settings_digest(config.identity() | observed),
        config=config.identity() | observed,
        engines=[asdict(info) for info in engine_infos(config.engines.chosen)],
        libraries={name: importlib.metadata.version(name) for name in _LIBRARIES},
        funnel=funnel(paired.ledger.counts, paired.ledger.rejects),
        splits={str(split): paired.splits.get(split, 0) for split in Split},
        files=sorted(files, key=lambda file: file.path),
    )
    publish(manifest, store)
    return manifest


def _stage_samples(
    paired: Paired, version: int, store: Store, config: CurationConfig, workers: int
) -> list[DataFile]:
    plans = plan_shards(paired.samples, config.pair.shards, version, config.pair.columns)
    files = []
    with Progress("write", len(paired.samples), unit="shards") as progress:
        for file in build_shards(plans, store.location, config.run.cluster, workers):
            files.append(file)
            progress.advance(file.rows, samples=file.rows)
    return files


def _stage_tables(
    tables: Mapping[type[Row], Sequence], version: int, store: Store
) -> Iterator[DataFile]:
    for table, rows in tables.items():
        starts = range(0, max(len(rows), 1), _ROWS_PER_FILE)
        for number, start in enumerate(starts):
            part = rows[start : start + _ROWS_PER_FILE]
            path = table_path(_FOLDERS[table], version, number)
            yield stage_file(path, encode_rows(part, table), len(part), store)


def funnel_row(manifest: Manifest, stage: str, level: str) -> FunnelRow | None:
    """Return one row of the funnel, None when nothing got that far."""
    return next((r for r in manifest.funnel if (r.stage, r.level) == (stage, level)), None)
