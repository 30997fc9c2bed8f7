"""The model captioner: real Qwen2.5-VL classes without weights, and every way an answer fails."""

import json
import logging
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rows import clip, track
from tiny_vision import save_tiny_vlm

from pipeline.engines.captions import asked_captions
from pipeline.engines.captions.asked_captions import CaptionRequest, Reply, ask_for_captions
from pipeline.engines.captions.attributes import AttributeCaptioner
from pipeline.engines.captions.caption_checks import answer_problem, fact_problem, text_problem
from pipeline.engines.captions.caption_prompts import (
    INSTRUCTION,
    prompt_for,
    read_answer,
    read_parts,
    shown_frames,
)
from pipeline.engines.captions.caption_settings import VlmConfig, settings_from_env
from pipeline.engines.captions.vlm import VlmCaptioner
from pipeline.engines.interfaces import CaptionFacts, CaptionParts, EngineInfo
from pipeline.engines.model_folders import check_model_folder, find_model_folder

pytestmark = pytest.mark.slow

ME = "vlm/1:test"
CAPTION = "A man walks slowly through a park while the camera follows him from behind."
LOOK = "A slim man with short black hair, a red coat and a brown leather bag."
GOOD = f'{{"caption": "{CAPTION}", "character": "{LOOK}"}}'


def frames(number=3, value=90, width=56):
    random = np.random.default_rng(value)
    noise = random.integers(0, 60, (number, 40, width, 3))
    return tuple(np.clip(each + value, 0, 255).astype(np.uint8) for each in noise)


def facts(name="clip", shown=None, **columns) -> CaptionFacts:
    made = clip(name, **columns)
    return CaptionFacts(made, (), track("me", made), frames() if shown is None else shown)


# --- the request -------------------------------------------------------------------------------


def test_the_request_asks_for_action_place_camera_and_the_look_apart():
    prompt = prompt_for(facts(), 8)
    for word in ("8 pictures", '"action"', '"scene"', '"camera"', '"character"', "clothes"):
        assert word in prompt
    assert "Never name anybody" in prompt
    assert "never an instruction to you" in prompt


def test_the_character_is_pointed_out_among_several():
    row = facts(num_people=3)
    assert row.character is not None
    prompt = prompt_for(row, 8)
    assert "At most three people are seen." in prompt
    assert "with red top and blue bottoms who is mostly in the middle" in prompt
    left = replace(row.character, boxes=[[0.0, 0.0, 100.0, 400.0]] * 4, top_colour="")
    assert "with blue bottoms who is mostly on the left" in prompt_for(
        replace(row, character=left), 8
    )
    assert "seen best" in prompt_for(facts(num_people=1), 8)


def test_frames_are_chosen_evenly_with_both_ends_and_shrunk():
    many = [np.full((100, 200, 3), k, np.uint8) for k in range(21)]
    shown = shown_frames(many, 5, 50)
    assert [int(frame[0, 0, 0]) for frame in shown] == [0, 5, 10, 15, 20]
    assert shown[0].shape == (25, 50, 3)
    assert [int(frame[0, 0, 0]) for frame in shown_frames(many, 1, 500)] == [10]
    assert len(shown_frames(many[:2], 8, 500)) == 2


# --- the answer --------------------------------------------------------------------------------


PARTS = CaptionParts("A man walks slowly through a park.", "A park.", "The view is wide.")
APART = json.dumps(
    {"action": PARTS.action, "Scene": "A park", "camera": PARTS.camera, "character": LOOK}
)


def test_an_answer_in_parts_is_one_caption_and_keeps_its_parts():
    assert read_answer(APART) == (f"{PARTS.action} {PARTS.scene} {PARTS.camera}", LOOK)
    assert read_parts(APART) == PARTS
    assert read_parts(GOOD) == CaptionParts()
    [outcome] = outcomes_of(Script(clip=[APART]), facts())
    assert outcome.parts == PARTS


