"""Everything that CONTRIBUTING.md offers to be added by one file and one setting works."""

import os
import subprocess

import pyarrow.parquet as pq
import pytest
from places import HELPERS, ROOT
from runs import command, draw_video, rows

from pipeline.execution.plugins import load_own
from pipeline.pairing.own_columns import load_columns

pytestmark = pytest.mark.slow  # curates

EXAMPLES = ROOT / "docs" / "examples"
OWN = {
    "gate": "pair.gates=[own_gate:CloseViews]",
    "stage": "observe.stages=[own_stage:WideEnough]",
    "column": "pair.columns=[own_column:WordCount]",
    "captioner": "pair.engines.captions=own_captioner:ShortCaptions",
    "scorer": "observe.engines.scorers=[own_scorer:Colourful]",
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """One video, curated with all of the examples at once."""
    folder = tmp_path_factory.mktemp("own")
    draw_video(folder / "video.mp4", 0)
    settings = [word for setting in OWN.values() for word in ("--set", setting)]
    settings += ["--set", "pair.scores.min_aesthetic=0"]
    done = subprocess.run(
        command(folder / "dataset", folder / "video.mp4", extra=settings),
        env=os.environ | {"PYTHONPATH": f"{HELPERS}{os.pathsep}{EXAMPLES}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dataset", done.stdout


def test_gate_and_stage_stand_in_the_funnel(dataset):
    _, printed = dataset
    assert "close views" in printed
    assert "landscape" in printed


def test_captioner_and_scorer_fill_their_columns(dataset):
    folder, printed = dataset
    samples, clips = rows(folder, "samples"), rows(folder, "clips")
    assert {row["caption_engine"] for row in samples} == {"short-captions/1"}
    assert all(row["caption"].startswith("One person in ") for row in samples)
    assert all(0 < row["aesthetic"] <= 10 for row in clips)
    assert "short-captions/1" in printed


def test_column_is_written_with_its_meaning(dataset):
    folder, _ = dataset
    assert all(
        row["caption_words"] == len(row["caption"].split()) for row in rows(folder, "samples")
    )
    [path] = (folder / "samples").glob("*.parquet")
    assert pq.read_schema(path).field("caption_words").metadata[b"doc"] == b"words of the caption"


def test_examples_stand_in_contributing():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    for setting in OWN.values():
        assert setting in page
    for path in EXAMPLES.glob("*.py"):
        assert f"docs/examples/{path.name}" in page


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Outdoors", "must be module:Class"),
        ("no_such_module:Gate", "put its folder on PYTHONPATH"),
        ("json:JSONDecoder", "has no check"),
    ],
)
def test_a_class_that_cannot_be_used_is_named(name, says):
    with pytest.raises(ValueError, match=says):
        load_own("pair.gates", name, ("check",))


def test_a_column_cannot_take_a_name_of_the_table(monkeypatch, tmp_path):
    (tmp_path / "taken_column.py").write_text(
        "class Caption:\n    name, type, doc = 'caption', None, ''\n    def value(self, s): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="has a column 'caption' already"):
        load_columns(["taken_column:Caption"])


def test_a_wrong_gate_stops_the_run_before_it_starts(tmp_path):
    draw_video(tmp_path / "video.mp4", 1)
    done = subprocess.run(
        command(tmp_path, tmp_path / "video.mp4", extra=["--set", "pair.gates=[nothing:X]"]),
        env=os.environ | {"PYTHONPATH": str(HELPERS)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "pair.gates=nothing:X cannot be imported" in done.stderr
    assert "observe:" not in done.stderr
