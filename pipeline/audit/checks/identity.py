"""Characters: is each of them one person, and is each person one of them?"""

from collections.abc import Iterator

import numpy as np

from pipeline.audit.finding_store import Query
from pipeline.audit.findings import Finding, error, found, note, warning
from pipeline.audit.index import AuditIndex
from pipeline.audit.limits import Limits, variable
from pipeline.audit.variety import ONE_LIGHT, ONE_POSE, SEEN
from pipeline.dataset.decided import Decided
from schemas.ids import unit_interval
from schemas.thresholds import PEOPLE

TOP_SHARE = 0.25  # of the samples, that one character may have
LEAST_CHARACTERS = 4  # below it, a share of a quarter says nothing
JUMP = 1.0  # box sizes that a person may move between two frames
SAME_BOX = 0.85  # overlap at which two tracks of a clip follow one person
MOST_CHARACTERS = 20_000  # compared with each other; more are drawn from by seed
SPLIT_BAND = 0.05  # two characters this close below the linking window are suspects
_BLOCK = 1024

TWICE_IN_FRAME = error(
    "identity.twice-in-frame", "One character is in two places of one frame",
    "Two people were merged, or the tracker followed one person twice.",
    "Drop the samples, or pair again; people who share a frame are never one character.",
)  # fmt: skip
DOUBLE_TRACK = warning(
    "identity.double-track", "Two tracks of a clip follow one person",
    "The person counts twice, and may become two characters.",
    "Raise the tracker's overlap limit and observe the video again.",
)  # fmt: skip
IMPURE = warning(
    "identity.impure-track", "A track may show two people",
    "Neighbouring looks along the track disagree: the tracker may have changed person.",
    "Look at the clip; raise pair.people.min_purity and pair again.",
)  # fmt: skip
JUMPS = warning(
    "identity.jump", "A track jumps",
    "A person does not move by a body's size in one frame: the box is on somebody else.",
    "Look at the clip; drop the sample when the box changes person.",
)  # fmt: skip
COVERAGE = warning(
    "identity.coverage", "The character is seen for too little of the clip",
    "Frames without the person teach that the reference may be ignored.",
    "Raise pair.people.min_coverage and pair again.",
)  # fmt: skip
DOMINANT = warning(
    "identity.dominant", "One character has a large share of the samples",
    "The model learns this person rather than to follow a reference.",
    "Sample by character, or drop some of its clips.",
)  # fmt: skip
ONE_REFERENCE = warning(
    "identity.one-reference", "A character has one reference only",
    "Every one of its clips is learned beside the same picture.",
    "Lower pair.references.min_difference, or add videos of the person.",
)  # fmt: skip
ALIKE = note(
    "identity.always-alike", "A character is always seen alike",
    "Three clips and more with one pose, one light and one distance teach little more than one.",
    "Add videos that show the person otherwise.",
)  # fmt: skip
MERGE = warning(
    "identity.merge-suspect", "A character may be two people",
    "A member is further from the others than one person is from himself.",
    "Compare the pictures; drop the samples of that track if it is somebody else.",
)  # fmt: skip
SPLIT = warning(
    "identity.split-suspect", "Two characters may be one person",
    "The person then counts as somebody else, and may lie in two splits.",
    "Compare the pictures; lower pair.characters.cross_video if they are one.",
)  # fmt: skip
LEAKED = warning(
    "leak.same-person", "Characters of two splits may be one person",
    "The held-out person has been trained on under another id.",
    "Compare the pictures; if they are one person, put both into one split.",
)  # fmt: skip
VECTOR_CHECKS = (MERGE, SPLIT, LEAKED)


def queries() -> Iterator[Query]:
    """Yield the checks of characters that are SQL."""
    yield Query(TWICE_IN_FRAME, "character", _twice(),
                ("tracks.character_id", "tracks.boxes", "tracks.first_frame"),
                "tracks")  # fmt: skip
    yield Query(DOUBLE_TRACK, "track", _double(), ("tracks.boxes", "tracks.clip_id"), "tracks")
    yield Query(IMPURE, "sample", _below("tracks.purity"), ("samples.purity",), "samples")
    yield Query(COVERAGE, "sample", _below("tracks.coverage"), ("samples.coverage",), "samples")
    yield Query(JUMPS, "sample", _jumps(), ("samples.boxes",), "samples")
    yield Query(DOMINANT, "character", _dominant(), ("samples.character_id",), "samples")
    yield Query(
        ONE_REFERENCE, "character", _one(), ("samples.character_id", "refs.reference_id"), "samples"
    )
    needs = ("samples.character_id", "samples.brightness", "samples.shot_size", "refs.yaw")
    yield Query(ALIKE, "character", _alike(), needs, "samples")


def _alike() -> str:
    seen = SEEN.format(prefix="")
    return (
        "SELECT id, sample_id, number || ' samples: heads turned by ' || round(turned)"
        " || ' degrees, brightness within ' || round(light, 3) || ', one size of shot' AS evidence,"
        f" turned AS value, {ONE_POSE} AS threshold FROM {seen}"
        f" WHERE number > 2 AND turned < {ONE_POSE} AND light < {ONE_LIGHT} AND sizes = 1"
    )