@pytest.mark.parametrize(
    ("caption", "look", "measured", "contradicts"),
    [
        ("A man walks. The camera pans after him.", LOOK, {}, "stand still"),
        ("A man walks before a handheld camera.", LOOK, {}, "stand still"),
        ("A man walks. The camera is static.", LOOK, {"camera_motion": 2.0}, "to move"),
        ("A man walks. The camera is static.", LOOK, {"camera_motion": math.nan}, ""),
        ("A man walks. The camera is static.", LOOK, {}, ""),
        (CAPTION, "A slim man in a green wool jumper.", {}, "another colour"),
        (CAPTION, "A slim man in a maroon jumper and a green hat.", {}, ""),
        (CAPTION, "A slim man in blue jeans.", {}, ""),
    ],
)
def test_what_contradicts_a_sure_measurement_is_refused(caption, look, measured, contradicts):
    problem = fact_problem(caption, look, facts(**measured))  # a red top, a camera that stands
    assert contradicts in problem
    assert bool(problem) == bool(contradicts)


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"<think>{{not json}}</think>Here it is: {GOOD} I hope that helps.",
        f'{{"Character": "{LOOK}", "CAPTION": "{CAPTION}", "extra": 1}}',
        f'{{"caption": ["{CAPTION}"], "character": "{LOOK}"}}',
        f'{{"a": 1}} {GOOD}',
    ],
)
def test_an_answer_is_found_in_what_models_put_around_it(answer):
    assert read_answer(answer) == (CAPTION, LOOK)


@pytest.mark.parametrize(
    "answer",
    ["", "no", "{", "{}", '{"caption": "x"}', '{"caption": 1, "character": 2}', "[1]",
     GOOD[:-20], "{" * 20_000, '{"caption":' * 3000, "[" * 16_000 + "{"],
)  # fmt: skip
def test_what_is_no_answer_is_none(answer):
    assert read_answer(answer) is None


def test_good_texts_pass():
    assert answer_problem(CAPTION, LOOK, facts()) == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        ("...!", "empty"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("I’m really sorry, this shows nothing at all.", "refusal"),
        ("As an AI language model I see pictures.", "refusal"),
        ("Unable to describe the person in the video.", "refusal"),
        ("No images were given to describe here.", "refusal"),
        ("A man walks.", "3 words, at least 4 are wanted"),
        ("word " * 200, "1000 signs, at most 800 are allowed"),
        ("A man walks in the park <b>slowly</b> alone.", "markup"),
        ("A man **walks** in the park alone.", "markup"),
        ("A man walks in the park <|im_end|> alone.", "markup"),
        ("See https://example.org for what the man does.", "markup"),
        ("A man walks in the\u202e park all alone.", "control or invisible signs"),
        ("A man walks in the\x1b[31m park all alone.", "control or invisible signs"),
        ("A man 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15.", "hardly any letters"),
        ("A man walks nooooooooooo where in the park.", "the same sign over and over"),
        ("A man walks and a man walks and a man walks and sits.", "the same words over and over"),
        ("He is very very very happy in the park.", "the same words over and over"),
        ("A man walks and looks. " * 5, "the same words over and over"),
        ("one sentence on how the camera frames the picture and whether it moves",
         "repeats the request"),
        ("A man named Robert walks through the park.", "names somebody"),
        ("Here Mr. Bean walks through the park.", "names somebody"),
        ("Tom Hanks walks through the park alone.", "names somebody"),
        ("A man who looks like Tom Hanks walks alone.", "names somebody"),
        ("The scene shows actress Monroe in the park.", "names somebody"),
    ],
)  # fmt: skip
def test_what_is_no_description_is_told_apart(text, problem):
    assert text_problem(text, 800, 4) == problem


@pytest.mark.parametrize(
    "text",
    [
        "Two men in black suits talk on a bench in Central Park, New York.",
        "A woman waves. The Golden Gate Bridge is behind her. She cannot stop laughing.",
        "A person sits at the window, can't be seen clearly, and turns away.",
        "A child runs up and down, up and down, on the stairs of the old house.",
        "The camera pans left. The camera then stops on a man in a T-shirt.",
        "一名穿红色外套的男子 在 公园里 缓慢 行走 镜头 跟随 其后",
        "A woman, about 30, wears a size-8 dress with 3 buttons and a no. 7 badge on it.",
    ],
)
def test_ordinary_descriptions_pass(text):
    assert text_problem(text, 800, 4) == ""


