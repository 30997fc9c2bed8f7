"""What somebody who knows diffusers' pipelines calls, and means the same here."""

import pytest
import torch
from tiny_model import tiny_pipeline

from trainer.sampling.pipeline import ContextAnyonePipeline

QUICK = {"output_type": "latent", "height": 16, "width": 16, "num_frames": 5}


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


def test_several_videos_of_a_prompt_are_those_of_the_next_seeds(pipeline):
    two = pipeline(["walks", "waves"], num_videos_per_prompt=2, seed=3, **QUICK).frames
    for place, (prompt, seed) in enumerate(
        [("walks", 3), ("walks", 4), ("waves", 3), ("waves", 4)]
    ):
        alone = pipeline(prompt, seed=seed, **QUICK).frames[0]
        torch.testing.assert_close(two[place], alone, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="num_videos_per_prompt must be at least 1"):
        pipeline("walks", num_videos_per_prompt=0, **QUICK)


def test_a_video_begins_with_the_noise_that_is_passed(pipeline):
    drawn = pipeline("walks", seed=3, **QUICK).frames
    noise = torch.randn(drawn.shape, generator=torch.Generator().manual_seed(3))
    assert torch.equal(pipeline("walks", latents=noise, **QUICK).frames, drawn)
    with pytest.raises(ValueError, match=r"latents to begin with must be \(1, 16, 2, 2, 2\)"):
        pipeline("walks", latents=noise[:, :, :1], **QUICK)


def test_another_pipeline_can_be_made_of_the_same_parts(pipeline):
    other = ContextAnyonePipeline(**pipeline.components)
    assert other.transformer is pipeline.transformer
    assert torch.equal(other("walks", **QUICK)[0], pipeline("walks", **QUICK)[0])


def test_rounded_weights_are_those_that_are_loaded_rounded(tmp_path):
    pipeline = tiny_pipeline()
    pipeline.save_pretrained(tmp_path)
    loaded = ContextAnyonePipeline.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    rounded = pipeline.to(torch.bfloat16).transformer.state_dict()
    for name, value in loaded.transformer.state_dict().items():
        assert rounded[name].dtype == value.dtype, name
        assert torch.equal(rounded[name], value), name


def test_a_variant_of_the_weights_is_found_by_its_name_alone(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path, variant="fp16")
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == [
        "diffusion_pytorch_model.fp16.safetensors"
    ]
    loaded = ContextAnyonePipeline.from_pretrained(tmp_path, variant="fp16")
    assert torch.equal(loaded("walks", **QUICK)[0], pipeline("walks", **QUICK)[0])
    with pytest.raises(ValueError, match="cannot be read"):
        ContextAnyonePipeline.from_pretrained(tmp_path)


def test_a_callback_has_what_it_names(pipeline):
    seen = []

    def look(pipe, step, timestep, tensors):
        seen.append((sorted(tensors), pipe.num_timesteps))

    pipeline("walks", callback_on_step_end=look, **QUICK)
    names: tuple[str, ...] = ()
    pipeline("walks", callback_on_step_end=look, callback_on_step_end_tensor_inputs=names, **QUICK)
    assert seen == [(["latents"], 2)] * 2 + [([], 2)] * 2
    with pytest.raises(ValueError, match="can have latents, not prompt_embeds"):
        pipeline("walks", callback_on_step_end_tensor_inputs=["prompt_embeds"], **QUICK)


def test_a_bar_shows_the_steps_to_whom_asks(pipeline, capsys):
    pipeline("walks", **QUICK)
    assert capsys.readouterr().err == ""
    shown = ContextAnyonePipeline(**pipeline.components)
    shown.set_progress_bar_config(disable=False)
    shown("walks", **QUICK)
    assert "2/2" in capsys.readouterr().err
