"""The default engines on real videos: who is kept, who is told apart, what is refused."""

import os
import subprocess
import sys
from collections import defaultdict

import pytest
from patience import HANG_S
from production import weights_root
from runs import JOB, curate, rows

pytestmark = [pytest.mark.media, pytest.mark.slow]
PEOPLE = ("derived-intercut-two-people", "lp-driving-d10", "moore-talk1")
NOBODY = ("tc-dog_eating_854132", "sam2-blackswan", "psd-testvideo")


@pytest.fixture(scope="module")
def dataset(media, tmp_path_factory):
    """The job's own defaults, but for shots of two seconds, which their guards make shorter.

    The engines are those of the weights at hand, where there are none those that need none.
    """
    root = weights_root()
    models = {"CONTEXTANYONE_MODELS": str(root)} if root else {}
    output = tmp_path_factory.mktemp("real")
    names = [path for path in (media / "videos").iterdir() if path.stem in (*PEOPLE, *NOBODY)]
    command = [sys.executable, JOB, "--input", *map(str, names), "--output", str(output)]
    done = subprocess.run(
        [*command, "--set", "observe.clips.min_s=1.5", "--set", "run.cluster.workers=1"],
        env={**os.environ, **models},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return output


def stems(dataset) -> dict[str, str]:
    return {
        row["video_id"]: row["uri"].rsplit("/", 1)[-1].rsplit(".", 1)[0]
        for row in rows(dataset, "videos")
    }


def test_videos_without_people_give_no_sample_and_those_with_people_do(dataset):
    names = stems(dataset)
    sampled = {names[row["video_id"]] for row in rows(dataset, "samples")}
    assert sampled == set(PEOPLE)


def test_two_people_who_alternate_are_two_characters(dataset):
    """Shots A B A B N A: A at 0, 5.4 and 12 s, B at 3 and 7.4 s, a dog at 10 s."""
    names = stems(dataset)
    shots = defaultdict(list)
    for row in rows(dataset, "samples"):
        if names[row["video_id"]] == "derived-intercut-two-people":
            shots[row["character_id"]].append(round(row["start_s"], 1))
    assert sorted(sorted(times) for times in shots.values()) == [[0.0, 5.5, 12.1], [3.1, 7.5]]


def test_no_reference_is_from_its_own_clip_when_the_character_is_seen_elsewhere(dataset):
    clips = defaultdict(set)
    samples = rows(dataset, "samples")
    for row in samples:
        clips[row["character_id"]].add(row["clip_id"])
    elsewhere = [row for row in samples if len(clips[row["character_id"]]) > 1]
    assert len(elsewhere) >= 5
    for row in samples:
        own = [r for r in row["references"] if r["clip_id"] == row["clip_id"]]
        if len(clips[row["character_id"]]) > 1:
            assert not own, row["sample_id"]
        assert all(r["kind"] == "in_clip_augmented" and r["augmentation"] for r in own)


def test_odd_files_end_as_documented_and_none_stops_the_run(media, tmp_path):
    """Cheap engines: what matters here is what becomes of the files."""
    curate(tmp_path, *sorted((media / "odd").iterdir()), extra=["--set", "run.max_failed=0"])
    refused = defaultdict(int)
    for row in rows(tmp_path, "rejects"):
        if row["stage"] in ("probe", "shots"):
            refused[row["reason"]] += 1
    assert dict(refused) == {
        "not_a_video": 4,
        "unreadable": 1,
        "truncated": 2,
        "video_too_short": 1,
        "frame_rate_out_of_range": 1,
        "damaged": 2,
        "upscaled_too_much": 2,
    }
    assert len(rows(tmp_path, "videos")) == 7
