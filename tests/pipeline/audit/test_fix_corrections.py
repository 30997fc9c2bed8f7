"""A repair obeys what people corrected: one id a person, no picture of another, their words."""

import shutil
from pathlib import Path

import pytest
from audits import audited, counted, findings
from decisions import decision, in_turn
from drawn_dataset import write_drawn_dataset
from faults import plant
from present import current_version, rows_of

from pipeline.audit.fix import fix
from pipeline.dataset.commit import damaged_files
from pipeline.dataset.corrections import write_corrections
from pipeline.dataset.store import open_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_drawn_dataset(tmp_path_factory.mktemp("drawn") / "clean")


def people_of(folder) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows_of(folder, "tracks"):
        found.setdefault(row["character_id"], []).append(row["track_id"])
    return found


def repaired(folder, *corrections) -> dict[str, int]:
    """Repair by the corrections; return the errors and warnings that are left."""
    write_corrections(in_turn(*corrections), open_store(folder))
    with audited(folder) as done:
        fix(done, None, [], True, 1)
    manifest, _ = current_version(open_store(folder))
    assert damaged_files(manifest, open_store(folder)) == []
    return counted(findings(folder), "error", "warning")


def test_one_person_gets_one_id_in_every_table(clean, tmp_path):
    folder = Path(shutil.copytree(clean, tmp_path / "copy"))
    one, other, _ = people_of(folder).values()
    both = " ".join([*one, *other])
    named = decision("name", " ".join(one), value="Ana")
    assert repaired(folder, decision("merge", both), named) == {}
    assert len(rows_of(folder, "samples")) == 12
    joined = [row for row in rows_of(folder, "characters") if row["name"] == "Ana"]
    assert [row["num_tracks"] for row in joined] == [8]
    for table in ("samples", "tracks"):
        mine = [row for row in rows_of(folder, table) if row["track_id"] in both]
        assert {row["character_id"] for row in mine} == {joined[0]["character_id"]}
    splits = {row["split"] for row in rows_of(folder, "samples") if row["track_id"] in both}
    assert len(splits) == 1  # they were in two


def test_a_picture_of_another_character_is_right_when_a_person_says_so(clean, tmp_path):
    folder = plant("reference_of_somebody_else", clean, tmp_path / "copy").folder
    assert counted(findings(folder), "error")["pair.other-character"] == 1
    every = " ".join(id for tracks in people_of(folder).values() for id in tracks)
    left = repaired(folder, decision("merge", every))
    assert left["pair.other-character"] == 0
    lines = [row["detail"] for row in rows_of(folder, "rejects") if row["stage"] == "audit"]
    assert not any(line.startswith("pair.other-character") for line in lines)


def test_samples_with_a_picture_of_the_other_person_go(clean, tmp_path):
    folder = Path(shutil.copytree(clean, tmp_path / "copy"))
    tracks = next(iter(people_of(folder).values()))
    one, others = tracks[0], " ".join(tracks[1:])
    mixed = {
        row["sample_id"]
        for row in rows_of(folder, "samples")
        for image in row["references"]
        if row["track_id"] in tracks and (row["track_id"] == one) != (image["track_id"] == one)
    }
    assert mixed
    left = repaired(folder, decision("separate", one, others))
    assert {check for check in left if not check.startswith("identity.")} == set()
    assert not mixed & {row["sample_id"] for row in rows_of(folder, "samples")}
    lines = [row for row in rows_of(folder, "rejects") if row["stage"] == "audit"]
    assert {row["reason"] for row in lines if row["id"] in mixed} == {"vetoed"}
    people = people_of(folder)
    assert [one] in people.values()


def test_words_splits_and_bad_pictures_are_as_a_person_said(clean, tmp_path):
    folder = Path(shutil.copytree(clean, tmp_path / "copy"))
    first, *others = rows_of(folder, "samples")
    bad = others[-1]["references"][0]
    words = "A person in a red top waves at somebody."
    left = repaired(
        folder,
        decision("caption", first["track_id"], value=words),
        decision("split", first["track_id"], value="test"),
        decision("reference", bad["track_id"], reference_id=bad["reference_id"], value="bad"),
    )
    assert left == {}
    after = {row["track_id"]: row for row in rows_of(folder, "samples")}
    mended = after[first["track_id"]]
    assert (mended["caption"], mended["caption_engine"]) == (words, "corrected")
    assert mended["split"] == "test"
    assert not any(
        image["reference_id"] == bad["reference_id"]
        for row in after.values()
        for image in row["references"]
    )
