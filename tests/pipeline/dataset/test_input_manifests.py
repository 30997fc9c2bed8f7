"""A manifest is read right, or refused with its line and column."""

import io
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.input_manifests import read_manifest_rows


def read(content, name="videos.csv"):
    data = content if isinstance(content, bytes) else content.encode()
    return [(row.uri, row.caption) for row in read_manifest_rows(data, name)]


def parquet(table):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


GOOD = 'uri,caption\na.mp4,"Zoë, “naked”"\n'


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["videos.csv", "videos.jsonl"])
def test_every_encoding_that_is_certain_is_read(encoding, name):
    text = GOOD
    if name.endswith("jsonl"):
        text = json.dumps({"uri": "a.mp4", "caption": "Zoë, “naked”"}, ensure_ascii=False)
    assert read(text.encode(encoding), name) == [("a.mp4", "Zoë, “naked”")]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("très", "cp1252"),  # è is č in Central Europe
        ("się", "cp1250"),
        ("человек", "cp1251"),
        ("Österreich", "mac-roman"),
        ("人物", "shift-jis"),
        ("España", "mac-roman"),
    ],
)
def test_an_encoding_that_is_not_certain_is_refused_by_line_and_column(text, encoding):
    content = "uri,caption\na.mp4,plain\nb.mp4," + text + "\n"
    with pytest.raises(
        ValueError, match=r"videos.csv, line 3, column 'caption', character \d+: byte"
    ):
        read(content.encode(encoding))


def test_utf16_that_is_cut_off_is_refused():
    with pytest.raises(ValueError, match="is not utf-16-le"):
        read(GOOD.encode("utf-16")[:-1])


def test_spaces_around_headers_and_cells_are_trimmed():
    assert read('uri , caption\n a.mp4 , "one, two"\n') == [("a.mp4", "one, two")]
    assert read('{" uri": "a.mp4", "caption ": " x "}', "v.jsonl") == [("a.mp4", "x")]
    table = pa.table({" uri": ["a.mp4"], "caption ": ["x"]})
    assert read(parquet(table), "v.parquet") == [("a.mp4", "x")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("uri,caption\na.mp4,x\nb.mp4,one, two\n", "line 3, column 3: 'two' is one cell more"),
        ('uri,caption\na.mp4,"x\nb.mp4,y\n', "line 2: unexpected end of data"),
        ('uri,caption\na.mp4,"x"y\n', "line 2: ',' expected after '\"'"),
        ("uri,uri\na.mp4,b.mp4\n", "line 1: column 'uri' is there 2 times"),
        ("uri;caption\na.mp4;x\n", "line 2: column 'uri' is missing .*'uri;caption'"),
        ("uri\n", "holds no row"),
        ("", "holds no row"),
    ],
)
def test_a_wrong_table_is_refused_by_line_and_column(content, says):
    with pytest.raises(ValueError, match=says):
        read(content)


def test_lines_are_counted_as_an_editor_counts_them():
    content = 'uri,caption\r\na.mp4,"two\r\nlines"\r\n\r\nb.mp4,x,y\r\n'
    with pytest.raises(ValueError, match="line 5, column 3"):
        read(content)


def test_blank_lines_and_empty_cells_behind_the_last_are_no_fault():
    assert read("uri,caption\n\na.mp4,x,,\n , \nb.mp4\n") == [("a.mp4", "x"), ("b.mp4", "")]


@pytest.mark.parametrize("size", [1 << 17, 1 << 20])
def test_a_cell_that_is_not_used_may_be_large(size):
    content = f"uri,transcript,caption\na.mp4,{'x' * (size + 1)},y\n"
    assert read(content) == [("a.mp4", "y")]
    with pytest.raises(ValueError, match="column 'caption': has 5000 characters, 4096 are allowed"):
        read(f"uri,caption\na.mp4,{'x' * 5000}\n")


def test_a_json_line_ends_at_a_line_feed_alone():
    text = json.dumps({"uri": "a.mp4", "caption": "one\u2028two\x85\x0bthree"}, ensure_ascii=False)
    text = text.replace("\\u0085", "\x85")
    assert read(f"{text}\r\n\n{text}", "v.jsonl") == [("a.mp4", "one\u2028two\x85\x0bthree")] * 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"uri": "a.mp4", "caption": ["x"]}', "line 2, column 'caption': must be text, got list"),
        ('{"uri": 5}', "line 2, column 'uri': must be text, got int"),
        ('{"uri": "a.mp4", "caption": "\\ud83d"}', r"line 2, column 'caption', character 1: half"),
        ('{"uri": "a.mp4", "uri": "b.mp4"}', "line 2: column 'uri' is there 2 times"),
        ('{"uri": "a.mp4"', "line 2, character 16: not JSON"),
        ('["a.mp4"]', "line 2: must be an object"),
        ("[" * 100_000, "line 2: nested too deep|line 2, character"),
    ],
)
def test_a_wrong_json_line_is_refused_by_line_and_column(line, says):
    with pytest.raises(ValueError, match=says):
        read('{"uri": "good.mp4"}\n' + line, "v.jsonl")


def test_parquet_of_pandas_and_others_is_read():
    uris = ["a.mp4", "b.mp4", "a.mp4"]
    kinds = [
        pa.array(uris),
        pa.array(uris, pa.large_string()),
        pa.array(uris).dictionary_encode(),
    ]
    for kind in kinds:
        table = pa.table({"uri": kind, "caption": pa.nulls(3), "length": [1, 2, 3]})
        assert read(parquet(table), "v.parquet") == [(uri, "") for uri in uris]


def test_a_wrong_parquet_file_is_refused_by_row_and_column():
    text = pa.Array.from_buffers(
        pa.string(), 2, pa.array([b"fine", b"caf\xe9"], pa.binary()).buffers()
    )
    table = pa.table({"uri": ["a.mp4", "b.mp4"], "caption": text})
    with pytest.raises(ValueError, match="row 2, column 'caption', character 4: byte 0xE9"):
        read(parquet(table), "v.parquet")
    with pytest.raises(ValueError, match="must be text, got int64"):
        read(parquet(pa.table({"uri": [5]})), "v.parquet")
    with pytest.raises(ValueError, match="column 'uri' is missing"):
        read(parquet(pa.table({"path": ["a.mp4"]})), "v.parquet")
    with pytest.raises(ValueError, match="is no Parquet file"):
        read(b"PAR1 no", "v.parquet")


def test_a_long_text_that_all_rows_share_is_refused_in_little_memory():
    """A small file whose rows, written out, would fill 200 GB."""
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 200_000, pa.int32()), ["x" * 2**20])
    held = io.BytesIO()
    pq.write_table(pa.table({"uri": shared}), held, compression="zstd")
    assert held.tell() < 100_000
    tracemalloc.start()
    with pytest.raises(ValueError, match="row 1"):
        list(read_manifest_rows(held.getvalue(), "bomb.parquet"))
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_more_rows_than_any_list_has_are_refused_before_one_is_read():
    held = io.BytesIO()
    with pq.ParquetWriter(held, pa.schema({"uri": pa.null()}), compression="zstd") as writer:
        for _ in range(11):
            writer.write_table(pa.table({"uri": pa.nulls(1_000_000)}))
    assert held.tell() < 100_000
    with pytest.raises(ValueError, match="11000000 rows, 10000000 are allowed"):
        list(read_manifest_rows(held.getvalue(), "many.parquet"))
