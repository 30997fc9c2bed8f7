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
from tiny_model import tiny_inputs, tiny_model

from trainer.encoders import EncoderConfig
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.model.transformer import SINCE_0_1
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
    fields = config.model.fields()
    assert {name: fields[name] for name in SINCE_0_1} == SINCE_0_1


def test_its_training_goes_on(state: dict[str, Any], config: TrainConfig) -> None:
    check_same(state["training"], config.same_in_every_run(), "training")


def test_its_model_is_built_as_it_was(state: dict[str, Any], config: TrainConfig) -> None:
    with torch.device("meta"):
        saved = ContextAnyoneTransformer3DModel(**state["model"])
        configured = ContextAnyoneTransformer3DModel(**config.model.fields())
    check_same(state["model"], saved.named_config())
    check_same(state["model"], configured.named_config())


def _same_keys(now: Any, then: Any) -> Any:
    """Leave out the settings that there were not then."""
    if not isinstance(then, dict):
        return now
    return {key: _same_keys(now[key], value) for key, value in then.items()}


def test_its_weights_still_have_their_places_and_compute_the_same() -> None:
    """Emphasize-Attention of 0.1: a copied output, behind tanh(alpha) and a token gate."""
    model, inputs = tiny_model(emphasize=True), tiny_inputs()
    block: Any = model.blocks[0]
    names = {name for name, _ in block.emphasize.named_parameters()}
    linear = {f"to_{part}.{kind}" for part in "qkv" for kind in ("weight", "bias")}
    gates = {"alpha", "gate.weight", "gate.bias", "to_out.weight"}
    assert names == linear | gates | {"norm_q.weight", "norm_k.weight"}
    heard = _gated_emphasis(model, inputs)
    torch.testing.assert_close(heard["computed"], heard["expected"], rtol=0, atol=1e-6)


def _gated_emphasis(model: Any, inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return what the first block's emphasis adds, and the formula on the same tokens."""
    emphasis, heard = model.blocks[0].emphasize, {}

    def listen(_module: Any, given: tuple, added: torch.Tensor) -> None:
        video, [(key, value)], *_ = given
        query = emphasis.norm_q(emphasis.to_q(video.normed)).unflatten(2, (emphasis.heads, -1))
        scores = torch.einsum("bnhd,bmhd->bhnm", query, key) / query.shape[-1] ** 0.5
        heads = torch.einsum("bhnm,bmhd->bnhd", scores.softmax(-1), value)
        heads = heads * torch.tanh(emphasis.alpha)[:, None]
        opened = torch.sigmoid(emphasis.gate(video.normed))
        heard["expected"], heard["computed"] = emphasis.to_out(heads.flatten(2)) * opened, added

    with torch.no_grad():
        emphasis.register_forward_hook(listen)
        model(**inputs)
    return heard


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
