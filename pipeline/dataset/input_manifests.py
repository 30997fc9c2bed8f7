"""Read a manifest of inputs: .csv, .jsonl or .parquet with a column `uri`.

What cannot be read for sure is refused with the manifest's name, the line and the column.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

MANIFEST_SUFFIXES = (".csv", ".jsonl", ".parquet")
COLUMNS = ("uri", "licence", "source", "caption")
MAX_TEXT = 4096  # characters of a cell that is used
MAX_ROWS = 10_000_000  # of a Parquet file: it may declare more than it holds
_BATCH = 4096  # of them at a time
MAX_CELL = 64 << 20  # characters of any other; the csv module allows 128 KiB
_BOMS = (  # the longer first: UTF-32 begins as UTF-16 does
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = range(0xDC80, 0xDD00)  # a byte that is not UTF-8, as Python carries it (PEP 383)
# Letters and signs whose byte means the same in the code pages of Western Europe (cp1252), Central
# Europe (cp1250) and Turkey (cp1254), and the quotes and dashes of all three.
_SURE = frozenset("‘’“”–—") | {
    sign
    for sign in bytes(range(0xA0, 0x100)).decode("cp1252")
    if all(sign.encode("cp1252").decode(page) == sign for page in ("cp1250", "cp1254"))
}
_UNLIKELY = re.compile(  # Cyrillic or Greek; letters of a Mac, which are quotes and dashes here
    "[\u00c0-\u00ff]{3}|[^\\W\\d_][‘“”–—][^\\W\\d_]"
)


@dataclass(frozen=True)
class ManifestRow:
    """What a manifest says of one video, and where it says so."""

    uri: str
    licence: str
    source: str
    caption: str
    where: str = field(compare=False)


def read_manifest_rows(content: bytes, name: str) -> Iterator[ManifestRow]:
    """Yield the rows of a manifest; `name` tells its format by the suffix, and is used in messages.

    Raises ValueError naming line and column.
    """
    number = 0
    for where, row in table_rows(content, name):
        number += 1
        cells = {column: cell_text(row.get(column), column, where) for column in COLUMNS}
        if not cells["uri"]:
            seen = ", ".join(repr(str(column)[:40]) for column in row)
            raise ValueError(
                f"{where}: column 'uri' is missing or empty; it names the video (the columns are "
                f"{seen or 'none'})"
            )
        yield ManifestRow(**cells, where=where)
    if not number:
        raise ValueError(f"{name}: the manifest holds no row")


def table_rows(
    content: bytes, name: str, columns: Sequence[str] = COLUMNS
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, row) of a .csv, .jsonl or .parquet; of Parquet only these columns, as text.

    `where` names file and line for a message. Raises ValueError naming line and column.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_rows(content, name, columns)
    else:
        yield from {".csv": _csv_rows, ".jsonl": _jsonl_rows}[suffix](content, name)


def cell_text(value: Any, column: str, where: str) -> str:
    """Return the text of a cell, '' for none. Raises ValueError for what is no text of its kind."""
    place = f"{where}, column {column!r}"
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{place}: must be text, got {type(value).__name__} {str(value)[:40]!r}")
    broken = _SURROGATE.search(value)
    if broken:
        raise ValueError(f"{place}, character {broken.start() + 1}: {_what_is_broken(broken[0])}")
    text = value.strip()
    if len(text) > MAX_TEXT:
        raise ValueError(f"{place}: has {len(text)} characters, {MAX_TEXT} are allowed")
    return text


def _what_is_broken(sign: str) -> str:
    if ord(sign) in _ESCAPED:
        return (
            f"byte 0x{ord(sign) - 0xDC00:02X} is not UTF-8, and which other encoding was meant is "
            "not certain; save the manifest as UTF-8"
        )
    return f"half a character (\\u{ord(sign):04x}); write both halves, or none"


def decode_text(content: bytes, name: str) -> str:
    """Decode by a byte order mark, as UTF-8, or as Windows writes it where that is certain.

    A byte that stays uncertain becomes a surrogate, so that its line and column can be named.
    """
    if content.startswith(codecs.BOM_UTF8):
        return content[len(codecs.BOM_UTF8) :].decode("utf-8", errors="surrogateescape")
    for mark, encoding in (*_BOMS, *_unmarked(content)):
        if content.startswith(mark):
            try:
                return content[len(mark) :].decode(encoding, errors="surrogatepass")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{name}: byte {len(mark) + error.start + 1} is not {encoding}, in which the "
                    "manifest begins; save it as UTF-8"
                ) from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        western = content.decode("cp1252", errors="replace")
        sure = all(sign < "\x80" or sign in _SURE for sign in western)
        if sure and not _UNLIKELY.search(western):
            return western
        return content.decode("utf-8", errors="surrogateescape")


def _unmarked(content: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield UTF-16 when a text begins in it without a mark: every other byte is zero."""
    head = content[:8]
    even, odd = head[0::2], head[1::2]
    if len(head) == 8 and all(even) and not any(odd):
        yield b"", "utf-16-le"
    if len(head) == 8 and all(odd) and not any(even):
        yield b"", "utf-16-be"


