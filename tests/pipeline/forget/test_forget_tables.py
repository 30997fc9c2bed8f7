"""What a forgotten person leaves behind in each table, row by row, on tables written by hand."""

from dataclasses import replace

import numpy as np
import pytest
import rows as draw
from present import current_version
from runs import rows
from test_forget import begin, samples_of
from tiny_dataset import tiny_sample, write_samples

from pipeline.dataset.commit import publish, stage_file, table_path
from pipeline.dataset.edited import read_edits, write_edits
from pipeline.dataset.parquet import encode_rows
from pipeline.dataset.store import open_store
from pipeline.dataset.tags import read_tags, write_tags
from pipeline.forget import forget
from pipeline.forget.targets import ForgetRequest, find_targets
from schemas.ids import content_id
from schemas.manifest import Manifest
from schemas.tables import (
    CastMember,
    Character,
    Clip,
    Edit,
    InputOutcome,
    Reject,
    Sample,
    Suspect,
    Tag,
)


def test_other_peoples_samples_lose_references_and_are_named_anew(tmp_path):
    """Two references, one of the forgotten video; and a sample with only references of it."""
    one, two, three = (tiny_sample(number) for number in range(3))
    stranger = replace(one.references[0], reference_id="of-the-forgotten", video_id=three.video_id)
    one = replace(one, references=[stranger, one.references[1]])
    two = replace(two, references=[stranger])
    write_samples(tmp_path, [one, two, three])
    store = open_store(tmp_path)
    write_tags([Tag(one.sample_id, "veto", "bad light"), Tag(three.sample_id, "veto")], store)
    done = forget.finish(begin(store, three.video_id), store)
    assert done.clean, done.scan.hits
    [left] = samples_of(tmp_path).values()
    ours = one.references[1].reference_id
    assert left["sample_id"] == content_id("sample", one.clip_id, one.track_id, [ours])
    assert [each["reference_id"] for each in left["references"]] == [ours]
    assert left["video"]["bytes"] == one.video["bytes"]
    assert read_tags(store) == [Tag(left["sample_id"], "veto", "bad light")]
    assert done.job.shortened == 1


def test_the_list_of_inputs_loses_the_forgotten_and_nobody_else(tmp_path):
    stays, goes = tiny_sample(0), tiny_sample(1)
    write_samples(tmp_path, [stays, goes])
    store = open_store(tmp_path)
    manifest, digest = current_version(store)
    inputs = [
        InputOutcome("/films/anna.mp4", goes.video_id, 10, "kept"),
        InputOutcome("/films/copy of anna.mp4", goes.video_id, 10, "duplicate"),
        InputOutcome("/films/bob.mp4", stays.video_id, 20, "kept"),
    ]
    path = table_path("inputs", 2, 0)
    file = stage_file(path, encode_rows(inputs, InputOutcome), len(inputs), store)
    publish(replace(manifest, version=2, parent=digest, files=[*manifest.files, file]), store)
    done = forget.finish(begin(store, goes.video_id), store)
    assert done.clean, done.scan.hits
    assert [row["uri"] for row in rows(tmp_path, "inputs")] == ["/films/bob.mp4"]
    assert done.job.rows["inputs"] == 2


def test_identities_doubts_and_edits_go_or_are_counted_again(tmp_path):
    """A is forgotten. B has tracks in A's video and in another, and A as the nearest other."""
    store = open_store(tmp_path)
    stays, goes = tiny_sample(0), tiny_sample(1)
    write_samples(tmp_path, [stays, goes])
    manifest, digest = current_version(store)
    b, a = stays.character_id, goes.character_id
    here = draw.clip("clip-here", stays.video_id, shot_id="s1")
    there = draw.clip("clip-there", goes.video_id, shot_id="s2")
    tracks = [
        draw.track("track-one", here, character_id=b, next_character_id=a,
                   next_similarity=0.4),
        draw.track("track-two", there, character_id=b),
        draw.track("track-three", there, character_id=a),
    ]  # fmt: skip
    characters = [
        Character(b, 2, 2, 2, 2, 0.9, 0.9, 0.4, a, "r/1", "face"),
        Character(a, 1, 1, 1, 1, np.nan, np.nan, 0.4, b, "r/1", "face"),
    ]
    suspects = [
        Suspect("split", b, a, "", 0.4, 0.5),
        Suspect("merge", b, "", "track-two", 0.6, 0.5),
        Suspect("merge", b, "", "track-one", 0.6, 0.5, "track-one fits worst, then track-two"),
    ]
    tables = {"tracks": tracks, "characters": characters, "suspects": suspects}
    files = [
        stage_file(table_path(name, 2, 0), encode_rows(made, type(made[0])), len(made), store)
        for name, made in tables.items()
    ]
    publish(replace(manifest, version=2, parent=digest, files=[*manifest.files, *files]), store)
    kept = edit("edit-one", "track-one", stays.video_id)
    write_edits([kept, edit("edit-two", "track-two", goes.video_id)], store)

    manifest, _ = current_version(store)
    targets = find_targets(ForgetRequest(characters=(a,)), manifest, store)
    done = forget.finish(forget.begin(targets, store), store)

    assert done.clean, done.scan.hits
    [track] = rows(tmp_path, "tracks")
    assert (track["track_id"], track["next_character_id"]) == ("track-one", "")
    assert np.isnan(track["next_similarity"])
    [left] = rows(tmp_path, "characters")
    assert (left["character_id"], left["next_character_id"]) == (b, "")
    assert [left[f"num_{name}"] for name in ("tracks", "clips", "shots", "videos")] == [1] * 4
    assert np.isnan(left["cohesion"])
    [suspect] = rows(tmp_path, "suspects")
    assert suspect["detail"] == "track-one fits worst, then (forgotten)"
    assert list(read_edits(store)) == ["edit-one"]
    assert {name: done.job.rows[name] for name in ("characters", "suspects", "edits")} == {
        "characters": 1, "suspects": 2, "edits": 1,
    }  # fmt: skip


