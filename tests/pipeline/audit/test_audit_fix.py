"""A repair is a new version: what failed is left out with a reason, groups get one split."""

import json

import pytest
from audits import audited, counted, findings
from drawn_dataset import write_drawn_dataset
from faults import plant
from present import current_version, rows_of, there

from pipeline.audit.compare import compare
from pipeline.audit.fix import fix, plan_repair
from pipeline.dataset.commit import damaged_files
from pipeline.dataset.store import open_store
from pipeline.dataset.tags import read_tag_file
from pipeline.dataset.vacuum import find_leftovers, remove

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_drawn_dataset(tmp_path_factory.mktemp("drawn") / "clean")


def repair(folder, tags=None, drop_warnings=(), write=True):
    with audited(folder) as done:
        return fix(done, tags, list(drop_warnings), write, 1)


def test_dry_run_changes_no_byte(clean, tmp_path, capsys):
    folder = plant("reference_of_somebody_else", clean, tmp_path / "copy").folder
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert repair(folder, write=False) is None
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert "1 of 12 samples are left out" in capsys.readouterr().out


def test_failed_sample_is_left_out_with_its_reason_and_the_old_version_as_parent(clean, tmp_path):
    folder = plant("reference_of_somebody_else", clean, tmp_path / "copy").folder
    old, digest = current_version(open_store(folder))
    new = there(repair(folder))
    assert (new.version, new.parent) == (old.version + 1, digest)
    assert damaged_files(new, open_store(folder)) == []
    assert len(rows_of(folder, "samples")) == 11
    line = next(row for row in rows_of(folder, "rejects") if row["stage"] == "audit")
    assert line["reason"] == "audit_error"
    assert line["detail"].startswith("pair.other-character")
    assert counted(findings(folder), "error", "warning") == {}


def test_whole_groups_are_moved_to_one_split(clean, tmp_path):
    folder = plant("video_in_two_splits", clean, tmp_path / "copy").folder
    assert counted(findings(folder), "error")["leak.video"] == 1
    new = there(repair(folder))
    assert counted(findings(folder), "error") == {}
    samples = rows_of(folder, "samples")
    assert len(samples) == 12
    assert new.splits == {"train": 8, "validation": 4, "test": 0}
    by_character = {}
    for row in samples:
        by_character.setdefault(row["character_id"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in by_character.values())


def test_warnings_are_tagged_and_dropped_only_when_asked(clean, tmp_path):
    folder = plant("caption_refuses", clean, tmp_path / "copy").folder
    repair(folder)
    assert [row["tag"] for row in rows_of(folder, "tags")] == ["caption.refusal"]
    assert len(rows_of(folder, "samples")) == 12
    repair(folder, drop_warnings=["caption.refusal"])
    assert len(rows_of(folder, "samples")) == 11


def test_repeated_row_goes_and_one_stays(clean, tmp_path):
    folder = plant("sample_listed_twice", clean, tmp_path / "copy").folder
    repair(folder)
    ids = [row["sample_id"] for row in rows_of(folder, "samples")]
    assert len(ids) == len(set(ids)) == 12
    assert counted(findings(folder), "error") == {}


def test_vetoes_of_a_person_drop_and_tags_mark(clean, tmp_path):
    folder = plant("caption_refuses", clean, tmp_path / "copy").folder
    first, second = sorted(row["sample_id"] for row in rows_of(folder, "samples"))[:2]
    path = tmp_path / "tags.jsonl"
    lines = [
        {"sample_id": first, "tag": "veto", "note": "another person"},
        {"sample_id": second, "tag": "nice"},
        {"sample_id": "f" * 24, "tag": "veto"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    repair(folder, tags=path)
    assert first not in {row["sample_id"] for row in rows_of(folder, "samples")}
    line = next(row for row in rows_of(folder, "rejects") if row["reason"] == "vetoed")
    assert (line["id"], line["detail"]) == (first, "another person")
    assert (second, "nice") in {(r["sample_id"], r["tag"]) for r in rows_of(folder, "tags")}


@pytest.mark.parametrize(
    ("line", "says"),
    [("nonsense", "is not JSON"), ('{"tag": "veto"}', "with sample_id"), ("[1]", "an object")],
)
def test_wrong_tags_are_named_with_their_line(tmp_path, line, says):
    path = tmp_path / "tags.jsonl"
    path.write_text(f'{{"sample_id": "a", "tag": "b"}}\n{line}\n')
    with pytest.raises(ValueError, match="line 2") as raised:
        read_tag_file(path)
    assert says in str(raised.value)


def test_changed_bytes_are_never_published_as_good(clean, tmp_path):
    folder = plant("byte_changed_in_a_shard", clean, tmp_path / "copy").folder
    tags = tmp_path / "tags.jsonl"
    sample_id = rows_of(folder, "samples")[0]["sample_id"]
    tags.write_text(json.dumps({"sample_id": sample_id, "tag": "veto"}))
    with pytest.raises(ValueError, match=r"file\.hash"):
        repair(folder, tags=tags)
    assert current_version(open_store(folder))[0].version == 1


def test_without_a_manifest_nothing_is_repaired(clean, tmp_path):
    import shutil

    shutil.copytree(clean / "samples", tmp_path / "foreign" / "samples")
    with pytest.raises(ValueError, match="none that can be read"):
        repair(tmp_path / "foreign")


def test_clean_dataset_needs_no_repair(clean):
    with audited(clean) as done:
        assert not plan_repair(done, [])


def test_comparison_tells_what_a_repair_did(clean, tmp_path):
    folder = plant("reference_of_somebody_else", clean, tmp_path / "copy").folder
    repair(folder)
    with audited(folder) as done:
        change = compare(done, str(clean))
    assert change.counts == {"added": 0, "removed": 1, "changed": 0}
    assert change.totals["samples"] == (12, 11)
    assert any("audit sample" in line for line in change.funnel)


def test_comparison_with_a_swept_version_is_one_of_manifests(clean, tmp_path):
    folder = plant("reference_of_somebody_else", clean, tmp_path / "copy").folder
    repair(folder)
    store = open_store(folder)
    remove(find_leftovers(store), store)
    with audited(folder) as done:
        change = compare(done, str(folder / "manifests" / "0001.json"))
    assert "samples are gone" in change.note
    assert change.totals["samples"] == (12, 11)


def test_comparison_finds_merged_and_split_characters_and_removed_videos(clean, tmp_path):
    split = plant("one_person_two_characters", clean, tmp_path / "split").folder
    with audited(split) as done:
        change = compare(done, str(clean))
        assert "change.identity-split" in done.findings.counts()
        assert any("became" in line for line in change.identities)
    with audited(clean) as done:
        compare(done, str(split))
        assert "change.identity-merged" in done.findings.counts()
    lost = plant("rows_miscounted", clean, tmp_path / "lost")
    gone = lost.rows("videos").pop()
    lost.save()
    with audited(lost.folder) as done:
        compare(done, str(clean))
        found = done.findings.examples("change.removed-still-present", 9)
    assert any(gone["video_id"] in row.evidence for row in found)