def _twice() -> str:
    return (
        "SELECT s.character_id AS id, min(u.sample_id) AS sample_id, 'tracks '"
        " || s.track_id || ' and ' || t.track_id || ' share frames of clip ' || s.clip_id"
        " AS evidence, NULL AS value, NULL AS threshold FROM tracks s JOIN tracks t"
        " ON s.clip_id = t.clip_id AND s.character_id = t.character_id AND s.track_id < t.track_id"
        " AND s.first_frame < t.first_frame + t.num_boxes"
        " AND t.first_frame < s.first_frame + s.num_boxes"
        " JOIN samples u ON u.clip_id = s.clip_id WHERE s.character_id <> ''"
        " GROUP BY s.character_id, s.track_id, t.track_id, s.clip_id"
    )


def _double() -> str:
    overlap = (
        "greatest(0, least(a[3], b[3]) - greatest(a[1], b[1]))"
        " * greatest(0, least(a[4], b[4]) - greatest(a[2], b[2]))"
    )
    size = "(({0}[3] - {0}[1]) * ({0}[4] - {0}[2]))"
    return (
        "SELECT one AS id, '' AS sample_id, 'overlaps track ' || other || ' by '"
        f" || round(iou, 2) AS evidence, iou AS value, {SAME_BOX} AS threshold FROM (SELECT one,"
        f" other, {overlap} / ({size.format('a')} + {size.format('b')} - {overlap}) AS iou FROM"
        " (SELECT s.track_id AS one, t.track_id AS other, s.middle_box AS a, t.middle_box AS b"
        " FROM tracks s JOIN tracks t ON s.clip_id = t.clip_id AND s.track_id < t.track_id"
        " AND abs(s.first_frame + s.num_boxes // 2 - t.first_frame - t.num_boxes // 2) <= 2"
        f" WHERE s.num_boxes > 0 AND t.num_boxes > 0)) WHERE iou > {SAME_BOX}"
    )


def _below(track_column: str) -> str:
    [threshold] = [threshold for threshold in PEOPLE if threshold.column == track_column]
    column, limit = threshold.measure, variable(threshold)
    return (
        f"SELECT sample_id AS id, sample_id, '{column} ' || round({column}, 3) AS evidence,"
        f" {column} AS value, getvariable('{limit}') AS threshold FROM samples"
        f" WHERE {column} < getvariable('{limit}') - 1e-6"
    )


def _jumps() -> str:
    return (
        "SELECT sample_id AS id, sample_id, 'moves ' || round(jump, 2) || ' box sizes between two"
        f" frames' AS evidence, jump AS value, {JUMP} AS threshold FROM samples WHERE jump > {JUMP}"
    )


def _dominant() -> str:
    return (
        "SELECT character_id AS id, '' AS sample_id, round(100 * share) || ' % of the samples'"
        f" AS evidence, share AS value, {TOP_SHARE} AS threshold FROM (SELECT character_id,"
        " count(*) / sum(count(*)) OVER () AS share, count(*) OVER () AS characters FROM samples"
        f" GROUP BY 1) WHERE share > {TOP_SHARE} AND characters >= {LEAST_CHARACTERS}"
    )


def _one() -> str:
    return (
        "SELECT s.character_id AS id, min(s.sample_id) AS sample_id,"
        " count(DISTINCT s.sample_id) || ' samples, one reference' AS evidence,"
        " 1 AS value, 2 AS threshold FROM samples s JOIN refs r USING (sample_id)"
        " GROUP BY 1 HAVING count(DISTINCT r.reference_id) = 1 AND count(DISTINCT s.sample_id) > 1"
    )


class Centres:
    """The mean direction of every character, and how far each of its tracks is from the others.

    Tracks of whom a person decided stray no more, and characters that were told apart are not
    alike.
    """

    def __init__(self, index: AuditIndex, decided: Decided, seed: int = 0) -> None:
        self._decided = decided
        self._told: list[list[str]] = []  # of every character: its tracks that were decided
        self.ids: list[str] = []
        self.sizes: list[int] = []
        self.strays: list[tuple[str, str, float]] = []  # character, track, mean cosine to the rest
        self.total = int(index.value("SELECT count(DISTINCT character_id) FROM samples"))
        sums = []
        for character_id, tracks, vectors in _members(index, self._share(), seed):
            total = vectors.sum(axis=0)
            sums.append(total / max(float(np.linalg.norm(total)), 1e-6))
            self.ids.append(character_id)
            self.sizes.append(len(tracks))
            told = [track_id in decided.confirmed for track_id in tracks]
            self._told.append([id for id in tracks if decided.person(id) >= 0])
            if len(tracks) > 1 and not all(told):
                inside = (vectors @ total - 1) / (len(tracks) - 1)
                worst = int(np.argmin(np.where(told, np.inf, inside)))
                self.strays.append((character_id, tracks[worst], float(inside[worst])))
        self.directions = np.stack(sums) if sums else np.zeros((0, 1), np.float32)

    def _share(self) -> float:
        return 1.0 if self.total <= MOST_CHARACTERS else MOST_CHARACTERS / self.total

    @property
    def drawn(self) -> bool:
        """Whether some characters were left out because there are too many to compare all."""
        return self.total > MOST_CHARACTERS

    def alike(self, window: float) -> Iterator[tuple[str, str, float]]:
        """Yield, for every character, the most alike other one at or above the window."""
        for top in range(0, len(self.ids), _BLOCK):
            cosines = self.directions[top : top + _BLOCK] @ self.directions.T
            for row, line in enumerate(cosines, start=top):
                line[: row + 1] = -np.inf
                line[self._told_apart(row)] = -np.inf
                other = int(np.argmax(line))
                if line[other] >= window:
                    yield self.ids[row], self.ids[other], float(line[other])

    def _told_apart(self, row: int) -> list[int]:
        """Return the characters that a person told apart from one."""
        mine = self._told[row]
        if not mine:
            return []
        others = enumerate(self._told)
        return [place for place, ids in others if ids and self._decided.differ(mine, ids)]


