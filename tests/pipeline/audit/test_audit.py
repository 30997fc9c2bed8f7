"""An audit stands alone: it reads what is there, says what is not, and trusts nothing."""

import datetime
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audits import audited, counted, findings
from drawn_dataset import write_drawn_dataset
from faults import plant
from patience import HANG_S
from places import ROOT, script

from jobs.audit import parse
from pipeline.audit.audit_command import run, settings_of
from pipeline.audit.media.stream import DrawConfig, plan_tasks
from pipeline.audit.waivers import Waiver, read_waivers
from pipeline.engines.interfaces import SimilarityWindows

JOB = script("audit")


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_drawn_dataset(tmp_path_factory.mktemp("drawn") / "clean")


def job(*arguments):
    command = [sys.executable, str(JOB), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)


def change_samples(folder, change):
    """Rewrite the samples of a dataset without a manifest."""
    for path in (folder / "samples").glob("*.parquet"):
        pq.write_table(change(pq.read_table(path)), path, row_group_size=10)


@pytest.fixture
def foreign(clean, tmp_path):
    """The samples alone, as somebody else may hand them over: no manifest, no other table."""
    shutil.copytree(clean / "samples", tmp_path / "foreign" / "samples")
    return tmp_path / "foreign"


def test_samples_alone_are_audited_and_the_rest_is_said_to_be_unchecked(foreign):
    with audited(foreign) as done:
        rows = list(done.findings.all())
        skipped = done.findings.coverage.not_checked
    assert counted(rows, "error") == {}
    assert counted(rows)["file.no-manifest"] == 1
    assert "no manifest" in skipped["file.hash"]
    assert "embeddings" in skipped["pair.wrong-identity"]
    assert "clips.perceptual_hash" in skipped["leak.near-duplicate"]
    assert "windows of recogniser" in skipped["pair.low-similarity"]


def test_windows_are_four_cosines_by_name():
    given = '{"same_video": 0.84, "cross_video": 0.99, "reference_floor": 0.77, "duplicate": 0.995}'
    config = settings_of(parse(["dataset", "--windows", given]))
    assert config.windows == SimilarityWindows(0.84, 0.99, 0.77, 0.995)
    with pytest.raises(
        ValueError, match="with same_video, cross_video, reference_floor, duplicate;"
    ):
        settings_of(parse(["dataset", "--windows", '{"same_video": 0.84}']))


def test_windows_given_by_the_user_make_similarities_checkable(foreign):
    windows = SimilarityWindows(0.84, 0.99, 0.77, 0.995)
    rows = findings(foreign, windows=windows)
    assert counted(rows)["pair.low-similarity"] > 0


@pytest.mark.parametrize(
    "column", ["boxes", "similarity-of-references", "caption", "fps", "licence", "purity", "split"]
)
def test_missing_optional_column_is_no_crash(foreign, column):
    def change(table):
        if column in table.column_names:
            return table.drop_columns([column])
        return _without_reference_field(table, column.split("-")[0])

    change_samples(foreign, change)
    with audited(foreign) as done:
        assert done.facts.totals["samples"] == 12
        assert done.findings.coverage.not_checked


def _without_reference_field(table, name):
    rows = [
        [{key: value for key, value in one.items() if key != name} for one in some]
        for some in table["references"].to_pylist()
    ]
    place = table.schema.get_field_index("references")
    return table.set_column(place, "references", pa.array(rows))


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_pickled_object_column_is_refused_before_a_value_is_read(foreign, tmp_path):
    marker = tmp_path / "executed"
    payload = pickle.dumps(Bomb(str(marker)))

    def change(table):
        kind = {"ARROW:extension:name": "ray.data.arrow_pickled_object"}
        column = pa.field("caption", pa.binary(), metadata=kind)
        table = table.drop_columns(["caption"])
        return table.append_column(column, pa.array([payload] * table.num_rows, pa.binary()))

    change_samples(foreign, change)
    rows = findings(foreign)
    assert counted(rows)["file.schema-foreign"] == 1
    assert "may run code" in next(r.evidence for r in rows if r.check == "file.schema-foreign")
    assert not marker.exists()


def test_empty_folder_is_no_dataset(tmp_path):
    done = job(tmp_path)
    assert done.returncode == 3
    assert "holds no dataset" in done.stderr


