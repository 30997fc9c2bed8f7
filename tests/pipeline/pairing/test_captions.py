"""Captions say what was measured, are clean text, and never come back missing."""

from dataclasses import replace

import pytest
from rows import clip, track

from pipeline.engines.captions.attributes import AttributeCaptioner
from pipeline.engines.captions.people_count import counted_people
from pipeline.engines.interfaces import CaptionFacts, EngineInfo
from pipeline.pairing.captions import CaptionsConfig, clean, write_captions
from schemas.tables import FaceBox


def facts(**columns) -> CaptionFacts:
    made = clip("clip", **columns)
    everybody = tuple(track(f"person{i}", made) for i in range(made.num_people))
    return CaptionFacts(made, everybody, track("me", made))


def attributes(row: CaptionFacts) -> tuple[str, str]:
    return AttributeCaptioner().caption([row])[0]


def test_caption_is_an_english_sentence_of_the_measured_facts():
    text, description = attributes(facts())
    assert text == (
        "A full shot of a person wearing a red top and blue bottoms, staying in place. "
        "The camera is static."
    )
    assert description == "A person wearing a red top and blue bottoms."


def test_unknown_facts_are_left_out():
    row = facts(camera_motion=float("nan"))
    assert row.character is not None
    bare = replace(row.character, shot_size="", top_colour="", bottom_colour="", boxes=[])
    assert attributes(replace(row, character=bare)) == ("A person.", "")


def test_who_leans_to_and_fro_is_not_said_to_stay_in_place():
    row = facts()
    assert row.character is not None
    for lean, said in ((40.0, True), (240.0, False)):
        boxes = [[300.0 + lean * (k % 2), 60.0, 340.0 + lean * (k % 2), 110.0] for k in range(8)]
        faces = [FaceBox(4 * k, box, [], 0.9, 30.0) for k, box in enumerate(boxes)]
        text, _ = attributes(replace(row, character=replace(row.character, faces=faces)))
        assert ("staying in place" in text) == said


@pytest.mark.parametrize(
    ("pan", "says"),
    [
        ((2.0, 0.0), "moves left"),  # the picture moves to the right
        ((-2.0, 0.1), "moves right"),
        ((0.1, 2.0), "moves up"),
        ((0.0, -2.0), "moves down"),
        ((0.1, 0.1), "The camera moves."),  # there and back, or in a hand
    ],
)
def test_the_camera_moves_against_the_pictures_motion(pan, says):
    text, _ = attributes(facts(camera_pan=list(pan), camera_motion=2.0))
    assert says in text


def test_a_camera_that_turns_back_only_moves():
    text, _ = attributes(facts(camera_pan=[0.6, 0.0], camera_motion=1.0))
    assert text.endswith("The camera moves.")


@pytest.mark.parametrize(("zoom", "says"), [(0.1, "view closes in"), (-0.1, "view widens")])
def test_zoom_is_told(zoom, says):
    assert says in attributes(facts(camera_zoom=zoom))[0]


@pytest.mark.parametrize(("luma", "says"), [(0.1, "dark"), (0.8, "bright")])
def test_only_unusual_light_is_told(luma, says):
    assert f"The scene is {says}." in attributes(facts(brightness=luma))[0]
    assert "scene" not in attributes(facts(brightness=0.5))[0]


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ((4, 0, 4, 0), "moving to the right"),
        ((-4, 0, -4, 0), "moving to the left"),
        ((-4, -8, 4, 8), "coming closer"),
        ((2, 6, -2, -6), "moving away"),
        ((16, 0, 16, 0), "moving quickly to the right"),
    ],
)
def test_the_persons_motion_follows_the_boxes(step, says):
    row = facts()
    assert row.character is not None
    start = (300.0, 100.0, 450.0, 400.0)
    boxes = [[a + i * d for a, d in zip(start, step, strict=True)] for i in range(32)]
    text, _ = attributes(replace(row, character=replace(row.character, boxes=boxes)))
    assert says in text


@pytest.mark.parametrize(
    "unsure",
    [
        {"camera_motion": 0.3},  # neither still nor surely moved
        {"camera_motion": float("nan")},
        {"camera_zoom": 0.03},
    ],
)
def test_a_camera_that_is_not_sure_is_not_described(unsure):
    text, _ = attributes(facts(**unsure))
    assert "camera" not in text
    assert "view" not in text


def test_people_who_were_not_followed_are_not_counted():
    row = facts(num_people=2)
    lone = replace(row, tracks=row.tracks[:1])  # the other was a mistake of the detector
    assert attributes(lone)[0].startswith("A full shot of a person wearing")
    brief = replace(row.tracks[1], coverage=0.4)
    assert "two people" not in attributes(replace(row, tracks=(row.tracks[0], brief)))[0]


def test_a_group_is_called_one():
    assert "blue bottoms, among others" in attributes(facts(num_people=6))[0]


