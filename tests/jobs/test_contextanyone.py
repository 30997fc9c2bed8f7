"""One command for everything, as the scripts are; what a machine lacks is said in one line."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from jobs.contextanyone import COMMANDS

COMMAND = [sys.executable, "jobs/contextanyone.py"]


def call(*words: str, fakes: Path | None = None) -> subprocess.CompletedProcess:
    """Run a command, with modules of a folder in place of the installed ones."""
    environment = {**os.environ, **({"PYTHONPATH": str(fakes)} if fakes else {})}
    return subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def script(name: str) -> str:
    return f"{COMMANDS[name].module.replace('.', '/')}.py"


def test_it_lists_every_script_by_task():
    page = call(*COMMAND, "--help").stdout
    scripts = {script(name) for name in COMMANDS if f"  {name} " in page}
    here = [*ROOT.glob("jobs/[a-z]*.py"), *ROOT.glob("trainer/*.py")]
    assert scripts == {
        str(path.relative_to(ROOT))
        for path in here
        if "start(" in path.read_text() or "begin(" in path.read_text()
        if path.name != "contextanyone.py"
    }


def test_it_starts_without_a_library_that_takes_seconds():
    code = (
        "import sys, jobs.contextanyone as c; c.page();"
        "sys.exit(bool({'torch', 'ray', 'cv2', 'numpy'} & set(sys.modules)))"
    )
    assert call(sys.executable, "-c", code).returncode == 0


def test_a_worker_of_a_curation_starts_without_what_it_may_never_need():
    """Every process of a run imports the job: half a second each for scipy alone."""
    slow = {"torch", "ray", "scipy", "duckdb", "pandas", "matplotlib", "onnxruntime"}
    code = f"import sys, pipeline.curation.curate_command; print({slow} & set(sys.modules))"
    assert call(sys.executable, "-c", code).stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["models", "audit", "train"])
def test_command_and_script_say_the_same_version(name):
    told = call(*COMMAND, name, "--version").stdout
    assert told == call(sys.executable, script(name), "--version").stdout
    assert told.startswith("contextanyone 0.")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"contextanyone {name}", "--help"])
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(COMMANDS[name].module).main()
    assert not stop.value.code
    page = capsys.readouterr().out
    assert f"usage: contextanyone {name}" in page
    assert len(page.splitlines()) <= 50


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_takes_a_flag_that_is_cut_short(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"contextanyone {name}", "--hel"])
    try:
        code = importlib.import_module(COMMANDS[name].module).main()
    except SystemExit as stop:
        code = stop.code
    assert code in (2, 3)
    assert capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("curate", ["--output", "d"], 2),
        ("audit", ["no-dataset-here"], 3),
        ("forget", ["no-dataset-here", "--video", "a"], 2),
        ("train", ["--preset", "huge"], 2),
        ("doctor", ["--engines", "production", "--models", "none-here"], 2),
    ],
)
def test_command_and_script_say_the_same_and_end_with_the_same_code(name, arguments, code):
    by_command = call(*COMMAND, name, *arguments)
    by_script = call(sys.executable, script(name), *arguments)
    assert by_command.returncode == by_script.returncode == code
    assert by_command.stderr.splitlines()[-1] == by_script.stderr.splitlines()[-1]


def test_what_is_no_command_is_refused_with_the_one_that_is_meant():
    told = call(*COMMAND, "curat")
    assert (told.returncode, told.stdout) == (2, "")
    assert (
        told.stderr == "contextanyone: there is no curat; did you mean curate?; --help lists all\n"
    )


def fake(folder: Path, module: str, error: str) -> Path:
    (folder / f"{module}.py").write_text(f"raise {error}\n")
    return folder


NO_GL = "ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["curate", "calibrate", "contact-sheet", "demo-videos", "train"])
def test_a_bare_container_gets_one_line_with_the_remedy(tmp_path, name):
    fakes = fake(tmp_path, "cv2", NO_GL)
    for start in ([*COMMAND, name], [sys.executable, script(name)]):
        told = call(*start, "--help", fakes=fakes)
        assert told.returncode == 2
        assert told.stderr.count("\n") == 1
        assert "OpenCV needs libGL.so.1, which this machine lacks: apt-get install libgl1" in (
            told.stderr
        )
        assert "pip install 'opencv-python-headless==4." in told.stderr


@pytest.mark.parametrize(
    ("module", "command", "code", "says"),
    [
        ("duckdb", ["audit", "{0}"], 3, 'duckdb is not installed: pip install -e ".[audit]"'),
        ("uvicorn", ["browse", "{0}"], 2, 'uvicorn is not installed: pip install -e ".[audit]"'),
        ("s3fs", ["curate", "--input", "{0}", "--output", "s3://b/d"], 2, 'install -e ".[s3]"'),
        ("gcsfs", ["curate", "--input", "gs://b/v", "--output", "{0}"], 2, 'install -e ".[gcs]"'),
    ],
)
def test_an_extra_that_is_not_installed_is_named(tmp_path, module, command, code, says):
    (tmp_path / "video.mp4").write_bytes(b"no video")
    fakes = fake(tmp_path, module, f"ModuleNotFoundError('none', name={module!r})")
    told = call(*COMMAND, *(word.format(tmp_path / "video.mp4") for word in command), fakes=fakes)
    assert told.returncode == code, told.stderr
    assert says in told.stderr
    assert "Traceback" not in told.stderr


def test_a_fault_of_ours_is_not_hidden(tmp_path):
    fakes = fake(tmp_path, "cv2", "ImportError('cannot import name x from cv2')")
    assert "Traceback" in call(*COMMAND, "contact-sheet", "a", "b", fakes=fakes).stderr