def _csv_rows(content: bytes, name: str) -> list[tuple[str, dict[str, Any]]]:
    text = io.StringIO(decode_text(content, name), newline="")  # a lone \r ends a line, too
    before = csv.field_size_limit(MAX_CELL)  # of the whole process
    rows: list[tuple[str, dict[str, Any]]] = []
    header: list[str] | None = None
    line = 1
    try:
        # A space behind a comma is not part of a quoted cell.
        table = csv.reader(text, strict=True, skipinitialspace=True)
        for cells in table:
            where, line = f"{name}, line {line}", table.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _header(cells, where)
            else:
                rows.append((where, _csv_row(cells, header, where)))
    except csv.Error as error:
        raise ValueError(
            f"{name}, line {line}: {error} (a cell may hold {MAX_CELL} characters; a quote inside "
            'a quoted cell is written "")'
        ) from None
    finally:
        csv.field_size_limit(before)
    return rows


def _header(cells: Sequence[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    for name in COLUMNS:
        if names.count(name) > 1:
            raise ValueError(f"{where}: column {name!r} is there {names.count(name)} times")
    return names


def _csv_row(cells: Sequence[str], header: Sequence[str], where: str) -> dict[str, Any]:
    for place, cell in enumerate(cells[len(header) :], start=len(header) + 1):
        if cell.strip():
            raise ValueError(
                f"{where}, column {place}: {cell[:40]!r} is one cell more than the {len(header)} "
                f"of the header ({', '.join(header)}); quote a cell that holds a comma"
            )
    return dict(zip(header, cells, strict=False))


def _jsonl_rows(content: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    # Split at \n alone: U+2028 and others that splitlines() knows are signs of a string in JSON.
    for number, line in enumerate(decode_text(content, name).split("\n"), start=1):
        if line.strip():
            where = f"{name}, line {number}"
            yield where, _json_row(line, where)


def _json_row(line: str, where: str) -> dict[str, Any]:
    def trimmed(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _header([key for key, _ in pairs], where)
        return {key.strip(): value for key, value in pairs}

    try:
        row = json.loads(line, object_pairs_hook=trimmed)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}, character {error.pos + 1}: not JSON: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{where}: nested too deep") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: must be an object, got {line[:40]!r}")
    return row


def _parquet_rows(
    content: bytes, name: str, wanted: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        schema = file.schema_arrow
        stored = {column.strip(): column for column in schema.names}
        columns = [column for column in wanted if column in stored]
        for column in columns:  # looked at before any value is read: a foreign type may run code
            kind = schema.field(stored[column]).type
            if not _is_text(kind):
                raise ValueError(f"{name}: column {column!r} must be text, got {kind}")
        if wanted[0] not in columns:
            missing = f"column {wanted[0]!r} is missing"
            raise ValueError(f"{name}: {missing}; the columns are {schema.names}")
        if file.metadata.num_rows > MAX_ROWS:
            raise ValueError(f"{name}: {file.metadata.num_rows} rows, {MAX_ROWS} are allowed")
        names = [stored[column] for column in columns]
        texts = [one for one in names if not pa.types.is_null(schema.field(one).type)]
        # As categories: a text that all rows share is in memory once, however long it is.
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts)
        first = 1
        for batch in file.iter_batches(_BATCH, columns=names):
            cells = [_values(batch[one]) for one in names]
            for number, row in enumerate(zip(*cells, strict=True), start=first):
                yield f"{name}, row {number}", dict(zip(columns, row, strict=True))
            first += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{name} is no Parquet file that can be read: {error}") from None


def _is_text(kind: Any) -> bool:
    """Return whether a column holds text: plain, as categories, or all null."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return pa.types.is_null(kind) or any(test(kind) for test in tests)


def _values(column: Any) -> list[str | None]:
    """Return the cells of a text column; a byte that is not UTF-8 becomes a surrogate."""
    import pyarrow as pa

    if pa.types.is_null(column.type):
        return [None] * len(column)
    if pa.types.is_dictionary(column.type):
        words = _values(column.dictionary)
        return [None if place is None else words[place] for place in column.indices.to_pylist()]
    stored = column.cast(pa.large_binary()).to_pylist()
    return [v if v is None else v.decode("utf-8", errors="surrogateescape") for v in stored]
