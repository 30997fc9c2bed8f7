"""A check and an export of one's own need one file and one flag."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from drawn_dataset import write_drawn_dataset
from places import ROOT, script

from jobs.audit import parse
from pipeline.audit.audit_command import settings_of
from pipeline.audit.media.stream import DrawConfig
from pipeline.audit.own_checks import load_checks
from pipeline.audit.run import AuditConfig, audit

EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawn_dataset(tmp_path_factory.mktemp("drawn") / "clean")


def job(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script(name), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(EXAMPLES)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_own_check_is_in_the_report(clean: Path, tmp_path: Path) -> None:
    done = job(
        "audit", clean, "--no-media", "--check", "own_check:NoHats", "--report", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    [check] = [check for check in report["checks"] if check["id"] == "own.hat"]
    assert (check["looked_at"], check["findings"]) == (12, 0)


def test_own_export_is_written(clean: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = job("export", clean, "--format", "own_export:CaptionFiles", "--output", output)
    assert done.returncode == 0, done.stderr
    assert len(list(output.glob("*.mp4"))) == len(list(output.glob("*.txt"))) == 12
    wrong = job("export", clean, "--format", "huggingfase", "--output", tmp_path / "other")
    assert (wrong.returncode, "must be one of huggingface" in wrong.stderr) == (2, True)


def test_a_class_that_is_no_check_is_named(clean: Path) -> None:
    with pytest.raises(ValueError, match="--check=json:JSONDecoder has no check, needs, find"):
        settings_of(parse([str(clean), "--check", "json:JSONDecoder"]))


def test_an_id_that_is_taken_is_refused(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    twice = load_checks(["own_check:NoHats", "own_check:NoHats"])
    with pytest.raises(ValueError, match=r"'own\.hat' is taken"):
        audit(str(clean), AuditConfig(media=False, own_checks=twice))


@pytest.mark.parametrize(
    ("kind", "wrong", "says"),
    [
        (AuditConfig, {"workers": 0}, r"audit\.workers must be >= 1"),
        (AuditConfig, {"media": 1}, r"audit\.media must be true or false"),
        (DrawConfig, {"number": 0}, r"audit\.draw\.number must be >= 1"),
        (DrawConfig, {"seed": 0.5}, r"audit\.draw\.seed must be a whole number"),
    ],
)
def test_settings_that_cannot_work_are_named(kind: type, wrong: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        kind(**wrong)
