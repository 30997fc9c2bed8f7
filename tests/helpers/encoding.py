"""Encode a dataset in this process, as the job does in its workers."""

from pathlib import Path

from pipeline.dataset.latent_files import LatentReceipt, commit_latents, publish_latents
from pipeline.dataset.store import open_store
from schemas.latents import LatentIndex
from trainer.data.data_config import DataConfig
from trainer.encoders import EncoderConfig
from trainer.latents.encoding_plan import EncodingPlan, EncodingRecipe, LatentsConfig
from trainer.latents.unit_encoder import UnitEncoder, make_describer


def encode(
    root: Path | str,
    data: DataConfig,
    encoding: LatentsConfig | None = None,
    encoders: EncoderConfig | None = None,
) -> tuple[LatentIndex, list[LatentReceipt]]:
    """Encode every unit and publish; return the index and the receipts."""
    recipe = EncodingRecipe(
        str(root), encoders or EncoderConfig(), data, encoding or LatentsConfig()
    )
    plan, store = EncodingPlan(recipe), open_store(root)
    described = make_describer(recipe)("")
    encoder = UnitEncoder(recipe, described.fingerprint)
    units = plan.units(described.fingerprint)
    receipts = [commit_latents(unit, encoder(unit), store) for unit in units]
    index = plan.index(described.fingerprint, described.null_text)
    return publish_latents(receipts, index, store), receipts