def test_a_group_is_set_off_by_commas_in_every_order():
    said = set()
    for number in range(30):
        made = clip(f"clip{number}", num_people=6, background_detail=0.2, background_colour="")
        said.add(attributes(CaptionFacts(made, (), track("me", made)))[0].split(".")[0])
    assert said == {
        "A full shot of a person wearing a red top and blue bottoms, among others, staying in "
        "place",
        "A full shot of a person wearing a red top and blue bottoms, among others, in front of a "
        "detailed background",
        "In front of a detailed background, a person wearing a red top and blue bottoms, among "
        "others, is seen in a full shot, staying in place",
    }


def test_a_shot_that_cuts_the_feet_off_is_no_full_one():
    row = facts()
    assert row.character is not None
    cut = replace(row.character, boxes=[[300.0, 60.0, 450.0, 478.0]] * 32)
    assert attributes(replace(row, character=cut))[0].startswith("A person wearing a red top")


@pytest.mark.parametrize(("side", "begins"), [(60.0, "A full shot"), (110.0, "A person wearing")])
def test_who_stands_behind_a_table_is_no_full_shot(side, begins):
    """400 pixels from head to where the person ends: feet are 5.5 faces down."""
    row = facts()
    assert row.character is not None
    faces = [face(8 * index, 5.0, side) for index in range(4)]
    text, _ = attributes(replace(row, character=replace(row.character, faces=faces)))
    assert text.startswith(begins)


def face(frame_index: int, yaw: float, side: float = 9.0) -> FaceBox:
    return FaceBox(frame_index, [0.0, 0.0, side, side], [1.0] * 10, 0.9, yaw)


def test_a_yaw_without_landmarks_is_not_trusted():
    row = facts()
    assert row.character is not None
    faces = [replace(face(8 * index, 75.0), landmarks=[]) for index in range(4)]
    text, _ = attributes(replace(row, character=replace(row.character, faces=faces)))
    assert "profile" not in text


def test_several_people_are_counted():
    text, _ = attributes(facts(num_people=3))
    assert text.startswith("A full shot of three people. One of them is wearing a red top")


def test_same_facts_same_words():
    assert attributes(facts()) == attributes(facts())


def behind(clip_id: str) -> str:
    """Return the caption of a clip whose background was measured."""
    plain = {"background_evenness": 1.0, "background_detail": 0.0, "background_brightness": 0.6}
    made = replace(clip(clip_id, background_colour="grey"), **plain)
    me = track("me", made, hair_colour="dark")
    return attributes(CaptionFacts(made, (me,), me))[0]


def test_clips_of_one_kind_are_not_told_in_one_template():
    said = {behind(f"clip{number}") for number in range(12)}
    assert said == {
        "A full shot of a person with dark hair wearing a red top and blue bottoms, staying in "
        "place. The background is plain grey. The camera is static.",
        "A full shot of a person with dark hair wearing a red top and blue bottoms in front of a "
        "plain grey background. The person is staying in place. The camera is static.",
        "In front of a plain grey background, a person with dark hair wearing a red top and blue "
        "bottoms is seen in a full shot, staying in place. The camera is static.",
    }


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({}, "The background is plain grey."),
        ({"background_detail": 0.2, "background_colour": ""}, "The background is detailed."),
        ({"background_evenness": 0.5, "background_colour": "orange"}, "The background is orange."),
        ({"background_evenness": 0.5, "background_colour": ""}, ""),
        ({"background_brightness": 0.1}, "The background is dark."),
        ({"background_detail": float("nan")}, ""),
        ({"chroma": 0.5}, "The background is plain grey. The film is black and white."),
        ({"warmth": 20.0}, "The background is plain grey. The colours are warm."),
    ],
)
def test_the_scene_is_what_is_behind_and_the_light(columns, says):
    plain = {"background_evenness": 1.0, "background_detail": 0.0, "background_brightness": 0.6}
    made = replace(clip("clip", background_colour="grey"), **{**plain, **columns})
    (answer,) = AttributeCaptioner().outcomes([CaptionFacts(made, (), track("me", made))])
    assert answer.parts.scene == says


def test_the_parts_say_nothing_of_the_look():
    made = clip("clip", warmth=20.0)
    me = track("me", made, hair_colour="blond")
    (answer,) = AttributeCaptioner().outcomes([CaptionFacts(made, (me,), me)])
    assert answer.parts.action == "A full shot of a person, staying in place."
    assert answer.parts.scene == "The colours are warm."
    assert answer.parts.camera == "The camera is static."
    assert answer.description == ("A person with blond hair wearing a red top and blue bottoms.")
    two = replace(made, num_people=2)
    crowd = CaptionFacts(two, (me, track("you", two)), me)
    (answer,) = AttributeCaptioner().outcomes([crowd])
    assert "One of them has blond hair and is wearing a red top" in answer.text
    assert "hair" not in answer.parts.action


