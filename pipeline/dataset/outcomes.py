"""The published table `inputs/`: what became of every input of a run."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.units import unreadable_id
from pipeline.execution.stage import failed_entry
from schemas.reasons import Failure, Reason
from schemas.tables import InputOutcome, Reject
from schemas.tombstones import Tombstones

UNREAD_STAGE = "probe"


def describe_inputs(
    videos: Iterable[InputVideo],
    video_ids: Mapping[str, str],
    unread: Mapping[str, str],
    rejects: Iterable[Reject],
    tombstones: Tombstones,
) -> list[InputOutcome]:
    """Return one row per input, by uri.

    `video_ids` and `unread` are by uri, the latter with the reason; `rejects` is the whole ledger.
    """
    lost = _first_loss(rejects)
    speaks: dict[str, str] = {}  # video_id -> the uri that speaks for it
    rows = []
    for video in sorted(videos, key=lambda video: video.uri):
        if video.uri in unread:
            rows.append(_unread(video, unread[video.uri]))
            continue
        video_id = video_ids[video.uri]
        first = speaks.setdefault(video_id, video.uri)
        if first != video.uri:
            rows.append(_duplicate(video, video_id, first))
        else:
            rows.append(_outcome(video, video_id, lost.get(video_id), tombstones))
    return sorted(rows, key=lambda row: row.uri)


def unread_line(uri: str, detail: str) -> Reject:
    """Return the ledger line of an input that could not be read this time."""
    input_id = unreadable_id(uri)
    return failed_entry(UNREAD_STAGE, "video", input_id, input_id, Failure.IO, detail)


def _first_loss(rejects: Iterable[Reject]) -> dict[str, Reject]:
    """Return the line that ended each video, the earliest stage first."""
    stages = ("probe", "shots", "videos")
    lost: dict[str, Reject] = {}
    lines = [r for r in rejects if r.level == "video" and r.stage in stages]
    for line in sorted(lines, key=lambda r: (stages.index(r.stage), r.id, r.reason)):
        if line.reason != Reason.DUPLICATE_VIDEO:
            lost.setdefault(line.video_id, line)
    return lost


def _outcome(
    video: InputVideo, video_id: str, lost: Reject | None, tombstones: Tombstones
) -> InputOutcome:
    if lost is None:
        kept = InputOutcome(video.uri, video_id, video.size_bytes, "kept")
        return replace(kept, caption_from=video.caption_from)
    forgotten = bool(tombstones.videos) and video_id == tombstones.stand_in(video.uri)
    outcome = "forgotten" if forgotten else "failed" if lost.failed else "refused"
    return InputOutcome(
        video_id if forgotten else video.uri,  # the name may name a person
        video_id,
        -1 if forgotten else video.size_bytes,
        outcome,
        lost.stage,
        lost.reason,
        lost.value,
        lost.threshold,
        lost.detail,
    )


def _duplicate(video: InputVideo, video_id: str, first: str) -> InputOutcome:
    return InputOutcome(
        video.uri,
        video_id,
        video.size_bytes,
        "duplicate",
        "probe",
        str(Reason.DUPLICATE_VIDEO),
        detail=f"same bytes as {first}",
    )


def _unread(video: InputVideo, detail: str) -> InputOutcome:
    return InputOutcome(
        video.uri,
        unreadable_id(video.uri),
        video.size_bytes,
        "not_read",
        UNREAD_STAGE,
        str(Failure.IO),
        detail=detail,
    )
