"""Offloading: the same video from less memory, whole parts in turn or layer by layer."""

import pytest
import torch
from tiny_model import tiny_pipeline

QUICK = {"num_inference_steps": 2, "output_type": "latent", "seed": 3}


@pytest.mark.parametrize("way", ["enable_model_cpu_offload", "enable_sequential_cpu_offload"])
def test_the_video_is_the_same_and_the_parts_can_be_had_back(way):
    pipeline = tiny_pipeline(marks=2)
    before = pipeline("A woman waves.", **QUICK).frames
    weights = {name: value.clone() for name, value in pipeline.transformer.state_dict().items()}
    getattr(pipeline, way)("cpu")
    assert torch.equal(pipeline("A woman waves.", **QUICK).frames, before)
    assert pipeline.device == torch.device("cpu")
    with pytest.raises(ValueError, match="remove_all_hooks"):
        pipeline.to("cpu")
    pipeline.remove_all_hooks()
    assert torch.equal(pipeline.to("cpu")("A woman waves.", **QUICK).frames, before)
    for name, value in pipeline.transformer.state_dict().items():
        assert torch.equal(value, weights[name])
    assert not any(hasattr(module, "_hf_hook") for module in pipeline.transformer.modules())


def test_layers_leave_the_device_after_they_computed():
    pipeline = tiny_pipeline()
    pipeline.enable_sequential_cpu_offload("cpu")
    pipeline("A woman waves.", **QUICK)
    assert {value.device.type for value in pipeline.transformer.parameters()} == {"meta"}


def test_a_device_that_is_not_there_is_refused_before_anything_moves():
    pipeline = tiny_pipeline()
    with pytest.raises(ValueError, match="device cuda:99 cannot be used"):
        pipeline.enable_model_cpu_offload("cuda:99")
    assert pipeline("A woman waves.", **QUICK).frames.isfinite().all()
