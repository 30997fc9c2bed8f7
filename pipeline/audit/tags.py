"""Tags and vetoes that people gave to samples: JSON lines, as the browser exports them.

    {"sample_id": "3f2a…", "tag": "veto", "note": "another person"}

`veto` drops the sample; any other word marks it.
"""

import json
from pathlib import Path

from schemas.tables import Tag

VETO = "veto"
_LONGEST = 2000  # signs of a tag or note


def read_tags(path: str | Path) -> list[Tag]:
    """Read the file. Raises ValueError naming the line and what is wrong with it."""
    tags = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as problem:
            raise ValueError(f"{where} is not JSON: {problem}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{where} must be an object with sample_id and tag, got {line[:60]!r}")
        tags.append(_tag(row, where))
    return tags


def _tag(row: dict, where: str) -> Tag:
    values = {name: row.get(name, "") for name in ("sample_id", "tag", "note")}
    for name, value in values.items():
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise ValueError(f"{where}: {name} must be text of at most {_LONGEST} signs")
    if not values["sample_id"] or not values["tag"]:
        raise ValueError(f"{where} needs sample_id and tag, got {sorted(row)}")
    return Tag(**values)
