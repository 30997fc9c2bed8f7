"""First phase: look at every video once and keep what was measured.

identify: bytes → content hash and container facts, so that the work can be planned.
observe:  unit → shots → clips → people → faces → candidate references, committed as one unit.
"""

import functools
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pipeline.dataset.fetched import VideoFetcher, sha256_of
from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.remote import PASSING, TooLarge
from pipeline.dataset.store import Store, open_store
from pipeline.dataset.units import (
    Identified,
    Receipt,
    Unit,
    Unread,
    check_begun,
    commit_unit,
    unreadable_id,
)
from pipeline.engines.interfaces import SoundScorer
from pipeline.engines.registry import LoadedEngines, load_engines
from pipeline.execution.budget import ClusterConfig
from pipeline.execution.placement import Placement
from pipeline.execution.plugins import load_own
from pipeline.execution.run import run
from pipeline.execution.stage import ClipRow, Ledger, Rejected, Stage, VideoRow, failed_entry
from pipeline.execution.worker import Pool
from pipeline.media.limits import ProbeConfig
from pipeline.media.probe import probe
from pipeline.media.sandbox import Announce, Child, Died, Handler, SandboxConfig
from pipeline.observing.camera import MeasureCamera
from pipeline.observing.candidates import ProposeReferences
from pipeline.observing.clips import cut_video
from pipeline.observing.crop_bars import CropBars
from pipeline.observing.faces import FindFaces
from pipeline.observing.observe_config import ObserveConfig
from pipeline.observing.scores import ScoreClips
from pipeline.observing.sound import AddSound
from pipeline.observing.trim import TrackAndTrim
from schemas.ids import bytes_id
from schemas.reasons import Reason
from schemas.remote import NotRead, describe
from schemas.tables import Video
from schemas.tombstones import Tombstones
from schemas.uris import is_local

# Workers of Ray take five seconds to start; a process hashes 1 GB/s and probes 20 videos a second.
_SOON_VIDEOS, _SOON_BYTES = 32, 2**30


class Processes(Protocol):
    """Which processes work, and what a child of one may take."""

    @property
    def cluster(self) -> ClusterConfig: ...
    @property
    def sandbox(self) -> SandboxConfig: ...


def identify(
    videos: Iterable[InputVideo],
    limits: ProbeConfig,
    processes: Processes,
    workers: int,
    tombstones: Tombstones,
    fetcher: VideoFetcher,
) -> Iterator[Identified | Unread]:
    """Hash and probe every input, each in a process that may die; a forgotten one only hash."""
    videos = list(videos)
    make = functools.partial(_make_identifier, limits, processes.sandbox, tombstones, fetcher)
    pool = Pool("identify", 1 if _soon_identified(videos) else workers)
    yield from run(videos, [(pool, make)], processes.cluster)


def _soon_identified(videos: Sequence[InputVideo]) -> bool:
    """Return whether one process is done with them before others have started."""
    sizes = [video.size_bytes for video in videos if is_local(video.place)]
    known = len(sizes) == len(videos) and min(sizes, default=0) >= 0
    return known and len(videos) <= _SOON_VIDEOS and sum(sizes) <= _SOON_BYTES


def _make_identifier(
    limits: ProbeConfig, sandbox: SandboxConfig, tombstones: Tombstones, fetcher: VideoFetcher
) -> Callable[[InputVideo], Identified | Unread]:
    child = Child(functools.partial(_make_prober, limits), sandbox)

    def look_at(video: InputVideo) -> Identified:
        with fetcher.arriving(video) as path:
            video_id = bytes_id(sha256_of(path))
            if tombstones.holds_video(video_id):
                forgotten = Rejected(Reason.FORGOTTEN, detail="its removal was asked for")
                return _refused(video, tombstones.stand_in(video.uri), forgotten)
            identified = _identified(video, video_id, child.call((path, video_id)))
            if identified.video is not None:
                fetcher.keep(path, video_id, video)
            return identified

    def identify_one(video: InputVideo) -> Identified | Unread:
        refused = _refuse_special_file(video)
        if refused is not None:
            return _refused(video, unreadable_id(video.uri), refused)
        try:
            return look_at(video)
        except NotRead as problem:
            return Unread(video.uri, str(problem))
        except TooLarge as problem:
            limit = fetcher.max_size_bytes
            refused = Rejected(Reason.FILE_TOO_LARGE, problem.size_bytes, limit, str(problem))
        except OSError as error:
            if error.errno in PASSING or _has_vanished(error, video):
                return Unread(video.uri, describe(error))
            refused = Rejected(Reason.UNREADABLE, detail=describe(error))
        return _refused(video, unreadable_id(video.uri), refused)

    return identify_one


