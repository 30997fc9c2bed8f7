"""Rights and safety: licences, origins, people who said no, known bad pictures."""

from collections.abc import Iterable, Iterator

from pipeline.audit.dataset import Dataset
from pipeline.audit.finding_store import Query
from pipeline.audit.findings import Action, Finding, error, found, note, warning
from pipeline.audit.index import AuditIndex
from pipeline.dataset.forgotten import read_tombstones
from schemas.files import read_text

UNDECLARED = error(
    "rights.undeclared", "Nothing says under which terms, or from where, any video came",
    "Whoever uses the dataset cannot tell whether they may.",
    "Run the same curate command with --licence NAME --source WHENCE (no video is decoded again), "
    "or name them for each video in a manifest.", Action.NONE,
)  # fmt: skip
LICENCE = error(
    "rights.licence", "The licence is not known",
    "Whoever uses the dataset cannot tell whether they may.",
    "Give the licence in the input manifest or with curate's --licence, or leave the video out.",
)  # fmt: skip
SOURCE = error(
    "rights.source", "The origin is not known",
    "Nobody can check the licence, or find the video when its owner asks.",
    "Give the source in the input manifest or with curate's --source.",
)  # fmt: skip
REFUSED = error(
    "rights.licence-refused", "The licence is not among those allowed",
    "The dataset was made under terms that this video does not meet.",
    "Drop these samples.",
)  # fmt: skip
OPT_OUT = error(
    "rights.opt-out", "A video or person is on the opt-out list",
    "Somebody asked not to be in here.",
    "Remove them with jobs/forget.py, from all versions.",
)  # fmt: skip
FORGOTTEN = error(
    "rights.forgotten", "Somebody who was forgotten is here again",
    "The tombstone says that the person or the owner asked for the removal.",
    "Remove it once more with jobs/forget.py, and find out how it came back.",
)  # fmt: skip
DOUBT = warning(
    "rights.forgotten-doubt", "Somebody here resembled a person who was forgotten",
    "A person decided that it is somebody else; if that was wrong, the promise is not kept.",
    "Look at the character once more; if it is the same person, remove it with jobs/forget.py.",
    Action.NONE,
)  # fmt: skip
TERMS = warning(
    "rights.restricted", "A licence forbids commercial use or changes",
    "NC and ND terms do not allow what training data is mostly used for.",
    "Keep the dataset to what the licence allows, or leave the video out.",
)  # fmt: skip
ENGINE = note(
    "rights.engine-licence", "An engine's weights are not for commercial use",
    "What was made with it may inherit the restriction.",
    "For commercial use, curate with engines whose licence allows it.",
)  # fmt: skip
BYSTANDERS = note(
    "rights.bystanders", "Clips show people who are not the sample's character",
    "They are recognisable, and may not have been asked.",
    "`bystanders` lists them, with those whom no track follows; export with --blur-others faces "
    "or bodies where you must.",
)  # fmt: skip
KNOWN_BAD = error(
    "safety.known-picture", "A picture is on the list of known pictures",
    "The list names what must not be kept; it is not shown here.",
    "Stop, keep nobody else from seeing it, and follow the law of your country.", Action.DROP,
)  # fmt: skip

_UNKNOWN = "('', 'unknown', 'none', 'n/a', 'not stated')"


def queries(opt_out: Iterable[str] = ()) -> Iterator[Query]:
    """Yield the checks of rights that are SQL; `opt_out` holds ids, uris, sources, hashes."""
    yield Query(UNDECLARED, "dataset", _undeclared(), ("samples.licence",), "samples")
    yield Query(LICENCE, "sample", _missing("licence"), ("samples.licence",), "samples")
    yield Query(SOURCE, "sample", _missing("source"), ("samples.source",), "samples")
    yield Query(REFUSED, "sample", _refused(), ("samples.licence",), "samples")
    yield Query(TERMS, "sample", _terms(), ("samples.licence",), "samples")
    needs = ("tracks.clip_id", "samples.track_id", "samples.character_id")
    yield Query(BYSTANDERS, "dataset", _bystanders(), needs, "samples")
    if list(opt_out):
        yield Query(OPT_OUT, "sample", _opted_out(), ("samples.video_id",), "samples")


def _undeclared() -> str:
    """Return one row when no sample at all has a licence, or none has a source."""
    lacking = ", ".join(
        f"CASE WHEN bool_and({_lacks(column)}) THEN 'no {column}' END"
        for column in ("licence", "source")
    )
    return (
        "SELECT '' AS id, '' AS sample_id, missing || ' for ' || samples || ' samples of ' ||"
        " videos || ' videos' AS evidence, NULL AS value, NULL AS threshold FROM ("
        f"SELECT concat_ws(' and ', {lacking}) AS missing, count(*) AS samples,"
        " count(DISTINCT video_id) AS videos FROM samples) WHERE missing <> '' AND samples > 0"
    )