def test_wrong_arguments_are_no_errors_of_the_dataset(clean):
    done = job(clean, "--sample", "0")
    assert (done.returncode, "--sample must be at least 1" in done.stderr) == (3, True)
    with pytest.raises(ValueError, match="nonsense"):
        parse([str(clean), "--nonsense"])


@pytest.mark.slow
def test_exit_codes_and_files_of_the_job(clean, tmp_path):
    report = tmp_path / "report"
    assert job(clean, "--report", report, "--strict", "--no-media").returncode == 0
    told = json.loads((report / "report.json").read_text())
    assert told["verdict"] == "clean"
    assert pq.read_table(report / "findings.parquet")["check"].to_pylist() == ["leak.source"]
    warned = plant("caption_refuses", clean, tmp_path / "warned").folder
    assert run(parse([str(warned), "--report", str(report), "--no-media"])) == 0
    assert run(parse([str(warned), "--report", str(report), "--no-media", "--strict"])) == 1
    broken = plant("reference_of_somebody_else", clean, tmp_path / "broken").folder
    assert run(parse([str(broken), "--report", str(report), "--no-media"])) == 2
    told = json.loads((report / "report.json").read_text())
    check = next(c for c in told["checks"] if c["id"] == "pair.other-character")
    assert (check["findings"], bool(check["why"]), bool(check["remedy"])) == (1, True, True)


def test_waived_findings_do_not_count_until_the_waiver_expires(clean, tmp_path):
    folder = plant("caption_refuses", clean, tmp_path / "copy").folder
    waiver = Waiver("caption.*", "recaptioned later", datetime.date(2026, 6, 1))
    with audited(folder, waivers=(waiver,), today=datetime.date(2026, 5, 31)) as done:
        assert done.findings.by_severity()["warning"] == 0
        assert counted(list(done.findings.all()))["caption.refusal"] == 1
    with audited(folder, waivers=(waiver,), today=datetime.date(2026, 6, 2)) as done:
        assert set(done.findings.counts()) == {"caption.refusal", "leak.source", "waiver.expired"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- check: a.b\n  reason: x", "lacks 'expires'"),
        ("- check: a.b\n  reason: x\n  expires: soon", "expires must be a day"),
        ("- chek: a.b", "unknown keys ['chek']"),
        ("check: a.b", "must hold a list"),
    ],
)
def test_wrong_waivers_are_named(tmp_path, text, says):
    path = tmp_path / "waivers.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="waiver") as raised:
        read_waivers(path)
    assert says in str(raised.value)


def test_a_drawn_sample_of_the_media_is_the_same_every_time(clean):
    with audited(clean) as done:
        one, again, other = (
            list(plan_tasks(done.dataset, done.index, DrawConfig(4, seed))) for seed in (0, 0, 1)
        )
    assert one == again != other
    assert 0 < sum(len(task.rows) for task in one) < 12


def test_an_object_store_is_audited_like_a_folder(clean):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(clean), "/audited", recursive=True)
    with audited("memory://audited", media=True, draw=DrawConfig(3)) as done:
        assert counted(list(done.findings.all()), "error", "warning") == {}
        assert done.media.checked > 0


@pytest.mark.ray
@pytest.mark.alone
def test_a_large_dataset_is_looked_at_on_ray_with_the_same_findings(clean, tmp_path, monkeypatch):
    import ray

    folder = plant("clip_is_no_video", clean, tmp_path / "copy").folder
    here = counted(findings(folder, media=True, draw=DrawConfig(6)))
    monkeypatch.setattr("pipeline.audit.media.stream.LARGE", 1)
    try:
        assert counted(findings(folder, media=True, draw=DrawConfig(6))) == here
    finally:
        ray.shutdown()


def test_every_check_is_in_the_documentation(clean):
    page = (ROOT / "docs" / "audit.md").read_text()
    with audited(clean) as done:
        missing = [id for id in done.findings.checks if f"`{id}`" not in page]
    assert missing == []


def test_how_much_teaches_more_than_copying_is_counted(tmp_path):
    with audited(write_drawn_dataset(tmp_path / "drawn", 2)) as done:
        worth = done.facts.worth
        assert worth.real_pairs == 1.0  # every reference is of another clip
        assert worth.augmented_only == 0.0
        assert worth.two_looks == 1.0
        captions = [row[0].lower() for row in done.index.fetch("SELECT caption FROM samples")]
        alone = sum(captions.count(caption) == 1 for caption in captions) / len(captions)
        assert worth.own_caption == pytest.approx(alone, abs=1e-6)
