"""A person is forgotten, not an id: who may be the same person is asked about before."""

import json
from dataclasses import replace

import pytest
import rows as draw
from audits import findings
from decisions import decision, in_turn
from present import current_version
from runs import rows
from test_forget import run
from tiny_dataset import tiny_sample, write_samples

from pipeline.dataset.commit import publish, stage_file, table_path
from pipeline.dataset.corrections import read_corrections, write_corrections
from pipeline.dataset.forgotten import read_tombstones
from pipeline.dataset.parquet import encode_rows
from pipeline.dataset.sample_schema import sample_schema
from pipeline.dataset.store import open_store
from pipeline.forget.doubts import DECIDED, NAMED, NEAR, SUSPECT, find_doubts
from schemas.tables import Embedding, Sample, Suspect, Track

ANNA, TWIN, NEIGHBOUR, STRANGER = (4 * f"{number}a7c9e" for number in range(1, 5))
DIRECTIONS = {  # two tracks each: how far a person's own are from each other
    ANNA: ((1.0, 0.0, 0.0), (0.8, 0.6, 0.0)),
    TWIN: ((0.0, 1.0, 0.0), (0.0, 0.9, 0.43)),
    NEIGHBOUR: ((0.95, 0.0, 0.31), (0.9, 0.0, 0.43)),
    STRANGER: ((0.0, 0.0, 1.0), (0.0, 0.1, 0.99)),
}


@pytest.fixture
def dataset(tmp_path):
    """Four characters: a split suspect says that Anna may be two, and one is merely near to her."""
    samples, tracks, vectors = [], [], []
    for who, (character_id, directions) in enumerate(DIRECTIONS.items()):
        for place, direction in enumerate(directions):
            sample = tiny_sample(2 * who + place, frames=8)
            sample = replace(
                sample, character_id=character_id, description=f"Somebody, {character_id}.",
                references=[replace(r, video_id=sample.video_id) for r in sample.references],
            )  # fmt: skip
            clip = draw.clip(sample.clip_id, sample.video_id, shot_id=sample.shot_id)
            samples.append(sample)
            tracks.append(draw.track(sample.track_id, clip, character_id=character_id))
            vector = draw.embedding(direction, sample.track_id)
            vectors.append(replace(vector, video_id=sample.video_id))
    folder = write_samples(tmp_path / "dataset", samples)
    store = open_store(folder)
    manifest, digest = current_version(store)
    suspects = [Suspect("split", TWIN, ANNA, "", 0.5, 0.45, "nearly as alike as one")]
    tables = {
        "tracks": (Track, tracks), "embeddings": (Embedding, vectors),
        "suspects": (Suspect, suspects),
    }  # fmt: skip
    files = [
        stage_file(table_path(name, 2, 0), encode_rows(made, kind), len(made), store)
        for name, (kind, made) in tables.items()
    ]
    publish(replace(manifest, version=2, parent=digest, files=[*manifest.files, *files]), store)
    return folder


def people(folder) -> set[str]:
    return {row["character_id"] for row in rows(folder, "samples")}


def test_both_signs_are_found_and_strangers_are_left_alone(dataset):
    store = open_store(dataset)
    manifest, _ = current_version(store)
    doubts = find_doubts([ANNA], [ANNA], manifest, store)
    assert [(each.other_character_id, each.why) for each in doubts] == [
        (TWIN, SUSPECT), (NEIGHBOUR, NEAR),
    ]  # fmt: skip
    assert doubts[1].threshold == pytest.approx(0.8)
    assert doubts[1].similarity == pytest.approx(0.95, abs=0.01)
    assert find_doubts([ANNA], [ANNA, TWIN, NEIGHBOUR], manifest, store) == []
    assert find_doubts([STRANGER], [STRANGER], manifest, store) == []


def test_nobody_is_removed_before_every_doubt_is_decided(dataset, tmp_path):
    report = tmp_path / "report"
    before = people(dataset)
    said = run(dataset, "--character", ANNA, "--report", report, code=3)
    assert f"stays {TWIN}: 2 samples of 2 videos, 'Somebody, {TWIN}.'" in said
    assert f"--same {NEIGHBOUR}  or  --different {NEIGHBOUR}" in said
    assert f"#/compare/{ANNA}/{TWIN}" in said
    assert STRANGER not in said
    assert "nothing was removed" in said
    said = run(dataset, "--character", ANNA, "--same", TWIN, "--report", report, code=3)
    assert f"may be the same person ({NEAR}" in said
    assert people(dataset) == before
    assert not report.exists()
    assert not (dataset / "tombstones.json").exists()


def test_who_is_the_same_goes_and_the_report_says_what_was_decided(dataset, tmp_path):
    report = tmp_path / "report"
    decided = ["--same", TWIN, "--different", NEIGHBOUR]
    run(dataset, "--character", ANNA, *decided, "--report", report)
    assert people(dataset) == {NEIGHBOUR, STRANGER}
    facts = json.loads((report / "report.json").read_text())
    assert facts["doubts_decided"] == {"the_same_person": 1, "somebody_else": 1}
    text = (report / "report.md").read_text()
    assert "1 are the same and were removed, 1 are somebody else and stay" in text
    assert not any(name in text for name in DIRECTIONS)


def test_the_doubt_outlives_the_person(dataset, tmp_path):
    decided = ["--different", TWIN, "--different", NEIGHBOUR]
    run(dataset, "--character", ANNA, *decided, "--report", tmp_path / "report")
    found = [row.id for row in findings(dataset) if row.check == "rights.forgotten-doubt"]
    assert found == [TWIN, NEIGHBOUR]
    tombstones = read_tombstones(open_store(dataset))
    assert not tombstones.doubts_character(STRANGER)
    assert TWIN not in (dataset / "tombstones.json").read_text()
    run(dataset, "--character", TWIN, "--report", tmp_path / "later")  # once more, and it is she
    left = [row.id for row in findings(dataset) if row.check == "rights.forgotten-doubt"]
    assert left == [NEIGHBOUR]