def test_a_face_that_fills_the_picture_is_a_tight_close_up_and_may_be_off_centre():
    made = clip("clip")
    wide = [[60.0, 20.0, 600.0, 480.0]] * made.num_frames
    faces = [replace(face(8 * k, 0.0), box=[120.0, 60.0, 420.0, 430.0]) for k in range(4)]
    me = track("me", made, shot_size="close-up", boxes=wide, faces=faces)
    text, _ = attributes(CaptionFacts(made, (me,), me))
    assert text.lower().count("tight close-up of a person") == 1
    assert "left of the centre" in text


def test_who_stands_and_then_leaves_does_not_move_across_the_picture():
    row = facts()
    assert row.character is not None
    boxes = [[100.0 + max(0, 20 * (k - 22)), 60.0, 250.0 + max(0, 20 * (k - 22)), 460.0]
             for k in range(32)]  # fmt: skip
    text, _ = attributes(replace(row, character=replace(row.character, boxes=boxes)))
    assert "moving to the right at the end" in text


class Says:
    """A captioner that always answers the same."""

    info = EngineInfo("says/1", "captioning", "none", True)

    def __init__(self, text: str) -> None:
        self.text = text
        self.batches: list[int] = []

    def caption(self, facts):
        self.batches.append(len(facts))
        return [(self.text, "A man in a hat.")] * len(facts)


def test_good_answers_are_kept_with_their_engine():
    (caption,) = write_captions([facts()], [""], Says("A man walks\u202e by."))
    assert (caption.text, caption.engine) == ("A man walks by.", "says/1")
    assert caption.description == "A man in a hat."


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", "empty"),
        ("<b></b>\x00\x07", "empty"),
        ("I'm sorry, I cannot describe this person.", "refusal"),
        ("Three women talk.", "says 3 people, 1 measured"),
    ],
)
def test_bad_answers_fall_back_to_what_was_measured(answer, problem):
    (caption,) = write_captions([facts()], [""], Says(answer))
    assert caption.problem == problem
    assert (caption.engine, caption.text) == ("attributes/5", attributes(facts())[0])


def test_given_captions_win_are_cleaned_and_may_be_switched_off():
    given = ["<script>alert(1)</script>A  knight\x1b[0m rides.\n", ""]
    captions = write_captions([facts(), facts()], given, Says("A man."))
    assert captions[0].text == "alert(1) A knight[0m rides."
    assert [caption.engine for caption in captions] == ["given", "says/1"]
    switched_off = CaptionsConfig(prefer_given=False)
    captions = write_captions([facts(), facts()], given, Says("A man."), switched_off)
    assert [caption.engine for caption in captions] == ["says/1", "says/1"]


def test_captioner_is_asked_in_batches_and_must_answer_all():
    engine = Says("A man.")
    write_captions([facts()] * 5, [""] * 5, engine, CaptionsConfig(batch_size=2))
    assert engine.batches == [2, 2, 1]

    class Forgets(Says):
        def caption(self, facts):
            return []

    with pytest.raises(ValueError, match="says/1 returned 0 captions for 1"):
        write_captions([facts()], [""], Forgets(""))


def test_long_captions_end_at_a_sentence_or_a_word():
    assert clean("One two three. Four five six seven.", 20) == "One two three."
    assert clean("abcdef ghijkl mnopqr", 10) == "abcdef"
    assert clean("x" * 50, 10) == "x" * 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a &lt;b&gt;bold&lt;/b&gt; claim", "a bold claim"),
        ("line\r\nbreak\tand\u200bzero\u2066width", "line break andzerowidth"),
        ("2 < 3 and 3 > 2", "2 < 3 and 3 > 2"),
        ("Größe, naïve, 東京 🙂", "Größe, naïve, 東京 🙂"),
    ],
)
def test_markup_and_invisible_signs_go_and_language_stays(text, expected):
    assert clean(text, 100) == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("A man walks.", 1),
        ("Two people, one person in red.", 2),
        ("5 young women dance.", 5),
        ("People walk.", None),
        ("A dog runs.", None),
    ],
)
def test_people_are_counted_in_text(text, number):
    assert counted_people(text) == number


@pytest.mark.parametrize(("head", "says"), [(1.0, True), (-0.2, False)])
def test_an_arm_that_is_stretched_out_is_no_walk(head, says):
    """The box moves by 300 pixels in two seconds, the head with it or not."""
    row = facts()
    assert row.character is not None
    boxes = [[100.0 + 9 * k, 60.0, 250.0 + 9 * k, 460.0] for k in range(32)]
    faces = [
        replace(face(8 * k, 5.0), box=[150 + 72 * head * k, 60.0, 200 + 72 * head * k, 120.0])
        for k in range(4)
    ]
    moving = replace(row.character, boxes=boxes, faces=faces)
    text, _ = attributes(replace(row, character=moving))
    assert ("to the right across" in text) is says
