"""Caption many clips: in this process, or on the cluster's GPUs where the captioner wants one."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.curation.curation_config import CurationConfig
from pipeline.dataset.media_rows import read_clip_bytes
from pipeline.dataset.store import Store, open_store
from pipeline.engines.interfaces import CaptionFacts
from pipeline.engines.registry import engine_infos, load_captioner
from pipeline.execution import cluster
from pipeline.execution.placement import place_captioner
from pipeline.media.clip_frames import read_clip
from pipeline.pairing.captions import Caption, ask, chosen_texts, write_captions

_FRAMES = 16  # decoded for a captioner that looks; it takes fewer if it wants


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
    config: CurationConfig,
) -> list[Caption]:
    """Return one caption per clip; `given` holds the manifest's captions, '' where none."""
    names = [task for task, _ in config.engines.chosen()]
    info = engine_infos(config.engines)[names.index("captions")]
    batches = _batches(facts, unit_of_clip, config.captions.batch_size)
    pool = None
    if info.gpu and batches:
        have = cluster.resources(config.cluster)
        pool = place_captioner(config.cluster, have, info, len(batches))
    if pool is None:
        look = functools.partial(with_frames, unit_of_clip, store)
        captioner = load_captioner(config.engines)
        return write_captions(facts, given, captioner, config.captions, look)
    step = (pool, functools.partial(_make_asker, store.url, config))
    answers = dict(cluster.run(batches, [step], config.cluster))
    written = [caption for number in sorted(answers) for caption in answers[number]]
    return chosen_texts(written, given, config.captions)


def _batches(
    facts: Sequence[CaptionFacts], unit_of_clip: Mapping[str, str], size: int
) -> list[_Batch]:
    parts = [tuple(facts[top : top + size]) for top in range(0, len(facts), size)]
    return [
        _Batch(number, part, {row.clip.clip_id: unit_of_clip[row.clip.clip_id] for row in part})
        for number, part in enumerate(parts)
    ]


def _make_asker(
    output: str, config: CurationConfig
) -> Callable[[_Batch], tuple[int, list[Caption]]]:
    captioner, store = load_captioner(config.engines), open_store(output)

    def asker(batch: _Batch) -> tuple[int, list[Caption]]:
        look = functools.partial(with_frames, batch.unit_of_clip, store)
        return batch.number, ask(captioner, batch.facts, config.captions, look)

    return asker


def with_frames(unit_of_clip: Mapping[str, str], store: Store, facts: CaptionFacts) -> CaptionFacts:
    """Add frames of the clip, evenly spread, for a captioner that looks."""
    clip = facts.clip
    mp4 = read_clip_bytes(clip.clip_id, unit_of_clip[clip.clip_id], store)
    places = np.linspace(0, clip.num_frames - 1, _FRAMES).round().astype(int)
    _, pictures = read_clip(mp4, indices=[int(place) for place in places])
    return replace(facts, frames=tuple(pictures))
