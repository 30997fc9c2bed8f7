"""Where things are: this checkout, its scripts, the truth files, the real media and weights."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HELPERS = Path(__file__).resolve().parent
GOLDEN = ROOT / "tests" / "golden"


def script(name: str) -> str:
    """Return the path of a script of `jobs/`."""
    return str(ROOT / "jobs" / f"{name}.py")


def media_root() -> Path | None:
    """Return the folder with videos/, odd/ and images/, or None."""
    for place in (os.environ.get("CONTEXTANYONE_MEDIA"), ROOT.parent / "shared" / "media"):
        if place and (Path(place) / "videos").is_dir():
            return Path(place)
    return None