def _identified(video: InputVideo, video_id: str, probed: Video | Rejected | Died) -> Identified:
    if isinstance(probed, Rejected):
        return _refused(video, video_id, probed)
    ledger = Ledger()
    if isinstance(probed, Died):
        entry = failed_entry("probe", "video", video_id, video_id, probed.failure, probed.detail)
        ledger.reject(entry)
        return Identified(video.uri, video_id, None, ledger)
    ledger.keep("probe", "video")
    return Identified(video.uri, video_id, probed, ledger, video.location)


def _refused(video: InputVideo, video_id: str, rejected: Rejected) -> Identified:
    ledger = Ledger()
    ledger.reject(rejected.entry("probe", "video", video_id, video_id))
    return Identified(video.uri, video_id, None, ledger)


def _has_vanished(error: OSError, video: InputVideo) -> bool:
    """Return whether the file was seen when the inputs were listed: on another node, or before."""
    return isinstance(error, FileNotFoundError) and video.size_bytes >= 0


def _refuse_special_file(video: InputVideo) -> Rejected | None:
    """Refuse what would block or make no sense to open: FIFOs, folders, devices, lost links."""
    if not is_local(video.place):
        return None
    try:
        mode = os.stat(video.place).st_mode
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and _has_vanished(error, video):
            return None  # opening it says what is wrong now
        return Rejected(Reason.UNREADABLE, detail=describe(error))
    if not stat.S_ISREG(mode):
        return Rejected(Reason.UNREADABLE, detail="not a regular file")
    return None


def _make_prober(limits: ProbeConfig) -> Handler:
    def prober(argument: tuple[str, str], announce: Announce) -> Video | Rejected:
        announce("probe")
        path, video_id = argument
        return probe(path, video_id, limits)

    return prober


def observe(
    units: Iterable[Unit],
    output: str,
    config: ObserveConfig,
    processes: Processes,
    placement: Placement,
    fetcher: VideoFetcher,
) -> Iterator[Receipt | Unread]:
    """Observe and commit every unit; yields receipts as units are finished."""
    last = placement.pools[-1]
    sandbox = processes.sandbox
    if last.gpus:
        sandbox = replace(sandbox, address_space_mib=0)
    if placement.apart:
        cutter = functools.partial(_make_cutter, config, processes.sandbox, fetcher)
        first = (placement.pools[0], cutter)
        make = functools.partial(_make_committer, output, config, sandbox, make_looker, fetcher)
        second = (last, make)
        yield from run(units, [first, second], processes.cluster)
    else:
        make = functools.partial(_make_committer, output, config, sandbox, make_observer, fetcher)
        yield from run(units, [(last, make)], processes.cluster)


@dataclass(frozen=True)
class CutUnit:
    """A unit on its way from the workers that decode to those that hold the engines."""

    unit: Unit
    video: VideoRow


def _make_cutter(
    config: ObserveConfig, sandbox: SandboxConfig, fetcher: VideoFetcher
) -> Callable[[Unit], CutUnit | Unread]:
    child = Child(functools.partial(make_observer, config, with_engines=False), sandbox)

    def cut(unit: Unit) -> CutUnit | Unread:
        found = _cut_in(child, unit, fetcher)
        return found if isinstance(found, Unread) else CutUnit(unit, found)

    return cut


def _make_committer(
    output: str,
    config: ObserveConfig,
    sandbox: SandboxConfig,
    make: Callable[[ObserveConfig], Handler],
    fetcher: VideoFetcher,
) -> Callable[[Any], Receipt | Unread]:
    """Return what observes and commits a Unit, or looks at and commits a CutUnit."""
    child = Child(functools.partial(make, config), sandbox)
    store = open_store(output)
    check_begun(store)

    def observe_and_commit(work: Unit | CutUnit | Unread) -> Receipt | Unread:
        if isinstance(work, Unread):
            return work
        if isinstance(work, CutUnit):
            return _commit(work.unit, _look_in(child, work), store)
        observed = _cut_in(child, work, fetcher)
        return observed if isinstance(observed, Unread) else _commit(work, observed, store)

    return observe_and_commit


def _commit(unit: Unit, observed: VideoRow, store: Store) -> Receipt | Unread:
    try:
        return commit_unit(unit, observed, store)
    except NotRead as problem:
        return Unread(unit.uri, f"its unit could not be written: {problem}", unit.unit_id)