def edit(edit_id: str, track_id: str, video_id: str) -> Edit:
    """Return an edit that was refused before anything was measured of it."""
    return Edit(
        edit_id, f"source of {edit_id}", track_id, video_id, "walk", "walks", 1, "editor/1", "none",
        "no_face", "{}", "r/1", "d", list(np.random.default_rng(ord(edit_id[-1])).random(8)), [],
    )  # fmt: skip


def test_a_cast_loses_the_forgotten_and_the_sample_is_named_anew(tmp_path):
    """Two more characters in one clip: one with another reference left, one without."""
    main, video = tiny_sample(0), tiny_sample(3)
    stranger = replace(video.references[0], reference_id="theirs", video_id=video.video_id)
    own = replace(main.references[1], reference_id="their-own")
    cast = [
        CastMember(name, f"who-{name}", "", "full", 1.0, 1.0, 0.1, 0.0, 0, main.boxes, references)
        for name, references in (("second", [stranger, own]), ("third", [stranger]))
    ]
    write_samples(tmp_path, [replace(main, others=cast), video])
    store = open_store(tmp_path)
    done = forget.finish(begin(store, video.video_id), store)
    assert done.clean, done.scan.hits
    [left] = samples_of(tmp_path).values()
    [member] = left["others"]
    assert [each["reference_id"] for each in member["references"]] == ["their-own"]
    ids = [each.reference_id for each in main.references]
    alone = content_id("sample", main.clip_id, main.track_id, ids)
    second = content_id("sample", main.clip_id, "second", ["their-own"])
    assert left["sample_id"] == content_id("sample", [alone, second])


def test_copies_go_with_it_and_lines_about_it_are_unnamed(tmp_path):
    """B repeats a clip of A, and C repeats one of B; D was only compared with A's character."""
    store = open_store(tmp_path)
    videos = {name: draw.hash_of(name, digits=24) for name in "ABCD"}
    clips = [
        draw.clip(draw.hash_of("clip", name, digits=24), video_id, shot_id=f"shot of {name}")
        for name, video_id in videos.items()
    ]
    clips.sort(key=lambda clip: clip.clip_id)
    of = {clip.video_id: clip.clip_id for clip in clips}

    def reject(name, reason, detail):
        video_id = videos[name]
        return Reject("quality", "clip", of[video_id], video_id, reason, False, 1, 2, detail)

    rejects = [
        reject("B", "duplicate_clip", f"repeats {of[videos['A']]}"),
        reject("C", "duplicate_clip", f"repeats {of[videos['B']]}"),
        reject("D", "identity_ambiguous", f"cosine 0.51 to its own, 0.50 to {of[videos['A']]}"),
    ]
    write_samples(tmp_path, [replace(tiny_sample(0), video_id=videos["D"])])
    manifest, digest = current_version(store)
    files = [
        stage_file(table_path("clips", 2, 0), encode_rows(clips, Clip), len(clips), store),
        stage_file(table_path("rejects", 2, 0), encode_rows(rejects, Reject), 3, store),
    ]
    publish(replace(manifest, version=2, parent=digest, files=[*manifest.files, *files]), store)
    done = forget.finish(begin(store, videos["A"]), store)
    assert done.clean, done.scan.hits
    assert done.job.copies == 2
    assert {row["video_id"] for row in rows(tmp_path, "clips")} == {videos["D"]}
    [line] = rows(tmp_path, "rejects")
    assert line["detail"] == "cosine 0.51 to its own, 0.50 to (forgotten)"


def test_whoever_is_in_an_older_version_alone_is_not_called_unknown_without_a_word(tmp_path):
    write_samples(tmp_path, [tiny_sample(0)])
    store = open_store(tmp_path)
    old, digest = current_version(store)
    new = stage_file(table_path("samples", 2, 0), encode_rows([], Sample), 0, store)
    publish(Manifest(**{**vars(old), "version": 2, "parent": digest, "files": [new]}), store)
    request = ForgetRequest(videos=(tiny_sample(0).video_id,))
    with pytest.raises(ValueError, match=r"older versions.*contextanyone vacuum"):
        find_targets(request, current_version(store)[0], store)
