"""What the suite itself promises to whoever runs it."""

import signal
import subprocess
import sys

import yaml
from places import ROOT


def test_what_tests_start_can_be_interrupted_even_in_the_background():
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def test_a_commit_is_checked_by_what_make_lint_runs():
    makefile = (ROOT / "Makefile").read_text()
    lint = makefile.partition("lint: ")[2].partition("\n\n")[0]
    [local] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"  # nothing is downloaded
    hooks = [hook["entry"].removeprefix(".venv/bin/") for hook in local["hooks"]]
    checks = [line.removeprefix("\t$(BIN)/") for line in lint.splitlines()[1:]]
    assert hooks == [check.replace(" --check", "").removesuffix(" .") for check in checks]


def test_no_two_test_files_share_a_name():
    """pytest imports them by their names alone, and stops before the first test at the second."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
