"""How well people are found, followed, told apart and chosen, held against what an eye saw.

    python benchmarks/people.py --media MEDIA --models WEIGHTS [--only NAME...] [--keep FOLDER]

MEDIA holds the videos that tests/golden/people_truth.json names. They are curated by the job
itself, once for each set of engines, and the tables that it wrote are compared with the truth: of
all people, and of those on whom no threshold was set. Engines are presets, a preset with changes
(`production:people=yolox,faces=yunet`), or one on a machine without weights (`auto@bare`). CPU
seconds are those of the job and all its processes, start and encoding included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from benchmarks.curate import follow  # noqa: E402
from benchmarks.people_metrics import (  # noqa: E402
    Clusters,
    Pairs,
    Place,
    References,
    Score,
    Truth,
    clusters_of,
    identity_pairs,
    judge_references,
    load_truth,
    score_clip,
)
from pipeline.dataset.tables import current_files  # noqa: E402
from pipeline.engines.auto import settle  # noqa: E402
from pipeline.engines.engines_config import engines_preset  # noqa: E402
from pipeline.engines.faces.landmarks import complete  # noqa: E402
from pipeline.engines.identity.spaces import compare, spaces_of  # noqa: E402
from pipeline.engines.interfaces import PersonImage  # noqa: E402
from pipeline.engines.registry import load_engine  # noqa: E402
from pipeline.media.bars import Bars, find_bars  # noqa: E402
from pipeline.media.images import decode_image  # noqa: E402
from pipeline.media.limits import ProbeConfig  # noqa: E402
from pipeline.media.reader import VideoReader  # noqa: E402
from pipeline.observing.tracks import PeopleConfig  # noqa: E402
from schemas.columns import from_table  # noqa: E402
from schemas.reasons import PairKind  # noqa: E402
from schemas.tables import Clip, Reference, Track, Video  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "people_truth.json"
ENGINES = ("embedded", "auto@bare", "auto", "production")
BARE = "@bare"  # without weights: what a machine has that reaches package indexes only
PATIENT = "run.sandbox.deadline_s=7200"  # on a busy machine nothing may be lost
_ELSEWHERE = (PairKind.CROSS_VIDEO, PairKind.SAME_VIDEO_OTHER_SHOT)
SHOTS = (
    "observe.clips.min_s=1.5"  # the shots of the intercut video are two seconds, less their guards
)


@dataclass(frozen=True)
class Dataset:
    """What the job wrote, as far as people go."""

    videos: dict[str, Video]
    clips: dict[str, Clip]
    tracks: list[Track]
    samples: list[tuple[str, str, list[Reference]]]  # track_id, clip_id, references
    vectors: dict[str, np.ndarray]  # by track_id

    def file_of(self, video_id: str) -> str:
        return self.videos[video_id].uri.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Result:
    """Everything measured with one set of engines."""

    by_video: Mapping[str, Score]
    counts: Mapping[str, tuple[int, int, int]]  # people by eye, tracks that pass, of nobody
    total: Score
    pairs: Pairs
    clusters: Clusters
    references: References
    samples: int
    samples_of_nobody: int
    alone: tuple[int, int]  # clips that show one person and nobody else: with a sample, all
    elsewhere: tuple[int, int]  # samples of videos of several shots: with another shot, all


def main() -> None:
    given = _arguments()
    truths = load_truth(GOLDEN)
    if given.only:
        truths = {n: t for n, t in truths.items() if any(part in n for part in given.only)}
    videos = [given.media / truths[name].path for name in sorted(truths)]
    os.environ["CONTEXTANYONE_MODELS"] = str(given.models)
    unseen = {name: truth for name, truth in truths.items() if not truth.tuned_on}
    results, unseen_results, costs = {}, {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for engines in given.engines:
            folder = Path(given.keep or scratch) / engines.replace(":", "-").replace(",", "-")
            used_s = curate(videos, folder, engines)
            dataset = read_dataset(folder)
            lost = set(truths) - {video.uri.rsplit("/", 1)[-1] for video in dataset.videos.values()}
            if lost:
                raise RuntimeError(f"{engines}: nothing came of {', '.join(sorted(lost))}")
            results[engines] = judge(dataset, truths)
            unseen_results[engines] = judge(dataset, unseen)
            costs[engines] = used_s / sum(each.duration_s for each in dataset.videos.values())
            _print_portraits(engines, dataset, results[engines].total, given.media)
    _print_videos(results)
    _print_summary("all people", results)
    _print_summary("people on whom no threshold was set", unseen_results)
    cells = " | ".join(f"{cost:.2f}" for cost in costs.values())
    print(f"| CPU s of the job per second of video | {cells} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--media", type=Path, required=True, help="folder with videos/, more/ and images/"
    )
    parser.add_argument("--models", type=Path, required=True, help="folder with the weights")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--only", nargs="+", default=[], help="parts of file names")
    parser.add_argument("--keep", type=Path, help="keep the datasets here, and go on from them")
    return parser.parse_args()


def curate(videos: Sequence[Path], output: Path, engines: str) -> float:
    """Run the job as a user does; return its CPU seconds. Raises RuntimeError when it fails."""
    preset, _, changes = engines.removesuffix(BARE).partition(":")
    environment = dict(os.environ)
    if engines.endswith(BARE):
        environment |= {"CONTEXTANYONE_MODELS": "", "XDG_CACHE_HOME": str(output / "no-cache")}
    command = [sys.executable, str(ROOT / "jobs" / "curate.py"), "--input", *map(str, videos)]
    command += ["--output", str(output), "--engines", preset, "--set", SHOTS]
    command += ["--retry-failed", "--offline", "--set", PATIENT, "--set", "run.cluster.workers=1"]
    for change in filter(None, changes.split(",")):
        command += ["--set", f"observe.engines.{change}"]
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{output}.log", "w") as log:
        job = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        used_s, _ = follow(job)
    if job.wait() not in (0, 1):
        raise RuntimeError(f"{engines}: the job ended with {job.returncode}; see {output}.log")
    return used_s


def read_dataset(folder: Path) -> Dataset:
    """Read what the job wrote."""
    tables = {
        name: [pq.read_table(path) for path in current_files(folder, name)]
        for name in ("videos", "clips", "tracks", "samples", "embeddings")
    }
    samples = [
        (row["track_id"], row["clip_id"], [Reference(**each) for each in row["references"]])
        for table in tables["samples"]
        for row in table.select(["track_id", "clip_id", "references"]).to_pylist()
    ]
    vectors = {
        row["track_id"]: np.array(row["vector"], np.float32)
        for table in tables["embeddings"]
        for row in table.to_pylist()
        if not row["reference_id"]
    }
    return Dataset(
        {row.video_id: row for table in tables["videos"] for row in from_table(table, Video)},
        {row.clip_id: row for table in tables["clips"] for row in from_table(table, Clip)},
        [row for table in tables["tracks"] for row in from_table(table, Track)],
        samples,
        vectors,
    )


def judge(dataset: Dataset, truths: Mapping[str, Truth]) -> Result:
    """Compare a dataset with the truth."""
    by_video = {name: Score() for name in truths}
    counts: dict[str, tuple[int, int, int]] = dict.fromkeys(truths, (0, 0, 0))
    gate, total = PeopleConfig(), Score()
    clips = [c for c in dataset.clips.values() if dataset.file_of(c.video_id) in truths]
    bars = {clip.video_id: bars_of(dataset.videos[clip.video_id]) for clip in clips}
    for clip in clips:
        name, video = dataset.file_of(clip.video_id), dataset.videos[clip.video_id]
        tracks = [track for track in dataset.tracks if track.clip_id == clip.clip_id]
        place = Place(clip, video.width, video.height, bars[clip.video_id])
        score = score_clip(place, tracks, truths[name])
        passed = [track for track in tracks if gate.check(track, clip) is None]
        nobody = [track for track in passed if not score.person_of(track.track_id)]
        here = {p for m in truths[name].moments if _within(clip, m.time_s) for p in m.people}
        by_eye, so_far, none = counts[name]
        counts[name] = by_eye + len(here), so_far + len(passed), none + len(nobody)
        by_video[name].add(score)
        total.add(score)
    judged = {clip.clip_id for clip in clips}
    tracks = [t for t in dataset.tracks if t.clip_id in judged]
    samples = [row for row in dataset.samples if row[1] in judged]
    character = {t.track_id: t.character_id for t in tracks if t.character_id}
    person = {track_id: total.person_of(track_id) for track_id in character}
    file_of = {track.track_id: dataset.file_of(track.video_id) for track in dataset.tracks}
    return Result(
        by_video,
        counts,
        total,
        identity_pairs(person, character, file_of),
        clusters_of(person, character),
        judge_references(samples, total, truths, file_of),
        len(samples),
        sum(not total.person_of(track_id) for track_id, _, _ in samples),
        _clips_of_one(clips, {clip_id for _, clip_id, _ in samples}, dataset, truths),
        _from_elsewhere(samples, dataset.clips),
    )


def _clips_of_one(
    clips: Sequence[Clip], sampled: set[str], dataset: Dataset, truths: Mapping[str, Truth]
) -> tuple[int, int]:
    """Count the clips in which the same one person is seen at every moment, and their samples."""
    alone = set()
    for clip in clips:
        moments = truths[dataset.file_of(clip.video_id)].moments
        seen = [set(moment.people) for moment in moments if _within(clip, moment.time_s)]
        if seen and len(seen[0]) == 1 and all(people == seen[0] for people in seen):
            alone.add(clip.clip_id)
    alone -= {clip.clip_id for clip in clips if clip.reference_only}
    return len(alone & sampled), len(alone)


def _from_elsewhere(
    samples: Sequence[tuple[str, str, list[Reference]]], clips: Mapping[str, Clip]
) -> tuple[int, int]:
    """Count samples of videos of several shots, and those with a reference of another one."""
    shots = {(clip.video_id, clip.shot_id) for clip in clips.values()}
    several = {video for video, number in Counter(v for v, _ in shots).items() if number > 1}
    judged = [found for _, clip_id, found in samples if clips[clip_id].video_id in several]
    return sum(any(one.kind in _ELSEWHERE for one in found) for found in judged), len(judged)


def bars_of(video: Video) -> Bars:
    """Return the bars that were cut off a video, which lies where it lay then."""
    with VideoReader(video.uri, ProbeConfig()) as reader:
        return find_bars(reader, 0.0, video.duration_s)


def _within(clip: Clip, time_s: float) -> bool:
    return clip.start_s <= time_s < clip.end_s


def _print_portraits(engines: str, dataset: Dataset, score: Score, media: Path) -> None:
    """Compare tracks of people of whom there are photographs with these."""
    known = json.loads(GOLDEN.read_text())["images"]
    if engines.endswith(BARE):
        return
    preset, _, changes = engines.partition(":")
    names = asdict(settle(engines_preset(preset).observing, {}, offline=True))
    names |= dict(change.split("=") for change in filter(None, changes.split(",")))
    faces, recogniser = (load_engine(task, names[task]) for task in ("faces", "recogniser"))
    people = set(known.values())
    tracks = [t for t in dataset.tracks if score.person_of(t.track_id) in people]
    tracks = [t for t in tracks if t.track_id in dataset.vectors]
    if not tracks:
        return
    print(
        f"\n{engines}: cosines to photographs; the same person from cross_video "
        f"{recogniser.windows.cross_video:g}, refused below {recogniser.windows.reference_floor:g}"
    )
    for name, person in known.items():
        picture = decode_image((media / name).read_bytes())
        [found] = faces.detect([picture])
        if not len(found.boxes):
            print(f"  {name}: no face found")
            continue
        if not complete(found.landmarks[0]):
            print(f"  {name}: the engine finds no five points")
            continue
        image = PersonImage(picture, found.boxes[0], found.boxes[0], found.landmarks[0])
        [vector] = recogniser.embed([image])
        rows = np.stack([dataset.vectors[track.track_id] for track in tracks])
        cosines, _ = compare(vector, rows, spaces_of(recogniser))
        told = ", ".join(
            f"{score.person_of(track.track_id)} at {dataset.clips[track.clip_id].start_s:.1f} s "
            f"{cosine:.2f}"
            for track, cosine in zip(tracks, cosines, strict=True)
        )
        print(f"  {Path(name).stem} ({person}): {told}")


def _print_videos(results: Mapping[str, Result]) -> None:
    """Print one line a video; per engines: tracks that pass, of nobody, switches."""
    print(f"\n| video | people by eye | {' | '.join(results)} |")
    print("|---" * (2 + len(results)) + "|")
    first = next(iter(results.values()))
    for name in sorted(first.by_video):
        cells = []
        for result in results.values():
            score, (_, passed, nobody) = result.by_video[name], result.counts[name]
            cell = f"{passed}" + (f" ({nobody} of nobody)" if nobody else "")
            if score.expected:
                cell += f", recall {score.recall:.2f}"
            cells.append(cell + (f", {score.switches} switches" if score.switches else ""))
        print(f"| {name} | {first.counts[name][0]} | {' | '.join(cells)} |")


def _print_summary(about: str, results: Mapping[str, Result]) -> None:
    print(f"\n| {about} | {' | '.join(results)} |")
    print("|---" * (1 + len(results)) + "|")
    for label, of in _LINES.items():
        print(f"| {label} | {' | '.join(of(result) for result in results.values())} |")


_LINES = {
    "people found, recall at IoU 0.5": lambda r: f"{r.total.recall:.2f}",
    "boxes on people, precision": lambda r: f"{r.total.precision:.2f}",
    "identity switches within clips": lambda r: str(r.total.switches),
    "tracks that pass / people, by clip": lambda r: "{1} / {0}".format(*_sums(r)),
    "… of nobody": lambda r: str(_sums(r)[2]),
    "identity, pairs of tracks: precision": lambda r: f"{r.pairs.precision:.2f}",
    "… recall": lambda r: f"{r.pairs.recall:.2f}",
    "… wrong over two videos": lambda r: str(r.pairs.wrong_across),
    "… right / claimed / true": lambda r: f"{r.pairs.right} / {r.pairs.claimed} / {r.pairs.true}",
    "B-cubed precision / recall": lambda r: (
        f"{r.clusters.bcubed_precision:.2f} / {r.clusters.bcubed_recall:.2f}"
    ),
    "NMI, weighted purity (WCP)": lambda r: f"{r.clusters.nmi:.2f}, {r.clusters.wcp:.2f}",
    "characters / people": lambda r: f"{r.clusters.predicted} / {r.clusters.true}",
    "samples, of nobody": lambda r: f"{r.samples}, {r.samples_of_nobody}",
    "clips of one person that gave a sample": lambda r: "{} / {}".format(*r.alone),
    "samples with another shot, where a video has several": lambda r: "{} / {}".format(
        *r.elsewhere
    ),
    "references of the right person": lambda r: f"{r.references.right} / {r.references.number}",
    "whole body referenced where seen": lambda r: (
        f"{r.references.whole} / {r.references.could_be_whole}"
    ),
    "whole_body as the eye says": lambda r: f"{r.references.flags_right} / {r.references.flags}",
}


def _sums(result: Result) -> tuple[int, ...]:
    return tuple(sum(column) for column in zip(*result.counts.values(), strict=True))


if __name__ == "__main__":
    main()
