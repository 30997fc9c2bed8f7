"""segment-anything: the real library on a tiny random model, and cleaning on drawn masks."""

import subprocess
import sys
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.engines.interfaces import PersonImage
from pipeline.engines.masks.mask_cleaning import box_fit, clean_mask
from pipeline.engines.masks.segment_anything import (
    Cut,
    SegmentAnything,
    find_checkpoint,
    foreground_points,
)

BOX = np.array([40, 20, 120, 180], np.float32)
FACE = np.array([64, 30, 96, 62], np.float32)


# --- cleaning ----------------------------------------------------------------------------------


def oval(shape=(200, 160), centre=(80, 100), axes=(36, 76)):
    return cv2.ellipse(np.zeros(shape, np.uint8), centre, axes, 0, 0, 360, 1, -1) > 0


def agreement(first, second):
    return (first & second).sum() / (first | second).sum()


def test_specks_and_pinholes_go_and_the_person_stays():
    truth = oval()
    random = np.random.default_rng(0)
    dirty = truth.copy()
    for y, x in random.integers([60, 55], [150, 105], (8, 2)):
        dirty[y : y + 4, x : x + 4] = False
    dirty[2:12, 2:12] = True
    dirty[60:70, 125:132] = True
    cleaned = clean_mask(dirty, BOX)
    assert cleaned.dtype == np.uint8
    assert set(np.unique(cleaned)) == {0, 255}
    assert agreement(cleaned > 0, truth) > 0.97
    assert cv2.connectedComponents(cleaned)[0] == 2
    assert cv2.connectedComponents(255 - cleaned)[0] == 2


def test_an_arm_akimbo_stays_open():
    akimbo = oval()
    akimbo[90:130, 60:76] = False
    assert not clean_mask(akimbo, BOX)[95:125, 64:72].any()


def test_a_jagged_outline_becomes_smooth():
    truth = oval((800, 640), (320, 400), (144, 304))
    noise = np.random.default_rng(1).random(truth.shape) < 0.5
    rim = cv2.dilate(truth.astype(np.uint8), np.ones((5, 5))) > cv2.erode(
        truth.astype(np.uint8), np.ones((5, 5))
    )
    jagged = np.where(rim, noise, truth)
    cleaned = clean_mask(jagged, BOX * 4)

    def outline(mask):
        found, _ = cv2.findContours(mask.astype(np.uint8), 0, cv2.CHAIN_APPROX_NONE)
        return sum(cv2.arcLength(each, True) for each in found)

    assert outline(cleaned) < 1.1 * outline(truth) < 0.7 * outline(jagged)
    assert agreement(cleaned > 0, truth) > 0.98


def test_the_piece_under_the_points_wins_over_a_larger_one():
    both = np.zeros((200, 160), bool)
    both[30:90, 45:75] = True
    both[95:178, 50:118] = True
    assert clean_mask(both, BOX)[120, 80] == 255
    cleaned = clean_mask(both, BOX, [(60.0, 50.0)])
    assert cleaned[50, 60] == 255
    assert cleaned[120, 80] == 0


def test_what_lies_far_outside_the_box_is_cut_off():
    cleaned = clean_mask(np.ones((200, 160), bool), BOX)
    assert cleaned[:, 150:].max() == 0
    assert cleaned[100, 80] == 255


def test_nothing_stays_nothing():
    empty = np.zeros((200, 160), bool)
    assert not clean_mask(empty, BOX).any()
    assert box_fit(empty, BOX) == 0
    assert Cut(clean_mask(empty, BOX), 0.9, 0.9, 0.0).quality == 0


def test_a_mask_of_the_shirt_alone_is_worth_less_than_the_whole_person():
    whole, shirt = oval(), oval(axes=(36, 25))
    cuts = [Cut(clean_mask(mask, BOX), 0.9, 0.95, box_fit(mask, BOX)) for mask in (whole, shirt)]
    assert cuts[0].quality > 1.2 * cuts[1].quality


# --- prompts -----------------------------------------------------------------------------------


