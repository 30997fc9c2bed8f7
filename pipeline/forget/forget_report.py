"""The report for whoever asked: what went, what stands in its place, what was searched.

It holds no id, name or picture: a report that is kept would otherwise be what is left.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.forget.forget import Forgotten

_WORDS = {
    "inputs": "lines of the list of inputs",
    "videos": "video descriptions",
    "clips": "clip descriptions",
    "tracks": "tracks of people",
    "samples": "training samples, with clip, references and caption",
    "embeddings": "biometric vectors",
    "characters": "identities",
    "suspects": "doubts about identities",
    "edits": "edited pictures, whatever became of them",
    "rejects": "lines of the reject ledger",
}


def write_report(done: Forgotten, folder: Path) -> Path:
    """Write report.json and report.md; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    report = report_facts(done)
    (folder / "report.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
    (folder / "report.md").write_text(_markdown(report))
    return folder


def report_facts(done: Forgotten) -> dict[str, Any]:
    job, scan = done.job, done.scan
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "complete": done.clean,
        "videos": len(job.videos),
        "copies_among_them": job.copies,
        "characters": len(job.characters),
        "doubts_decided": {"the_same_person": job.same, "somebody_else": len(job.different)},
        "rows_removed": dict(job.rows),
        "latents_removed": done.latents,
        "samples_that_lost_references": job.shortened,
        "units_removed": job.units,
        "cut_uploads_removed": len(done.uploads.found),
        "cut_uploads_listed": not done.uploads.problem,
        "version_before": job.version,
        "version_now": done.version,
        "tombstones": done.keys,
        "scan": {
            "files": scan.files,
            "bytes": scan.size_bytes,
            "decoded_values": scan.values,
            "searched_for": scan.patterns,
            "hits": len(scan.hits),
            "hits_in": sorted({hit.path.split("/")[0] for hit in scan.hits}),
            "unsearched": len(scan.unsearched),
        },
    }


def _decided(doubts: dict[str, int]) -> str:
    """Say what a person decided about those who looked like the one who was named."""
    if not any(doubts.values()):
        return "Nobody who stays in the dataset resembles the person so much that it was in doubt."
    return (
        "People who resembled the one who was named were looked at, and a person decided: "
        f"{doubts['the_same_person']} are the same and were removed, {doubts['somebody_else']} are "
        "somebody else and stay. The doubt is kept as a salted hash, and the audit names it."
    )


def _missing(scan: dict[str, Any]) -> str:
    found = f"traces were found in {', '.join(scan['hits_in'])}" if scan["hits"] else ""
    unsearched = f"{scan['unsearched']:,} files could not be searched" if scan["unsearched"] else ""
    return "; ".join(filter(None, (found, unsearched)))


def _markdown(report: dict[str, Any]) -> str:
    scan = report["scan"]
    removed = [f"- {n:,} {_WORDS.get(name, name)}" for name, n in report["rows_removed"].items()]
    if report["latents_removed"]:
        removed.append(f"- {report['latents_removed']:,} encoded samples (latents)")
    if report["units_removed"]:
        removed.append(
            f"- {report['units_removed']:,} stored measurements, with clips and pictures"
        )
    if report["samples_that_lost_references"]:
        number = report["samples_that_lost_references"]
        removed.append(f"- pictures from {number:,} samples of others, which stay without them")
    verdict = (
        f"**Nothing was found.** {scan['files']:,} files ({scan['bytes']:,} bytes, and "
        f"{scan['decoded_values']:,} values decoded from tables) were searched for "
        f"{scan['searched_for']:,} ids, file names and pieces of clips, pictures and vectors."
        if report["complete"]
        else f"**Not complete:** {_missing(scan)}."
    )
    tombstones = "\n".join(f"- `{key}`" for key in report["tombstones"])
    return f"""# Report of a removal

Date: {report["date"]}. The dataset went from version {report["version_before"]} to version \
{report["version_now"]}; files of older versions were deleted.

Videos removed: {report["videos"]} ({report["copies_among_them"]} of them copies of another). \
People of whom nothing is left: {report["characters"]}.

{_decided(report["doubts_decided"])}

## Removed

{chr(10).join(removed) or "- nothing was left to remove"}

## Searched afterwards

{verdict}

## So that it does not come back

The dataset keeps a salted hash of each removed video and person, from which nothing can be read \
back. A video with the same bytes is refused by every later curation into this dataset. Of a face \
nothing is kept, so a new video of the same person, or the same video in another encoding, is not \
recognised: it has to be named again.

{tombstones}

Not covered: copies of the dataset elsewhere, backups, and models that were trained on it.
"""
