"""Every command says in one line what an object store lacks: a package, credentials, a bucket."""

import subprocess
import sys

import pytest
from object_store import s3_server
from places import ROOT

COMMANDS = {
    "curate": ["--input", "s3://nowhere/in", "--output", "s3://nowhere/out"],
    "audit": ["s3://nowhere/out"],
    "vacuum": ["s3://nowhere/out"],
    "forget": ["s3://nowhere/out", "--video", "x"],
    "export-dataset": ["s3://nowhere/out", "--format", "webdataset", "--output", "here"],
    "contact-sheet": ["s3://nowhere/out", "here.png"],
    "caption": ["s3://nowhere/out"],
}
RUN_ALL = """
import io, os, sys
from contextlib import redirect_stderr, redirect_stdout
if sys.argv[1] == "without":
    sys.modules["s3fs"] = None
from jobs.contextanyone import COMMANDS, begin
os._exit = sys.exit
for line in sys.stdin.read().splitlines():
    name, *words = line.split()
    said = io.StringIO()
    sys.argv = [name, *words]
    try:
        with redirect_stderr(said), redirect_stdout(io.StringIO()):
            begin(name)
    except SystemExit as end:
        print(name, end.code, said.getvalue().strip().replace("\\n", " // "), sep="\\t")
"""


def say(tmp_path, case):
    """Run every command in one process; return what each says on stderr."""
    words = "\n".join(" ".join([name, *arguments]) for name, arguments in COMMANDS.items())
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, case], input=words, text=True, capture_output=True,
        cwd=tmp_path, check=False,
    )  # fmt: skip
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == list(COMMANDS), done.stderr[-2000:]
    return {name: (int(code), text) for name, code, text in lines}


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """No credentials anywhere, and little patience."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("CONTEXTANYONE_REMOTE", "attempts=2,pause_s=0.01")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("without", 's3fs is not installed: pip install -e ".[s3]"'),
        ("no credentials", "no credentials (NoCredentialsError)"),
        ("no bucket", "s3://nowhere/"),
    ],
)
def test_one_line_says_what_is_missing(alone, tmp_path, monkeypatch, case, says):
    with s3_server() as url:
        if case == "no credentials":
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
            monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert url
        told = say(tmp_path, case)
    for name, (code, text) in told.items():
        assert code in (2, 3), (name, code, text)
        assert says in text, (name, text)
        assert " // " not in text, (name, text)
