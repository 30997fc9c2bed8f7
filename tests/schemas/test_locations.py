"""A slip in a URL is named with what to write instead; it makes no folder, and tells no key."""

from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from pipeline.dataset.inputs import list_inputs
from pipeline.dataset.store import open_store
from schemas.files import local_path
from schemas.locations import location_of, shown
from schemas.remote import open_filesystem
from trainer.data.files import Folder


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("S3://bucket/Data", "s3://bucket/Data"),
        ("file:/tmp/x", "/tmp/x"),
        ("file:///tmp/x", "/tmp/x"),
        ("FILE://localhost/tmp/x", "/tmp/x"),
        ("data/set", "data/set"),
        ("./s3:/x", "./s3:/x"),
        ("C:/data", "C:/data"),
        ("my talk [x]", "my talk [x]"),
        (Path("s3:/x"), "s3:/x"),
        ("s3://bucket/who@where", "s3://bucket/who@where"),
        ("abfs://container@account.dfs/x", "abfs://container@account.dfs/x"),
        ("s3://arn:aws:s3:eu-west-1:1:accesspoint/n/who@where",) * 2,
        ("simplecache::S3://bucket/data", "simplecache::S3://bucket/data"),
    ],
)
def test_what_was_meant_is_opened(text, meant):
    assert location_of(text) == meant


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("s3:/bucket/out", "write s3://bucket/out, or ./s3:/… for a folder of that name"),
        ("s3:/KEY:5ecre7@bucket/out", "write s3://bucket/out, or"),
        ("file://other/x", "the machine 'other'; only those of this one"),
        ("file://relative", "write file:///path, or the path alone"),
        ("s3://KEY:5ecre7@bucket/x", "write s3://bucket/x, and set AWS_ACCESS_KEY_ID"),
        ("S3A://5ecre7@bucket/x", "write s3a://bucket/x, and set AWS_ACCESS_KEY_ID"),
        ("gs://user:5ecre7@bucket/x", "set GOOGLE_APPLICATION_CREDENTIALS"),
        ("zip://a.zip::s3://KEY:5ecre7@bucket/x", "write s3://bucket/x, and"),
        ("s3://KEY:half/5ecre7@bucket/x", "write s3://bucket/x, and set AWS_ACCESS_KEY_ID"),
        ("s3:/KEY:half/5ecre7@bucket/out", "write s3://bucket/out, or"),
    ],
)
def test_a_slip_is_refused_in_every_place_and_leaves_no_folder(text, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for open_it in (open_store, Folder, open_filesystem, lambda text: list_inputs([text])):
        with pytest.raises(ValueError, match="write") as told:
            open_it(text)
        assert says in str(told.value)
        assert "5ecre7" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["s3:/bucket/out", "s3://u:5ecre7@bucket/x", "ftp:/u:5ecre7@h/x"])
def test_where_a_folder_of_this_machine_is_meant_no_secret_is_repeated(text):
    with pytest.raises(ArgumentTypeError, match="must be on this machine, got") as told:
        local_path(text)
    assert "5ecre7" not in str(told.value)


def test_a_file_url_is_the_same_path_for_every_command(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    for url in (f"file:{tmp_path}", f"file://{tmp_path}", f"file://localhost{tmp_path}"):
        assert open_store(url).url == Folder(url).url == str(local_path(url)) == str(tmp_path)
        assert [video.uri for video in list_inputs([f"{url}/a.mp4"])] == [f"{tmp_path}/a.mp4"]
    with pytest.raises(ArgumentTypeError, match="the machine 'other'"):
        local_path("file://other/x")


def test_a_scheme_in_capitals_is_the_same_store():
    open_store("MEMORY://capitals/x").write("a", b"1")
    assert open_store("memory://capitals/x").read("a") == b"1"
    assert Folder("Memory://capitals/x").read("a") == b"1"


def test_a_name_in_messages_holds_no_secret():
    assert shown("memory://user:5ecre7@host/data") == "memory://host/data"
    assert Folder("memory://user:5ecre7@host/data").url == "memory://host/data"
    assert shown("https://user:half/5ecre7@host/data") == "https://host/data"
    assert shown("http://host:80/who@where") == "http://host:80/who@where"
    assert shown("data/set") == "data/set"
    assert shown("file:///data/set") == "file:///data/set"


def test_a_dataset_in_a_chain_is_no_folder_of_this_machine(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    chain = f"simplecache::file://{tmp_path}"
    assert Folder(chain).read("a") == open_store(chain).read("a") == b"1"
