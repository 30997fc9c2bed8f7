"""What tests share: the real media, and a small dataset made once."""

import os
from pathlib import Path

import pytest
from distributed import Team
from runs import curate, draw_video

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads would only wait for each other
ROOT = Path(__file__).resolve().parents[1]


def media_root() -> Path | None:
    """Return the folder with videos/, odd/ and images/, or None."""
    for place in (os.environ.get("CONTEXTANYONE_MEDIA"), ROOT.parent / "shared" / "media"):
        if place and (Path(place) / "videos").is_dir():
            return Path(place)
    return None


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
    folder = tmp_path_factory.mktemp("videos")
    for seed in range(6):
        draw_video(folder / f"{seed}.mp4", seed)
    (folder / "broken.mp4").write_bytes(b"this is no video")
    (folder / "again.mp4").write_bytes((folder / "0.mp4").read_bytes())
    return folder


@pytest.fixture(scope="session")
def golden(videos, tmp_path_factory) -> Path:
    """The dataset that an undisturbed run makes of `videos`."""
    output = tmp_path_factory.mktemp("golden")
    curate(output, videos)
    return output


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
