"""Where the real test media lie, and how tests do without."""

import os
from pathlib import Path

import pytest

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
