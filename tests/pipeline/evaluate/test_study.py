"""A user study: what raters get tells nothing, and what they say is counted right."""

import csv
import io
import json
import re
from functools import partial

import pytest
from evaluation_set import write_set
from present import there

from pipeline.evaluate.benchmark import list_videos
from pipeline.evaluate.study import QUESTIONS, Pair, StudyConfig, StudyKey, make_study
from pipeline.evaluate.study_page import COLUMNS
from pipeline.evaluate.study_results import Answer, inattentive, read_answers, results_of
from schemas.benchmark import VIDEOS, write_video_list


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    folder, benchmark = write_set(root)
    names = [item.item_id for item in benchmark.items]
    for system, of in (("ours", names), ("theirs", [*names[1:], names[0]])):
        (root / system).mkdir()
        listed = {}
        for name, source in zip(names, of, strict=True):
            clip = next(item.clip.path for item in benchmark.items if item.item_id == source)
            listed[name] = f"{name}.mp4"
            (root / system / f"{name}.mp4").write_bytes((folder / clip).read_bytes())
        (root / system / VIDEOS).write_bytes(write_video_list(listed, {}))
    systems = {name: list_videos(root / name, benchmark) for name in ("ours", "theirs")}
    make = partial(make_study, folder, benchmark, systems)
    key = make(root / "page", root / "key.json", StudyConfig(checks=2))
    return root, key, make


def told(root):
    text = (root / "page" / "index.html").read_text()
    found = re.search(r'<script type="application/json" id="study">(.*?)</script>', text, re.DOTALL)
    return text, json.loads(there(found)[1])


def test_the_page_gives_nothing_away(made):
    root, key, _ = made
    text, data = told(root)
    assert "ours" not in text
    assert "theirs" not in text
    assert "check" not in json.dumps(data)
    assert len(data["pairs"]) == len(key.pairs) == 6
    files = {each[side] for each in data["pairs"] for side in ("reference", "a", "b")}
    assert all((root / "page" / file).is_file() for file in files)
    originals = {path.name for path in root.glob("*/*.mp4")}
    assert not originals & {path.name for path in (root / "page" / "media").iterdir()}
    assert not re.search(r"https?://", text)  # nothing is asked of a network
    assert {name["pair"] for name in data["pairs"]} == {pair.pair_id for pair in key.pairs}


def test_the_key_says_what_was_shown(made):
    root, key, _ = made
    assert StudyKey.from_json((root / "key.json").read_bytes()) == key
    sides = {(pair.a, pair.b) for pair in key.pairs if not pair.check}
    assert sides <= {("ours", "theirs"), ("theirs", "ours")}
    for pair in key.pairs:
        if pair.check:
            assert {pair.a, pair.b} == {"truth", "stranger"}
            assert getattr(pair, pair.check) == "truth"


def test_the_same_seed_gives_the_same_study(made, tmp_path):
    root, key, make = made
    again = make(tmp_path / "page", tmp_path / "key.json", StudyConfig(checks=2))
    assert again == key
    assert (tmp_path / "page" / "index.html").read_text() == told(root)[0]
    other = make(tmp_path / "b", tmp_path / "b.json", StudyConfig(checks=2, seed=1))
    assert other.study_id != key.study_id


def test_what_cannot_be_a_study_is_refused(made, tmp_path):
    folder, benchmark, systems = made[2].args
    one = {"ours": systems["ours"]}
    with pytest.raises(ValueError, match="at least two systems, got ours"):
        make_study(folder, benchmark, one, tmp_path, tmp_path.parent / "k.json", StudyConfig())
    with pytest.raises(ValueError, match="the key must not lie in"):
        make_study(folder, benchmark, systems, tmp_path, tmp_path / "k.json", StudyConfig())


