"""Scores of clips: the real library classes on tiny random models, and the gate behind them."""

import itertools

import cv2
import numpy as np
import pytest
from rows import clip as make_clip

from pipeline.engines.scores.classifiers import NsfwScorer, WatermarkScorer
from pipeline.engines.scores.clip_heads import AestheticScorer, _Head, _read_head
from pipeline.engines.scores.lettering import TextScorer
from pipeline.execution.stage import ClipRow, Still
from pipeline.media.images import encode_jpeg
from pipeline.observing.scores import ScoreClips, ScoresConfig
from schemas.columns import from_table, to_table
from schemas.reasons import Reason
from schemas.tables import Clip

_SIZE = {
    "hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    from safetensors.numpy import save_file

    root = tmp_path_factory.mktemp("models")
    transformers.set_seed(0)
    config = transformers.CLIPVisionConfig(**_SIZE, projection_dim=16)
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(root / "clip")
    sides = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=sides).save_pretrained(
        root / "clip"
    )
    weight = np.random.default_rng(0).normal(0, 3, (1, 16)).astype(np.float32)
    bias = np.array([0.5], np.float32)
    save_file({"weight": weight, "bias": bias}, root / "head.safetensors")
    for name, labels in {
        "nsfw": ("normal", "nsfw"),
        "marks": ("no watermark", "watermark"),
    }.items():
        config = transformers.ViTConfig(**_SIZE, id2label=dict(enumerate(labels)))
        transformers.ViTForImageClassification(config).save_pretrained(root / name)
        transformers.ViTImageProcessor(size=sides).save_pretrained(root / name)
    return root


@pytest.fixture
def environment(models, monkeypatch):
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(models))
    monkeypatch.setenv("CONTEXTANYONE_SCORE_CLIP", "clip")
    monkeypatch.setenv("CONTEXTANYONE_SCORE_AESTHETIC", "head.safetensors")
    monkeypatch.setenv("CONTEXTANYONE_SCORE_NSFW", "nsfw")
    monkeypatch.setenv("CONTEXTANYONE_SCORE_WATERMARK", "marks")


def pictures(number=5):
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (40 + 8 * k, 50, 3), dtype=np.uint8) for k in range(number)]


def lettered(text="SUBSCRIBE NOW"):
    picture = np.full((256, 400, 3), 60, np.uint8)
    return cv2.putText(picture, text, (40, 220), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255), 2)


def still(picture, index=0):
    height, width = picture.shape[:2]
    return Still(index, index / 2, width, height, 1.0, 0.0, 0.0, encode_jpeg(picture, 95))


# --- the engines -------------------------------------------------------------------------------


def test_aesthetics_are_the_head_on_unit_vectors(environment):
    scorer = AestheticScorer()
    vectors = scorer._vectors(pictures())
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5))
    expected = vectors @ scorer._weight + 0.5
    assert scorer.score(pictures()) == pytest.approx(expected, abs=1e-5)
    assert np.ptp(expected) > 0.01


def test_laions_chain_of_layers_is_read_as_the_one_map_that_it_is(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    sizes, places = (16, 12, 8, 6, 4, 1), (0, 2, 4, 6, 7)  # with dropout between, as published
    steps = [torch.nn.Linear(*pair) for pair in itertools.pairwise(sizes)]
    state = {}
    for place, step in zip(places, steps, strict=True):
        state |= {f"layers.{place}.{name}": each for name, each in step.state_dict().items()}
    torch.save(state, tmp_path / "head.pth")
    head = _Head(tmp_path / "head.pth", "", "", True, registered=True)
    weight, bias = _read_head(head, 16)
    vectors = torch.randn(7, 16)
    expected = torch.nn.Sequential(*steps)(vectors).detach().numpy()[:, 0]
    assert vectors.numpy() @ weight + bias == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="for CLIP vectors of 16 numbers, this CLIP's have 8"):
        _read_head(head, 8)


def test_a_classifiers_label_is_found_by_its_name_and_not_by_its_reverse(environment):
    from transformers import ViTForImageClassification

    assert NsfwScorer()._chosen == [1]
    scorer = WatermarkScorer()
    assert scorer._chosen == [1]
    inputs = scorer._processor(images=pictures(), return_tensors="pt")["pixel_values"]
    model = ViTForImageClassification.from_pretrained(scorer._find("")[1])
    expected = model(inputs).logits.softmax(-1)[:, 1].detach().numpy()
    assert scorer.score(pictures()) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="cat, dog do not say which of them is watermark"):
        scorer._labels({0: "cat", 1: "dog"})


