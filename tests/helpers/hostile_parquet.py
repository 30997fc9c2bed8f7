"""Small Parquet files that take very much memory when they are read."""

import base64
import io
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def written(table: pa.Table, **options) -> bytes:
    """Return a file of one row group, without Arrow's own schema: a dictionary is seen as text."""
    held = io.BytesIO()
    options = {"store_schema": False, **options}
    pq.write_table(table, held, row_group_size=1 << 30, **options)
    return held.getvalue()


def written_as(schema: pa.Schema, table: pa.Table) -> bytes:
    """Return a file that is read as if it had this schema of Arrow's."""
    content = written(table, store_schema=True, compression="zstd")
    footer = _footer(content)
    own = pq.ParquetFile(io.BytesIO(content)).metadata.metadata[b"ARROW:schema"]
    other = base64.b64encode(schema.serialize())
    before, after = (_plain_varint(len(text)) + text for text in (own, other))
    return _with_footer(content, footer.replace(before, after))


def shared_text(rows: int, length: int) -> pa.DictionaryArray:
    """Return one long text that all rows share."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["x" * length])


def with_number(content: bytes, true: int, false: int) -> bytes:
    """Write another number into the footer of a file, wherever a number stands there."""
    footer = _footer(content)
    assert _varint(true) in footer
    return _with_footer(content, footer.replace(_varint(true), _varint(false)))


def nested(depth: int) -> bytes:
    """Return a file whose one column is a struct within a struct, and so on."""
    names = b"".join(b"\x35\x02\x18\x01a\x15\x02\x00" for _ in range(depth))  # optional, 1 child
    leaf = b"\x15\x02\x25\x02\x18\x01z\x00"  # an optional int32
    root = b"\x48\x06schema\x15\x02\x00"
    schema = b"\x19\xfc" + _plain_varint(depth + 2) + root + names + leaf
    footer = b"\x15\x02" + schema + b"\x16\x00\x19\x0c\x00"
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _footer(content: bytes) -> bytes:
    (length,) = struct.unpack("<I", content[-8:-4])
    return content[-8 - length : -8]


def _with_footer(content: bytes, footer: bytes) -> bytes:
    data = content[: -8 - len(_footer(content))]
    return data + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _varint(number: int) -> bytes:
    """Return a number as Thrift's compact protocol writes it."""
    return _plain_varint(number << 1)


def _plain_varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
