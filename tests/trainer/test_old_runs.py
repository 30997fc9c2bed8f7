"""What an earlier version of the trainer left behind still opens.

tests/golden/training_state.json is the state.json of a checkpoint that version 0.1.0 wrote.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from trainer.encoders import EncoderConfig
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.sampling.model_folder import Published, read_published, write_published
from trainer.sampling.sampler import SamplingConfig
from trainer.saving.checkpoint import check_same
from trainer.train import parse
from trainer.train_config import TrainConfig


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    path = Path(__file__).parents[1] / "golden" / "training_state.json"
    return json.loads(path.read_text())


@pytest.fixture
def config(state: dict[str, Any], tmp_path: Path) -> TrainConfig:
    """The settings as the run's config.yaml holds them, read by the command line of today."""
    written = tmp_path / "config.yaml"
    written.write_text(yaml.safe_dump(state["settings"]))
    arguments = parse(["--config", str(written), "--data", "dataset", "--output", "run"])
    return TrainConfig(**{section: arguments[section] for section in state["settings"]})


def test_its_settings_are_read_with_the_same_meaning(
    state: dict[str, Any], config: TrainConfig
) -> None:
    now = json.loads(json.dumps(asdict(config)))
    assert _same_keys(now, state["settings"]) == state["settings"]


def test_its_training_goes_on(state: dict[str, Any], config: TrainConfig) -> None:
    check_same(state["training"], config.same_in_every_run(), "training")


def test_its_model_is_built_as_it_was(state: dict[str, Any], config: TrainConfig) -> None:
    with torch.device("meta"):
        saved = ContextAnyoneTransformer3DModel(**state["model"])
        configured = ContextAnyoneTransformer3DModel(**config.model.fields())
    check_same(state["model"], _public(saved))
    check_same(state["model"], _public(configured))


def _same_keys(now: Any, then: Any) -> Any:
    """Leave out the settings that there were not then."""
    if not isinstance(then, dict):
        return now
    return {key: _same_keys(now[key], value) for key, value in then.items()}


def _public(model: ContextAnyoneTransformer3DModel) -> dict[str, Any]:
    return {name: value for name, value in model.config.items() if not name.startswith("_")}


def test_what_it_exports_can_be_read(state: dict[str, Any], tmp_path: Path) -> None:
    settings = state["settings"]
    published = Published(
        EncoderConfig(**settings["encoders"]),
        SamplingConfig(**settings["validation"]["sampling"]),
        step=state["step"],
    )
    write_published(tmp_path, published)
    transformer = tmp_path / "transformer"
    transformer.mkdir()
    (transformer / "config.json").write_text(json.dumps(state["model"]))
    (transformer / "diffusion_pytorch_model.safetensors").touch()
    assert read_published(tmp_path) == published