def key_of(pairs: int = 12) -> StudyKey:
    """A study of systems x and y, x on side b in every second pair, and one check."""
    made = [
        Pair(f"p{n}", f"i{n}", f"who{n}", *(("x", "y") if n % 2 else ("y", "x")))
        for n in range(pairs)
    ]
    return StudyKey(
        "s", list(QUESTIONS), [*made, Pair("c", "i0", "who0", "stranger", "truth", "b")]
    )


def say(rater: str, pair: str, value: int, questions=QUESTIONS) -> list[Answer]:
    return [Answer(rater, pair, question, value) for question in questions]


def test_win_rates_of_a_study_whose_outcome_is_known():
    key, answers = key_of(), []
    for rater in ("r1", "r2", "r3"):
        answers += say(rater, "c", 2)
        for n in range(12):
            prefers_x = n < 9  # nine of twelve, whichever side x is on
            answers += say(rater, f"p{n}", (1 if prefers_x else -1) * (-1 if n % 2 else 1))
    result = results_of(answers, key)
    assert result["left_out"] == {}
    assert [each["question"] for each in result["comparisons"]] == [*QUESTIONS, "all"]
    for each in result["comparisons"]:
        assert (each["system"], each["against"], each["raters"]) == ("x", "y", 3)
        assert each["win_rate"]["mean"] == pytest.approx(0.75)
        assert each["preference"]["mean"] == pytest.approx(0.5)
        # raters agree, so identities alone vary: +-1.96 * sqrt(0.75 * 0.25 / 12) about
        assert each["win_rate"]["low"] == pytest.approx(0.75 - 0.245, abs=0.06)
        assert each["win_rate"]["high"] == pytest.approx(min(1, 0.75 + 0.245), abs=0.06)


def test_no_difference_counts_half_and_the_last_answer_counts():
    key = key_of(2)
    first = say("r", "c", 2) + say("r", "p0", 2) + say("r", "p1", 0)
    assert results_of(first, key)["comparisons"][-1]["win_rate"]["mean"] == pytest.approx(0.75)
    changed = first + say("r", "p0", -2)
    assert results_of(changed, key)["comparisons"][-1]["win_rate"]["mean"] == pytest.approx(0.25)


def test_inattentive_raters_are_left_out():
    key = key_of(2)
    answers = say("good", "c", 2) + say("good", "p0", 2)
    answers += say("blind", "c", -1) + say("blind", "p0", -2)
    answers += say("absent", "p0", -2)
    answers += say("fair", "c", 2, QUESTIONS[:3]) + say("fair", "c", 0, QUESTIONS[3:])
    failed = inattentive(answers, key)
    assert failed.keys() == {"blind", "absent"}
    assert failed["absent"] == "1 of 1 checks were not answered"
    result = results_of(answers, key)
    assert result["comparisons"][0]["win_rate"]["mean"] == 1.0
    assert result["comparisons"][0]["raters"] == 1


def table(*rows) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return file.getvalue().encode()


def test_files_of_raters_are_read_and_checked():
    key = key_of(2)
    read = read_answers(table(("s", 'Ann, "A"', "p0", "face", "-2", "3.1", "0")), key, "a.csv")
    assert read == [Answer('Ann, "A"', "p0", "face", -2)]
    for row, message in (
        (("t", "r", "p0", "face", "1", "1", "0"), "line 2: it is of study 't', the key of 's'"),
        (("s", "r", "p9", "face", "1", "1", "0"), "pair 'p9' is not in the key"),
        (("s", "r", "p0", "nose", "1", "1", "0"), "question must be one of face, hair"),
        (("s", "r", "p0", "face", "3", "1", "0"), "whole number from -2 to 2, got '3'"),
        (("s", "", "p0", "face", "1", "1", "0"), "rater is empty"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            read_answers(table(row), key, "a.csv")
    for content in (b"", b"\xff\xfe\x00", b"a,b\n1,2\n"):
        with pytest.raises(ValueError, match=r"a\.csv"):
            read_answers(content, key, "a.csv")
