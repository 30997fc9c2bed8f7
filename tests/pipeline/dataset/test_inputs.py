"""Files, folders, globs and manifests name videos; what is wrong is named back."""

import json
import os
import uuid
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.inputs import list_inputs, local_copy


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.mp4", "a.mkv", "deep/c.webm", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def uris(patterns):
    return [video.uri for video in list_inputs(patterns)]


def test_a_folder_is_searched_for_videos_in_stable_order(folder):
    expected = [f"{folder}/a.mkv", f"{folder}/b.mp4", f"{folder}/deep/c.webm"]
    assert uris([str(folder)]) == expected
    assert uris([f"{folder}/deep/c.webm", str(folder)]) == expected


def test_globs_and_files_are_taken_as_they_are(folder):
    assert uris([f"{folder}/*.mp4"]) == [f"{folder}/b.mp4"]
    assert uris([f"{folder}/notes.txt"]) == [f"{folder}/notes.txt"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_manifest_carries_licence_source_and_caption(folder, kind):
    row = {"uri": "deep/c.webm", "licence": "CC0", "source": "archive", "caption": "a, b"}
    manifest = folder / f"videos.{kind}"
    if kind == "csv":
        manifest.write_text('uri,licence,source,caption\ndeep/c.webm,CC0,archive,"a, b"\n')
    elif kind == "jsonl":
        manifest.write_text(json.dumps(row) + "\n\n")
    else:
        pq.write_table(pa.Table.from_pylist([row]), manifest)
    [video] = list_inputs([str(manifest)])
    assert (video.uri, video.licence) == (f"{folder}/deep/c.webm", "CC0")
    assert (video.source, video.caption) == ("archive", "a, b")
    assert video.size_bytes == len("deep/c.webm")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"uri": "../secret.mp4"}, "row 1: uri '../secret.mp4' leaves"),
        ({"uri": "http://127.0.0.1/a.mp4"}, "scheme 'http' is not read"),
        ({"uri": "a\nb.mp4"}, "control character"),
        ({"uri": ""}, "column 'uri' is missing"),
        ({"path": "a.mp4"}, "column 'uri' is missing"),
        ({"uri": "b.mp4", "caption": "x" * 5000}, "5000 characters"),
    ],
)
def test_a_wrong_manifest_row_is_named(folder, row, says):
    manifest = folder / "videos.jsonl"
    manifest.write_text(json.dumps(row))
    with pytest.raises(ValueError, match=says):
        list_inputs([str(manifest)])


def test_a_foreign_parquet_type_is_refused_before_a_value_is_read(folder):
    pq.write_table(pa.table({"uri": pa.array([b"x"], pa.binary())}), folder / "videos.parquet")
    with pytest.raises(ValueError, match="must be text, got binary"):
        list_inputs([f"{folder}/videos.parquet"])


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("no/such", "no such file or folder"),
        ("*.avi", "matches no file"),
        ("empty", "folder without videos"),
        ("no.csv", "no such manifest"),
    ],
)
def test_an_input_that_names_nothing_is_an_error(folder, pattern, says):
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=says):
        list_inputs([f"{folder}/{pattern}"])


def test_what_cannot_be_read_is_listed_and_never_blocks(folder):
    os.mkfifo(folder / "pipe.mp4")
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    sizes = {v.uri: v.size_bytes for v in list_inputs([f"{folder}/pipe.mp4", f"{folder}/loop.mp4"])}
    assert sizes == {f"{folder}/pipe.mp4": -1, f"{folder}/loop.mp4": -1}


def test_an_object_store_is_read_like_a_folder():
    bucket = f"memory://{uuid.uuid4().hex}"
    fs, root = fsspec.core.url_to_fs(bucket)
    fs.pipe_file(f"{root}/videos/a.mp4", b"bytes of a")
    [video] = list_inputs([f"{bucket}/videos"])
    assert video.uri == f"{bucket.replace('memory://', 'memory:///')}/videos/a.mp4"
    with local_copy(video.uri) as path:
        assert Path(path).read_bytes() == b"bytes of a"
    assert not os.path.exists(path)
