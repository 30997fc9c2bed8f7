"""Edited references: prompts, a real tiny Kontext pipeline, relighting, and the gate."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import portraits
import pytest
from tiny_kontext import save_tiny_kontext

from pipeline.engines.editing.diffusers_editor import (
    DiffusersEditor,
    EditSettings,
    edit_settings_from_env,
    fit_canvas,
    pipeline_kind,
)
from pipeline.engines.editing.edit_gate import (
    EditGateConfig,
    EditRefusal,
    EditVerifier,
    change_between,
    clothes_between,
    in_light_of,
    skin_between,
)
from pipeline.engines.editing.edit_prompts import BANK, KEEP, draw_prompts, join
from pipeline.engines.editing.editor import EditRequest
from pipeline.engines.editing.relight_editor import RELIGHTS, RelightEditor
from pipeline.engines.faces.opencv_faces import OpencvFaces
from pipeline.engines.identity.appearance import Appearance
from pipeline.engines.interfaces import Faces, PersonImage
from pipeline.engines.masks.grabcut import GrabCut
from pipeline.media.images import decode_image, encode_jpeg

pytestmark = pytest.mark.slow

FACE = np.array([170, 65, 285, 180], np.float32)  # of the astronaut, by eye
BOX = np.array([60, 10, 460, 512], np.float32)

# --- prompts -----------------------------------------------------------------------------------

IDENTITY = re.compile(
    r"\b(cloth\w*|dress\w*|shirt|coat|jacket|suit|hat|glasses|wear\w*|hair\w*|beard|bald|age[ds]?"
    r"|old\w*|young\w*|skin|tan\w*|race|thin|fat|slim|tall|man|woman|male|female|face|eyes)\b"
)


def test_no_prompt_speaks_of_what_identity_is_made_of():
    for prompt in BANK:
        assert not IDENTITY.search(prompt.change.lower()), prompt.id
        assert prompt.text.endswith(KEEP)
        assert len(prompt.text) < 400  # of Kontext's 512 tokens
    for word in ("same face", "hair", "skin", "age", "garment", "One person only"):
        assert word in KEEP


def test_ids_are_unique_and_every_kind_has_several():
    assert len({prompt.id for prompt in BANK}) == len(BANK)
    kinds = [prompt.kinds[0] for prompt in BANK]
    assert all(kinds.count(kind) >= 6 for kind in ("action", "view", "light", "background"))


def test_prompts_are_drawn_by_the_references_id_alone():
    drawn = draw_prompts("reference", 8)
    assert drawn == draw_prompts("reference", 8)
    assert drawn[:3] == draw_prompts("reference", 3)
    assert drawn != draw_prompts("other", 8)
    for prompt in drawn:
        move, scene = prompt.kinds
        assert move in ("action", "view")
        assert scene in ("light", "background")


def test_no_part_comes_twice_while_others_are_left_and_no_pair_ever():
    drawn = draw_prompts("reference", 14)
    assert len({prompt.id.split("+")[0] for prompt in drawn}) == 14
    assert len({prompt.id.split("+")[1] for prompt in drawn}) == 14
    many = draw_prompts("reference", 1000)
    assert len({prompt.id for prompt in many}) == len(many) >= 100


# --- the canvas --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(512, 512), (300, 200), (64, 900), (1, 1), (1080, 1921)])
def test_the_canvas_fits_the_model_and_gives_the_picture_back(shape):
    picture = np.zeros((*shape, 3), np.uint8)
    canvas, (width, height) = fit_canvas(picture, 256 * 256)
    assert canvas.shape[0] % 32 == canvas.shape[1] % 32 == 0
    assert height <= canvas.shape[0] < height + 32
    assert width <= canvas.shape[1] < width + 32
    assert 0.5 * 256**2 < width * height < 2 * 256**2


def test_the_canvas_mirrors_and_stretches_nothing():
    picture = cv2.resize(portraits.ground(), (200, 100))
    canvas, (width, height) = fit_canvas(picture, 200 * 100)
    assert (width, height) == (200, 100)
    assert np.array_equal(canvas[:100, :200], picture)
    assert np.array_equal(canvas[:100, 200:], picture[:, 198:174:-1])


# --- the pipeline ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("diffusers")
    return save_tiny_kontext(tmp_path_factory.mktemp("models") / "tiny-kontext")


@pytest.fixture(scope="module")
def editor(folder):
    return DiffusersEditor(EditSettings(folder=str(folder), steps=2, area_px=96 * 96), "cpu")


@pytest.fixture(scope="module")
def astronaut():
    pytest.importorskip("skimage")
    picture = portraits.portrait()
    [faces] = OpencvFaces().detect([picture])
    return PersonImage(picture, BOX, faces.boxes[0], faces.landmarks[0])


def request(person, name="reference", prompt=None, **more):
    return EditRequest(name, person, prompt or draw_prompts("reference", 1)[0], **more)


def test_an_edit_has_the_size_of_its_source_and_says_how_it_was_made(editor, astronaut):
    wide = PersonImage(np.ascontiguousarray(astronaut.picture[100:377]), BOX, FACE)
    asked = [request(astronaut), request(wide)]
    for one, edited in zip(asked, editor.edit(asked), strict=True):
        assert edited.picture.shape == one.person.picture.shape
        assert edited.picture.dtype == np.uint8
        assert edited.prompt_id == one.prompt.id
        assert edited.prompt == one.prompt.text
        assert edited.seed == one.seed
        assert edited.engine == editor.info.id
    assert editor.info.id == "diffusers-edit/1:FluxKontextPipeline:tiny-kontext:2"
    assert len(editor.info.weights_digest) == 64
    assert not editor.info.commercial


def test_the_same_ids_give_the_same_pixels_whoever_else_is_edited(folder, editor, astronaut):
    first = request(astronaut)
    [alone] = editor.edit([first])
    among = editor.edit([request(astronaut, "other"), first])[1]
    again = DiffusersEditor(editor.settings, "cpu").edit([first])[0]
    assert alone.picture.tobytes() == among.picture.tobytes() == again.picture.tobytes()


def test_seed_prompt_and_source_each_change_the_pixels(editor, astronaut):
    first = request(astronaut)
    turned = PersonImage(np.ascontiguousarray(astronaut.picture[:, ::-1]), BOX, FACE)
    seeds = {first.seed, replace(first, attempt=1).seed, request(astronaut, "other").seed}
    assert len(seeds) == 3
    base = editor.edit([first])[0].picture
    others = (replace(first, attempt=1), replace(first, person=turned))
    for other in editor.edit(others):
        assert not np.array_equal(other.picture, base)
    words = join(*BANK[10:12])
    made = [
        editor._pipeline(
            image=None, prompt=text, height=96, width=96, num_inference_steps=1,
            generator=_generator(), output_type="np", max_sequence_length=64,
        ).images[0]
        for text in (words.text, first.prompt.text)
    ]  # fmt: skip
    assert not np.array_equal(*made)


def _generator():
    import torch

    return torch.Generator("cpu").manual_seed(0)


def test_noise_from_a_random_pipeline_never_becomes_a_reference(editor, astronaut):
    verifier = EditVerifier(OpencvFaces(), Appearance())
    for edited in editor.edit([request(astronaut), request(astronaut, attempt=1)]):
        verdict = verifier.verify(astronaut, edited.picture)
        assert verdict.refusal is EditRefusal.NO_FACE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "StableDiffusionPipeline"}, "is a StableDiffusionPipeline; editors are"),
        ({"_class_name": ["my_pipeline", "Mine"]}, "editors are"),
        ({"transformer": ["my_module", "Mine"]}, "foreign code"),
        ({"transformer": []}, "foreign code"),
    ],
)
def test_other_pipelines_and_foreign_code_are_refused(tmp_path, change, message):
    index = {"_class_name": "FluxKontextPipeline", "vae": ["diffusers", "AutoencoderKL"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert pipeline_kind(tmp_path) == "FluxKontextPipeline"
    (tmp_path / "model_index.json").write_text(json.dumps(index | change))
    with pytest.raises(ValueError, match=message):
        pipeline_kind(tmp_path)


def test_a_folder_that_is_no_pipeline_is_named(tmp_path):
    with pytest.raises(ValueError, match="is no diffusers pipeline"):
        pipeline_kind(tmp_path)
    (tmp_path / "model_index.json").write_text("[]")
    with pytest.raises(ValueError, match="is no diffusers pipeline"):
        pipeline_kind(tmp_path)


def test_without_a_pipeline_the_message_names_two_and_their_licences():
    with pytest.raises(ValueError, match=r"Qwen-Image-Edit.*no commercial use.*relight") as caught:
        DiffusersEditor(EditSettings())
    assert "CONTEXTANYONE_EDIT_FOLDER" in str(caught.value)


def test_editor_settings_come_from_the_environment():
    named = {"CONTEXTANYONE_EDIT_STEPS": "8", "CONTEXTANYONE_EDIT_OFFLOAD": "true"}
    assert edit_settings_from_env(named) == EditSettings(steps=8, offload=True)
    for value in ("few", "0"):
        with pytest.raises(ValueError, match=r"edit\.steps|EDIT_STEPS"):
            edit_settings_from_env({"CONTEXTANYONE_EDIT_STEPS": value})


# --- relighting --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mask(astronaut):
    return GrabCut().segment([astronaut])[0]


def relit(astronaut, mask, number, name="reference"):
    asked = EditRequest(name, astronaut, RELIGHTS[number], mask)
    return RelightEditor().edit([asked])[0]


def test_relit_variants_differ_repeat_and_need_no_mask(astronaut, mask):
    made = [relit(astronaut, mask, number).picture for number in range(len(RELIGHTS))]
    for number, picture in enumerate(made):
        assert picture.shape == astronaut.picture.shape
        assert np.array_equal(picture, relit(astronaut, mask, number).picture)
        for other in made[:number]:
            assert change_between(picture, other) > 0.02
    assert change_between(relit(astronaut, None, 2).picture, astronaut.picture) > 0.02


def test_the_light_comes_from_either_side_by_id(astronaut, mask):
    def leans(picture):
        change = picture.astype(float).mean(2) - astronaut.picture.astype(float).mean(2)
        return change[:, :200].mean() > change[:, 312:].mean()

    sides = {leans(relit(astronaut, mask, 0, f"reference {k}").picture) for k in range(8)}
    assert sides == {True, False}


def test_only_known_lights_are_taken(astronaut):
    with pytest.raises(ValueError, match="relit-dusk/1"):
        RelightEditor().edit([request(astronaut)])


# --- the gate ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def verifier():
    return EditVerifier(OpencvFaces(), Appearance())


@pytest.mark.parametrize("number", range(len(RELIGHTS)))
def test_the_same_person_in_another_light_passes(verifier, astronaut, mask, number):
    verdict = verifier.verify(astronaut, relit(astronaut, mask, number).picture)
    assert verdict.passed, (verdict.refusal, verdict.value, verdict.detail)
    assert verdict.measured["similarity"] >= Appearance().windows.reference_floor
    assert verdict.person is not None
    assert verdict.person.face is not None


def test_another_place_passes(verifier, astronaut, mask):
    soft = cv2.GaussianBlur(mask, (5, 5), 0)[..., None] / 255
    wall = cv2.resize(portraits.ground(), (512, 512))
    picture = np.round(astronaut.picture * soft + wall * (1 - soft)).astype(np.uint8)
    verdict = verifier.verify(astronaut, picture)
    assert verdict.passed, (verdict.refusal, verdict.value, verdict.detail)


def test_the_picture_itself_compressed_or_grained_is_a_near_copy(verifier, astronaut):
    noise = np.random.default_rng(0).normal(0, 6, astronaut.picture.shape)
    grained = np.clip(astronaut.picture + noise, 0, 255).astype(np.uint8)
    compressed = decode_image(encode_jpeg(astronaut.picture, 40))
    for picture in (astronaut.picture, compressed, grained):
        verdict = verifier.verify(astronaut, picture)
        assert verdict.refusal is EditRefusal.NEAR_COPY
        assert verdict.value is not None
        assert verdict.value < verdict.threshold == EditGateConfig().min_change


def test_nobody_and_several_people_are_refused(verifier, astronaut):
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    assert verifier.verify(astronaut, noise).refusal is EditRefusal.NO_FACE
    half = cv2.resize(astronaut.picture, (256, 256), interpolation=cv2.INTER_AREA)
    twins = np.tile(half, (2, 2, 1))
    verdict = verifier.verify(astronaut, twins)
    assert verdict.refusal is EditRefusal.OTHER_PEOPLE
    assert verdict.value == 4


def repainted(astronaut, mask, degrees):
    """Return the astronaut lit anew, her orange suit in another colour."""
    suit = mask.copy()
    suit[:210] = 0
    picture = relit(astronaut, mask, 4).picture.copy()
    picture[suit > 0] = portraits.recoloured(picture, degrees)[suit > 0]
    return picture


@pytest.mark.parametrize("degrees", [40, 90, 180])
def test_other_clothes_are_refused_with_both_colours(verifier, astronaut, mask, degrees):
    forgiving = replace(verifier, config=EditGateConfig(min_similarity=-1.0))
    verdict = forgiving.verify(astronaut, repainted(astronaut, mask, degrees))
    assert verdict.refusal is EditRefusal.CLOTHES_CHANGED
    assert verdict.detail.startswith("top is ")
    assert verdict.detail.endswith(", was orange")


def test_a_skin_colour_that_no_lamp_makes_is_refused(verifier, astronaut):
    """The light check looks at the face: green against red and blue."""
    linear = (astronaut.picture / 255.0) ** 2.2 * np.array([0.8, 1.25, 0.8])
    green = np.round(255 * np.clip(linear, 0, 1) ** (1 / 2.2)).astype(np.uint8)
    assert (
        skin_between(astronaut, replace(astronaut, picture=green))["tint"]
        > EditGateConfig().max_tint
    )
    sees = replace(verifier, faces=Knows(astronaut), config=EditGateConfig(min_similarity=-1.0))
    assert sees.verify(astronaut, green).refusal is EditRefusal.SKIN_CHANGED


class Knows:
    """A face detector that has been told where the face is."""

    info = OpencvFaces().info

    def __init__(self, person: PersonImage) -> None:
        assert person.face is not None
        unknown = np.full((1, 5, 2), np.nan)
        self.faces = Faces(person.face[None], np.ones(1), unknown, np.zeros(1))

    def detect(self, pictures):
        return [self.faces] * len(pictures)


def test_light_is_undone_before_colours_are_compared(astronaut, mask):
    lit = replace(astronaut, picture=relit(astronaut, mask, 4).picture)
    raw = clothes_between(astronaut, lit)
    corrected = clothes_between(astronaut, in_light_of(astronaut, lit))
    assert corrected["top"] < 0.5 * raw["top"]
    assert corrected["signature"] > raw["signature"]


def test_somebody_else_in_the_same_suit_is_refused(verifier, astronaut):
    """To the embedded recogniser another texture of face and another hair are somebody else."""
    picture = astronaut.picture.copy()
    y, x = np.mgrid[0:512, 0:512]
    head = ((x - 227) / 75) ** 2 + ((y - 115) / 105) ** 2 < 1
    picture[head] = cv2.GaussianBlur(picture[::-1, ::-1], (61, 61), 0)[head] // 2
    sees = replace(verifier, faces=Knows(astronaut), config=EditGateConfig(min_change=0.0))
    assert sees.verify(astronaut, picture).refusal is EditRefusal.LOW_SIMILARITY


@pytest.mark.media
def test_no_portrait_passes_as_an_edit_of_another(verifier, media):
    people = []
    for name in ("movienet-portrait_jack.jpg", "movienet-portrait_rose.jpg", "lp-s7.jpg"):
        picture = decode_image((media / "images" / name).read_bytes())
        picture = cv2.resize(picture, (300, 400), interpolation=cv2.INTER_AREA)
        [faces] = OpencvFaces().detect([picture])
        people.append(PersonImage(picture, np.array([25, 25, 275, 400], "f4"), faces.boxes[0]))
    for source in people:
        for other in people:
            if other is not source:
                verdict = verifier.verify(source, other.picture)
                assert verdict.refusal is EditRefusal.LOW_SIMILARITY


def test_sizes_and_faceless_sources_are_refused(verifier, astronaut):
    small = astronaut.picture[:100]
    assert verifier.verify(astronaut, small).refusal is EditRefusal.WRONG_SIZE
    blind = PersonImage(astronaut.picture, BOX)
    verdict = verifier.verify(blind, astronaut.picture[::-1].copy())
    assert verdict.refusal is EditRefusal.NO_FACE
    assert "the source shows no face" in verdict.detail