def test_a_dry_run_names_the_doubts_and_a_video_alone_has_none(dataset, tmp_path):
    said = run(dataset, "--character", ANNA, "--dry-run")
    assert said.count("may be the same person") == 2
    said = run(dataset, "--video", "video-6", "--report", tmp_path / "report")
    assert "may be the same person" not in said
    assert (
        "Nobody who stays in the dataset resembles" in (tmp_path / "report/report.md").read_text()
    )


def test_vectors_of_another_recogniser_are_not_compared(dataset):
    store = open_store(dataset)
    manifest, digest = current_version(store)
    other = [draw.embedding((1.0, 0.0), f"track-{number}", recogniser="r/2") for number in (0, 4)]
    file = stage_file(table_path("embeddings", 3, 1), encode_rows(other, Embedding), 2, store)
    publish(replace(manifest, version=3, parent=digest, files=[*manifest.files, file]), store)
    doubts = find_doubts([ANNA], [ANNA], current_version(store)[0], store)
    assert [each.other_character_id for each in doubts] == [TWIN, NEIGHBOUR]


def tracks_of(folder, character_id: str) -> str:
    found = rows(folder, "tracks")
    return " ".join(row["track_id"] for row in found if row["character_id"] == character_id)


def test_whom_a_person_found_to_be_the_same_is_asked_about_first(dataset, tmp_path):
    """Decided after the last curation: the dataset itself still says that they are two."""
    store = open_store(dataset)
    both = f"{tracks_of(dataset, ANNA)} {tracks_of(dataset, STRANGER)}"
    named = [
        decision("name", tracks_of(dataset, who), value=name)
        for who, name in ((ANNA, "Anna"), (NEIGHBOUR, "anna"))
    ]
    made = in_turn(decision("merge", both, why="Anna told me"), *named)
    write_corrections(made, store)
    manifest, _ = current_version(store)
    doubts = find_doubts([ANNA], [ANNA], manifest, store)
    assert {each.other_character_id: each.why for each in doubts} == {
        STRANGER: DECIDED, NEIGHBOUR: NAMED, TWIN: SUSPECT,
    }  # fmt: skip
    report = ("--report", tmp_path / "report")
    said = run(dataset, "--character", ANNA, *report, code=3)
    assert f"may be the same person ({DECIDED}):" in said
    run(dataset, "--character", ANNA, "--same", STRANGER, "--different", TWIN,
        "--different", NEIGHBOUR, *report)  # fmt: skip
    assert people(dataset) == {TWIN, NEIGHBOUR}
    [left] = read_corrections(store)  # nothing of her: neither tracks nor what was said of her
    assert (left.value, left.people[0]) == ("anna", tuple(tracks_of(dataset, NEIGHBOUR).split()))


def test_nobody_is_forgotten_for_a_character_that_a_person_found_to_be_two(dataset, tmp_path):
    one, other = tracks_of(dataset, ANNA).split()
    write_corrections([decision("separate", one, other)], open_store(dataset))
    before = people(dataset)
    said = run(dataset, "--character", ANNA, "--report", tmp_path / "report", code=3)
    assert f"told people of {ANNA} apart" in said
    assert people(dataset) == before


def test_what_a_person_corrects_in_between_is_asked_about_before_anybody_goes(dataset, tmp_path):
    """The flags answer the doubts of before; the merge that came in between was none of them."""
    answered = ["--same", TWIN, "--different", NEIGHBOUR]
    run(dataset, "--character", ANNA, *answered, "--dry-run")
    store = open_store(dataset)
    both = f"{tracks_of(dataset, ANNA)} {tracks_of(dataset, STRANGER)}"
    write_corrections([decision("merge", both)], store)
    before = people(dataset)
    report = ("--report", tmp_path / "report")
    said = run(dataset, "--character", ANNA, *answered, *report, code=3)
    assert f"may be the same person ({DECIDED}):" in said
    assert f"--same {STRANGER}" in said
    assert people(dataset) == before
    run(dataset, "--character", ANNA, *answered, "--same", STRANGER, *report)
    assert people(dataset) == {NEIGHBOUR}
    assert not read_corrections(store)


def test_older_versions_do_not_keep_the_person(dataset, tmp_path):
    """A version of before, whose files lie beside those of the newest, had one sample more."""
    store = open_store(dataset)
    manifest, digest = current_version(store)
    extra = replace(tiny_sample(40, frames=8), character_id=ANNA, caption="Anna, long ago.")
    content = encode_rows([extra], Sample, sample_schema())
    file = stage_file(table_path("samples", 3, 0), content, 1, store)
    publish(replace(manifest, version=3, parent=digest, files=[*manifest.files, file]), store)
    _, digest = current_version(store)
    publish(replace(manifest, version=4, parent=digest), store)
    assert (dataset / file.path).exists()
    decided = ["--different", TWIN, "--different", NEIGHBOUR]
    said = run(dataset, "--character", ANNA, *decided, "--report", tmp_path / "report")
    assert "0 found" in said
    assert not (dataset / file.path).exists()
    left = [path.read_bytes() for path in dataset.rglob("*") if path.is_file()]
    gone = (extra.video["bytes"], b"Anna, long ago.", ANNA.encode(), b"track-0")
    assert not any(piece in content for piece in gone for content in left)
