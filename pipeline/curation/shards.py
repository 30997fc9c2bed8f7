"""Build the sample shards: many workers, one shard each, unlisted until all are there."""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import pyarrow as pa

from pipeline.dataset.commit import STAGING, digest_of, stage_file, table_path
from pipeline.dataset.edited import read_edited
from pipeline.dataset.media_rows import read_clip_bytes, read_unit_rows
from pipeline.dataset.parquet import encode_tables, in_groups
from pipeline.dataset.sample_schema import sample_schema
from pipeline.dataset.store import Store, open_store
from pipeline.execution.budget import ClusterConfig
from pipeline.execution.run import run
from pipeline.execution.worker import Pool
from pipeline.pairing.own_columns import SampleColumn, load_columns, with_columns
from pipeline.pairing.pair_config import ShardsConfig
from pipeline.pairing.sample_rows import Ingredients, build_sample
from schemas.columns import to_table
from schemas.manifest import DataFile
from schemas.tables import Candidate, Sample, Track

_MEBIBYTE = 2**20


@dataclass(frozen=True)
class ShardPlan:
    """The plan of one file of samples."""

    path: str
    samples: tuple[Ingredients, ...]
    columns: tuple[str, ...] = ()  # of the user, as module:Class

    @property
    def digest(self) -> str:
        return digest_of([*self.samples, *self.columns])


def plan_shards(
    samples: Iterable[Ingredients],
    config: ShardsConfig,
    version: int,
    columns: tuple[str, ...] = (),
) -> Iterator[ShardPlan]:
    """Fill shards in the order of the samples, up to the aimed size of their clips.

    `columns` of the user are checked here, before any worker builds a shard.
    """
    load_columns(columns)
    return _filled(samples, config.size_mib * _MEBIBYTE, version, columns)


def _filled(
    samples: Iterable[Ingredients], size: int, version: int, columns: tuple[str, ...]
) -> Iterator[ShardPlan]:
    number, shard, room = 0, list[Ingredients](), size
    for sample in samples:
        if room < sample.clip.size_bytes and shard:
            yield ShardPlan(table_path("samples", version, number), tuple(shard), columns)
            number, shard, room = number + 1, [], size
        shard.append(sample)
        room -= sample.clip.size_bytes
    if shard:
        yield ShardPlan(table_path("samples", version, number), tuple(shard), columns)


def build_shards(
    plans: Iterable[ShardPlan], output: str, cluster: ClusterConfig, workers: int
) -> Iterator[DataFile]:
    """Build and write every shard; one that was written before from the same plan is kept."""
    step = (Pool("samples", workers), functools.partial(_make_builder, output))
    yield from run(plans, [step], cluster)


def _make_builder(output: str) -> Callable[[ShardPlan], DataFile]:
    return functools.partial(build_shard, store=open_store(output))


def build_shard(plan: ShardPlan, store: Store) -> DataFile:
    """Build one shard and write it, with a note of which plan it fulfils.

    Samples are built and written a row group at a time: a shard of 4K clips has hundreds of MiB.
    """
    note = f"{STAGING}/samples/{digest_of([plan.path, plan.digest])}.json"
    if store.exists(note):
        file = DataFile(**json.loads(store.read(note)))
        if store.exists(file.path):
            return file
    columns = load_columns(plan.columns)
    schema = sample_schema(_table([], columns).schema)
    groups = in_groups(plan.samples, schema)
    tables = (_table([_build(each, store) for each in group], columns) for group in groups)
    content = encode_tables(tables, schema)
    file = stage_file(plan.path, content, len(plan.samples), store)
    store.write(note, json.dumps(asdict(file)).encode())
    return file


def _table(samples: Sequence[Sample], columns: Sequence[SampleColumn]) -> pa.Table:
    return with_columns(to_table(samples, Sample), samples, columns)


def _build(sample: Ingredients, store: Store) -> Sample:
    clip_id = sample.clip.clip_id
    mp4 = read_clip_bytes(clip_id, sample.units[clip_id], store)
    members = (sample, *sample.others)
    tracks = _whole_tracks([member.track for member in members], sample.units[clip_id], store)
    return build_sample(
        sample.plan,
        sample.clip,
        tracks[0],
        sample.video,
        sample.caption,
        mp4,
        _candidates(sample, store),
        [
            replace(other, track=track)
            for other, track in zip(sample.others, tracks[1:], strict=True)
        ],
    )


def _whole_tracks(tracks: Sequence[Track], unit_id: str, store: Store) -> list[Track]:
    """Return the tracks with what was left in their unit."""
    ids = {track.track_id for track in tracks}
    rows = read_unit_rows(unit_id, "tracks", "track_id", ids, store)
    found = {row["track_id"]: row for row in rows}
    return [
        replace(track, boxes=row["boxes"], looks=row.get("looks", ()))
        for track, row in ((track, found[track.track_id]) for track in tracks)
    ]


def _candidates(sample: Ingredients, store: Store) -> dict[str, Candidate]:
    """Read the references of all members, with their pixels, from units and edits."""
    wanted: dict[str, set[str]] = {}
    edited: dict[str, set[str]] = {}
    for member in sample.plan.members:
        for reference in member.references:
            if reference.edit:
                path = sample.edits[reference.reference_id]
                edited.setdefault(path, set()).add(reference.reference_id)
            else:
                unit_id = sample.units[reference.clip_id]
                wanted.setdefault(unit_id, set()).add(reference.reference_id)
    found = {
        row["reference_id"]: Candidate(**row)
        for unit_id, ids in wanted.items()
        for row in read_unit_rows(unit_id, "candidates", "reference_id", ids, store)
    }
    for path, ids in edited.items():
        found |= read_edited(path, ids, store)
    return found
