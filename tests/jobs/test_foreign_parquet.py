"""A dataset of somebody else, one of whose files would fill all memory: every command refuses it.

Each says in one line which file and column it is, and goes on without having read it.
"""

import functools
import hashlib
import json
import re
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audits import findings
from hostile_parquet import nested, shared_text, with_number, written_as
from present import current_version
from tiny_dataset import write_dataset
from training_command import arguments, run_main

from jobs import encode, export
from pipeline.browse.light_tables import LightTables
from pipeline.dataset.store import open_store
from trainer.data.files import Folder
from trainer.data.index import RowLocation
from trainer.data.reader import RowReader

ROWS, TEXT_BYTES = 200_000, 10 << 20
TOO_MUCH = r"column '[\w.]+' of row group 0 unpacks to \d+ MiB .*, 1024 MiB are allowed at once"


def _rows(like: pa.Schema, rows: int, **columns: pa.Array) -> bytes:
    """Return a table of ours whose rows say nothing but some columns."""
    names = {name: columns.get(name, pa.nulls(rows, like.field(name).type)) for name in like.names}
    return written_as(like, pa.table(names))


@functools.cache
def _shared_text(like: pa.Schema) -> bytes:
    text = shared_text(ROWS, TEXT_BYTES)
    return _rows(like, ROWS, sample_id=text, caption=text)


@functools.cache
def _rows_that_are_not_there(like: pa.Schema) -> bytes:
    return with_number(_rows(like, 12_345), 12_345, 10**11)


FILES = {
    "a text that all rows share": (_shared_text, TOO_MUCH),
    "rows that are not there": (_rows_that_are_not_there, TOO_MUCH),
    "a schema nested 1,000 deep": (lambda _: nested(1000), "too deeply nested"),
}


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("honest") / "d", 4, (48, 32), 5)


@pytest.fixture(params=FILES)
def hostile(request, tmp_path, honest) -> tuple[Path, str, str]:
    """Return a dataset, the path of its hostile file, and what must be said of it."""
    make, message = FILES[request.param]
    store = open_store(honest)
    manifest, _ = current_version(store)
    [listed] = [file for file in manifest.files if file.path.startswith("samples/")]
    content = make(pq.read_schema(honest / listed.path))
    assert len(content) < 200_000
    rows = 10**11 if make is _rows_that_are_not_there else ROWS
    digest = hashlib.sha256(content).hexdigest()
    of_file = {"path": listed.path, "rows": rows, "size_bytes": len(content), "sha256": digest}
    pointer = json.loads((honest / "manifest.json").read_text())
    known = json.loads((honest / pointer["path"]).read_text())
    known["files"] = [of_file]
    folder = tmp_path / "theirs"
    for path, data in ((listed.path, content), (pointer["path"], json.dumps(known).encode())):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(data)
    pointer["sha256"] = hashlib.sha256(json.dumps(known).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(pointer))
    return folder, listed.path, message


@pytest.fixture(autouse=True)
def in_little_memory():
    """Let no test take what a hostile file asks for."""
    before = pa.default_memory_pool().max_memory() or 0
    yield
    assert (pa.default_memory_pool().max_memory() or 0) <= max(before, 256 << 20)


def _run(main, monkeypatch, capsys, *words: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
    code = main()
    return code, capsys.readouterr().err.strip()


def _is_one_line_of(said: str, path: str, message: str) -> bool:
    return "\n" not in said and path in said and bool(re.search(message, said))


def test_an_audit_names_it_and_goes_on(hostile):
    folder, path, message = hostile
    unreadable = [row for row in findings(folder) if row.check == "file.unreadable"]
    assert [row.id for row in unreadable] == [path]
    assert _is_one_line_of(f"{path} {unreadable[0].evidence}", path, message)


def test_a_training_refuses_it(hostile, tmp_path):
    folder, path, message = hostile
    code, said = run_main(arguments(folder, tmp_path / "run"))
    assert (code, _is_one_line_of(said.strip(), path, message)) == (2, True), said


def test_a_training_refuses_what_it_reads_row_by_row(hostile):
    folder, path, message = hostile
    reader = RowReader(Folder(folder), ["caption"], cache_bytes=1 << 20)
    with pytest.raises(ValueError, match=message) as caught:
        reader.read(RowLocation("any", path, 0, 0))
    assert _is_one_line_of(str(caught.value), path, message)


def test_encoding_refuses_it(hostile, monkeypatch, capsys):
    folder, path, message = hostile
    code, said = _run(encode.main, monkeypatch, capsys, folder, "--preset", "tiny", "--dry-run")
    assert (code, _is_one_line_of(said, path, message)) == (2, True), said


def test_an_export_refuses_it(hostile, tmp_path, monkeypatch, capsys):
    folder, path, message = hostile
    output = tmp_path / "files"
    words = (folder, "--format", "webdataset", "--output", output)
    code, said = _run(export.main, monkeypatch, capsys, *words)
    assert (code, _is_one_line_of(said, path, message)) == (2, True), said
    assert not output.exists()


def test_the_page_refuses_it(hostile):
    folder, path, message = hostile
    store = open_store(folder)
    tables = LightTables(current_version(store)[0], store)
    with pytest.raises(ValueError, match=message) as caught:
        tables.wait()
    assert _is_one_line_of(str(caught.value), path, message)
    tables.close()
