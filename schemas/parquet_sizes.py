"""How much memory a column of a Parquet file takes when it is read, before it is read.

A file of one kilobyte can say that 200,000 rows share one text of 10 MB, that there are 10^11 rows,
or hide from its footer that a page unpacks to 2 GB. Arrow believes it, and the process is killed.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.parquet_pages import DICTIONARY, DICTIONARY_CODES, PREFIX_CODES, Page, read_pages

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}
_OFFSET, _LEVELS = 4, 4  # bytes beside a text, and beside a value within lists
_SHARING = {"PLAIN_DICTIONARY", "RLE_DICTIONARY", "DELTA_BYTE_ARRAY"}  # one text for many rows
_SURE_BYTES = 16 << 20  # so much of a column needs no closer look
_MOST_WORDS_BYTES = 256 << 20  # of a dictionary that is unpacked to see its longest text
_CODECS = {"LZ4": "lz4_raw"}  # that Arrow calls by another name


@dataclass(frozen=True)
class Unpacked:
    """What a column of a row group takes in memory, at most."""

    column: str
    group: int
    size: int  # bytes
    num_values: int
    longest: int  # bytes of a value, at most
    is_media: bool

    def __str__(self) -> str:
        return (
            f"column {self.column!r} of row group {self.group} unpacks to {self.size >> 20} MiB "
            f"({self.num_values} values of up to {self.longest} bytes)"
        )


@dataclass(frozen=True)
class ColumnChunk:
    """One column of one row group, as the footer describes it."""

    schema: pq.ColumnSchema
    footer: pq.ColumnChunkMetaData
    group: int
    num_rows: int

    @property
    def is_text(self) -> bool:
        """Return whether values have lengths of their own: texts, and bytes."""
        return self.schema.physical_type == "BYTE_ARRAY"

    def unpacked_by_footer(self) -> Unpacked:
        """Return what it takes if the footer does not lie."""
        stored, values = self.footer.total_uncompressed_size, self.footer.num_values
        shares = self.is_text and not _SHARING.isdisjoint(self.footer.encodings)
        return self._unpacked(values, stored + shares * stored * values, stored)

    def unpacked_by_pages(self, read_at: Callable[[int, int], bytes]) -> Unpacked:
        """Return what its pages take, whatever the footer says. Raises ValueError if damaged.

        `read_at` is called with size and offset.
        """
        if not self.footer.num_values:  # Arrow reads no page then, and its writer names no place
            return self._unpacked(0, 0, 0)
        start = self.footer.data_page_offset
        if self.footer.has_dictionary_page:
            start = min(start, self.footer.dictionary_page_offset)
        pages = list(read_pages(read_at, start, start + self.footer.total_compressed_size))
        values = sum(page.num_values for page in pages if page.kind != DICTIONARY)
        size = sum(page.unpacked for page in pages)
        longest = max((page.unpacked for page in pages), default=0)
        if not self.is_text:
            return self._unpacked(values, size, 0)
        size += sum(p.num_values * p.unpacked for p in pages if p.encoding in PREFIX_CODES)
        coded = sum(page.num_values for page in pages if page.encoding in DICTIONARY_CODES)
        words = [page for page in pages if page.kind == DICTIONARY]
        if coded and words:
            longest = max(word.unpacked for word in words)
            if coded * longest > _SURE_BYTES and longest <= _MOST_WORDS_BYTES:
                longest = max(self._longest(word, read_at) for word in words)
            size += coded * longest
        return self._unpacked(values, size, longest)

    def _unpacked(self, num_values: int, size: int, longest: int) -> Unpacked:
        values = max(num_values, self.num_rows)  # Arrow reserves as many as the footer says
        kind = self.schema.physical_type
        width = _OFFSET if self.is_text else _WIDTHS.get(kind, self.schema.length or 0)
        nested = _LEVELS * bool(self.schema.max_repetition_level)
        is_media = self.is_text and self.schema.logical_type.type != "STRING"
        return Unpacked(
            self.schema.path, self.group, size + values * (width + nested), values,
            longest or width, is_media,
        )  # fmt: skip

    def _longest(self, words: Page, read_at: Callable[[int, int], bytes]) -> int:
        """Return the length of the longest text of a dictionary, in bytes."""
        content = read_at(words.packed, words.start)
        name = self.footer.compression
        if name != "UNCOMPRESSED":
            codec = pa.Codec(_CODECS.get(name, name.lower()))
            content = codec.decompress(content, words.unpacked, asbytes=True)
        longest = place = 0
        while place + 4 <= len(content):
            (length,) = struct.unpack_from("<I", content, place)
            longest, place = max(longest, length), place + 4 + length
        return longest
