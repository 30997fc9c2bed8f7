"""Linear heads on CLIP: the real classes on a tiny random tower."""

import numpy as np
import pytest

from pipeline.engines.clip_scores import AestheticScorer, NsfwScorer, WatermarkScorer


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    from safetensors.numpy import save_file

    root = tmp_path_factory.mktemp("models")
    transformers.set_seed(0)
    config = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4,
        image_size=32, patch_size=8, projection_dim=16,
    )  # fmt: skip
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(root / "clip")
    sides = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=sides).save_pretrained(
        root / "clip"
    )
    weight = np.random.default_rng(0).normal(0, 3, (1, 16)).astype(np.float32)
    for name in ("aesthetic", "nsfw", "watermark"):
        save_file(
            {"weight": weight, "bias": np.array([0.5], np.float32)},
            root / f"{name}_head.safetensors",
        )
    return root


@pytest.fixture
def environment(models, monkeypatch):
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(models))
    monkeypatch.setenv("CONTEXTANYONE_SCORE_CLIP", "clip")


def pictures(number=5):
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (40 + 8 * k, 50, 3), dtype=np.uint8) for k in range(number)]


def test_scores_are_the_head_on_unit_vectors(environment):
    scorer = AestheticScorer()
    vectors = scorer._vectors(pictures())
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5))
    expected = vectors @ scorer._weight + 0.5
    assert scorer.score(pictures()) == pytest.approx(expected, abs=1e-5)
    assert np.ptp(expected) > 0.01
    assert scorer.score([]).shape == (0,)


def test_a_batch_gives_what_single_pictures_give(environment):
    together = AestheticScorer().score(pictures())
    small = AestheticScorer(batch=2).score(pictures())
    assert together == pytest.approx(small, abs=1e-5)
    assert AestheticScorer().score(pictures()).tobytes() == together.tobytes()


@pytest.mark.parametrize("scorer", [NsfwScorer, WatermarkScorer])
def test_probabilities_are_probabilities(environment, scorer):
    values = scorer().score(pictures())
    raw = AestheticScorer().score(pictures())
    assert ((values > 0) & (values < 1)).all()
    assert values == pytest.approx(1 / (1 + np.exp(-raw)), abs=1e-5)


def test_engines_are_named_after_task_tower_and_head(environment):
    info = NsfwScorer().info
    assert info.id == "clip-nsfw/1:clip:nsfw_head"
    assert info.task == "nsfw_scoring"
    assert len(info.weights_digest) == 2 * 64 + 1


def test_a_head_of_another_clip_is_refused(environment, tmp_path):
    from safetensors.numpy import save_file

    save_file(
        {"weight": np.zeros((1, 8), "f4"), "bias": np.zeros(1, "f4")}, tmp_path / "h.safetensors"
    )
    with pytest.raises(ValueError, match=r"must hold weight \(1, 16\)"):
        NsfwScorer(head=str(tmp_path / "h.safetensors"))
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ValueError, match="is not safetensors"):
        NsfwScorer(head=str(tmp_path / "bad.safetensors"))


def test_what_is_missing_is_named(environment, monkeypatch):
    with pytest.raises(ValueError, match="CONTEXTANYONE_SCORE_NSFW"):
        NsfwScorer(head="none.safetensors")
    monkeypatch.delenv("CONTEXTANYONE_SCORE_CLIP")
    with pytest.raises(ValueError, match="CONTEXTANYONE_SCORE_CLIP"):
        NsfwScorer()
