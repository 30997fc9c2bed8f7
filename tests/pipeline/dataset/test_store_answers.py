"""What S3 says of credentials, quotas and names is told as such, and never of a video."""

import os
import subprocess
import sys

import fsspec
import pytest
from flaky_proxy import FlakyProxy
from object_store import KEY, SECRET, s3_server, use_endpoint
from places import script
from present import there
from runs import curate, draw_video, rows
from tiny_dataset import write_dataset

from pipeline.dataset.cut_uploads import find_cut_uploads
from pipeline.dataset.inputs import list_inputs
from pipeline.dataset.store import open_store
from schemas import remote
from schemas.remote import POLICY, LastingFault, NotRead
from trainer.data.files import Folder

HALF = "samples/v0002-00000-0123456789abcdef.parquet"  # of a publisher that was killed
QUICK = ("--set", "run.remote.pause_s=0.01", "--set", "run.remote.attempts=2")


@pytest.fixture(scope="module")
def server():
    with s3_server("answers") as url:
        yield url


@pytest.fixture
def proxy(server, monkeypatch):
    monkeypatch.setenv(POLICY, "attempts=3,pause_s=0.01")
    with (
        FlakyProxy(server.removeprefix("http://"), share=0) as running,
        use_endpoint(running.url),
    ):
        yield running


def refusal(code, status, message="no"):
    return status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def says(proxy, name, *answers):
    """Let the proxy give these answers to reads of a file, one after another; count the reads."""
    left, asked = list(answers), []

    def say(method, path):
        if method != "GET" or not path.partition("?")[0].endswith(name):
            return None
        asked.append(path)
        return left.pop(0) if left else None

    proxy.says = say
    return asked


@pytest.mark.slow
def test_an_expired_token_takes_no_video_away(proxy, tmp_path):
    expired = refusal("ExpiredToken", 400)
    (tmp_path / "in").mkdir()
    for number in (0, 1):
        draw_video(tmp_path / "in" / f"{number}.mp4", number)
    fsspec.filesystem("s3").put(f"{tmp_path}/in/", "answers/in", recursive=True)
    answers = {"0.mp4": [expired], "1.mp4": [expired] * 2}

    def say(method, path):
        left = answers.get(path.rpartition("/")[2], [])
        return left.pop(0) if method == "GET" and left else None

    proxy.says = say
    done = curate(tmp_path / "out", "s3://answers/in", extra=QUICK, code=3)
    assert answers == {"0.mp4": [], "1.mp4": []}
    assert "1.mp4: credentials: expired token (ExpiredToken), after 2 attempts" in done.stdout

    def outcomes():
        told = rows(tmp_path / "out", "inputs")
        return {row["uri"].rpartition("/")[2]: row["outcome"] for row in told}

    assert outcomes() == {"0.mp4": "kept", "1.mp4": "not_read"}
    curate(tmp_path / "out", "s3://answers/in", extra=QUICK)
    assert outcomes() == {"0.mp4": "kept", "1.mp4": "kept"}


def test_a_store_is_read_again_when_its_credentials_are_back(proxy):
    store = open_store("s3://answers/back")
    store.write("a", b"1")
    asked = says(proxy, "/back/a", refusal("ExpiredToken", 400), refusal("ExpiredToken", 400))
    assert store.read("a") == b"1"
    assert len(asked) == 3
    says(proxy, "/back/a", *[refusal("RequestTimeTooSkewed", 403)] * 3)
    with pytest.raises(NotRead, match=r"clock is not .*, after 3 attempts; run again"):
        store.read("a")


def test_what_somebody_must_put_right_is_said_at_once_in_the_stores_words(proxy):
    store = open_store("s3://answers/quota")
    store.write("a", b"1")
    asked = says(proxy, "/quota/a", *[refusal("QuotaExceeded", 403, "10 GiB are used")] * 3)
    with pytest.raises(LastingFault) as told:
        store.read("a")
    assert str(told.value) == "s3://answers/quota/a: QuotaExceeded: 10 GiB are used"
    assert len(asked) == 1
    with pytest.raises(LastingFault, match="Invalid bucket name"):
        open_store("s3://Not_A.-Bucket!/x").read("a")


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("ExpiredToken", 400, "credentials: expired token"),
        ("RequestTimeTooSkewed", 403, "clock is not the store's"),
        ("InvalidAccessKeyId", 403, "InvalidAccessKeyId: no"),
    ],
)
def test_the_reason_is_told_though_an_answer_to_head_has_no_room_for_it(proxy, code, status, told):
    refused = refusal(code, status)
    proxy.says = lambda method, path: (status, b"") if method == "HEAD" else refused
    for read in (
        lambda: open_store("s3://answers/x").read("manifest.json"),
        lambda: Folder("s3://answers/x").read("manifest.json"),
        lambda: list_inputs(["s3://answers/x/"]),
    ):
        with pytest.raises((NotRead, ValueError), match=told):
            read()