def person(picture=None, box=BOX, face: np.ndarray | None = FACE):
    picture = np.zeros((200, 160, 3), np.uint8) if picture is None else picture
    return PersonImage(picture, box, face)


def test_points_are_face_and_torso_and_follow_the_box():
    face, torso = foreground_points(person())
    assert face == (80, 46)
    assert torso == pytest.approx((80, 30 + 2.2 * 32))
    moved = foreground_points(person(box=BOX + 10, face=FACE + 10))
    assert moved == [(face[0] + 10, face[1] + 10), (torso[0] + 10, torso[1] + 10)]


@pytest.mark.parametrize("face", [None, FACE, np.array([40, 20, 120, 100], np.float32)])
@pytest.mark.parametrize("box", [BOX, np.array([-10, -10, 400, 400], np.float32)])
def test_points_lie_on_the_box_and_in_the_picture(box, face):
    for x, y in foreground_points(person(box=box, face=face)):
        assert max(box[0], 0) <= x < min(box[2], 160)
        assert max(box[1], 0) <= y < min(box[3], 200)


# --- the model ---------------------------------------------------------------------------------


def tiny_sam(seed=0):
    """Return a real Sam of the library with 128 px pictures and 16 numbers a head."""
    torch = pytest.importorskip("torch")
    modeling = pytest.importorskip("segment_anything.modeling")
    torch.manual_seed(seed)
    encoder = modeling.ImageEncoderViT(
        img_size=128, patch_size=16, embed_dim=32, depth=3, num_heads=2, mlp_ratio=2,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        out_chans=64, use_rel_pos=True, window_size=3, global_attn_indexes=(1,),
    )  # fmt: skip
    prompts = modeling.PromptEncoder(64, (8, 8), (128, 128), 8)
    transformer = modeling.TwoWayTransformer(2, 64, 8, 96)
    decoder = modeling.MaskDecoder(
        transformer_dim=64, transformer=transformer, iou_head_depth=2, iou_head_hidden_dim=32
    )
    sam = modeling.Sam(encoder, prompts, decoder)
    with torch.no_grad():
        for weight in sam.parameters():
            weight.add_(0.15 * torch.randn_like(weight))
    return sam.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    sam = tiny_sam()
    import torch

    path = tmp_path_factory.mktemp("sam") / "sam_tiny.pth"
    torch.save(sam.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def engine(checkpoint):
    return SegmentAnything(str(checkpoint), device="cpu")


def scene(seed=0, height=200, width=160):
    random = np.random.default_rng(seed)
    picture = random.integers(0, 90, (height, width, 3), dtype=np.uint8)
    picture[oval((height, width))] = (200, 60 + 20 * seed, 60)
    return picture


def test_the_checkpoint_tells_every_size_of_its_model(checkpoint, engine):
    import torch

    loaded, real = engine._sam, tiny_sam()
    assert [block.window_size for block in loaded.image_encoder.blocks] == [3, 0, 3]
    with torch.inference_mode():
        pixels = torch.rand(1, 3, 128, 128)
        assert torch.equal(loaded.image_encoder(pixels), real.image_encoder(pixels))
    assert engine.info.id == "segment-anything/1:sam_tiny"
    assert len(engine.info.weights_digest) == 64


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_the_published_sizes_are_read_off_their_tensors(name, monkeypatch):
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("segment_anything")
    from pipeline.engines.masks import sam_checkpoint

    with torch.device("meta"):
        published = library.sam_model_registry[name]()
        rebuilt = sam_checkpoint._build(published.state_dict())
    theirs = {key: value.shape for key, value in published.state_dict().items()}
    assert {key: value.shape for key, value in rebuilt.state_dict().items()} == theirs
    for ours, other in zip(
        rebuilt.image_encoder.blocks, published.image_encoder.blocks, strict=True
    ):
        assert (ours.window_size, ours.attn.num_heads) == (other.window_size, other.attn.num_heads)
        assert ours.norm1.eps == other.norm1.eps


@pytest.fixture(scope="module")
def mobile():
    """A random MobileSAM of its own library; only the last layer's width cannot be smaller."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("ultralytics")
    from pipeline.engines.people.ultralytics_yolo import quietly

    quietly()
    from ultralytics.models.sam.build import build_mobile_sam
    from ultralytics.models.sam.modules.tiny_encoder import TinyViT

    torch.manual_seed(0)
    sam: Any = build_mobile_sam()
    published = {key: value.shape for key, value in sam.state_dict().items()}
    sam.image_encoder = TinyViT(
        1024, embed_dims=(8, 16, 24, 320), depths=(1, 1, 2, 1), num_heads=(1, 1, 3, 2),
        window_sizes=(1, 7, 5, 7), mlp_ratio=2, mbconv_expand_ratio=2, num_classes=5,
    )  # fmt: skip
    return sam.eval(), published


def test_mobile_sam_is_read_as_its_own_library_reads_it(mobile, tmp_path):
    import torch

    theirs, _ = mobile
    torch.save(theirs.state_dict(), tmp_path / "mobile.pt")
    engine = SegmentAnything(str(tmp_path / "mobile.pt"), device="cpu")
    pixels = torch.rand(1, 3, 1024, 1024)
    with torch.inference_mode():
        assert torch.equal(engine._sam.image_encoder(pixels), theirs.image_encoder(pixels))
    [cut] = engine.cut([person(scene())])
    assert cut.mask.shape == (200, 160)
    assert 0 <= cut.quality <= 1


def test_the_published_mobile_sam_is_read_off_its_tensors(mobile):
    import torch

    from pipeline.engines.masks import sam_checkpoint

    _, published = mobile
    state = {key: torch.empty(shape) for key, shape in published.items()}
    rebuilt = sam_checkpoint._build(state)
    assert {key: value.shape for key, value in rebuilt.state_dict().items()} == published
    layers = rebuilt.image_encoder.layers
    assert [layer.blocks[0].window_size for layer in layers[1:]] == [7, 14, 7]


def test_masks_have_the_size_of_their_pictures(engine):
    people = [person(scene()), person(scene(1, 120, 300), BOX * 0.5, None)]
    cuts = engine.cut(people)
    for one, cut in zip(people, cuts, strict=True):
        assert cut.mask.shape == one.picture.shape[:2]
        assert cut.mask.dtype == np.uint8
        assert set(np.unique(cut.mask)) <= {0, 255}
        assert 0 <= cut.quality <= 1
    assert engine.segment([]) == []


def test_our_prompting_equals_the_librarys_predictor(engine):
    from segment_anything import SamPredictor

    picture = scene(0, 128, 128)  # the model's own size, so that no resizing can differ
    box = BOX * np.array([1, 0.64, 1, 0.64], np.float32)
    one = PersonImage(picture, box, FACE * np.array([1, 0.64, 1, 0.64], np.float32))
    predictor = SamPredictor(engine._sam)
    predictor.set_image(picture)
    points = foreground_points(one)
    masks, trust, _ = predictor.predict(np.array(points), np.ones(2), box, return_logits=True)
    import torch

    with torch.inference_mode():
        feature = engine._embed([picture])[0]
        ours, our_trust = engine._propose((128, 128), box, points, feature)
    assert np.allclose(ours.numpy(), masks, atol=1e-4)
    assert np.allclose(our_trust.numpy(), trust, atol=1e-5)


def test_the_best_proposal_is_taken(engine):
    import torch

    one = person(scene())
    points = foreground_points(one)
    with torch.inference_mode():
        feature = engine._embed([one.picture])[0]
        logits, trust = engine._propose((200, 160), BOX, points, feature)
        cuts = [
            engine._judge(*each, BOX, points) for each in zip(logits, trust.tolist(), strict=True)
        ]
    assert len(cuts) == 3
    assert engine.cut([one])[0].quality == max(cut.quality for cut in cuts)


def test_a_picture_of_several_people_is_embedded_once(engine, monkeypatch):
    sizes = []
    forward = engine._sam.image_encoder.forward

    def counting(pixels):
        sizes.append(len(pixels))
        return forward(pixels)

    monkeypatch.setattr(engine._sam.image_encoder, "forward", counting)
    monkeypatch.setattr(engine, "batch", 2)
    group = scene()
    people = [person(group), person(scene(1)), person(group, BOX + 15, FACE + 15), person(scene(2))]
    assert len(engine.segment(people)) == 4
    assert sizes == [2, 1]


def test_a_batch_gives_what_single_calls_give(engine):
    people = [person(scene(k), BOX + 3 * k, None if k % 2 else FACE + 3 * k) for k in range(4)]
    together = engine.cut(people)
    for one, cut in zip(people, together, strict=True):
        alone = engine.cut([one])[0]
        assert agreement(alone.mask > 0, cut.mask > 0) > 0.999 or not alone.mask.any()
        assert cut.predicted_iou == pytest.approx(alone.predicted_iou, abs=1e-4)


def test_cutting_twice_gives_the_same_bytes(checkpoint, engine):
    people = [person(scene())]
    again = SegmentAnything(str(checkpoint), device="cpu")
    assert engine.segment(people)[0].tobytes() == again.segment(people)[0].tobytes()


def test_another_box_prompts_another_answer(engine):
    import torch

    with torch.inference_mode():
        feature = engine._embed([scene()])[0]
        first, _ = engine._propose((200, 160), BOX, foreground_points(person()), feature)
        moved = person(box=BOX + 30, face=FACE + 30)
        second, _ = engine._propose((200, 160), moved.box, foreground_points(moved), feature)
    assert (first - second).abs().max() > 1e-3


# --- weights -----------------------------------------------------------------------------------


def test_missing_weights_name_file_licence_and_the_alternative(tmp_path, monkeypatch):
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CONTEXTANYONE_SAM", raising=False)
    with pytest.raises(ValueError, match="weights are missing") as caught:
        SegmentAnything()
    for word in ("sam_vit_b_01ec64.pth", "Apache-2.0", "CONTEXTANYONE_MODELS", "grabcut"):
        assert word in str(caught.value)
    with pytest.raises(ValueError, match="the registry has"):
        find_checkpoint("sam_vit_x")


def test_a_registered_name_with_other_bytes_is_refused(tmp_path, monkeypatch):
    (tmp_path / "sam_vit_l_0b3195.pth").write_bytes(b"x")
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(tmp_path))
    monkeypatch.setenv("CONTEXTANYONE_SAM", "sam_vit_l")
    with pytest.raises(ValueError, match="is not sam_vit_l"):
        SegmentAnything()


class Payload:
    """Pickles into a call that leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"image_encoder.pos_embed": Payload(tmp_path / "mark")}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="no checkpoint of tensors alone"):
        SegmentAnything(str(tmp_path / "bad.pth"))
    assert not (tmp_path / "mark").exists()


def test_other_models_are_refused_by_name(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"image_encoder.trunk.pos_embed": torch.zeros(1)}, tmp_path / "sam2.pth")
    with pytest.raises(ValueError, match="SAM 2 and others"):
        SegmentAnything(str(tmp_path / "sam2.pth"))
    tiny = {"image_encoder.patch_embed.seq.0.c.weight": torch.zeros(1)}
    torch.save(tiny, tmp_path / "half.pth")
    with pytest.raises(ValueError, match="does not fit"):
        SegmentAnything(str(tmp_path / "half.pth"))
    state = tiny_sam().state_dict()
    state.pop("image_encoder.neck.3.weight")
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(ValueError, match="does not fit"):
        SegmentAnything(str(tmp_path / "cut.pth"))


def test_importing_the_engine_imports_no_framework():
    modules = ("masks.segment_anything", "captions.vlm", "captions.server")
    modules += ("editing.diffusers_editor",)
    lines = "; ".join(f"import pipeline.engines.{name}" for name in modules)
    heavy = "torch transformers diffusers segment_anything"
    check = f"import sys; {lines}; print([m for m in '{heavy}'.split() if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
