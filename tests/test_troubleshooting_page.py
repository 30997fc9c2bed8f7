"""The messages that docs/troubleshooting.md explains are those of the program."""

import re

from places import ROOT

from schemas.reasons import Reason

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()


def test_quoted_messages_are_still_said():
    code = "".join(
        path.read_text() for top in ("pipeline", "trainer", "schemas", "jobs")
        for path in (ROOT / top).rglob("*.py")
    )  # fmt: skip
    said = re.sub(r'"\s*\n\s*f?"', "", code)  # texts that go over several lines
    rows = re.findall(r"^\| ([^|]*`[^|]+`[^|]*) \|", PAGE, re.MULTILINE)
    quoted = {words for row in rows for words in re.findall(r"`([^`]+)`", row) if " " in words}
    missing = {words for words in quoted if words not in said}
    assert len(quoted) > 8
    assert missing == {"No module named"}  # Python says that


def test_explained_reasons_and_settings_exist():
    reasons = set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE)) & {str(each) for each in Reason}
    assert len(reasons) >= 6
    from pipeline.curation.curation_config import CurationConfig
    from schemas.settings import walk_settings

    known = {name for name, *_ in walk_settings(CurationConfig())}
    named = set(re.findall(r"`((?:observe|pair|run)\.\w+\.\w+)", PAGE))
    assert named
    assert named <= known
