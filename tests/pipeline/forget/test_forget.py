"""What is forgotten is nowhere afterwards, does not come back, and takes nobody else along."""

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import re
import secrets
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rows as draw
from dying_store import DyingStore, Killed
from places import script
from present import current_version, there
from runs import content, curate, rows
from tiny_dataset import tiny_sample, write_dataset

from pipeline.dataset.commit import damaged_files
from pipeline.dataset.parquet import encode_rows
from pipeline.dataset.store import LocalStore, open_store
from pipeline.dataset.tags import Tag, read_tags, write_tags
from pipeline.forget import forget
from pipeline.forget.forget_command import read_list
from pipeline.forget.scan import Finder, scan
from pipeline.forget.search_patterns import SearchPatterns
from pipeline.forget.targets import ForgetRequest, find_targets
from schemas.ids import content_id
from schemas.latents import LATENTS_INDEX, Latent, LatentIndex, LatentReference, NullText
from schemas.manifest import DataFile, manifest_path
from schemas.tables import Sample
from schemas.tombstones import Tombstones

JOB = script("forget")


def run(*arguments, code=0) -> str:
    """Run the job's main as a user's command line does; returns what it printed."""
    spec = there(importlib.util.spec_from_file_location("forget_job", JOB))
    job = importlib.util.module_from_spec(spec)
    there(spec.loader).exec_module(job)
    told = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(told),
    ):
        patch.setattr(sys, "argv", [JOB, *map(str, arguments)])
        try:
            got = job.main()
        except SystemExit as error:
            got = error.code
    assert got == code, told.getvalue()
    return told.getvalue()


def run_decided(*arguments) -> str:
    """Run the job; everybody who may be the same person is said to be somebody else."""
    doubted = re.findall(r"--different (\w+)", run(*arguments, "--dry-run"))
    return run(*arguments, *(word for name in doubted for word in ("--different", name)))


@pytest.fixture
def copied(golden, tmp_path) -> Path:
    """A copy of the golden dataset with a tag on every sample."""
    folder = tmp_path / "dataset"
    shutil.copytree(golden, folder)
    tags = [Tag(row["sample_id"], "seen") for row in rows(folder, "samples")]
    write_tags(tags, open_store(folder))
    return folder


def samples_of(folder: Path) -> dict[str, dict]:
    return {row["sample_id"]: row for row in rows(folder, "samples")}


def leaves(value):
    """Yield every text, byte string and vector inside a row."""
    if isinstance(value, dict):
        for each in value.values():
            yield from leaves(each)
    elif isinstance(value, list) and value and isinstance(value[0], float):
        yield np.array(value, np.float32).tobytes()
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each)
    elif isinstance(value, str):
        yield value.encode()
    elif isinstance(value, bytes):
        yield value


