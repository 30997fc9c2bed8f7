"""What a second run over many observed tracks costs the driver: memory and time.

    python benchmarks/pairing_scale.py SCRATCH 10000 100000
    python benchmarks/pairing_scale.py SCRATCH 1000000 --light

Units are drawn and written as observing writes them, then `curate` pairs them and publishes a
version, each size in a process of its own; the samples themselves are built by workers,
here only with --build. Videos hold 120 tracks of 30 people, and a track has 160
boxes, 10 looks, 5 faces, 3 candidates and 4 vectors of 128 numbers; who looks how alike is drawn as
in characters_scale.py. Clips are bytes that nobody decodes. SCRATCH needs about 25 KB a track, and
is emptied; a track that is drawn --light has 20 boxes, 2 looks, 1 candidate without a picture and
2 vectors, and needs 3 KB. Printed are the peak of all memory, the peak of what is not a file's (the
kernel takes back pages of files when it needs them), and seconds.
"""

import argparse
import json
import math
import multiprocessing
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests" / "helpers")]

import characters_scale as drawn  # noqa: E402
import rows  # noqa: E402

from pipeline.curation import release  # noqa: E402
from pipeline.curation.curate import curate  # noqa: E402
from pipeline.curation.curation_config import CurationConfig, RunConfig  # noqa: E402
from pipeline.curation.plan import SETTINGS, make_plan  # noqa: E402
from pipeline.curation.shards import ShardPlan  # noqa: E402
from pipeline.dataset.inputs import InputVideo  # noqa: E402
from pipeline.dataset.store import LocalStore  # noqa: E402
from pipeline.dataset.units import Unit, commit_unit, write_known_inputs  # noqa: E402
from pipeline.engines.engines_config import PRESETS  # noqa: E402
from pipeline.engines.interfaces import EngineInfo, SimilarityWindows  # noqa: E402
from pipeline.execution.budget import ClusterConfig  # noqa: E402
from pipeline.execution.run import run  # noqa: E402
from pipeline.execution.stage import ClipRow, Ledger, VideoRow  # noqa: E402
from pipeline.execution.worker import Pool  # noqa: E402
from pipeline.observing.observe_config import OBSERVE_VERSION, ObserveConfig  # noqa: E402
from schemas.ids import content_id  # noqa: E402
from schemas.manifest import DataFile  # noqa: E402
from schemas.tables import Candidate, Clip, Embedding, FaceBox, Input, Track  # noqa: E402

PER_VIDEO, CAST = 120, 30
LENGTH_S = 10  # of a clip


@dataclass(frozen=True)
class Drawing:
    """How much is drawn of a track."""

    fps: int  # boxes a second
    looks: int
    faces: int
    candidates: int
    pictures: int  # different ones that the candidates share


FULL = Drawing(fps=16, looks=10, faces=5, candidates=3, pictures=8)
LIGHT = Drawing(fps=2, looks=2, faces=3, candidates=1, pictures=0)


class DrawnFaces:
    """Stands for the recogniser: pairing asks it for its windows alone."""

    info = EngineInfo("drawn/1", "recognition", "CC0-1.0", True)
    windows: SimilarityWindows = drawn.WINDOWS


CONFIG = CurationConfig(
    observe=ObserveConfig(
        engines=replace(PRESETS["embedded"].observing, recogniser="pairing_scale:DrawnFaces")
    ),
    run=RunConfig(cluster=ClusterConfig(workers=1)),
)


