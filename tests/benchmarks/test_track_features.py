"""Published vectors of tracks are read, grouped as curation would, and scored."""

import json
import sys
from subprocess import run

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from places import ROOT

from benchmarks.track_features import group, read_tracks

ANN, BOB = [1.0, 0.1, 0.0], [0.0, 0.1, 1.0]
ROWS = [  # vector, label, video, start_s, end_s
    (ANN, "ann", "x", 0.0, 4.0), (ANN, "ann's twin", "x", 2.0, 6.0), (ANN, "ann", "x", 8.0, 9.0),
    (ANN, "ann", "y", 0.0, 1.0), (BOB, "bob", "y", 0.0, 1.0),
]  # fmt: skip
NAMES = ("vector", "label", "video", "start_s", "end_s")


def write(path):
    columns = dict(zip(NAMES, map(list, zip(*ROWS, strict=True)), strict=True))
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        lines = (json.dumps(dict(zip(NAMES, row, strict=True))) for row in ROWS)
        path.write_text("\n".join(lines))
    else:
        lines = (",".join([" ".join(map(str, row[0])), *map(str, row[1:])]) for row in ROWS)
        path.write_text("\n".join([",".join(NAMES), *lines]))
    return path


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl", "t.csv"])
def test_every_kind_of_file_says_the_same_and_overlap_keeps_apart(tmp_path, name):
    tracks = read_tracks(write(tmp_path / name))
    assert tracks.labels[:2] == ["ann", "ann's twin"]
    assert np.allclose(np.linalg.norm(tracks.vectors, axis=1), 1)
    groups = group(tracks, 0.6, 0.6)
    assert groups[0] != groups[1]
    assert groups[3] in groups[:3]
    assert groups[4] not in groups[:4]


def test_the_command_prints_all_measures(tmp_path):
    command = [sys.executable, "benchmarks/track_features.py", str(write(tmp_path / "t.csv"))]
    command += ["--same-video", "0.6", "--cross-video", "0.6"]
    done = run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "tracks 5, characters 3, people 3" in done.stdout
    assert "weighted cluster purity" in done.stdout


def test_what_is_no_such_file_is_refused_by_name(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("vector,label\n1 0,ann\n")
    with pytest.raises(ValueError, match="has no column video, start_s, end_s"):
        read_tracks(path)
    path.write_text("vector,label,video,start_s,end_s\n0 0,ann,x,0,1\n")
    with pytest.raises(ValueError, match="a vector is zero"):
        read_tracks(path)
