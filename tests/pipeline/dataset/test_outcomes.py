"""Every input of a run is told by name, with what became of it."""

from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.outcomes import describe_inputs, unread_line
from pipeline.dataset.units import unreadable_id
from pipeline.execution.stage import Rejected, failed_entry
from schemas.reasons import Failure, Reason
from schemas.tombstones import Tombstones


def test_every_input_has_one_row_that_says_what_became_of_it():
    names = ("good", "again", "small", "dead", "refused", "her", "away")
    videos = [InputVideo(f"/v/{name}.mp4", size_bytes=10) for name in names]
    tombstones = Tombstones().adding(["forgotten"], [])
    stand_in = tombstones.stand_in("/v/her.mp4")
    ids = {f"/v/{name}.mp4": name for name in names}
    ids |= {"/v/again.mp4": "good", "/v/her.mp4": stand_in}
    rejects = [
        Rejected(Reason.PICTURE_TOO_SMALL, 32, 64, "32x32").entry(
            "probe", "video", "small", "small"
        ),
        failed_entry("shots", "video", "dead-0001", "dead", Failure.CRASH, "in clips: SIGSEGV"),
        Rejected(Reason.INCOMPLETE_VIDEO).entry("videos", "video", "dead", "dead"),
        Rejected(Reason.LICENCE_REFUSED).entry("videos", "video", "refused", "refused"),
        Rejected(Reason.FORGOTTEN).entry("probe", "video", stand_in, stand_in),
        Rejected(Reason.DUPLICATE_VIDEO).entry("probe", "video", "good", "good"),
        Rejected(Reason.BLURRY, 1.0, 2.0).entry("quality", "clip", "clip", "good"),
        unread_line("/v/away.mp4", "HTTP 503, after 5 attempts"),
    ]
    unread = {"/v/away.mp4": "HTTP 503, after 5 attempts"}
    rows = describe_inputs(videos, ids, unread, rejects, tombstones)
    told = {row.uri: (row.outcome, row.stage, row.reason) for row in rows}
    assert told == {
        "/v/again.mp4": ("kept", "", ""),  # the first by name speaks for both
        "/v/good.mp4": ("duplicate", "probe", "duplicate_video"),
        "/v/small.mp4": ("refused", "probe", "picture_too_small"),
        "/v/dead.mp4": ("failed", "shots", "crash"),
        "/v/refused.mp4": ("refused", "videos", "licence_refused"),
        stand_in: ("forgotten", "probe", "forgotten"),
        "/v/away.mp4": ("not_read", "probe", "io"),
    }
    [small] = [row for row in rows if row.video_id == "small"]
    assert (small.value, small.threshold, small.detail) == (32, 64, "32x32")
    [away] = [row for row in rows if row.outcome == "not_read"]
    assert away.video_id == unreadable_id("/v/away.mp4")
    assert [row.uri for row in rows] == sorted(row.uri for row in rows)