def _lacks(column: str) -> str:
    return f"lower(trim(coalesce({column}, ''))) IN {_UNKNOWN}"


def _missing(column: str) -> str:
    """Return a row for each sample that lacks what others have; all of them is `_undeclared`."""
    return (
        f"SELECT sample_id AS id, sample_id, '{column} ' || coalesce('''' || {column} || '''',"
        f" 'missing') || ' of video ' || video_id AS evidence, NULL AS value, NULL AS threshold"
        f" FROM samples WHERE {_lacks(column)}"
        f" AND NOT (SELECT bool_and({_lacks(column)}) FROM samples)"
    )


def _refused() -> str:
    return (
        "SELECT sample_id AS id, sample_id, 'licence ' || licence AS evidence, NULL AS value,"
        " NULL AS threshold FROM samples WHERE len(getvariable('licences')) > 0"
        " AND NOT list_contains(getvariable('licences'), licence)"
    )


def _terms() -> str:
    return (
        "SELECT sample_id AS id, sample_id, 'licence ' || licence AS evidence, NULL AS value,"
        " NULL AS threshold FROM samples"
        " WHERE regexp_matches(upper(licence), '(^|[-_ ])(NC|ND)($|[-_ ])')"
    )


def _bystanders() -> str:
    """Return one row when tracks of others lie in clips of samples."""
    return (
        "SELECT '' AS id, '' AS sample_id, 'in ' || count(DISTINCT s.sample_id) || ' samples: '"
        " || count(DISTINCT t.track_id) || ' tracks of others' AS evidence,"
        " count(DISTINCT s.sample_id) AS value, NULL AS threshold"
        " FROM samples s JOIN tracks t ON s.clip_id = t.clip_id AND s.track_id <> t.track_id"
        " WHERE t.character_id IS DISTINCT FROM s.character_id HAVING count(*) > 0"
    )


def _opted_out() -> str:
    columns = (
        "s.video_id, s.clip_id, s.track_id, s.character_id, s.sample_id, s.source, v.uri, c.sha256"
    )
    return (
        "SELECT s.sample_id AS id, s.sample_id, 'on the list: ' || array_to_string("
        f"list_intersect(getvariable('opt_out'), [{columns}]), ', ') AS evidence, NULL AS value,"
        " NULL AS threshold FROM samples s LEFT JOIN videos v USING (video_id)"
        " LEFT JOIN clips c USING (clip_id)"
        f" WHERE list_has_any(getvariable('opt_out'), [{columns}])"
    )


def check_forgotten(dataset: Dataset, index: AuditIndex) -> Iterator[Finding]:
    """Hold every video and character against the tombstones that lie with the dataset."""
    tombstones = read_tombstones(dataset.store)
    columns = {"video_id": tombstones.holds_video, "character_id": tombstones.holds_character}
    for column, holds in columns.items():
        if not index.has(f"samples.{column}"):
            continue
        for id, sample_id in index.rows(f"SELECT {column}, min(sample_id) FROM samples GROUP BY 1"):
            if id and holds(id):
                evidence = f"{column} {id} has a tombstone"
                yield found(FORGOTTEN, "sample", sample_id, evidence, sample_id)


def check_doubts(dataset: Dataset, index: AuditIndex) -> Iterator[Finding]:
    """Name characters that were held against somebody who was forgotten, and stayed."""
    tombstones = read_tombstones(dataset.store)
    sql = "SELECT DISTINCT character_id FROM samples ORDER BY 1"
    for (id,) in index.rows(sql) if index.has("samples.character_id") else ():
        if id and tombstones.doubts_character(id):
            evidence = f"character {id} was held against somebody who was forgotten"
            yield found(DOUBT, "character", id, evidence)


def read_list(flag: str, paths: Iterable[str]) -> list[str]:
    """Read one entry a line; lines that begin with '#' are comments."""
    texts = (read_text(flag, path, "a text file with one entry a line") for path in paths)
    lines = (line.strip() for text in texts for line in text.splitlines())
    return sorted({line for line in lines if line and not line.startswith("#")})


def check_engines(dataset: Dataset, _: AuditIndex) -> Iterator[Finding]:
    """Say which engines are not for commercial use."""
    for engine in dataset.manifest.engines if dataset.manifest else []:
        if engine.get("commercial") is False:
            evidence = f"{engine.get('task')}: {engine.get('licence')}"
            yield found(ENGINE, "dataset", str(engine.get("id")), evidence)