def inputs(number: int) -> list[InputVideo]:
    names = [f"{index:08}.mp4" for index in range(number // PER_VIDEO)]
    return [InputVideo(name, size_bytes=1, changed="now") for name in names]


def write_units(folder: Path, number: int, drawing: Drawing = FULL) -> None:
    """Write the units of `number` tracks, as a run that was killed before pairing leaves them."""
    store = LocalStore(str(folder))
    videos = inputs(number)
    random = np.random.default_rng(number)
    people = max(CAST, number // 15)
    famous = 1 / np.arange(1, people + 1) ** 0.6
    famous /= famous.sum()
    faces = drawn.unit(random.standard_normal((people, drawn.SIZE), dtype=np.float32))
    pictures = [rows.pixels(seed=seed) for seed in range(drawing.pictures)] or [(b"", b"")]
    known, ledger = {}, Ledger()
    ledger.keep("probe", "video")
    for video in videos:
        video_id = content_id("drawn", video.uri)
        known[video.uri] = Input(video.uri, 1, "now", video_id, 1)
        cast = random.choice(people, CAST, p=famous)
        shown = np.repeat(faces[cast], PER_VIDEO // CAST, axis=0)
        clips = tuple(_clips(video_id, shown, pictures, random, drawing))
        row = VideoRow(rows.video(video_id), clips, ledger)
        commit_unit(Unit(video.uri, video_id, row.video), row, store)
    write_known_inputs(known, store)
    settings = CONFIG.observe.identity() | {"observe_version": OBSERVE_VERSION}
    store.write(SETTINGS, json.dumps(settings, indent=1, sort_keys=True).encode())


def _clips(
    video_id: str,
    faces: np.ndarray,
    pictures: list,
    random: np.random.Generator,
    drawing: Drawing,
) -> Iterator[ClipRow]:
    for index, face in enumerate(faces):
        clip_id, shot_id = content_id(video_id, index), content_id("shot", video_id, index)
        mp4 = clip_id.encode()
        clip = rows.clip(
            clip_id, video_id, shot_id, 12.0 * index, LENGTH_S, mp4,
            size_bytes=2_000_000, fps=float(drawing.fps), num_frames=LENGTH_S * drawing.fps,
        )  # fmt: skip
        track = _track(content_id("track", clip_id), clip, random, drawing)
        noise = random.standard_normal((drawing.candidates, drawn.SIZE), dtype=np.float32)
        own = drawn.unit(random.standard_normal((1, drawn.SIZE), dtype=np.float32))
        seen = drawn.unit(drawn.SAME**0.5 * face + (1 - drawn.SAME) ** 0.5 * own)
        near = drawn.unit(seen + 0.3 * drawn.unit(noise))
        candidates = [
            _candidate(track, place, pictures, random) for place in range(drawing.candidates)
        ]
        names = ["", *(each.reference_id for each in candidates)]
        embeddings = tuple(
            Embedding(track.track_id, name, video_id, "drawn/1", "none", 8, vector.tolist())
            for name, vector in zip(names, [*seen, *near], strict=True)
        )
        yield ClipRow(clip, mp4, (), (track,), tuple(candidates), embeddings)


def _track(track_id: str, clip: Clip, random: np.random.Generator, drawing: Drawing) -> Track:
    steps = random.normal(0, 2, (clip.num_frames, 1)).cumsum(axis=0)
    boxes = (np.array([300.0, 60.0, 450.0, 460.0]) + steps).round(2)
    seen = [
        FaceBox(place, [350.0, 70.0, 400.0, 130.0], [360.0, 90.0] * 5, 0.9, float(yaw))
        for place, yaw in enumerate(random.normal(0, 20, drawing.faces))
    ]
    looks = [look.tobytes() for look in random.integers(-127, 127, (drawing.looks, 143), np.int8)]
    return rows.track(track_id, clip, boxes=boxes.tolist(), faces=seen, looks=looks, motion=5.0)


def _candidate(track: Track, place: int, pictures: list, random: np.random.Generator) -> Candidate:
    image, mask = pictures[int(random.integers(len(pictures)))]
    reference_id = content_id("candidate", track.track_id, place)
    return rows.candidate(
        reference_id, track, 1.0 + 3 * place, image=image, mask=mask,
        face=[70.0, 30.0, 130.0, 90.0],
        yaw=float(random.normal(0, 20)), quality=float(random.uniform(0.5, 1)),
        look=random.integers(-127, 127, 143, np.int8).tobytes(),
        place=random.integers(0, 255, 256, np.uint8).tobytes(),
        brightness=0.5, warmth=0.1, chroma=0.2, mask_quality=0.9,
    )  # fmt: skip


class Watch(threading.Thread):
    """Notes the peak of this process's memory, of files and of its own."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own_mib = self.all_mib = 0.0

    def run(self) -> None:
        while True:
            lines = dict(
                line.split(":") for line in Path("/proc/self/status").read_text().splitlines()
            )
            sizes = {name: int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "VmRSS")}
            self.own_mib = max(self.own_mib, sizes["RssAnon"])
            self.all_mib = max(self.all_mib, sizes["VmRSS"])
            time.sleep(0.05)


def measure(folder: Path, number: int, whole: bool) -> None:
    watch = Watch()
    watch.start()
    time.sleep(0.2)
    before = watch.own_mib
    store, videos = LocalStore(str(folder)), inputs(number)
    if not whole:
        release.build_shards = planned_only
    started, used = time.monotonic(), time.process_time()
    result = curate(videos, store, CONFIG, make_plan(videos, store, CONFIG))
    seconds, cpu = time.monotonic() - started, time.process_time() - used
    assert result.manifest is not None
    counts = Counter[str]()
    for file in result.manifest.files:
        counts[file.path.partition("/")[0]] += file.rows
    samples = sum(result.manifest.splits.values())
    per_track = (watch.own_mib - before) * 1024 / number
    print(
        f"{number:>9,} tracks  {counts['characters']:>7,} characters  {samples:>9,} samples  "
        f"{watch.own_mib:7.0f} MiB own ({per_track:5.1f} KB a track)  "
        f"{watch.all_mib:7.0f} MiB with files  {seconds:7.1f} s  {cpu:7.1f} CPU s",
        flush=True,
    )


def planned_only(
    plans: Iterable[ShardPlan], output: str, cluster: ClusterConfig, workers: int
) -> Iterator[DataFile]:
    """Stand for the workers, which are other processes: hand every plan over, build none."""
    del output, workers
    digests = run(plans, [(Pool("samples", 1), lambda: lambda plan: plan.digest)], cluster)
    assert all(digests)
    yield from ()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scratch", type=Path, help="a folder on a disk, emptied after every size")
    parser.add_argument("tracks", type=int, nargs="*", default=[10_000])
    parser.add_argument("--build", action="store_true", help="build the samples too, here")
    parser.add_argument("--light", action="store_true", help="draw less of every track")
    arguments = parser.parse_args()
    drawing = LIGHT if arguments.light else FULL
    spawn = multiprocessing.get_context("spawn")
    for number in arguments.tracks:
        number = math.ceil(number / PER_VIDEO) * PER_VIDEO
        folder = arguments.scratch / f"drawn-{number}"
        steps = (write_units, drawing), (measure, arguments.build)
        for step, how in steps:
            process = spawn.Process(target=step, args=(folder, number, how))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(process.exitcode)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
