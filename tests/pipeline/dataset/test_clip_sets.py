"""A set of clips comes in with the captions that it has, and what is wrong is named."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.clip_sets import find_clip_set

CLIP = b"the bytes of a clip"


def put(folder: Path, **files: str | bytes) -> Path:
    """Write files; `a__mp4` is a.mp4, `sub__slash__a__mp4` is sub/a.mp4."""
    for name, content in files.items():
        path = folder / name.replace("__slash__", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def captions_of(*places: Path, **options) -> dict[str, str]:
    found = find_clip_set([str(place) for place in places], **options)
    return {clip.uri.rpartition("/")[2]: clip.caption for clip in found.clips}


def test_texts_beside_clips_are_their_captions(tmp_path):
    put(tmp_path, a__mp4=CLIP, a__txt="A woman\nwaves.\n", b__mp4=CLIP, b__caption="A man runs.")
    put(tmp_path, c__mkv=CLIP, c__json='{"caption": "Two people."}', d__mp4=CLIP, notes__md="x")
    found = find_clip_set([str(tmp_path)])
    told = {clip.uri.rpartition("/")[2]: (clip.caption, clip.caption_from) for clip in found.clips}
    assert told == {
        "a.mp4": ("A woman waves.", f"{tmp_path}/a.txt"),
        "b.mp4": ("A man runs.", f"{tmp_path}/b.caption"),
        "c.mkv": ("Two people.", f"{tmp_path}/c.json, caption"),
        "d.mp4": ("", ""),
    }
    assert found.passed_over == (f"{tmp_path}/notes.md",)
    assert "4 clips" in found.describe()
    assert "1 without a caption" in found.describe()


TABLES = {
    "metadata.csv": 'file_name,text\na.mp4,"A woman, waving."\nsub/b.mp4,\n',
    "metadata.jsonl": '{"file_name": "a.mp4", "text": "A woman, waving."}\n'
    '{"file_name": "sub/b.mp4", "text": null}\n',
    "metadata.json": '[{"video": "a.mp4", "prompt": "A woman, waving."}, {"video": "sub/b.mp4"}]',
    "captions.jsonl": '{"video_path": "a.mp4", "caption": "A woman, waving."}\n',
}


@pytest.mark.parametrize("name", [*TABLES, "metadata.parquet"])
def test_a_table_among_the_clips_has_their_captions(tmp_path, name):
    put(tmp_path, a__mp4=CLIP, sub__slash__b__mp4=CLIP)
    if name in TABLES:
        (tmp_path / name).write_text(TABLES[name])
    else:
        rows = {"file_name": ["a.mp4", "sub/b.mp4"], "text": ["A woman, waving.", None]}
        pq.write_table(pa.table(rows), tmp_path / name)
    found = find_clip_set([str(tmp_path)])
    assert [clip.caption for clip in found.clips] == ["A woman, waving.", ""]
    assert found.clips[0].caption_from.startswith(f"{tmp_path}/{name}, column ")
    assert found.passed_over == ()


def test_a_table_may_be_the_input_itself(tmp_path):
    put(tmp_path, a__mp4=CLIP, b__mp4=CLIP)
    put(tmp_path, list__csv="video,prompt,text\na.mp4,A woman.,old\n")
    with pytest.raises(ValueError, match="prompt could be meant; say which with --caption"):
        captions_of(tmp_path / "list.csv")
    chosen = {"caption": "prompt"}
    assert captions_of(tmp_path / "list.csv", columns=chosen) == {"a.mp4": "A woman."}


def test_named_tables_are_the_only_ones_that_count(tmp_path):
    put(tmp_path, a__mp4=CLIP, a__txt="Old.", new__csv="path,caption\na.mp4,New.\n")
    assert captions_of(tmp_path, tables=[str(tmp_path / "new.csv")]) == {"a.mp4": "New."}
    assert captions_of(tmp_path) == {"a.mp4": "Old."}


def shard(path: Path, **members: str | bytes) -> Path:
    folder = put(path.parent / "members", **members)
    with tarfile.open(path, "w") as tar:
        for name in members:
            name = name.replace("__", ".")
            tar.add(folder / name, name)
    return path


def test_a_webdataset_shard_is_read_where_it_lies(tmp_path):
    import fsspec

    path = shard(tmp_path / "0.tar", a__mp4=CLIP, a__txt="A woman.", b__mp4=CLIP, b__json="{}")
    found = find_clip_set([str(path)])
    assert [clip.caption for clip in found.clips] == ["A woman.", ""]
    assert found.clips[0].caption_from == f"{path}, a.txt"
    opened: Any = fsspec.open(found.clips[0].uri)
    with opened as clip:
        assert clip.read() == CLIP
    assert "1 captions from shards" in found.describe()


def test_what_is_wrong_with_a_set_is_named(tmp_path):
    put(tmp_path / "two", a__mp4=CLIP, a__txt="One.", metadata__csv="file_name,text\na.mp4,Two.\n")
    put(tmp_path / "lost", a__mp4=CLIP, metadata__csv="file_name,text\na.mp4,A.\nb.mp4,B.\n")
    put(tmp_path / "list", a__mp4=CLIP, metadata__jsonl='{"file_name": "a.mp4", "text": ["A"]}\n')
    put(tmp_path / "none", a__mp4=CLIP, metadata__csv="name,text\na.mp4,A.\n")
    put(tmp_path / "json", a__mp4=CLIP, a__json="{")
    put(tmp_path / "long", a__mp4=CLIP, a__txt="word " * 2000)
    put(tmp_path / "bytes", a__mp4=CLIP, a__txt=b"caf\xe9\xff\xfe")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.tar").write_bytes(b"no tar")
    video = pa.array([{"bytes": b"x", "path": "a.mp4"}])
    (tmp_path / "hub").mkdir()
    pq.write_table(
        pa.table({"video": video, "text": ["A."]}), tmp_path / "hub" / "metadata.parquet"
    )
    put(tmp_path / "hub", a__mp4=CLIP)
    for place, message in {
        "two": r"a\.mp4 has two captions: in .*metadata.csv, column text and in .*a\.txt",
        "lost": r"metadata\.csv, line 3: there is no file 'b\.mp4'",
        "list": r"metadata\.jsonl, line 1, column 'text'.*must be text, got list",
        "none": r"line 2: no column names the clip; name it with --path-column .*'name', 'text'",
        "json": r"a\.json: not JSON",
        "long": r"a\.txt, column 'caption': has \d+ characters, 4096 are allowed",
        "bytes": r"a\.txt, .*byte 0xE9 is not UTF-8|0xFF is not UTF-8",
        "empty": "a folder without videos",
        "bad.tar": r"bad\.tar is no tar file",
        "hub": r"metadata\.parquet: column 'video' must be text, got struct",
        "gone": "gone: no such file or folder",
        "s3://bucket/clips": "clips are imported from this machine",
    }.items():
        named = place if "://" in place else str(tmp_path / place)
        with pytest.raises(ValueError, match=message):
            find_clip_set([named])


def test_a_shard_with_two_clips_of_one_name_is_refused(tmp_path):
    path = shard(tmp_path / "0.tar", a__mp4=CLIP, a__mkv=CLIP)
    with pytest.raises(ValueError, match=r"sample a has more than one video: a\.mp4 and a\.mkv"):
        find_clip_set([str(path)])
    path = shard(tmp_path / "1.tar", b__mp4=CLIP, b__txt="One.", b__json=json.dumps({"text": "2"}))
    with pytest.raises(ValueError, match=r"sample b has two captions: in .*b\.txt and .*b\.json"):
        find_clip_set([str(path)])
