"""How differently each character is seen: turned, lit, near and far."""

from dataclasses import dataclass, field

from pipeline.audit.index import AuditIndex

ONE_POSE = 15.0  # degrees between the most turned heads of a character's pictures
ONE_LIGHT = 0.05  # of 1, between the mean brightness of its darkest and its brightest clip
_LISTED = 12  # characters with most samples
# One row a character; what the columns do not say is NULL. Tables may have a prefix.
SEEN = (
    "(SELECT c.id, c.sample_id, c.number, c.light, c.sizes, p.turned FROM"
    " (SELECT character_id AS id, min(sample_id) AS sample_id, count(*) AS number,"
    " max(brightness) - min(brightness) AS light, count(DISTINCT shot_size) AS sizes"
    " FROM {prefix}samples GROUP BY 1) c LEFT JOIN"
    " (SELECT s.character_id AS id, max(r.yaw) - min(r.yaw) AS turned FROM {prefix}refs r"
    " JOIN {prefix}samples s USING (sample_id) WHERE NOT isnan(r.yaw) GROUP BY 1) p USING (id))"
)


@dataclass(frozen=True)
class Seen:
    """How one character is seen; None where no column says it."""

    character_id: str
    samples: int
    turned: float | None  # degrees between the most turned heads
    light: float | None  # between the darkest and the brightest clip, of 1
    sizes: int  # close-up, medium, full, wide


@dataclass(frozen=True)
class Variety:
    """How differently the characters of two samples and more are seen; shares from 0 to 1."""

    characters: int = 0
    one_pose: float = 0.0
    one_light: float = 0.0
    one_size: float = 0.0
    largest: list[Seen] = field(default_factory=list)


def variety_of(index: AuditIndex, prefix: str = "") -> Variety:
    """Compute it from the light columns."""
    seen = SEEN.format(prefix=prefix)
    row = index.fetch(
        f"SELECT count(*), avg((turned < {ONE_POSE})::INT), avg((light < {ONE_LIGHT})::INT),"
        f" avg((sizes = 1)::INT) FROM {seen} WHERE number > 1"
    )[0]
    listed = index.fetch(
        f"SELECT id, number, turned, light, sizes FROM {seen} WHERE number > 1"
        f" ORDER BY number DESC, id LIMIT {_LISTED}"
    )
    largest = [
        Seen(str(id), int(number), _rounded(turned), _rounded(light), int(sizes))
        for id, number, turned, light, sizes in listed
    ]
    pose, light, size = (_rounded(share) or 0.0 for share in row[1:])
    return Variety(int(row[0]), pose, light, size, largest)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