def _cut_in(child: Child, unit: Unit, fetcher: VideoFetcher) -> VideoRow | Unread:
    if unit.video is None:
        return VideoRow(video=None, ledger=unit.ledger)
    try:
        with fetcher.identified(unit.video_id, unit.source) as path:
            observed = child.call((path, unit), seconds_of_video=unit.duration_s)
    except (TooLarge, OSError) as problem:  # it was there when it was identified
        detail = describe(problem) if isinstance(problem, OSError) else str(problem)
        return Unread(unit.uri, detail, unit.unit_id)
    fetcher.files.part_done(unit.video_id, unit.uri, unit.part.index, unit.part.count)
    if isinstance(observed, Died):
        observed = _dead(unit, observed)
    observed.ledger.merge(unit.ledger)
    return observed


def _look_in(child: Child, cut: CutUnit) -> VideoRow:
    if not cut.video.clips:
        return cut.video
    seen = child.call(cut.video, seconds_of_video=cut.unit.duration_s)
    if not isinstance(seen, Died):
        return seen
    dead = _dead(cut.unit, seen)
    dead.ledger.merge(cut.unit.ledger)
    return dead


def _dead(unit: Unit, died: Died) -> VideoRow:
    """Write a unit off whose process died: it costs itself and nothing else."""
    ledger = Ledger()
    entry = failed_entry(
        "shots",
        "video",
        unit.unit_id,
        unit.video_id,
        died.failure,
        f"in {died.stage}: {died.detail}",
    )
    ledger.reject(entry)
    return VideoRow(video=None, ledger=ledger)


def make_observer(config: ObserveConfig, with_engines: bool = True) -> Handler:
    """Build the stages and their engines once; the handler takes (path, unit).

    Without engines it only cuts: `make_looker` does the rest.
    """
    stages = observing_stages(config) if with_engines else ()

    def observer(argument: tuple[str, Unit], announce: Announce) -> VideoRow:
        path, unit = argument
        announce("clips")
        assert unit.video is not None
        cut = cut_video(path, unit.video, unit.part, config)
        return apply_stages(cut, stages, announce)

    return observer


def make_looker(config: ObserveConfig) -> Handler:
    """Build the stages and their engines once; the handler takes a video that was cut."""
    stages = observing_stages(config)

    def looker(video: VideoRow, announce: Announce) -> VideoRow:
        return apply_stages(video, stages, announce)

    return looker


def observing_stages(config: ObserveConfig) -> tuple[Stage[ClipRow], ...]:
    """Build what looks at clips and the people in them, in order; loads the engines."""
    return stages_with(load_engines(config.engines), config)


def stages_with(engines: LoadedEngines, config: ObserveConfig) -> tuple[Stage[ClipRow], ...]:
    """Return the stages around engines that are loaded, in the order in which clips meet them."""
    seeing = [scorer for scorer in engines.scorers if not isinstance(scorer, SoundScorer)]
    hearing = [scorer for scorer in engines.scorers if isinstance(scorer, SoundScorer)]
    scoring = (ScoreClips(seeing),) if seeing else ()
    sound = (AddSound(hearing),) if config.clips.audio == "keep" else ()
    return (
        *scoring,
        CropBars(config.clips),
        TrackAndTrim(engines.people, config.tracks, config.trim, config.clips),
        MeasureCamera(),
        FindFaces(engines.faces, engines.recogniser, config.faces),
        ProposeReferences(engines.masks, engines.recogniser, config.candidates, engines.faces),
        *load_stages(config.stages),
        *sound,
    )


def load_stages(names: Iterable[str]) -> list[Stage[ClipRow]]:
    """Build the user's own stages. Raises ValueError for one that cannot be used."""
    return [load_own("observe.stages", name, ("name", "process")) for name in names]


def apply_stages(video: VideoRow, stages: Iterable[Stage[ClipRow]], announce: Announce) -> VideoRow:
    """Lead every clip through the stages; each stage accounts for every clip that it got."""
    for stage in stages:
        announce(stage.name)
        kept = []
        for row in video.clips:
            done = stage.process(row)
            if isinstance(done, Rejected):
                clip = row.clip
                video.ledger.reject(done.entry(stage.name, "clip", clip.clip_id, clip.video_id))
            else:
                video.ledger.keep(stage.name, "clip")
                kept.append(done)
        video.ledger.check(stage.name, "clip", len(video.clips))
        video = video.with_clips(tuple(kept))
    return video