@pytest.mark.parametrize("scorer", [AestheticScorer, NsfwScorer, WatermarkScorer])
def test_a_batch_gives_what_single_pictures_give(environment, scorer):
    together = scorer().score(pictures())
    assert together == pytest.approx(scorer(batch=2).score(pictures()), abs=1e-5)
    assert scorer().score(pictures()).tobytes() == together.tobytes()
    assert scorer().score([]).shape == (0,)


def test_engines_say_who_they_are(environment):
    info = AestheticScorer().info
    assert (info.id, info.task) == ("clip-aesthetic/2:clip:head", "aesthetic_scoring")
    assert len(info.weights_digest) == 2 * 64 + 1
    info = NsfwScorer().info
    assert (info.id, info.task) == ("classifier-nsfw/1:nsfw", "nsfw_scoring")
    assert info.weights_digest == NsfwScorer.weights_identity()


def test_lettering_is_told_from_none_at_any_size():
    plain = np.full((256, 400, 3), 60, np.uint8)
    large = cv2.resize(lettered(), (1200, 768))
    with_text, scaled, without = TextScorer().score([lettered(), large, plain])
    assert with_text > 0.02
    assert scaled == pytest.approx(with_text, rel=0.3)
    assert without == 0


def test_a_head_of_another_clip_is_refused(environment, tmp_path):
    from safetensors.numpy import save_file

    other = {"weight": np.zeros((1, 8), "f4"), "bias": np.zeros(1, "f4")}
    save_file(other, tmp_path / "h.safetensors")
    with pytest.raises(ValueError, match=r"must hold weight \(1, 16\)"):
        AestheticScorer(head=str(tmp_path / "h.safetensors"))
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ValueError, match="is not safetensors"):
        AestheticScorer(head=str(tmp_path / "bad.safetensors"))


def test_what_is_missing_is_named(environment, monkeypatch, tmp_path):
    monkeypatch.delenv("CONTEXTANYONE_SCORE_AESTHETIC")
    with pytest.raises(ValueError, match=r"jobs/models\.py fetch aesthetic_laion_v2"):
        AestheticScorer()
    monkeypatch.setenv("CONTEXTANYONE_SCORE_NSFW", str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"leave nsfw out of observe\.engines\.scorers"):
        NsfwScorer()


# --- the stage and the gate --------------------------------------------------------------------


class Fixed:
    """A scorer that says what it was told."""

    def __init__(self, task, values):
        from pipeline.engines.interfaces import EngineInfo

        self.info = EngineInfo(f"fixed-{task}/1", f"{task}_scoring", "MIT", True, "d" * 64)
        self.values = values

    def score(self, pictures):
        return np.array(self.values[: len(pictures)], np.float32)


def test_one_unsafe_frame_makes_a_clip_unsafe_and_most_frames_its_beauty():
    row = ClipRow(make_clip("c"), b"", tuple(still(each, k) for k, each in enumerate(pictures())))
    stage = ScoreClips([Fixed("nsfw", [0, 0, 0.9, 0, 0]), Fixed("aesthetic", [5, 5, 9, 5, 1])])
    clip = stage.process(row).clip
    assert (clip.nsfw, clip.aesthetic) == (pytest.approx(0.9), 5)
    assert clip.watermark is None
    assert clip.text is None
    assert [(who.score, who.engine) for who in clip.scorers] == [
        ("nsfw", "fixed-nsfw/1"),
        ("aesthetic", "fixed-aesthetic/1"),
    ]
    [again] = from_table(to_table([clip], Clip), Clip)
    assert (again.aesthetic, again.text, len(again.scorers)) == (5, None, 2)


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({}, None),
        ({"aesthetic": 4.5, "nsfw": 0.1, "watermark": 0.2, "text": 0.0}, None),
        ({"aesthetic": 3.9}, Reason.UNPLEASING),
        ({"nsfw": 0.6, "aesthetic": 3.0}, Reason.NOT_SAFE),
        ({"watermark": 0.7}, Reason.WATERMARK),
        ({"text": 0.03}, Reason.BURNED_IN_TEXT),
    ],
)
def test_scores_are_judged_late_and_an_unscored_clip_passes(scores, reason):
    rejected = ScoresConfig().check(make_clip("c", **scores))
    assert (rejected.reason if rejected else None) == reason
    off = ScoresConfig(min_aesthetic=None, max_nsfw=None, max_watermark=None, max_text=None)
    assert off.check(make_clip("c", **scores)) is None


def test_a_scorer_without_a_column_is_refused():
    with pytest.raises(ValueError, match="one of aesthetic, nsfw, watermark, text"):
        ScoreClips([Fixed("beauty", [])])
