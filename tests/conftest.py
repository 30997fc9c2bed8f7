"""What tests share: the real media, and a small dataset made once."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from distributed import Team
from filelock import FileLock
from places import media_root
from runs import curate, draw_video

os.environ.setdefault("CONTEXTANYONE_OFFLINE", "1")  # no test fetches weights from the network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads would only wait for each other
_ALONE = "CONTEXTANYONE_TEST_ALONE"  # set in a process that runs one test
_IMPLIED = {"golden": "slow", "media": "media", "one": "deepspeed", "two": "deepspeed"}


def pytest_configure() -> None:
    """Let what tests start be interrupted, though this suite may run in a script's background.

    There, or under nohup, these signals are ignored, and every process that is started inherits
    that; a handler, even of nothing, is not inherited.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures that they take, and begin with the files that take longest."""
    for item in items:
        for fixture, marker in _IMPLIED.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)
    heavy = Counter(item.path for item in items if {"ray", "deepspeed", "slow"} & marks(item))
    items.sort(key=lambda item: -heavy[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test marked `alone` in a process of its own.

    Where Ray ran and was shut down, a client that is left of it looks for the node that is gone,
    and ends the process after a minute, with code 1 and no word (seen on Ray 2.60).
    """
    if "alone" not in marks(pyfuncitem) or _ALONE in os.environ:
        return None
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", pyfuncitem.nodeid],
        cwd=pyfuncitem.config.rootpath,
        env={**kept, _ALONE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return True


def marks(item: pytest.Item) -> set[str]:
    return {mark.name for mark in item.iter_markers()}


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of real test media; the test is skipped where it is absent."""
    root = media_root()
    if root is None:
        pytest.skip("real test media absent: set CONTEXTANYONE_MEDIA to the folder with videos/")
    return root


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    """Six drawn videos, a copy of one of them, and a file that is no video."""
    return made_once("videos", draw_videos, tmp_path_factory)


@pytest.fixture(scope="session")
def golden(videos, tmp_path_factory) -> Path:
    """The dataset that an undisturbed run of one worker makes of `videos`; nobody changes it."""
    return made_once("golden", lambda folder: curate(folder, videos), tmp_path_factory)


def made_once(name: str, make: Callable[[Path], object], tmp_path_factory) -> Path:
    """Return a folder that one of the processes makes, for all that test side by side."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, done = root / f"once-{name}", root / f"once-{name}.done"
    with FileLock(root / f"once-{name}.lock"):
        if not done.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    return folder


def draw_videos(folder: Path) -> None:
    for seed in range(6):
        draw_video(folder / f"{seed}.mp4", seed)
    (folder / "broken.mp4").write_bytes(b"this is no video")
    (folder / "again.mp4").write_bytes((folder / "0.mp4").read_bytes())


@pytest.fixture
def other_checkout(tmp_path, monkeypatch) -> Path:
    """The folder where we are: a checkout like ours, whose modules nobody must import."""
    for name in ("schemas", "pipeline", "trainer"):
        (tmp_path / "other" / name).mkdir(parents=True)
        (tmp_path / "other" / name / "__init__.py").write_text("raise ImportError('the other')")
    monkeypatch.chdir(tmp_path / "other")
    return tmp_path / "other"


@pytest.fixture(scope="module")
def one():
    """One training process."""
    team = Team(1)
    yield team
    team.stop()


@pytest.fixture(scope="module")
def two():
    """Two training processes that form a group."""
    team = Team(2)
    yield team
    team.stop()
