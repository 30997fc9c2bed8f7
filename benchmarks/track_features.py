"""How well tracks of people are grouped, from vectors and labels that somebody else published.

    python benchmarks/track_features.py tracks.parquet --same-video 0.45 --cross-video 0.55

A .parquet, .csv or .jsonl file has one row a track: `vector` (numbers; in .csv separated by
blanks), `label` (who it is), `video`, `start_s`, `end_s`. So sets such as VPCD can be scored by
whoever has them. Tracks of one video that overlap in time are two people; all else is decided by
the vectors, as curation does: inside every video first, then over videos. Printed are pairs,
B-cubed, NMI and weighted cluster purity.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402

from benchmarks.people_metrics import clusters_of, identity_pairs  # noqa: E402
from pipeline.pairing.linkage import link  # noqa: E402

COLUMNS = ("vector", "label", "video", "start_s", "end_s")


@dataclass(frozen=True)
class LabelledTracks:
    """Tracks as somebody published them."""

    vectors: np.ndarray  # (N, D) float32, rows of unit length
    labels: list[str]
    videos: list[str]
    times: np.ndarray  # (N, 2) seconds


def read_tracks(path: Path) -> LabelledTracks:
    """Read a file of labelled tracks. ValueError says what is wrong with it."""
    table = _table(path)
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}"
        )
    given = [table[name].to_pylist() for name in COLUMNS]
    rows = [_numbers(vector) for vector in given[0]]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"{path}: vectors must all have one length")
    vectors = np.array(rows, np.float32).reshape(len(rows), -1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise ValueError(f"{path}: a vector is zero, or not finite")
    times = np.array(given[3:], float).T.reshape(-1, 2)
    labels, videos = ([str(name) for name in names] for names in given[1:3])
    return LabelledTracks(vectors / lengths, labels, videos, times)


def _table(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_table(path)
    if path.suffix == ".jsonl":
        from pyarrow import json

        return json.read_json(path)
    from pyarrow import csv

    return csv.read_csv(path)


def _numbers(vector: str | Sequence[float]) -> list[float]:
    return [float(part) for part in (vector.split() if isinstance(vector, str) else vector)]


def group(tracks: LabelledTracks, same_video: float, cross_video: float) -> list[int]:
    """Return the number of every track's group."""
    inside: list[list[int]] = []
    apart: list[tuple[int, int]] = []
    for video in dict.fromkeys(tracks.videos):
        here = [row for row, name in enumerate(tracks.videos) if name == video]
        overlaps = [
            (one, other)
            for (one, a), (other, b) in itertools.combinations(enumerate(here), 2)
            if min(tracks.times[[a, b], 1]) > max(tracks.times[[a, b], 0])
        ]
        apart += [(here[one], here[other]) for one, other in overlaps]
        clusters = link(tracks.vectors[here], same_video, cannot=overlaps)
        inside += [np.array(here)[clusters == first].tolist() for first in np.unique(clusters)]
    place = {row: number for number, rows in enumerate(inside) for row in rows}
    means = np.stack([tracks.vectors[rows].mean(axis=0) for rows in inside])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)
    cannot = {(place[one], place[other]) for one, other in apart}
    groups = np.zeros(len(tracks.labels), int)
    for rows, number in zip(inside, link(means, cross_video, cannot).tolist(), strict=True):
        groups[rows] = number
    return groups.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tracks", type=Path)
    parser.add_argument("--same-video", type=float, required=True, help="cosine")
    parser.add_argument("--cross-video", type=float, required=True, help="cosine")
    arguments = parser.parse_args()
    tracks = read_tracks(arguments.tracks)
    groups = group(tracks, arguments.same_video, arguments.cross_video)
    names = [f"{row:09}" for row in range(len(groups))]
    person = dict(zip(names, tracks.labels, strict=True))
    character = {name: str(number) for name, number in zip(names, groups, strict=True)}
    pairs = identity_pairs(person, character, dict(zip(names, tracks.videos, strict=True)))
    found = clusters_of(person, character)
    print(f"tracks {len(groups)}, characters {found.predicted}, people {found.true}")
    print(f"pairs: precision {pairs.precision:.3f}, recall {pairs.recall:.3f}, F1 {pairs.f1:.3f}")
    print(f"  wrong over two videos: {pairs.wrong_across}")
    print(f"B-cubed: precision {found.bcubed_precision:.3f}, recall {found.bcubed_recall:.3f}")
    print(f"NMI {found.nmi:.3f}, weighted cluster purity {found.wcp:.3f}")


if __name__ == "__main__":
    main()
