"""Read the headers of a Parquet file's pages: what unpacking them takes, whatever the footer says.

A header is a struct of Thrift's compact protocol. Source: parquet.thrift of Apache Parquet, and
Thrift's compact-protocol specification.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

DATA, DICTIONARY, DATA_V2 = 0, 2, 3
DICTIONARY_CODES = (2, 8)  # encodings: PLAIN_DICTIONARY and RLE_DICTIONARY
PREFIX_CODES = (7,)  # DELTA_BYTE_ARRAY, where a text shares the beginning of the one before
_KIND, _UNPACKED, _PACKED = 1, 2, 3  # fields of a page header
_OF_VALUES = {DATA: 5, DICTIONARY: 7, DATA_V2: 8}  # the field that describes a page of this kind
_NUM_VALUES = 1  # its fields
_ENCODING = {DATA: 2, DICTIONARY: 2, DATA_V2: 4}
_HEADER_BYTES = 512  # read at first; a header with long statistics is read whole
_MOST_HEADER_BYTES = 16 << 20  # as Arrow allows
_MOST_DEPTH = 8  # of structs and lists within a header, which has three
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 7, 8, 12  # types of the protocol
_INTEGERS, _LISTS = (4, 5, 6), (9, 10)


@dataclass(frozen=True)
class Page:
    """One page of a column chunk."""

    kind: int
    num_values: int
    encoding: int
    unpacked: int  # bytes
    start: int  # of its packed bytes in the file
    packed: int  # bytes


def read_pages(read_at: Callable[[int, int], bytes], start: int, end: int) -> Iterator[Page]:
    """Yield the pages of a chunk that lies at [start, end) of a file.

    `read_at` is called with size and offset. Raises ValueError for a header that makes no sense.
    """
    while start < end:
        header, length = _read_header(read_at, start, end)
        kind, unpacked, packed = (_number(header, name) for name in (_KIND, _UNPACKED, _PACKED))
        about = header.get(_OF_VALUES[kind], {}) if kind in _OF_VALUES else {_NUM_VALUES: 0}
        if not isinstance(about, dict):
            raise ValueError(f"the page at byte {start} does not say what it holds")
        start += length
        if start + packed > end:
            raise ValueError(f"the page at byte {start} reaches beyond its column")
        encoding = about.get(_ENCODING.get(kind, 0), -1)
        yield Page(kind, _number(about, _NUM_VALUES), encoding, unpacked, start, packed)
        start += packed


def _number(fields: dict[int, Any], name: int) -> int:
    """Return a size or a count. Raises ValueError where it is missing or below zero."""
    number = fields.get(name)
    if not isinstance(number, int) or number < 0:
        raise ValueError(f"field {name} of a page header is {number}")
    return number


def _read_header(
    read_at: Callable[[int, int], bytes], start: int, end: int
) -> tuple[dict[int, Any], int]:
    """Return a header's fields and its length in bytes."""
    size = _HEADER_BYTES
    while True:
        content = read_at(min(size, end - start), start)
        try:
            return _read_struct(content, 0, 0)
        except IndexError:
            if size > min(end - start, _MOST_HEADER_BYTES):
                raise ValueError(f"the page header at byte {start} has no end") from None
            size *= 8


def _read_struct(content: bytes, place: int, depth: int) -> tuple[dict[int, Any], int]:
    fields: dict[int, Any] = {}
    field = 0
    while head := content[place]:
        step, kind = head >> 4, head & 15
        place += 1
        if step:
            field += step
        else:
            field, place = _read_integer(content, place)
        if kind in (_TRUE, _FALSE):
            fields[field] = kind == _TRUE
        else:
            fields[field], place = _read_value(content, place, kind, depth)
    return fields, place + 1


def _read_value(content: bytes, place: int, kind: int, depth: int) -> tuple[Any, int]:
    if depth > _MOST_DEPTH:
        raise ValueError("a page header is nested too deep")
    if kind in _INTEGERS:
        return _read_integer(content, place)
    if kind == _STRUCT:
        return _read_struct(content, place, depth + 1)
    if kind == _BINARY:
        length, place = _read_varint(content, place)
        return None, _within(content, place + length)
    if kind in (_BYTE, _TRUE, _FALSE):
        return None, _within(content, place + 1)
    if kind == _DOUBLE:
        return None, _within(content, place + 8)
    if kind in _LISTS:
        head = content[place]
        length, place = (head >> 4, place + 1)
        if length == 15:
            length, place = _read_varint(content, place)
        for _ in range(length):
            _, place = _read_value(content, place, head & 15, depth + 1)
        return None, place
    raise ValueError(f"a page header holds the unknown type {kind}")


def _within(content: bytes, place: int) -> int:
    """Return the place. Raises IndexError, as reading there would, if it lies beyond the end."""
    if place > len(content):
        raise IndexError
    return place


def _read_integer(content: bytes, place: int) -> tuple[int, int]:
    number, place = _read_varint(content, place)
    return (number >> 1) ^ -(number & 1), place


def _read_varint(content: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
        shift += 7
        if shift > 63:
            raise ValueError("a page header holds a number of more than 64 bits")
