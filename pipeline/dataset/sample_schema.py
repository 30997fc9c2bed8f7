"""The samples' Arrow schema, with what Hugging Face `datasets` needs to type its columns."""

import json
from typing import Any

import pyarrow as pa

from schemas.columns import schema_of
from schemas.tables import MEDIA, Sample


def sample_schema(fields: pa.Schema | None = None) -> pa.Schema:
    """Return the samples' Arrow schema with the metadata by which `datasets` types its columns.

    `fields` may have columns that are not ours on its right.

    `datasets.load_dataset("parquet", ...)` (4.0 or newer) then shows the clip as Video, image and
    mask of every reference as Image, and everything else as plain values.
    """
    schema = schema_of(Sample) if fields is None else fields
    features = {name: _feature(schema.field(name).type, name) for name in schema.names}
    metadata = json.dumps({"info": {"features": features}})
    return schema.with_metadata({"huggingface": metadata})


def _feature(type_: pa.DataType, name: str) -> dict[str, Any]:
    if type_ == MEDIA:
        return {"_type": "Video" if name == "video" else "Image"}
    if isinstance(type_, pa.StructType):
        return {field.name: _feature(field.type, field.name) for field in type_}
    if isinstance(type_, pa.FixedSizeListType):
        inner = _feature(type_.value_type, name)
        return {"feature": inner, "length": type_.list_size, "_type": "List"}
    if isinstance(type_, pa.ListType):
        return {"feature": _feature(type_.value_type, name), "_type": "List"}
    names = {pa.float32(): "float32", pa.float64(): "float64"}
    return {"dtype": names.get(type_, str(type_)), "_type": "Value"}
