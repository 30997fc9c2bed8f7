"""Make the text-to-video model that every row begins with, as Wan 2.1 is for the real presets."""

import json
from pathlib import Path

from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

from trainer.model import ContextAnyoneTransformer3DModel

# No reference and no image is ever seen, and nothing is learned for them.
SETTINGS = (
    "model.emphasize=false",
    "flow.dropout.reference=1",
    "flow.dropout.image=1",
    "flow.dropout.all=0",
    "flow.reference_weight=0",
)
_SIZES = ("num_attention_heads", "attention_head_dim", "ffn_dim", "num_layers", "text_dim")


def write_base(model: Path, folder: Path) -> None:
    """Write an exported model as a plain WanTransformer3DModel: without all that is ours."""
    trained = ContextAnyoneTransformer3DModel.from_pretrained(model / "transformer")
    sizes = {name: trained.config[name] for name in (*_SIZES, "freq_dim")}
    plain = WanTransformer3DModel(**sizes)
    weights = trained.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    plain.save_pretrained(folder / "transformer")
    told = json.loads((folder / "transformer" / "config.json").read_text())
    assert told["_class_name"] == "WanTransformer3DModel", told
