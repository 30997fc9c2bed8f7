"""Parquet of others: what would take too much memory is refused before it is read."""

import io

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_parquet import shared_text, with_number, written

from schemas import bounded_parquet
from schemas.bounded_parquet import BoundedParquet
from schemas.parquet_pages import read_pages
from schemas.remote import RemoteFile

ROWS = 12_345


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    monkeypatch.setattr(bounded_parquet, "MOST_LIGHT_BYTES", 4 << 20)
    monkeypatch.setattr(bounded_parquet, "MOST_BYTES", 16 << 20)


def opened(content: bytes) -> BoundedParquet:
    return BoundedParquet(io.BytesIO(content), "theirs.parquet")


def _hidden_page() -> bytes:
    content = written(
        pa.table({"text": ["x" * 8_000_000]}),
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
    )
    true = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).total_byte_size
    return with_number(content, true, 100)


def _endless_list() -> bytes:
    numbers = pa.array(np.zeros(3_000_000, np.int8))
    lists = pa.ListArray.from_arrays(pa.array([0, len(numbers)], pa.int32()), numbers)
    content = written(pa.table({"text": lists}), compression="zstd", data_page_size=1 << 30)
    return with_number(content, len(numbers), 1)


BOMBS = {
    "a shared text": lambda: written(pa.table({"text": shared_text(ROWS, 100_000)})),
    "a shared beginning": lambda: written(
        pa.table({"text": ["x" * 100_000] * 500}),
        use_dictionary=False,
        column_encoding={"text": "DELTA_BYTE_ARRAY"},
    ),
    "rows that are not there": lambda: with_number(
        written(pa.table({"text": ["a"] * ROWS})), ROWS, 10**11
    ),
    "a page that the footer hides": _hidden_page,
    "a list that the footer hides": _endless_list,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_unpacks_to_much_is_refused_by_column_value_and_limit(bomb):
    content = BOMBS[bomb]()
    assert len(content) < 120_000
    before = pa.total_allocated_bytes()
    message = (
        r"^theirs\.parquet: column 'text.*' of row group 0 unpacks to \d+ MiB "
        r"\(\d+ values of up to \d+ bytes\), 4 MiB are allowed at once; write the file again"
    )
    for read in (
        lambda file: file.read(),
        lambda file: file.read_row_group(0),
        lambda file: file.read_row_groups([0], columns=["text"]),
    ):
        with pytest.raises(ValueError, match=message):
            read(opened(content))
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_the_message_has_the_length_of_the_text_and_in_how_many_rows_it_may_be():
    content = BOMBS["a shared text"]()
    with pytest.raises(ValueError, match=r"1177 MiB \(12345 values of up to 100000 bytes\)"):
        opened(content).read()


def test_other_columns_of_such_a_file_can_be_read():
    table = pa.table({"text": shared_text(ROWS, 100_000), "number": np.arange(ROWS)})
    read = opened(written(table)).read_row_group(0, columns=["number"])
    assert read["number"].to_pylist() == list(range(ROWS))


def test_media_may_be_larger_than_texts():
    media = pa.table({"mp4": [b"x" * 1_000_000] * 10})
    assert opened(written(media, use_dictionary=False)).read().num_rows == 10
    with pytest.raises(ValueError, match=r"column 'mp4' .* 16 MiB are allowed"):
        opened(written(pa.table({"mp4": [b"x" * 1_000_000] * 20}), use_dictionary=False)).read()
    with pytest.raises(ValueError, match=r"column 'mp4' .* 16 MiB are allowed"):
        opened(written(pa.table({"mp4": [b"x" * 1_000_000] * 20}))).read()  # one, shared


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_honest_tables_are_read_as_arrow_reads_them(codec, version, monkeypatch):
    monkeypatch.setattr("schemas.parquet_sizes._SURE_BYTES", 0)  # every dictionary is looked at
    texts = [None if n % 7 == 0 else f"text {n % 300}" for n in range(3000)]
    table = pa.table(
        {
            "text": texts,
            "words": [texts[n : n + n % 4] for n in range(3000)],
            "person": [{"name": text, "age": n} for n, text in enumerate(texts)],
            "box": pa.array([[n, 1, 2, 3] for n in range(3000)], pa.list_(pa.float32(), 4)),
            "flag": [n % 2 == 0 for n in range(3000)],
            "when": pa.array(range(3000), pa.timestamp("us")),
            "digest": pa.array([bytes(16)] * 3000, pa.binary(16)),
            "nothing": pa.nulls(3000),
        }
    )
    held = io.BytesIO()
    pq.write_table(table, held, compression=codec, data_page_version=version, row_group_size=700,
                   data_page_size=2000, write_page_checksum=True)  # fmt: skip
    assert opened(held.getvalue()).read().equals(table)
    empty = written(table.slice(0, 0), store_schema=True)
    assert opened(empty).read().equals(table.slice(0, 0))
    one = opened(held.getvalue()).read_row_group(2, columns=["person.name", "words"])
    assert one["person"].to_pylist() == [{"name": text} for text in texts[1400:2100]]


def test_a_damaged_page_header_is_named():
    content = bytearray(written(pa.table({"text": ["a", "b"]}), use_dictionary=False))
    content[4:8] = b"\xff" * 4
    with pytest.raises(ValueError, match=r"theirs\.parquet, row group 0, column 'text': .*restore"):
        opened(bytes(content)).read()


@pytest.mark.parametrize("filling", [b"\x19", b"\x1c", b"\xff", b"\x00", b"\x15\x04"])
def test_a_page_header_of_any_bytes_is_refused_at_once(filling):
    content = (filling * 100_000)[:100_000]
    with pytest.raises(ValueError, match="page"):
        list(read_pages(lambda size, offset: content[offset : offset + size], 0, len(content)))


def test_a_remote_file_is_judged_by_its_footer_and_looked_at_where_that_is_large(monkeypatch):
    monkeypatch.setattr(bounded_parquet, "_REMOTE_BYTES", 1 << 20)
    memory = fsspec.filesystem("memory")
    distinct = pa.table({"text": [f"{n:0100}" for n in range(10_000)]})
    files = {"shared": BOMBS["a shared text"](), "small": written(distinct.slice(0, 50)),
             "honest": written(distinct, compression="zstd")}  # fmt: skip
    for name, content in files.items():
        memory.pipe_file(f"/{name}.parquet", content)
    opened = {name: BoundedParquet(RemoteFile(memory, f"/{name}.parquet")) for name in files}
    with pytest.raises(ValueError, match=r"shared\.parquet: column 'text' .* up to 100000 bytes"):
        opened["shared"].read()
    assert opened["small"].read().num_rows == 50
    assert opened["honest"].read().num_rows == 10_000
