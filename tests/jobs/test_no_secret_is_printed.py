"""A password in a URL is not repeated by any command, whatever it prints of the URL."""

import importlib
import os
import subprocess
import sys

import pytest
from places import ROOT
from tiny_dataset import write_dataset

CANARY = "5ecre7canary"
MEMORY = f"memory://user:{CANARY}@host/data"
BUCKET = f"s3://AKIAKEY:{CANARY}@bucket/data"
LOCAL = f"local://u:{CANARY}@h/data"  # fsspec's name of a folder, here one with a dataset


@pytest.mark.parametrize("url", [MEMORY, BUCKET])
@pytest.mark.parametrize(
    ("job", "arguments"),
    [
        ("encode", ["--preset", "tiny"]),
        ("audit", ["--no-media", "--report", "report"]),
        ("vacuum", []),
        ("forget", ["--video", "v"]),
        ("curate", ["--offline", "--output", "out", "--input"]),
        ("import_clips", ["--output", "out", "--input"]),
        ("export", ["data", "--format", "webdataset", "--output"]),
    ],
)
def test_a_url_that_cannot_be_used_is_named_without_its_password(
    url, job, arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    code, said = say(job, [*arguments, url], monkeypatch, capsys)
    assert code
    assert "host/data" in said or "bucket/data" in said
    assert CANARY not in said


def say(job, arguments, monkeypatch, capsys):
    """Run a job in this process; return its exit code and what it printed."""
    monkeypatch.setattr(sys, "argv", [job, *arguments])
    with pytest.raises(SystemExit) as ended:
        sys.exit(importlib.import_module(f"jobs.{job}").main())
    said = capsys.readouterr()
    return ended.value.code, said.out + said.err


def test_the_plan_of_an_encoding_names_the_dataset_without_its_password(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / f"u:{CANARY}@h" / "data", 6)
    code, said = say("encode", [LOCAL, "--preset", "tiny", "--dry-run"], monkeypatch, capsys)
    assert code == 0, said
    assert "local://h/data/latents/" in said
    assert CANARY not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "name", "more"),
    [
        (MEMORY, "no dataset at memory://host/data", []),
        (BUCKET, "write s3://bucket/data", []),
        (LOCAL, "samples of local://h/data", ["--dry-run"]),
    ],
    ids=["memory", "bucket", "local"],
)
def test_a_training_names_its_dataset_without_its_password(url, name, more, tmp_path):
    words = ["--preset", "tiny", "--output", "run", *more]
    done = subprocess.run(
        [sys.executable, "-m", "trainer.train", *words, "--data", url],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert name in done.stdout + done.stderr
    assert CANARY not in done.stdout + done.stderr
