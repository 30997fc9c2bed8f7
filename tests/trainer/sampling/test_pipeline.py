"""A published model makes videos, as its pipeline is called."""

import inspect
import json
import textwrap
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import tiny_picture, tiny_pipeline

from trainer.encoders import EncoderConfig
from trainer.sampling.model_folder import VideoSize, read_published
from trainer.sampling.pipeline import ContextAnyonePipeline
from trainer.sampling.references import fit_reference

ENCODERS = EncoderConfig(text_dim=32, image_grid=2)
SIZE = VideoSize(height=48, width=80, frames=9, fps=8)
QUICK = {"num_inference_steps": 2, "text_guidance": 3.0, "reference_guidance": 2.0}
PICTURE = tiny_picture()


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline(steps=50)


def test_the_example_of_the_class_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_pipeline().save_pretrained("model")
    tiny_picture().save("her.jpg")
    example = textwrap.dedent((inspect.getdoc(ContextAnyonePipeline) or "").partition("\n\n")[2])
    assert len(example.splitlines()) <= 10
    exec(example, {})
    with av.open("her.mp4") as video:
        assert video.streams.video[0].frames == 9


def test_a_picture_may_be_a_path_and_latents_are_no_video(pipeline, tmp_path):
    tiny_picture().save(tmp_path / "her.png")
    size = {"height": 32, "width": 32, "num_frames": 5, "output_type": "latent"}
    opened = pipeline("a", tiny_picture(), **size, **QUICK)
    by_path = pipeline("a", [str(tmp_path / "her.png")], **size, **QUICK)
    assert torch.equal(opened.frames, by_path.frames)
    with pytest.raises(ValueError, match="output_type"):
        opened.save(tmp_path / "her.mp4")


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny"
    pipeline.save_pretrained(path)
    return path


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of the folder that a test may spoil."""
    import shutil

    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_saved_model_makes_the_same_video(pipeline, folder):
    loaded = ContextAnyonePipeline.from_pretrained(folder)
    assert loaded.published == pipeline.published
    for output_type in ("latent", "uint8"):
        ours = pipeline("a woman walks", tiny_picture(), seed=3, output_type=output_type, **QUICK)
        theirs = loaded("a woman walks", tiny_picture(), seed=3, output_type=output_type, **QUICK)
        assert np.array_equal(np.asarray(ours.frames), np.asarray(theirs.frames))


def test_the_folder_is_the_one_that_diffusers_would_expect(folder):
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "model_index.json",
        "encoders.json",
        "scheduler/scheduler_config.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
    }
    scheduler = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    assert scheduler["flow_shift"] == 5.0
    index = json.loads((folder / "model_index.json").read_text())
    assert index["sample_size"] == {"height": 48, "width": 80, "frames": 9, "fps": 8}


def test_output_types_are_the_same_video_in_other_forms(pipeline):
    made = {
        kind: pipeline("walks", tiny_picture(), output_type=kind, **QUICK).frames
        for kind in ("np", "pt", "uint8", "pil", "latent")
    }
    assert made["np"].shape == (1, 9, 48, 80, 3)
    assert made["np"].dtype == np.float32
    assert made["np"].min() >= 0
    assert made["np"].max() <= 1
    assert np.abs(made["np"] * 255 - made["uint8"]).max() <= 0.501
    assert np.array_equal(made["pt"].permute(0, 1, 3, 4, 2).numpy(), made["np"])
    assert np.array_equal(np.stack([np.asarray(f) for f in made["pil"][0]]), made["uint8"][0])
    assert made["latent"].shape == (1, 16, 3, 6, 10)


def test_seed_prompt_reference_and_scales_change_the_video(pipeline):
    def run(prompt="walks", reference=None, seed=0, **changed):
        given = {**QUICK, **changed}
        return pipeline(prompt, reference or tiny_picture(), seed=seed, **given).frames

    base = run()
    assert np.array_equal(base, run())
    others = [
        run(seed=1),
        run(prompt="runs"),
        run(reference=tiny_picture(1)),
        run(reference=[tiny_picture(), tiny_picture(1)]),
        run(negative_prompt="blurred"),
        run(guidance="joint"),
        run(guidance="none"),
        run(shift=1.0),
        run(num_inference_steps=3),
        pipeline("walks", None, **QUICK).frames,
    ]
    assert all(np.abs(base - other).max() > 1e-5 for other in others)


def test_a_batch_is_the_videos_one_by_one(pipeline):
    prompts, pictures = ["walks", "runs fast"], [[tiny_picture(0)], [tiny_picture(1)]]
    both = pipeline(prompts, pictures, seed=4, **QUICK).frames
    for row in range(2):
        alone = pipeline(prompts[row], pictures[row], seed=4, **QUICK).frames
        np.testing.assert_allclose(both[row : row + 1], alone, atol=1e-4)
    shared = pipeline(prompts, tiny_picture(0), seed=4, **QUICK).frames
    np.testing.assert_allclose(shared[:1], both[:1], atol=1e-4)


def test_a_callback_sees_every_step(pipeline):
    seen = []
    pipeline(
        "walks",
        tiny_picture(),
        callback_on_step_end=lambda pipe, step, timestep, tensors: seen.append(
            (pipe is pipeline, step, timestep > 0, tuple(tensors["latents"].shape))
        ),
        **QUICK,
    )
    assert seen == [(True, step, True, (1, 16, 3, 6, 10)) for step in range(2)]


def test_latents_that_a_callback_returns_are_gone_on_with(pipeline):
    def black(_pipe, step, _timestep, tensors):
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 1 else {}

    latents = pipeline(
        "walks", tiny_picture(), output_type="latent", callback_on_step_end=black, **QUICK
    )
    assert not latents.frames.any()  # the second step is the last


def test_a_callback_may_end_a_video_as_it_is_and_the_next_is_whole(pipeline):
    seen = []

    def end(pipe, step, _timestep, tensors):
        seen.append((step, tensors["latents"].clone()))
        pipe.interrupt = True

    given = {**QUICK, "output_type": "latent"}
    ended = pipeline("walks", tiny_picture(), callback_on_step_end=end, **given).frames
    assert [step for step, _ in seen] == [0]
    assert torch.equal(ended, seen[0][1])
    whole = pipeline("walks", tiny_picture(), **given).frames
    assert not torch.equal(whole, ended)


def test_a_tuple_is_returned_where_no_dict_is_wanted(pipeline, tmp_path):
    (frames,) = pipeline("walks", tiny_picture(), return_dict=False, **QUICK)
    assert np.array_equal(frames, pipeline("walks", tiny_picture(), **QUICK).frames)
    pipeline("walks", tiny_picture(), output_type="pt", **QUICK).save(tmp_path / "video.mp4")
    assert (tmp_path / "video.mp4").stat().st_size > 0
    latent = pipeline("walks", tiny_picture(), output_type="latent", **QUICK)
    with pytest.raises(ValueError, match="latents cannot be written"):
        latent.save(tmp_path / "latents.mp4")


def test_half_precision_makes_nearly_the_same_video(folder, pipeline):
    half = ContextAnyonePipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    assert half.transformer.dtype == torch.bfloat16
    ours = pipeline("walks", tiny_picture(), **QUICK).frames
    assert np.abs(half("walks", tiny_picture(), **QUICK).frames - ours).mean() < 0.03


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"height": 100}, "height must be a multiple of 16.*got 100; the nearest is 96"),
        ({"width": 8}, "width must be from 16 to 4096 px, got 8"),
        ({"num_frames": 80}, r"frames must be 4k \+ 1.*got 80, the nearest is 81"),
        ({"num_inference_steps": 0}, "steps"),
        ({"output_type": "gif"}, "output_type must be one of np"),
        ({"reference": []}, "empty list"),
        (
            {"reference": [[PICTURE], [PICTURE]]},
            "1 prompts came with the references of 2",
        ),
        (
            {"prompt": ["a", "b"], "reference": [[PICTURE], [PICTURE] * 2]},
            "same number",
        ),
        ({"prompt": ["a", "b"], "reference": [PICTURE, PICTURE]}, "may be one each"),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_allowed(pipeline, wrong, named):
    given = {"prompt": "walks", "reference": tiny_picture(), **QUICK, **wrong}
    with pytest.raises(ValueError, match=named):
        pipeline(**given)


@pytest.mark.parametrize(
    ("encoders", "named"),
    [
        (EncoderConfig(text_dim=64), "text_dim 32, this text encoder gives 64"),
        (replace(ENCODERS, text="umt5"), "encoders.path"),
    ],
)
def test_encoders_that_do_not_fit_are_refused(folder, encoders, named):
    with pytest.raises(ValueError, match=named):
        ContextAnyonePipeline.from_pretrained(folder, encoders)


def spoil(folder: Path, how: str) -> None:
    index = folder / "model_index.json"
    weights = folder / "transformer/diffusion_pytorch_model.safetensors"
    config = folder / "transformer/config.json"
    if how == "code":
        (folder / "transformer/modeling_tiny.py").write_text("raise SystemExit(99)")
    elif how == "auto_map":
        content = {**json.loads(config.read_text()), "auto_map": {"AutoModel": "x.Y"}}
        config.write_text(json.dumps(content))
    elif how == "pickle":
        weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "foreign weights":
        content = {**json.loads(config.read_text()), "num_layers": 3}
        config.write_text(json.dumps(content))
    elif how == "no encoders":
        (folder / "encoders.json").unlink()
    elif how == "another pipeline":
        index.write_text('{"_class_name": "WanPipeline"}')
    elif how == "not json":
        index.write_text("{")
    elif how == "unknown key":
        (folder / "encoders.json").write_text('{"codec": "dct", "colour": 1}')
    elif how == "wrong type":
        (folder / "encoders.json").write_text('{"text_dim": "32"}')
    elif how == "another solver":
        path = folder / "scheduler/scheduler_config.json"
        content = {**json.loads(path.read_text()), "prediction_type": "epsilon"}
        path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("code", "holds code .modeling_tiny.py"),
        ("auto_map", "'auto_map', which asks to run code"),
        ("pickle", "must hold its weights as .*safetensors"),
        ("truncated", "weights of .* cannot be read"),
        ("foreign weights", "weights of .* do not fit|lacks"),
        ("no encoders", "lacks encoders.json"),
        ("another pipeline", "holds a 'WanPipeline'"),
        ("not json", "cannot be read as JSON"),
        ("unknown key", "unknown key 'colour'"),
        ("wrong type", "text_dim must be a int"),
        ("another solver", "prediction_type must be 'flow_prediction', got 'epsilon'"),
    ],
)
def test_a_spoilt_folder_is_refused(copied, how, named):
    spoil(copied, how)
    with pytest.raises(ValueError, match=named):
        ContextAnyonePipeline.from_pretrained(copied)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no model at"):
        read_published(tmp_path / "none")


def test_a_reference_stays_whole_on_grey_upright_and_without_holes():
    tall = np.full((60, 20, 3), 200, np.uint8)
    fitted = fit_reference(Image.fromarray(tall), 48, 80)
    assert fitted.shape == (48, 80, 3)
    inside = (fitted == 200).all(-1)
    assert inside.sum() == 48 * 16
    assert (fitted[~inside] == 128).all()
    turned = Image.fromarray(np.rot90(tall))
    turned.getexif()[0x0112] = 6  # to be shown a quarter turned clockwise
    assert np.array_equal(fit_reference(turned, 48, 80), fitted)
    clear = Image.new("RGBA", (80, 48), (255, 0, 0, 0))
    with pytest.raises(ValueError, match="transparent everywhere"):
        fit_reference(clear, 48, 80)
    clear.paste((255, 0, 0, 255), (0, 0, 40, 48))
    holes = fit_reference(clear, 48, 80)
    assert (holes[:, 44:] == 128).all()
    assert (holes[:, :36] == (255, 0, 0)).all()