@pytest.mark.parametrize(
    ("text", "measured", "problem"),
    [
        ("Three women talk in a room.", 1, "caption: says 3 people, 1 measured"),
        ("Three women talk in a room.", 3, ""),
        ("Three women talk in a room.", 0, ""),
        ("A woman talks in a room.", 3, ""),
    ],
)
def test_more_people_than_measured_are_refused(text, measured, problem):
    assert answer_problem(text, LOOK, facts(num_people=measured)) == problem


def test_one_text_for_both_keys_is_refused():
    assert answer_problem(LOOK, LOOK, facts()) == "character: the same as the caption"


# --- asking, asking again, falling back ---------------------------------------------------------


class Script:
    """Answers that were written beforehand, by clip and attempt."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = answers
        self.asked: list[list[CaptionRequest]] = []

    def __call__(self, questions):
        self.asked.append(list(questions))
        return [Reply(self.answers[each.clip_id][each.attempt]) for each in questions]


def outcomes_of(script, *rows):
    return ask_for_captions(rows, script, VlmConfig(), ME)


def test_a_good_first_answer_is_kept_and_nothing_is_asked_again():
    script = Script(clip=[GOOD])
    [outcome] = outcomes_of(script, facts())
    assert (outcome.text, outcome.description, outcome.engine) == (CAPTION, LOOK, ME)
    assert outcome.problem == ""
    assert len(script.asked) == 1


def test_only_the_failed_are_asked_again_with_the_reason():
    script = Script(a=[GOOD], b=["I'm sorry.", GOOD], c=[GOOD])
    outcomes = outcomes_of(script, facts("a"), facts("b"), facts("c"))
    assert [each.clip_id for each in script.asked[1]] == ["b"]
    assert "no JSON object with the keys" in script.asked[1][0].prompt
    assert script.asked[0][1].prompt != script.asked[1][0].prompt
    assert [each.engine for each in outcomes] == [ME] * 3
    assert outcomes[1].problem == "no JSON object with the keys"


def test_after_two_bad_answers_the_measured_attributes_speak_and_say_why(caplog):
    bad = GOOD.replace("A man walks", "Five men walk")
    row = facts()
    with caplog.at_level(logging.WARNING):
        [outcome] = outcomes_of(Script(clip=[bad, "secret words {}"]), row)
    assert (outcome.text, outcome.description) == AttributeCaptioner().caption([row])[0]
    assert outcome.engine == "attributes/5"
    assert outcome.problem == (
        "caption: says 5 people, 1 measured; again: no JSON object with the keys"
    )
    assert "clip" in caplog.text
    assert "secret words" not in caplog.text


def test_a_clip_without_frames_is_never_described_blindly():
    script = Script(a=[GOOD])
    outcomes = outcomes_of(script, facts("b", shown=()), facts("a"))
    assert [each.engine for each in outcomes] == ["attributes/5", ME]
    assert outcomes[0].problem == "no frames to look at"
    assert [each.clip_id for each in script.asked[0]] == ["a"]


# --- settings and folders -----------------------------------------------------------------------


def test_settings_come_from_the_environment_by_their_names():
    settings = settings_from_env(
        {
            "CONTEXTANYONE_CAPTION_FOLDER": "Qwen/Qwen2.5-VL-7B-Instruct",
            "CONTEXTANYONE_CAPTION_FRAMES": "4",
            "CONTEXTANYONE_CAPTION_TIMEOUT_S": "2.5",
            "CONTEXTANYONE_CAPTION_COMMERCIAL": "yes",
            "CONTEXTANYONE_CAPTION_API_KEY": "secret",
            "OTHER": "x",
        }
    )
    assert settings == VlmConfig(
        folder="Qwen/Qwen2.5-VL-7B-Instruct", frames=4, timeout_s=2.5, commercial=True
    )
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"FRAMES": "many"}, "CONTEXTANYONE_CAPTION_FRAMES must be int, got 'many'"),
        ({"FRAMES": "0"}, "captions.frames must be from 1 to 1000"),
        ({"TIMEOUT_S": "nan"}, "captions.timeout_s"),
        ({"COMMERCIAL": "perhaps"}, "must be one of"),
        ({"FRAME": "3"}, "CONTEXTANYONE_CAPTION_FRAME is no setting"),
    ],
)
def test_bad_settings_are_named(environment, message):
    named = {f"CONTEXTANYONE_CAPTION_{name}": value for name, value in environment.items()}
    with pytest.raises(ValueError, match=message):
        settings_from_env(named)


def test_without_a_model_the_message_names_the_alternative(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"CONTEXTANYONE_CAPTION_FOLDER.*attributes"):
        VlmCaptioner(VlmConfig())
    with pytest.raises(ValueError, match=r"'no-such-model' was not found.*attributes"):
        VlmCaptioner(VlmConfig(folder="no-such-model"))


@pytest.fixture
def model_files(tmp_path):
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    return tmp_path


def test_a_clean_folder_is_found_by_name_among_the_models(model_files, monkeypatch):
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(model_files.parent))
    assert find_model_folder(model_files.name, "") == model_files


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("modeling_x.py", b"open('mark', 'w')", "is code"),
        ("pytorch_model.bin", b"x", "is a pickle"),
        ("vae/weights.ckpt", b"x", "is a pickle"),
        ("config.json", b'{"auto_map": {"AutoModel": "modeling_x.X"}}', "auto_map"),
        ("tokenizer_config.json", b'{"auto_map": {"AutoTokenizer": ["x.X", null]}}', "auto_map"),
        ("config.json", b'{"text": [{"auto_map": {"AutoModel": "x.X"}}]}', "auto_map"),
        ("config.json", b"{", "is not JSON"),
        ("config.json", b"[" * 100_000, "is not JSON"),
        ("other.safetensors", (1 << 40).to_bytes(8, "little") + b"{}", "damaged or hostile"),
        ("other.safetensors", b"", "damaged or hostile"),
    ],
)
def test_a_folder_that_could_run_code_is_refused(model_files, name, content, message):
    (model_files / name).parent.mkdir(exist_ok=True)
    (model_files / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        check_model_folder(model_files)


def test_a_folder_without_safetensors_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no \.safetensors"):
        check_model_folder(tmp_path)


# --- the real classes, without weights -----------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("transformers")
    return save_tiny_vlm(tmp_path_factory.mktemp("models") / "tiny-vlm")


def engine_of(folder, **settings) -> VlmCaptioner:
    defaults: dict[str, Any] = {"max_tokens": 32, "frame_px": 56, "frames": 2}
    return VlmCaptioner(VlmConfig(folder=str(folder), **(defaults | settings)), device="cpu")


@pytest.fixture(scope="module")
def engine(folder):
    return engine_of(folder)


def test_the_engine_is_named_after_its_weights(folder, engine):
    info = engine.info
    assert isinstance(info, EngineInfo)
    assert info.id == "vlm/1:tiny-vlm"
    assert len(info.weights_digest) == 64
    assert (info.licence, info.commercial) == ("not stated", False)
    assert engine_of(folder).info == info


def test_a_random_models_words_never_become_captions(engine):
    rows = [facts("a"), facts("b", shown=frames(2, 160))]
    outcomes = engine.outcomes(rows)
    for row, outcome in zip(rows, outcomes, strict=True):
        assert (outcome.text, outcome.description) == AttributeCaptioner().caption([row])[0]
        assert outcome.engine == "attributes/5"
        assert "; again: " in outcome.problem
    assert engine.caption(rows) == [("", "")] * 2


def questions():
    return [
        CaptionRequest("a", "What is seen?", frames(2)),
        CaptionRequest("b", "A longer question, so that the others are padded.", frames(3, 20)),
        CaptionRequest("c", "?", frames(1, 200, 112)),
    ]


def test_a_batch_answers_what_single_questions_answer(folder, engine):
    together = [reply.text for reply in engine._ask(questions())]
    alone = [engine._ask([each])[0].text for each in questions()]
    in_pairs = [reply.text for reply in engine_of(folder, batch=2)._ask(questions())]
    assert together == alone == in_pairs
    assert len(set(together)) == 3


def logits_of(engine, *asked):
    import torch

    with torch.inference_mode():
        return engine._model(**engine._inputs(asked)).logits[:, -1]


def test_the_frames_and_their_order_reach_the_model(engine):
    first, second = frames(2, 10), frames(2, 200)
    base, same, changed, turned = logits_of(
        engine,
        *(CaptionRequest("a", "What?", shown) for shown in (first, first, second, first[::-1])),
    )
    assert (base - same).abs().max() < 1e-5
    assert (base - changed).abs().max() > 1e-3
    assert (base - turned).abs().max() > 1e-4


def test_every_frame_takes_its_place_in_the_request(engine):
    ids = engine._inputs([CaptionRequest("a", "What?", frames(3))])["input_ids"][0].tolist()
    vocabulary = engine._processor.tokenizer.get_vocab()
    assert ids.count(vocabulary["<|vision_start|>"]) == 3
    assert ids.count(vocabulary["<|image_pad|>"]) == 3 * 2  # 28 x 56 pixels are two tokens


def test_greedy_answers_repeat_and_drawn_ones_follow_their_seed(folder, engine):
    asked = questions()[:1]
    assert engine._ask(asked) == engine._ask(asked)
    drawing = engine_of(folder, temperature=1.5)
    first = drawing._ask(asked)
    assert first == drawing._ask(asked)
    assert first != drawing._ask([replace(asked[0], attempt=1)])


ANSWERS = {
    (200, 30, 30): ("A man walks in a park.", "A man in a red coat."),
    (30, 30, 200): ("A woman sits by the sea.", "A woman in a blue dress."),
}


def painted(colour):
    shown = (np.full((56, 56, 3), colour, np.uint8),) * 2
    return facts("painted", shown=shown)


def teach(engine, rows, answers, steps=300):
    """Train until the answers are known by heart: the model is tiny, so this takes seconds."""
    import torch

    asked = [asked_captions._question(row, engine.settings, 0, "") for row in rows]
    inputs = dict(engine._inputs(asked))
    tokenizer = engine._processor.tokenizer
    known = tokenizer(answers, return_tensors="pt", padding=True, padding_side="right")
    size = inputs["input_ids"].shape[1]
    for name in ("input_ids", "attention_mask"):
        inputs[name] = torch.cat([inputs[name], known[name]], 1)
    if "mm_token_type_ids" in inputs:
        zeros = torch.zeros_like(known["input_ids"])
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], zeros], 1)
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    labels[:, :size] = -100
    optimizer = torch.optim.AdamW(engine._model.parameters(), lr=8e-3)
    loss = torch.tensor(math.inf)
    for _ in range(steps):
        loss = engine._model(**inputs, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(engine._model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.01:
            return
    raise AssertionError(f"not learnt: loss {loss.item():.3f}")


def test_a_model_that_knows_the_answer_is_believed(tmp_path, monkeypatch):
    """The whole way with a real model: frames in, words out, read, checked, kept."""
    pytest.importorskip("transformers")
    monkeypatch.setattr(asked_captions, "prompt_for", lambda *_: "What is seen?")  # short: fast
    engine = engine_of(save_tiny_vlm(tmp_path / "taught", width=64), max_tokens=160)
    rows = [painted(colour) for colour in ANSWERS]
    texts = [f'{{"caption": "{c}", "character": "{d}"}}<|im_end|>' for c, d in ANSWERS.values()]
    teach(engine, rows, texts)
    outcomes = engine.outcomes(rows)
    assert [(each.text, each.description) for each in outcomes] == list(ANSWERS.values())
    assert {each.engine for each in outcomes} == {"vlm/1:taught"}
    assert engine.caption(rows[::-1]) == list(ANSWERS.values())[::-1]


def test_the_request_is_what_the_echo_check_knows():
    assert INSTRUCTION in prompt_for(facts(), 8)
