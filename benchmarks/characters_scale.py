"""What finding characters costs, and how well it does, by the number of tracks.

    python benchmarks/characters_scale.py 10000 100000 1000000

Tracks are drawn: people are random directions of 128 numbers, as many tracks each as a long tail
gives, two tracks of one person at a cosine of 0.52 in the mean, strangers at 0.00 with a deviation
of 0.09, as of random directions in that space. Videos hold 12 tracks of 3 people. Prints CPU
seconds, the memory on top of the drawn rows, and precision, recall and F1 over pairs of tracks.
"""

import resource
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import rows  # noqa: E402

from pipeline.engines.interfaces import SimilarityWindows  # noqa: E402
from pipeline.pairing.characters import find_characters  # noqa: E402
from schemas.tables import Clip, Embedding, Track  # noqa: E402

SIZE, SAME = 128, 0.52
WINDOWS = SimilarityWindows(same_video=0.42, cross_video=0.45, reference_floor=0.3, duplicate=0.99)
PER_VIDEO, CAST = 12, 3


def drawn(number: int) -> tuple[list[Track], dict[str, Clip], np.ndarray, np.ndarray]:
    """Return tracks, clips, vectors (N, SIZE) float32, and who each track shows."""
    random = np.random.default_rng(number)
    videos = number // PER_VIDEO
    people = max(CAST, number // 15)
    famous = 1 / np.arange(1, people + 1) ** 0.6
    cast = random.choice(people, (videos, CAST), p=famous / famous.sum())
    who = np.repeat(cast, PER_VIDEO // CAST, axis=1).ravel()
    faces = unit(random.standard_normal((people, SIZE), dtype=np.float32))
    noise = unit(random.standard_normal((len(who), SIZE), dtype=np.float32))
    vectors = unit(SAME**0.5 * faces[who] + (1 - SAME) ** 0.5 * noise)
    clip = rows.clip("clip")
    tracks, clips = [], {}
    for index in range(len(who)):
        video, name = f"video{index // PER_VIDEO:08}", f"{index:08}"
        place = 10.0 * (index % PER_VIDEO)
        made = Clip(**{**vars(clip), "clip_id": name, "video_id": video, "start_s": place,
                       "end_s": place + 5})  # fmt: skip
        clips[name] = made
        tracks.append(Track(name, name, video, "shot", boxes=[[0.0] * 4]))
    return tracks, clips, vectors, who


def unit(rows_: np.ndarray) -> np.ndarray:
    return rows_ / np.linalg.norm(rows_, axis=1, keepdims=True)


def agreement(found: list[str], who: np.ndarray) -> tuple[float, float]:
    """Return precision and recall over pairs of tracks."""

    def pairs(counts: Counter) -> int:
        return sum(count * (count - 1) // 2 for count in counts.values())

    both = pairs(Counter(zip(found, who.tolist(), strict=True)))
    return both / max(pairs(Counter(found)), 1), both / max(pairs(Counter(who.tolist())), 1)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(number: int) -> str:
    tracks, clips, vectors, who = drawn(number)
    embeddings = (
        Embedding(track.track_id, "", track.video_id, "bench/1", "none", 1, vector)  # type: ignore[arg-type]
        for track, vector in zip(tracks, vectors, strict=True)
    )
    before, started = peak_mib(), time.process_time()
    result = find_characters(tracks, clips, embeddings, WINDOWS)
    seconds = time.process_time() - started
    names = {track.track_id: track.character_id for track in result.tracks}
    found = [names.get(track.track_id, track.track_id) for track in tracks]
    precision, recall = agreement(found, who)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return (
        f"{len(tracks):>9,} tracks  {len(set(who)):>7,} people  {len(set(found)):>7,} found  "
        f"{seconds:8.1f} CPU s  {peak_mib() - before:8.0f} MiB more  "
        f"precision {precision:.4f}  recall {recall:.4f}  F1 {f1:.4f}"
    )


if __name__ == "__main__":
    for argument in sys.argv[1:] or ["10000", "100000"]:
        print(measure(int(argument)), flush=True)
