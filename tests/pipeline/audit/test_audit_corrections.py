"""The audit takes a person's word for who is who, and says which corrections wait."""

import pytest
from audits import counted, findings
from decisions import decision, in_turn
from drawn_dataset import write_drawn_dataset
from faults import plant

from pipeline.dataset.corrections import CORRECTIONS, write_corrections
from pipeline.dataset.store import open_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_drawn_dataset(tmp_path_factory.mktemp("drawn") / "clean")


def people_of(copy) -> list[str]:
    found: dict[str, list[str]] = {}
    for row in copy.rows("tracks"):
        found.setdefault(row["character_id"], []).append(row["track_id"])
    return [" ".join(ids) for ids in found.values()]


def about(copy, *corrections) -> dict[str, int]:
    write_corrections(in_turn(*corrections), open_store(copy.folder))
    return counted(findings(copy.folder))


def test_characters_that_a_person_told_apart_are_doubted_no_more(clean, tmp_path):
    copy = plant("one_person_two_characters", clean, tmp_path / "copy")
    assert about(copy)["identity.split-suspect"] >= 1
    told = about(copy, decision("different", *people_of(copy)))
    assert told["identity.split-suspect"] == 0
    assert not any(check.startswith("correction.") for check in told)


def test_a_character_that_a_person_confirmed_is_doubted_no_more(clean, tmp_path):
    copy = plant("two_people_one_character", clean, tmp_path / "copy")
    assert about(copy)["identity.merge-suspect"] >= 1
    told = about(copy, *(decision("merge", t) for t in people_of(copy) if " " in t))
    assert told["identity.merge-suspect"] == told["pair.wrong-identity"] == 0


def test_what_waits_what_is_gone_and_what_cannot_be_read_are_three_findings(clean, tmp_path):
    copy = plant("one_person_two_characters", clean, tmp_path / "copy")
    tracks = " ".join(people_of(copy))
    found = about(copy, decision("merge", tracks), decision("name", "gone", value="Ana"))
    assert (found["correction.waiting"], found["correction.stale"]) == (1, 1)
    open_store(copy.folder).write(CORRECTIONS, b"{}\n")
    assert counted(findings(copy.folder), "error")["correction.unreadable"] == 1
