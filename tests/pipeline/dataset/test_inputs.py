"""Files, folders, globs and manifests name videos; what is wrong is named back."""

import json
import os
import uuid
import zipfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.fetched import video_fetcher
from pipeline.dataset.inputs import InputVideo, find_inputs, list_inputs
from schemas.remote import RemoteConfig, open_filesystem
from schemas.uris import path_of_uri, uri_of_path

ODD_NAMES = [
    "My talk [dQw4w9WgXcQ].mp4",
    "caf\udce9.mp4",  # é in Latin-1: not UTF-8
    "Foo :: Bar.mp4",
    "a.mp4::b.mp4",
    "zip://a.mp4::b.mp4".replace("/", "\u2215"),
    "100%.mp4",
    "caf%E9.mp4",
    "-x.mp4",
    "new\nline.mp4",
    "#1 why?.mp4",
    "*.mp4",
    "~home.mp4",
    "\u202e4pm.mp4",
    "電影 🎬.mp4",
]


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
        ({"uri": "../secret.mp4"}, "line 1, column 'uri': '../secret.mp4' leaves"),
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
    with video_fetcher(RemoteConfig(), 1 << 30) as fetcher, fetcher.arriving(video) as path:
        assert Path(path).read_bytes() == b"bytes of a"
    assert not os.path.exists(path)


@pytest.fixture
def odd(tmp_path, monkeypatch):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ODD_NAMES:
        (folder / name).write_bytes(os.fsencode(name))
    monkeypatch.chdir(folder)
    return folder


def test_every_name_is_read_from_where_it_lies_and_can_be_written_down(odd):
    videos = list_inputs([str(odd)])
    assert sorted(os.path.basename(video.place) for video in videos) == sorted(ODD_NAMES)
    for video in videos:
        assert Path(video.place).read_bytes() == os.fsencode(os.path.basename(video.place))
        assert "\n" not in video.uri.encode("utf-8").decode()  # one line, and UTF-8
        assert path_of_uri(video.uri) == video.place
        assert uri_of_path(video.place) == video.uri


@pytest.mark.parametrize("name", ODD_NAMES)
def test_what_exists_is_that_file_whatever_signs_are_in_its_name(odd, name):
    [video] = list_inputs([name])
    assert video.place == f"{odd}/{name}"
    assert list_inputs([video.uri]) == [video]  # as a table calls it


@pytest.mark.parametrize("name", sorted(set(ODD_NAMES) - {"caf\udce9.mp4", "new\nline.mp4"}))
def test_a_manifest_names_odd_files_too(odd, name):
    (odd / "videos.jsonl").write_text(json.dumps({"uri": name}) + "\n")
    [video] = list_inputs(["videos.jsonl"])
    assert (video.place, video.size_bytes) == (f"{odd}/{name}", len(os.fsencode(name)))


def test_a_manifest_names_what_is_not_utf8_by_a_file_url(odd):
    (odd / "videos.csv").write_text(f"uri\nfile://{odd}/new%0Aline.mp4\nfile://{odd}/caf%E9.mp4\n")
    names = {os.path.basename(video.place) for video in list_inputs([f"{odd}/videos.csv"])}
    assert names == {"new\nline.mp4", "caf\udce9.mp4"}
    [video] = list_inputs([f"file://{odd}/100%.mp4"])  # literally, as fsspec means it
    assert video.place == f"{odd}/100%.mp4"


def test_two_colons_are_a_chain_only_behind_a_filesystem_that_takes_one():
    fs, path = open_filesystem("s3://bucket/Foo :: Bar.mp4")
    assert (fs.protocol, path) == (("s3", "s3a"), "bucket/Foo :: Bar.mp4")


def test_a_zip_on_an_object_store_is_a_chain(tmp_path):
    archive = tmp_path / "videos.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("deep/a.mp4", b"packed")
    bucket = f"memory://{uuid.uuid4().hex}"
    fs, root = fsspec.core.url_to_fs(bucket)
    fs.pipe_file(f"{root}/videos.zip", archive.read_bytes())
    [video] = list_inputs([f"zip://deep/a.mp4::{bucket}/videos.zip"])
    with video_fetcher(RemoteConfig(), 1 << 30) as fetcher, fetcher.arriving(video) as path:
        assert Path(path).read_bytes() == b"packed"


def test_links_to_folders_are_followed_once_and_never_in_circles(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "d.mp4").write_bytes(b"d")
    (elsewhere / "back").symlink_to(folder)
    (folder / "a_link").symlink_to(folder / "deep")
    (folder / "b_link").symlink_to(elsewhere)
    (folder / "circle").symlink_to(folder)
    (folder / "lost").symlink_to(folder / "nowhere")
    names = [os.path.relpath(uri, folder) for uri in uris([str(folder)])]
    assert names == ["a.mkv", "b.mp4", "b_link/d.mp4", "deep/c.webm"]


def test_files_that_are_not_taken_are_told(folder):
    (folder / "deep" / "song.mp3").touch()
    found = find_inputs([str(folder)])
    assert found.passed_over == (f"{folder}/deep/song.mp3", f"{folder}/notes.txt")
    assert find_inputs([str(folder), f"{folder}/notes.txt"]).passed_over == (
        f"{folder}/deep/song.mp3",
    )


def test_a_wrong_input_is_named_without_its_secrets(folder):
    with pytest.raises(ValueError, match=r"memory://nowhere/a\.mp4: ") as told:
        list_inputs(["memory://nowhere/a.mp4?sig=SECRET"])
    assert "SECRET" not in str(told.value)


def test_terms_of_the_command_line_fill_what_no_manifest_names():
    named = InputVideo("/v/a.mp4", licence="CC0-1.0", source="https://example.org/a")
    assert named.declared("MIT", "own") == named
    bare = InputVideo("/v/b.mp4").declared("MIT", "")
    assert (bare.licence, bare.source) == ("MIT", "")
    assert InputVideo("/v/c.mp4").declared("", "").licence == "unknown"