def _members(
    index: AuditIndex, share: float, seed: int
) -> Iterator[tuple[str, list[str], np.ndarray]]:
    """Yield characters with the unit vectors (N, D) of their tracks, one character at a time."""
    size = index.value(
        "SELECT mode(dimension) FROM embeddings WHERE reference_id = '' AND length > 1e-6"
    )
    sql = (
        "SELECT s.character_id, s.track_id,"
        " arg_min(e.vector, (e.file_number, e.row_group, e.position))"
        " FROM samples s JOIN embeddings e USING (track_id)"
        " WHERE e.reference_id = '' AND e.length > 1e-6 AND NOT isinf(e.length)"
        " AND NOT isnan(e.length) AND e.dimension = ? GROUP BY 1, 2 ORDER BY 1, 2"
    )
    current, tracks, vectors = "", [], []
    for character_id, track_id, vector in index.rows(sql, [size]):
        if character_id != current and tracks:
            yield current, tracks, _unit(vectors)
            tracks, vectors = [], []
        current = character_id
        if share >= 1 or unit_interval("audit", seed, character_id) < share:
            tracks.append(track_id)
            vectors.append(np.asarray(vector, np.float32))
    if tracks:
        yield current, tracks, _unit(vectors)


def _unit(vectors: list[np.ndarray]) -> np.ndarray:
    rows = np.stack(vectors)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def listed_suspects(index: AuditIndex) -> Iterator[Finding]:
    """Yield the doubts that curation wrote down and nobody decided since.

    It is what is left to ask once vectors are dropped.
    """
    sql = (
        "SELECT kind, character_id, other_character_id, track_id, similarity, threshold"
        " FROM suspects s WHERE kind IN ('merge', 'split')"
        " AND track_id NOT IN (SELECT track_id FROM decided WHERE confirmed)"
        " AND NOT EXISTS (SELECT 1 FROM tracks a JOIN decided d ON a.track_id = d.track_id"
        " JOIN told_apart p ON p.one = d.person JOIN decided e ON e.person = p.other"
        " JOIN tracks b ON b.track_id = e.track_id"
        " WHERE a.character_id = s.character_id AND b.character_id = s.other_character_id)"
        " ORDER BY ALL"
    )
    for kind, character_id, other, track_id, cosine, threshold in index.rows(sql):
        check = MERGE if kind == "merge" else SPLIT
        about = f"track {track_id} fits worst" if kind == "merge" else f"or character {other}"
        evidence = f"{about}, cosine {cosine:.3f}, as curated"
        yield found(check, "character", character_id, evidence, "", cosine, threshold)


def check_centres(index: AuditIndex, limits: Limits, centres: Centres) -> Iterator[Finding]:
    """Look for characters that are two people, and for people who are two characters."""
    assert limits.windows is not None, "cosines mean nothing without windows"
    floor, window = limits.windows.reference_floor, limits.windows.cross_video
    sample_of = "SELECT min(sample_id) FROM samples WHERE track_id = ?"
    for character_id, track_id, cosine in centres.strays:
        if cosine < floor:
            evidence = f"track {track_id}: mean cosine {cosine:.3f} to the others"
            sample_id = index.value(sample_of, [track_id]) or ""
            yield found(MERGE, "character", character_id, evidence, sample_id, cosine, floor)
    one_split = (
        "SELECT character_id, min(split) FROM samples GROUP BY 1 HAVING count(DISTINCT split) = 1"
    )
    splits = dict(index.rows(one_split))
    for character_id, other_id, cosine in centres.alike(window - SPLIT_BAND):
        evidence = f"cosine {cosine:.3f} to character {other_id}"
        limit = window - SPLIT_BAND
        yield found(SPLIT, "character", character_id, evidence, "", cosine, limit)
        split, other_split = splits.get(character_id), splits.get(other_id)
        if cosine >= window and None not in (split, other_split) and split != other_split:
            evidence = f"{split}; {other_id} in {other_split}, cosine {cosine:.3f}"
            yield found(LEAKED, "character", character_id, evidence, "", cosine, window)