def test_credentials_that_come_late_are_taken(server, monkeypatch, tmp_path):
    """A client that was made without any would never look again."""
    monkeypatch.setenv(POLICY, "attempts=3,pause_s=0.01")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    fsspec.filesystem("s3").pipe("answers/late/a", b"1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    paused = []

    def sleep(_seconds):
        paused.append(1)
        os.environ.update(AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET)

    monkeypatch.setattr(remote.time, "sleep", sleep)
    remote.retry(lambda: None)
    assert open_store("s3://answers/late").read("a") == b"1"
    assert 1 <= len(paused) <= 2


def test_marks_of_folders_that_consoles_make_are_no_files(server):
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    for key in ("", "clips/"):
        fs.call_s3("put_object", Bucket="answers", Key=f"marks/{key}", Body=b"")
    fs.pipe("answers/marks/clips/a", b"")
    assert open_store("s3://answers/marks").list() == ["clips/a"]


def run(job, *words):
    return subprocess.run(
        [sys.executable, script(job), *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def put_dataset(folder, name):
    """Put a small dataset on the store; return the filesystem and the URL."""
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    data = write_dataset(folder / "data", 4, (32, 32), 5, num_validation=1)
    fs.put(f"{data}/", f"answers/{name}/", recursive=True)
    return fs, f"s3://answers/{name}"


@pytest.mark.slow
def test_forget_ends_on_a_store_with_marks_of_folders_and_cut_off_uploads(server, tmp_path):
    fs, url = put_dataset(tmp_path, "forget")
    fs.call_s3("put_object", Bucket="answers", Key="forget/", Body=b"")
    begin_upload(fs, f"forget/{HALF}")
    done = run("forget", url, "--video", "video-1", "--report", str(tmp_path / "report"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"cut off: 1 uploads of 1 files (forget/{HALF})" in done.stdout
    assert find_cut_uploads(open_store(url)).found == ()
    assert '"complete": true' in (tmp_path / "report" / "report.json").read_text()


def begin_upload(fs, key):
    """Leave what a kill leaves of an upload in parts."""
    upload = there(fs.call_s3("create_multipart_upload", Bucket="answers", Key=key))
    names = {"Bucket": "answers", "Key": key, "UploadId": upload["UploadId"]}
    fs.call_s3("upload_part", PartNumber=1, Body=b"x" * 1000, **names)


@pytest.mark.slow
def test_vacuum_shows_and_removes_uploads_that_a_kill_cut_off(server, tmp_path):
    fs, url = put_dataset(tmp_path, "vacuum")
    others = [f"vacuum/sub/{HALF}", "vacuum/videos/raw.mov", f"vacuum2/{HALF}"]
    for key in (f"vacuum/{HALF}", f"vacuum/{HALF}", *others):
        begin_upload(fs, key)
    done = run("vacuum", url)
    assert done.returncode == 3
    assert "cut off: 2 uploads of 1 files" in done.stdout
    assert len(find_cut_uploads(open_store(url)).found) == 2
    assert run("vacuum", url, "--yes").returncode == 0
    left = fs.call_s3("list_multipart_uploads", Bucket="answers")
    assert sorted(upload["Key"] for upload in left["Uploads"]) == others
    assert "nothing to remove" in run("vacuum", url).stdout


def test_pages_of_cut_off_uploads_are_all_read_and_who_may_not_list_them_is_told(
    server, monkeypatch
):
    store, told = open_store("s3://answers/pages"), []

    def call_s3(_self, method, **asked):
        told.append(asked)
        last = "KeyMarker" in asked
        upload = {"Key": f"pages/units/{len(told)}", "UploadId": "u"}
        following = {} if last else {"NextKeyMarker": "k", "NextUploadIdMarker": "u"}
        return {"Uploads": [upload], "IsTruncated": not last, **following}

    kind = fsspec.get_filesystem_class("s3")
    monkeypatch.setattr(kind, "call_s3", call_s3)
    found = [each.key for each in find_cut_uploads(store).found]
    assert found == ["pages/units/1", "pages/units/2"]

    def forbid(_self, method, **asked):
        raise PermissionError("not yours")

    monkeypatch.setattr(kind, "call_s3", forbid)
    told_why = find_cut_uploads(store).describe()
    assert told_why.endswith("stay: Permission denied (s3:ListBucketMultipartUploads)")
    assert find_cut_uploads(open_store("memory://pages")).describe() == ""


@pytest.mark.slow
def test_who_may_not_remove_uploads_is_told_and_forget_ends(proxy, tmp_path):
    fs, url = put_dataset(tmp_path, "kept")
    begin_upload(fs, f"kept/{HALF}")
    forbidden = refusal("AccessDenied", 403)
    proxy.says = lambda method, path: forbidden if "uploadId" in path else None
    why = f"kept/{HALF}: Permission denied (s3:AbortMultipartUpload)"
    vacuumed = run("vacuum", url, "--yes")
    assert vacuumed.returncode == 0, vacuumed.stdout + vacuumed.stderr
    assert why in vacuumed.stdout
    done = run("forget", url, "--video", "video-1", "--report", str(tmp_path / "report"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert why in done.stdout
    assert '"complete": true' in (tmp_path / "report" / "report.json").read_text()