def everything_in(folder: Path) -> list[bytes]:
    """Return the bytes of every file, and every value of every Parquet file."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found += [str(path).encode(), path.read_bytes()]
        if path.suffix == ".parquet":
            found += list(leaves(pq.ParquetFile(path).read().to_pylist()))
    return found


def of_video(folder: Path, video_id: str) -> set[bytes]:
    """Return ids, media and vectors of one video, read from all tables and its unit."""
    tables = [rows(folder, name) for name in ("clips", "tracks", "samples", "embeddings")]
    tables += [
        pq.ParquetFile(path).read().to_pylist()
        for path in folder.glob(f"units/*/{video_id}-*/*.parquet")
    ]
    # a flat mask is the same for two people who stand alike: only their pictures tell them apart
    names = ("clip_id", "track_id", "reference_id", "sample_id", "mp4", "image", "vector")
    found = {video_id.encode()}
    for row in (row for table in tables for row in table):
        if row.get("video_id", video_id) == video_id:
            found |= {leaf for name in names for leaf in leaves(row.get(name))}
            found |= set(leaves((row.get("video") or {}).get("bytes")))
    return {needle for needle in found if len(needle) >= 12}


def test_a_forgotten_person_is_found_nowhere(copied, tmp_path):
    before = samples_of(copied)
    who = next(iter(before.values()))["character_id"]
    videos = {row["video_id"] for row in rows(copied, "tracks") if row["character_id"] == who}
    needles = {who.encode()} | {each for video in videos for each in of_video(copied, video)}
    assert len(needles) > 20
    assert sum(any(n in hay for hay in everything_in(copied)) for n in needles) == len(needles)

    said = run_decided(copied, "--character", who, "--report", tmp_path / "report")

    assert "0 found" in said
    hay = everything_in(copied)
    assert [needle[:40] for needle in needles if any(needle in each for each in hay)] == []
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["complete"]
    assert report["scan"]["hits"] == 0
    assert report["videos"] == len(videos)
    told = (tmp_path / "report" / "report.md").read_text()
    assert who not in told + json.dumps(report)
    assert not any(video in told + json.dumps(report) for video in videos)
    left = samples_of(copied)
    expected = without(before.values(), videos)
    assert repr(sorted(left.items())) == repr(sorted(expected.items()))  # NaN is not NaN
    assert 0 < len(left) < len(before)
    assert {tag.sample_id for tag in read_tags(open_store(copied))} == left.keys()
    check_whole(copied)
    assert "forgotten before" in run(copied, "--character", who, "--report", tmp_path / "again")


def without(samples, videos) -> dict[str, dict]:
    """Return what must be left of single-character samples, written the slow way."""
    left = {}
    for row in samples:
        references = [each for each in row["references"] if each["video_id"] not in videos]
        if row["video_id"] in videos or not references:
            continue
        changed = row | {"references": references}
        if len(references) < len(row["references"]):
            ids = [each["reference_id"] for each in references]
            changed["sample_id"] = content_id("sample", row["clip_id"], row["track_id"], ids)
        left[changed["sample_id"]] = changed
    return left


def check_whole(folder: Path) -> None:
    """Assert that a reader finds a complete version whose counts agree with its tables."""
    store = LocalStore(str(folder))
    manifest, _ = current_version(store)
    assert damaged_files(manifest, store) == []
    assert sum(manifest.splits.values()) == len(rows(folder, "samples"))
    rejects = rows(folder, "rejects")
    for row in manifest.funnel:
        lost = [r for r in rejects if (r["stage"], r["level"]) == (row.stage, row.level)]
        assert row.rejected + row.failed == (len(lost) if row.stage != "forget" else row.rejected)


@pytest.mark.ray
def test_a_later_curation_does_not_bring_a_video_back(videos, golden, copied, tmp_path):
    video_id = next(iter(samples_of(copied).values()))["video_id"]
    needles = of_video(copied, video_id)
    uris = {row["uri"] for row in rows(copied, "videos") if row["video_id"] == video_id}
    run(copied, "--video", video_id, "--report", tmp_path / "report")

    curate(copied, videos)

    hay = everything_in(copied)
    needles |= {uri.encode() for uri in uris}
    assert [n[:40] for n in needles if any(n in each for each in hay)] == []
    assert {row["video_id"] for row in rows(copied, "videos")} == {
        row["video_id"] for row in rows(golden, "videos")
    } - {video_id}
    reasons = [row["reason"] for row in rows(copied, "rejects")]
    twice = sum(row["reason"] == "duplicate_video" for row in rows(golden, "rejects"))
    assert reasons.count("forgotten") == (2 if video_id == copied_video(golden) else 1)
    assert twice == 1
    before = content(copied)
    assert "nothing to do" in curate(copied, videos).stdout
    assert content(copied) == before


def copied_video(folder: Path) -> str:
    """Return the video of which the inputs hold a copy."""
    return next(r["id"] for r in rows(folder, "rejects") if r["reason"] == "duplicate_video")


@pytest.mark.faults
def test_killed_anywhere_it_never_shows_half_and_ends_the_same(copied, tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda size: "5a" * size)
    video_id = next(iter(samples_of(copied).values()))["video_id"]
    add_latents(copied)
    for unit in copied.glob("units/*/*"):  # others' units are only scanned; fewer are faster
        if not unit.name.startswith(video_id):
            shutil.rmtree(unit)
    whole = tmp_path / "whole"
    shutil.copytree(copied, whole)
    store = LocalStore(str(whole))
    assert forget.finish(begin(store, video_id), store).clean
    forget.close(store)
    expected = content(whole)
    kills = 0
    while True:
        folder = tmp_path / f"killed-{kills}"
        shutil.copytree(copied, folder)
        dying = DyingStore(str(folder), kills)
        try:
            forget.finish(begin(dying, video_id), dying)
            forget.close(dying)
            break
        except Killed:
            kills += 1
        plain = LocalStore(str(folder))
        manifest, digest = current_version(plain)
        assert damaged_files(manifest, plain) == []
        index = LatentIndex.from_json(plain.read(LATENTS_INDEX))
        if index.manifest_sha256 == digest:  # else the trainer refuses them
            assert all(plain.exists(file.path) for file in index.files)
        with plain.lock():
            job = forget.interrupted(plain) or begin(plain, video_id)
            assert forget.finish(job, plain).clean
            forget.close(plain)
        assert content(folder) == expected, kills
        shutil.rmtree(folder)
    assert kills > 15


def begin(store, video_id):
    manifest, _ = current_version(store)
    targets = find_targets(ForgetRequest(videos=(video_id,)), manifest, store)
    return forget.begin(targets, store)


def add_latents(folder: Path) -> None:
    """Write latents of every sample, as the encoder lays them down."""
    store = open_store(folder)
    manifest, digest = current_version(store)
    light = ("sample_id", "clip_id", "video_id", "track_id", "character_id", "split", "caption")
    made = [
        Latent(
            **{name: row[name] for name in light},
            height=8, width=8, frames=5, start_frame=0, fps=16.0, fingerprint="f",
            video=row["sample_id"].encode() * 4, video_shape=[1], text=b"t", text_shape=[1],
            subject=b"", subject_shape=[],
            references=[
                LatentReference(
                    each["reference_id"], each["clip_id"], each["video_id"], b"l", [1], b"k", [1]
                )
                for each in row["references"]
            ],
        )
        for row in samples_of(folder).values()
    ]  # fmt: skip
    encoded = encode_rows(made, Latent)
    store.write("latents/a-00000.parquet", encoded)
    store.write("latents/left-by-a-killed-encoder.parquet", encoded)
    file = DataFile("latents/a-00000.parquet", len(made), len(encoded),
                    hashlib.sha256(encoded).hexdigest())  # fmt: skip
    index = LatentIndex(
        {"vae": "x"}, {}, manifest_path(manifest.version), digest, ["8x8x5"],
        {"train": len(made)}, NullText("", [0]), [file],
    )  # fmt: skip
    store.write(LATENTS_INDEX, index.to_json())


def test_latents_lose_the_rows_and_follow_to_the_new_version(copied):
    add_latents(copied)
    video_id = next(iter(samples_of(copied).values()))["video_id"]
    store = open_store(copied)
    forget.finish(begin(store, video_id), store)
    _, digest = current_version(store)
    index = LatentIndex.from_json(store.read(LATENTS_INDEX))
    assert (index.manifest_path, index.manifest_sha256) == (manifest_path(2), digest)
    [file] = index.files
    assert store.list("latents") == sorted([file.path, LATENTS_INDEX])
    left = pq.read_table(copied / file.path).to_pylist()
    assert {row["sample_id"] for row in left} == samples_of(copied).keys()
    assert sum(index.splits.values()) == len(left)


def test_traces_elsewhere_in_the_folder_are_named_until_they_are_gone(copied, tmp_path):
    video_id = next(iter(samples_of(copied).values()))["video_id"]
    clip = next(row for row in samples_of(copied).values() if row["video_id"] == video_id)
    (copied / "notes").mkdir()
    (copied / "notes" / "mine.txt").write_text(f"look at {clip['clip_id']}!")
    (copied / "notes" / "clip.mp4").write_bytes(clip["video"]["bytes"])
    asked = (copied, "--video", video_id, "--report", tmp_path / "report")
    said = run(*asked, code=1)
    assert "notes/mine.txt" in said
    assert "notes/clip.mp4" in said
    shutil.rmtree(copied / "notes")
    run(*asked)
    assert not (copied / forget.JOURNAL).exists()


def test_what_cannot_be_searched_is_named_instead_of_stopping_the_removal(tmp_path):
    folder = write_dataset(tmp_path / "data", 4, (32, 32), 5, num_validation=1)
    (folder / "notes\\of the shoot.txt").write_text("hello")
    (folder / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe")
    asked = (folder, "--video", "video-1", "--report", tmp_path / "report")
    said = run(*asked, code=1)
    assert "could not be searched: link (No such file or directory)" in said
    assert "could not be searched: notes\\of the shoot.txt (path must be relative" in said
    assert "could not be searched: pipe (it is no regular file)" in said
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["complete"], report["scan"]["unsearched"]) == (False, 3)
    assert "3 files could not be searched" in (tmp_path / "report" / "report.md").read_text()
    for name in ("notes\\of the shoot.txt", "link", "pipe"):
        (folder / name).unlink()
    assert "finishing the removal that was interrupted" in run(*asked)
    assert not (folder / forget.JOURNAL).exists()


def test_a_face_is_matched_by_the_datasets_recogniser_and_confirmed(copied, videos, tmp_path):
    from pipeline.media.clip_frames import read_clip
    from pipeline.media.images import encode_jpeg

    row = next(iter(samples_of(copied).values()))
    _, [picture] = read_clip(row["video"]["bytes"], indices=[3])
    (tmp_path / "her.jpg").write_bytes(encode_jpeg(picture))
    asked = (copied, "--face", tmp_path / "her.jpg", "--report", tmp_path / "report")
    before = content(copied)
    said = run(*asked, code=3)
    assert (
        f"{row['character_id']}  cosine 0.99" in said or f"{row['character_id']}  cosine 1" in said
    )
    assert "nothing was removed" in said
    assert content(copied) == before
    run_decided(*asked, "--yes")
    assert row["character_id"] not in {each["character_id"] for each in rows(copied, "tracks")}


def test_a_dry_run_changes_nothing_and_wrong_requests_are_refused(copied, tmp_path):
    row = next(iter(samples_of(copied).values()))
    before = content(copied)
    (tmp_path / "list.txt").write_text(f"# asked for in May\ncharacter {row['character_id']}\n")
    said = run(copied, "--list", tmp_path / "list.txt", "--dry-run")
    assert row["video_id"] in said
    assert "no video '../../etc'" in run(copied, "--video", "../../etc", code=2)
    assert "holds no dataset" in run(tmp_path / "nothing", "--video", "a", code=2)
    assert "name what to forget" in run(copied, code=2)
    (tmp_path / "list.txt").write_text("somebody\n")
    with pytest.raises(ValueError, match=r"list\.txt, line 1: 'somebody'"):
        list(read_list(tmp_path / "list.txt"))
    assert content(copied) == before


def test_finder_agrees_with_a_slow_search():
    draw_bytes = np.random.default_rng(7)
    needles = SearchPatterns()
    needles.pieces = {draw_bytes.integers(0, 256, n, np.uint8).tobytes() for n in (8, 12, 48)}
    needles.add_ids(["video-1", "clip-12", draw.hash_of("id", digits=24)])
    finder = Finder(needles)
    for needle in [*needles.pieces, *needles.ids]:
        for before, after in ((b"", b""), (b"\x00", b"\n"), (b"x" * 37, b"9"), (b"/", b"-0000")):
            hay = before + needle + after
            word = not before.endswith(b"x")
            expected = {"piece"} if needle in needles.pieces else ({"id"} if word else set())
            assert finder.kinds(hay) == expected, hay
    assert finder.kinds(draw_bytes.integers(0, 256, 1 << 20, np.uint8).tobytes()) == set()
    assert finder.kinds(b"video-10 clip-1") == set()


def test_a_scan_finds_what_parquet_has_compressed_and_what_lies_across_two_blocks(tmp_path):
    store = open_store(tmp_path)
    row = tiny_sample(0)
    store.write("elsewhere/a.parquet", encode_rows([row], Sample))
    store.write("b.bin", bytes((4 << 20) - 10) + b"the-clip-in-question" + bytes(100))
    needles = SearchPatterns()
    needles.add_ids([row.caption, "the-clip-in-question"])
    needles.add_medium(row.references[0].image["bytes"])
    found = {(hit.path, hit.where) for hit in scan(needles, store).hits}
    assert {("elsewhere/a.parquet", "caption"), ("b.bin", "bytes")} <= found
    assert ("elsewhere/a.parquet", "references") in found


def test_tombstones_recognise_and_tell_nothing():
    stones = Tombstones().adding(["video"], ["character"])
    assert stones.holds_video("video")
    assert not stones.holds_video("character")
    assert stones.holds_character("character")
    assert Tombstones.from_json(stones.to_json()) == stones
    assert b"video" not in stones.to_json().replace(b'"videos"', b"")
    more = stones.adding(["other"], [])
    assert more.holds_video("video")
    assert more.holds_video("other")
    with pytest.raises(ValueError, match="without tombstones forgotten videos would come back"):
        Tombstones.from_json(b'{"tombstones_version": 9}')
    with pytest.raises(ValueError, match="restore it from a copy"):
        Tombstones.from_json(b"[]")
