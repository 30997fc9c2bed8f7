"""After a run: which minutes are in no sample, and which setting would bring how much back."""

from dataclasses import asdict

import pytest
import rows
from drawn_dataset import write_drawn_dataset
from present import current_version

from pipeline.dataset.losses import add_up, losses_of, sentences
from pipeline.dataset.store import LocalStore
from schemas.tables import Reject


def reject(level: str, id: str, reason: str, value=None, threshold=None, detail="") -> dict:
    return asdict(Reject("stage", level, id, "video", reason, False, value, threshold, detail))


def clips(*names: str, **columns) -> list[dict]:
    return [asdict(rows.clip(name, length_s=10.0, **columns)) for name in names]


def losses(clips, tracks=(), samples=(), rejects=()):
    return add_up([asdict(rows.video())], clips, tracks, samples, rejects)


def track(name: str, clip_id: str, area: float = 0.1) -> dict:
    return {"track_id": name, "clip_id": clip_id, "area": area}


def test_a_clip_counts_under_the_reason_of_its_largest_person():
    found = losses(
        clips("lost", "kept"),
        [track("small", "lost", 0.01), track("large", "lost", 0.2), track("good", "kept")],
        [{"clip_id": "kept", "character_id": "her"}],
        [
            reject("track", "small", "person_too_small", 0.01, 0.04, "share of picture"),
            reject("track", "large", "track_too_short", 0.5, 0.6, "coverage"),
            reject("clip", "lost", "no_person", 0, 1),
        ],
    )
    [loss] = found.lost
    assert (loss.reason, loss.clips, loss.seconds) == ("track_too_short", 1, 10.0)
    assert (loss.setting, loss.value, loss.back) == ("pair.people.min_coverage", 0.5, 1)
    assert (found.sampled_s, found.samples, found.characters) == (10.0, 1, 1)


def test_clips_in_which_nobody_was_found_say_so_and_short_references_are_no_loss():
    found = losses([*clips("empty"), *clips("short", reference_only=True)])
    assert [(loss.reason, loss.clips, loss.setting) for loss in found.lost] == [
        ("nobody_found", 1, "")
    ]


def test_shots_that_are_too_short_cost_their_seconds():
    found = losses([], rejects=[reject("clip", "gone", "clip_too_short", 1.5, 2.0)])
    [loss] = found.lost
    assert loss.seconds == 1.5
    assert (loss.setting, loss.value) == ("observe.clips.min_s", 1.5)


@pytest.mark.parametrize(
    ("values", "value", "back"),
    [((0.9, 0.7, 0.65), 0.7, 2), ((0.99, 0.98), 0.99, 2), ((20.0,), 0.0, 0)],
)
def test_a_bound_is_proposed_only_near_the_one_in_force(values, value, back):
    names = [f"clip{number}" for number in range(len(values))]
    rejects = [
        reject("clip", name, "too_bright", each, 0.6)
        for name, each in zip(names, values, strict=True)
    ]
    [loss] = losses(clips(*names), rejects=rejects).lost
    assert (loss.value, loss.back) == (value, back)
    assert bool(loss.setting) == bool(back)


def test_the_lines_name_minutes_reason_and_setting():
    rejects = [reject("clip", "a", "too_bright", 0.7, 0.6), reject("clip", "b", "too_still")]
    lines = sentences(losses(clips("a", "b"), rejects=rejects))
    assert lines[0] == "1 videos, 1.0 minutes: 0 samples of 0 characters, in 0.0 minutes of clips"
    assert "--set pair.quality.max_bright=0.7 would let up to 1 pass" in "\n".join(lines)
    assert "  too still: 50%, 1 clips" in lines


def test_a_published_dataset_is_read(tmp_path):
    store = LocalStore(str(write_drawn_dataset(tmp_path / "dataset", 2)))
    found = losses_of(current_version(store)[0], store)
    assert (found.videos, found.samples, found.characters) == (4, 8, 2)
    assert found.lost_s == 0


def test_a_length_that_a_trainer_asks_for_is_not_proposed_away():
    gone = [reject("clip", "gone", "clip_too_short", 4.0, 5.0625)]
    assert add_up([], [], [], [], gone, shortest="").lost[0].setting == ""
    assert add_up([], [], [], [], gone).lost[0].setting == "observe.clips.min_s"
