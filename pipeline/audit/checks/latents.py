"""Latents: do they belong to these samples, and are their files whole?"""

import hashlib
import io
import json
from collections.abc import Iterator

import pyarrow as pa

from pipeline.audit.dataset import Dataset
from pipeline.audit.findings import Action, Finding, error, found
from pipeline.audit.index import AuditIndex
from schemas.bounded_parquet import BoundedParquet
from schemas.latents import LATENTS_INDEX, LatentIndex
from schemas.remote import NotRead

LATENTS = error(
    "file.latents", "Latents do not belong to these samples",
    "A trainer that reads them trains on other clips or captions than it believes.",
    "Encode the dataset again.", Action.NONE,
)  # fmt: skip


def check_latents(dataset: Dataset, index: AuditIndex) -> Iterator[Finding]:
    """Compare the latents' index with their files, the manifest and the samples."""
    store = dataset.store
    if not store.exists(LATENTS_INDEX):
        return
    try:
        latents = LatentIndex.from_json(store.read(LATENTS_INDEX))
    except (ValueError, KeyError, TypeError) as problem:
        yield found(LATENTS, "file", LATENTS_INDEX, str(problem)[:200])
        return
    if dataset.manifest_sha256 and latents.manifest_sha256 != dataset.manifest_sha256:
        evidence = f"made from {latents.manifest_path}, which is not this version"
        yield found(LATENTS, "file", LATENTS_INDEX, evidence)
    for file in latents.files:
        try:
            content = store.read(file.path)
            table = BoundedParquet(io.BytesIO(content), file.path).read(["sample_id"])
        except NotRead:
            raise
        except (OSError, ValueError, KeyError, json.JSONDecodeError) as problem:
            yield found(LATENTS, "file", file.path, f"{type(problem).__name__}: {problem}"[:200])
            continue
        if hashlib.sha256(content).hexdigest() != file.sha256:
            yield found(LATENTS, "file", file.path, "its bytes differ from the index")
        ids = pa.table({"sample_id": table["sample_id"].unique()})
        index.db.register("_latents", ids)
        gone = "SELECT l.sample_id FROM _latents l ANTI JOIN samples s USING (sample_id)"
        for (sample_id,) in index.fetch(gone):
            yield found(LATENTS, "sample", sample_id, f"{file.path} holds it, samples/ does not")
        index.db.unregister("_latents")
