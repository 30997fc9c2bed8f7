"""Every fault that is planted into a clean dataset is found, and by the check that names it.

`benchmarks/audit_faults.py` plants all of them, also into datasets of real videos; here are the
cheap ones, one of each subject.
"""

import pytest
from audits import counted, findings, of_copy
from drawn_dataset import write_drawn_dataset
from faults import FAULTS, plant, plant_together

from pipeline.audit.checks.rights import UNDECLARED

pytestmark = pytest.mark.slow

IN_COLUMNS = (
    "byte_changed_in_a_shard", "page_damaged", "shard_missing", "shard_not_listed",
    "manifest_edited", "funnel_does_not_add_up", "pickled_column", "column_of_another_type",
    "caption_column_missing", "sample_listed_twice", "clip_row_lost",
    "sample_joined_to_another_clip", "box_not_a_number", "reject_without_a_line",
    "reference_inside_its_clip", "reference_of_somebody_else", "similarity_of_another_pair",
    "vector_of_somebody_else", "vector_not_a_number", "recognisers_mixed",
    "box_jumps_to_somebody_else", "one_person_two_characters", "two_people_one_character",
    "caption_refuses", "caption_counts_people_who_are_not_there", "character_in_two_splits",
    "character_always_seen_alike",
    "near_duplicate_across_splits", "licence_unknown", "nobody_said_whose_it_is",
    "somebody_like_a_forgotten_person_stayed", "video_opted_out",
    "clip_not_safe", "watermark_in_the_score", "text_in_the_score", "clip_unpleasing",
)  # fmt: skip
IN_PICTURES = (
    "clip_truncated", "clip_is_no_video", "clip_with_a_cut", "clip_with_a_flash",
    "clip_without_colour",
    "clip_of_another_size", "mask_shifted", "mask_of_another_size", "reference_cut_from_its_clip",
    "reference_exchanged", "reference_padded_by_reflection",
)  # fmt: skip


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_drawn_dataset(tmp_path_factory.mktemp("drawn") / "clean")


def test_clean_dataset_has_no_finding_above_a_note(clean):
    rows = findings(clean, media=True)
    assert counted(rows, "error", "warning") == {}


@pytest.mark.parametrize("name", IN_COLUMNS)
def test_planted_fault_is_found_in_the_columns(name, clean, tmp_path):
    rows = of_copy(plant(name, clean, tmp_path / "copy"), media=False)
    assert FAULTS[name].check in counted(rows)


def test_terms_that_nobody_stated_are_one_finding_with_the_command(clean, tmp_path):
    copy = plant("nobody_said_whose_it_is", clean, tmp_path / "copy")
    [finding] = [row for row in of_copy(copy, media=False) if row.check.startswith("rights.")]
    samples = copy.rows("samples")
    videos = len({row["video_id"] for row in samples})
    assert finding.level == "dataset"
    assert finding.evidence == (
        f"no licence and no source for {len(samples)} samples of {videos} videos"
    )
    assert "--licence NAME --source WHENCE" in UNDECLARED.remedy
    for row in samples[1:]:
        row["licence"] = "CC0-1.0"
    copy.save()
    rows = of_copy(copy, media=False)
    assert counted(rows)["rights.licence"] == 1
    [finding] = [row for row in rows if row.check == "rights.undeclared"]
    assert finding.evidence.startswith("no source for ")
    assert counted(rows)["rights.source"] == 0


def test_planted_faults_are_found_in_the_pictures(clean, tmp_path):
    rows = of_copy(plant_together(IN_PICTURES, clean, tmp_path / "copy"), media=True)
    assert {FAULTS[name].check for name in IN_PICTURES} <= set(counted(rows))


def test_there_are_more_than_thirty_kinds_of_faults_and_each_names_a_check():
    assert len(FAULTS) >= 100
    assert len({fault.check for fault in FAULTS.values()}) >= 80
