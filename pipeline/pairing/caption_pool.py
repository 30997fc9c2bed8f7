"""Caption many clips: in this process, or on the cluster, whose GPUs a captioner may want."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.dataset.media_rows import read_clip_bytes
from pipeline.dataset.spilled import in_turn
from pipeline.dataset.store import Store, open_store
from pipeline.engines.interfaces import CaptionFacts
from pipeline.engines.registry import engine_infos, load_engine
from pipeline.execution.budget import ClusterConfig
from pipeline.execution.cluster import resources
from pipeline.execution.placement import place_captioner
from pipeline.execution.run import run
from pipeline.execution.worker import Pool
from pipeline.media.clip_frames import read_clip
from pipeline.pairing.captions import Caption, CaptionsConfig, ask, chosen_texts, write_captions

_FRAMES = 16  # decoded for a captioner that looks; it takes fewer if it wants
_WORTH_WORKERS = 20_000  # clips from which more processes save more than their start costs
_MEASURED = 256  # clips that one who does not look captions together, a fifth of a second's work


@dataclass(frozen=True)
class _Batch:
    """Clips to be captioned together, and the units that hold them."""

    number: int
    facts: tuple[CaptionFacts, ...]
    unit_of_clip: dict[str, str]


def caption_clips(
    facts: Sequence[CaptionFacts],
    given: Sequence[str],
    unit_of_clip: Mapping[str, str],
    store: Store,
    captioner: str,
    config: CaptionsConfig,
    cluster: ClusterConfig,
    workers: int = 1,
) -> Sequence[Caption]:
    """Return one caption per clip; `given` holds the manifest's captions, '' where none.

    Where a captioner does not look, those of many clips are written by `workers` processes.
    """
    [info] = engine_infos([("captions", captioner)])
    size, pool = config.batch_size, None
    if info.gpu and facts:
        number = math.ceil(len(facts) / size)
        pool = place_captioner(cluster, resources(cluster), info.gpu, number)
    if pool is None:
        engine = load_engine("captions", captioner)
        if workers == 1 or len(facts) < _WORTH_WORKERS or getattr(engine, "looks", False):
            look = functools.partial(with_frames, unit_of_clip, store)
            return write_captions(facts, given, engine, config, look)
        size, pool = _MEASURED, Pool("captions", workers)
    step = (pool, functools.partial(_make_asker, store.location, captioner, config))
    batches = _batches(facts, unit_of_clip, size)
    answers = in_turn(run(batches, [step], cluster), lambda answer: answer[0])
    written = (caption for _, captions in answers for caption in captions)
    return chosen_texts(written, given, config)


def _batches(
    facts: Sequence[CaptionFacts], unit_of_clip: Mapping[str, str], size: int
) -> Iterator[_Batch]:
    for number, top in enumerate(range(0, len(facts), size)):
        part = tuple(facts[top : top + size])
        units = {row.clip.clip_id: unit_of_clip[row.clip.clip_id] for row in part}
        yield _Batch(number, part, units)


def _make_asker(
    output: str, captioner: str, config: CaptionsConfig
) -> Callable[[_Batch], tuple[int, list[Caption]]]:
    engine, store = load_engine("captions", captioner), open_store(output)

    def asker(batch: _Batch) -> tuple[int, list[Caption]]:
        look = functools.partial(with_frames, batch.unit_of_clip, store)
        return batch.number, ask(engine, batch.facts, config, look)

    return asker


def with_frames(unit_of_clip: Mapping[str, str], store: Store, facts: CaptionFacts) -> CaptionFacts:
    """Add frames of the clip, evenly spread, for a captioner that looks."""
    clip = facts.clip
    mp4 = read_clip_bytes(clip.clip_id, unit_of_clip[clip.clip_id], store)
    places = np.linspace(0, clip.num_frames - 1, _FRAMES).round().astype(int)
    _, pictures = read_clip(mp4, indices=[int(place) for place in places])
    return replace(facts, frames=tuple(pictures))
