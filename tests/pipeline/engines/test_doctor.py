"""The doctor's screen: what would run here, what not and why, without a network."""

import shutil
import subprocess
import sys

import pytest
from patience import HANG_S, children_work_less_than
from places import script
from production import weights_root

from pipeline.engines import doctor
from pipeline.engines.doctor import examine

JOB = script("doctor")


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_embedded_engines_run_without_weights_and_production_ones_do_not(empty, capsys):
    assert examine("embedded", str(empty), "research") == 0
    assert examine("production", str(empty), "research") == 1
    screen = capsys.readouterr().out
    assert "faces=scrfd: MISSING weights; one of det_10g (fetch, InsightFace non-" in screen
    assert "--engines embedded would run" in screen
    assert "--engines production would NOT run: 5 obstacles above" in screen


def test_right_weights_run_and_changed_ones_do_not(empty, capsys):
    root = weights_root()
    if root is None:
        pytest.skip("test weights absent: set CONTEXTANYONE_MODELS to the folder that has them")
    for path in root.glob("*.onnx"):
        shutil.copy(path, empty / path.name)
    assert examine("production", str(empty), "research") == 0
    assert examine("production", str(empty), "commercial") == 1
    assert "people=ultralytics: REFUSED yolov8n_int8_320, AGPL-3.0" in capsys.readouterr().out
    changed = empty / "yunet_n_640_640.onnx"
    changed.chmod(0o644)
    changed.write_bytes(b"other")
    assert examine("permissive", str(empty), "research") == 1
    assert "faces=yunet: WRONG" in capsys.readouterr().out


def test_a_package_that_is_missing_or_old_is_an_obstacle_only_where_it_is_needed(
    empty, monkeypatch, capsys
):
    real = doctor._version
    found = {"ultralytics": None, "insightface": "0.1"}
    monkeypatch.setattr(doctor, "_version", lambda name: found.get(name, real(name)))
    assert examine("embedded", str(empty), "research") == 0
    assert examine("production", str(empty), "research") == 1
    screen = capsys.readouterr().out
    assert "ultralytics                 -             MISSING" in screen
    assert "insightface                 0.1           TOO OLD: at least 0.7.3" in screen
    assert 'people=ultralytics lacks ultralytics: pip install -e ".[engines]"' in screen


def test_it_fits_a_screen_is_quick_and_survives_a_broken_gpu_driver(empty, tmp_path):
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    with children_work_less_than(15):  # about two seconds where nothing else runs
        done = subprocess.run(
            [sys.executable, str(JOB), "--output", "s3://bucket/key"],
            env={"PATH": f"{program.parent}:/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path)},
            capture_output=True, text=True, timeout=HANG_S, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "GPUs unknown: nvidia-smi fails" in done.stdout
    assert "s3:// tells nothing of its space" in done.stdout
    assert len(done.stdout.splitlines()) < 45


def test_a_folder_that_is_not_there_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, str(JOB), "--models", str(tmp_path / "none")],
        capture_output=True, text=True, timeout=HANG_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "none' does not exist" in done.stderr
