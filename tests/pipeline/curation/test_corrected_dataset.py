"""The next curation obeys what people corrected, and decodes no video for it."""

import shutil

import pytest
from audits import findings
from decisions import decision, in_turn
from runs import curate, rows

from pipeline.dataset.corrections import write_corrections
from pipeline.dataset.store import LocalStore

pytestmark = pytest.mark.slow


def characters(output) -> dict[str, str]:
    return {row["track_id"]: row["character_id"] for row in rows(output, "tracks")}


def about_corrections(output) -> list[tuple[str, str]]:
    found = findings(output)
    return sorted((row.check, row.id) for row in found if row.check.startswith("correction."))


def test_people_pictures_captions_names_and_splits_are_as_a_person_said(videos, golden, tmp_path):
    output = tmp_path / "dataset"
    shutil.copytree(golden, output)
    store = LocalStore(str(output))
    first, second, *others = sorted(rows(output, "samples"), key=lambda row: row["sample_id"])
    pair = [first["track_id"], second["track_id"]]
    of_both = [id for id, who in characters(output).items()
               if who in (first["character_id"], second["character_id"])]  # fmt: skip
    assert first["character_id"] != second["character_id"]
    [bad, *_] = others[0]["references"]
    corrections = in_turn(
        decision("merge", " ".join(of_both)),
        decision("name", " ".join(of_both), value="Ana"),
        decision("caption", pair[0], value="She waits for the tram."),
        decision("split", pair[0], value="validation"),
        decision("reference", bad["track_id"], reference_id=bad["reference_id"], value="bad"),
        decision("merge", "not here"),
    )
    write_corrections(corrections, store)
    assert ("correction.waiting", pair[0]) in about_corrections(output)
    assert ("correction.stale", "not") in about_corrections(output)

    done = curate(output, videos)
    assert "observe" not in done.stderr
    assert "5 of 6 corrections are obeyed" in done.stdout
    assert "lost: merge by ana" in done.stdout
    assert "2 of its 2 tracks are not in the dataset" in done.stdout
    after = {row["track_id"]: row for row in rows(output, "samples")}
    joined = after[pair[0]]["character_id"]
    assert {characters(output)[id] for id in of_both} == {joined}
    assert {row["name"] for row in rows(output, "characters")} == {"Ana", ""}
    assert after[pair[0]]["caption"] == "She waits for the tram."
    assert (after[pair[0]]["caption_engine"], after[pair[0]]["action"]) == ("corrected", "")
    assert {row["split"] for row in after.values() if row["character_id"] == joined} == {
        "validation"
    }
    used = {image["reference_id"] for row in after.values() for image in row["references"]}
    assert bad["reference_id"] not in used
    assert about_corrections(output) == [("correction.stale", "not")]

    write_corrections([], store)  # taken back: the dataset is what it was
    curate(output, videos)
    again = {row["sample_id"] for row in rows(output, "samples")}
    assert again == {row["sample_id"] for row in rows(golden, "samples")}
