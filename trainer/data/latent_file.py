"""Write rows of latents as one Parquet file: small row groups, and what they depend on."""

import io
import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.columns import schema_of, to_table
from schemas.latents import DEPENDS_ON, Latent

_GROUP_BYTES = 4 * 2**20  # what is read to get one row at random
_TENSORS = (
    "video",
    "text",
    "name_text",
    "subject",
    "latent",
    "tokens",
)  # columns that do not compress


def latent_file(rows: Iterable[Latent], depends_on: dict[str, Any]) -> tuple[bytes, int]:
    """Return the bytes of the file and its number of rows; same rows, same bytes."""
    schema = schema_of(Latent).with_metadata({DEPENDS_ON: json.dumps(depends_on, sort_keys=True)})
    sink, number = io.BytesIO(), 0
    group: list[Latent] = []
    filled = 0
    with pq.ParquetWriter(sink, schema, **_options(schema)) as writer:
        for row in rows:
            group.append(row)
            number += 1
            filled += _size(row)
            if filled >= _GROUP_BYTES:
                writer.write_table(to_table(group, Latent).cast(schema))
                group, filled = [], 0
        if group:
            writer.write_table(to_table(group, Latent).cast(schema))
    return sink.getvalue(), number


def read_depends_on(file: pq.ParquetFile) -> dict[str, Any]:
    """Return what the rows of a file depend on, {} where it does not say."""
    stored = (file.schema_arrow.metadata or {}).get(DEPENDS_ON, b"{}")
    read = json.loads(stored)
    return read if isinstance(read, dict) else {}


def _options(schema: pa.Schema) -> dict[str, Any]:
    empty = io.BytesIO()
    pq.write_table(schema.empty_table(), empty)
    parquet = pq.ParquetFile(empty).schema
    leaves = [parquet.column(number).path for number in range(len(parquet))]
    light = [leaf for leaf in leaves if leaf.split(".")[-1] not in _TENSORS]
    return {
        "compression": {leaf: "ZSTD" if leaf in light else "NONE" for leaf in leaves},
        "use_dictionary": light,
        "write_statistics": light,
        "write_page_checksum": True,
    }


def _size(row: Latent) -> int:
    shown = [*row.references, *(each for other in row.others for each in other.references)]
    references = sum(len(r.latent) + len(r.tokens) for r in shown)
    return len(row.video) + len(row.text) + len(row.subject) + references
