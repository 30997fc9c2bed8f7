"""Which stored packets show a picture, from the first bytes of each, without decoding.

A packet is not a frame: VP8 and VP9 store pictures that are only referred to, MPEG-4 stores "not
coded" headers and two pictures in one packet, and H.264 may store the two fields of a frame apart.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av

_HEADER = 4096  # bytes of a packet that are looked at; the headers lie in front
_NAL_SLICES, _NAL_SPS = (1, 5), 7
# Profiles of H.264 whose parameter sets describe the sampling of colours: 7.3.2.1.1.
_PROFILES_WITH_SAMPLING = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
Shows = Callable[[av.Packet], bool]


def visible_packets(codec: av.VideoCodecContext) -> Shows:
    """Return a function that says, packet by packet in stored order, which ones show a picture."""
    kinds = {"vp8": _shows_vp8, "vp9": _shows_vp9}
    name = codec.codec.canonical_name
    if name == "mpeg4":
        return _Mpeg4(codec.extradata or b"")
    if name == "h264":
        return _Fields(codec.extradata or b"")
    return kinds.get(name, lambda packet: True)


def _shows_vp8(packet: av.Packet) -> bool:
    return bool(memoryview(packet)[0] >> 4 & 1)


def _shows_vp9(packet: av.Packet) -> bool:
    content = memoryview(packet)
    return any(_shows_vp9_frame(content[start:]) for start in _vp9_frames(content))


def _vp9_frames(content: memoryview) -> Iterator[int]:
    """Yield where the frames of a packet start; a superframe has an index at its end."""
    yield (start := 0)
    marker = content[-1]
    count, width = (marker & 7) + 1, (marker >> 3 & 3) + 1
    size = 2 + count * width
    if marker & 0xE0 != 0xC0 or size > len(content) or content[-size] != marker:
        return
    for number in range(count - 1):
        at = len(content) - size + 1 + number * width
        start += int.from_bytes(content[at : at + width], "little")
        if start < len(content) - size:
            yield start


def _shows_vp9_frame(content: memoryview) -> bool:
    bits = _Bits(bytes(content[:4]))
    bits.skip(2)
    if bits.take(1) + 2 * bits.take(1) == 3:
        bits.skip(1)
    if bits.take(1):  # an existing frame is shown
        return True
    bits.skip(1)
    return bool(bits.take(1))


class _Mpeg4:
    """Counts coded pictures; one that came early in another's packet takes the place of a later."""

    def __init__(self, extradata: bytes) -> None:
        self._time_bits = _mpeg4_time_bits(extradata)
        self._early = 0

    def __call__(self, packet: av.Packet) -> bool:
        content = bytes(packet)
        self._time_bits = _mpeg4_time_bits(content[:_HEADER]) or self._time_bits
        coded = self._coded_pictures(content)
        if coded:
            self._early += coded - 1
            return True
        took_place = self._early > 0
        self._early -= took_place
        return took_place

    def _coded_pictures(self, content: bytes) -> int:
        coded, at = 0, content.find(b"\0\0\1\xb6")
        while at >= 0:
            coded += self._is_coded(content[at + 4 : at + 16])
            at = content.find(b"\0\0\1\xb6", at + 4)
        return coded

    def _is_coded(self, header: bytes) -> bool:
        bits = _Bits(header)
        bits.skip(2)
        while bits.take(1):
            pass
        bits.skip(1 + self._time_bits + 1)
        return self._time_bits == 0 or bool(bits.take(1))


def _mpeg4_time_bits(content: bytes) -> int:
    """Return the length of a picture's time, from a video object layer; 0 if there is none."""
    at = content.find(b"\0\0\1")
    while at >= 0 and not 0x20 <= (content[at + 3 : at + 4] or b"\0")[0] <= 0x2F:
        at = content.find(b"\0\0\1", at + 3)
    if at < 0:
        return 0
    bits = _Bits(content[at + 4 : at + 40])
    bits.skip(9)
    if bits.take(1):
        bits.skip(7)
    if bits.take(4) == 15:
        bits.skip(16)
    if bits.take(1):
        bits.skip(3)
        if bits.take(1):
            bits.skip(79)
    bits.skip(3)
    return max(1, (bits.take(16) - 1).bit_length())


@dataclass(frozen=True)
class _Sequence:
    """What is needed of an H.264 sequence parameter set to read a slice's header."""

    frames_only: bool
    frame_num_bits: int
    planes_apart: bool


class _Fields:
    """Finds the second fields of H.264 frames whose fields are stored in packets of their own."""

    def __init__(self, extradata: bytes) -> None:
        self._length_bytes = (extradata[4] & 3) + 1 if extradata[:1] == b"\1" else 0
        self._sequence: _Sequence | None = None
        self._first: tuple[int, int] | None = None  # frame number and parity of a first field
        stored = extradata[8:] if self._length_bytes else extradata
        self._read_sequences(_annex_b(stored) if not self._length_bytes else iter([stored]))

    def __call__(self, packet: av.Packet) -> bool:
        if self._sequence is not None and self._sequence.frames_only:
            return True
        content = bytes(memoryview(packet)[:_HEADER])
        field = None
        for unit in self._units(content):
            kind = unit[0] & 31
            if kind == _NAL_SPS:
                self._read_sequences(iter([unit]))
            elif kind in _NAL_SLICES:
                field = self._field_of(unit)
                break
        is_second = field is not None and self._first is not None and field == _other(self._first)
        self._first = None if is_second else field
        return not is_second

    def _units(self, content: bytes) -> Iterator[bytes]:
        if not self._length_bytes:
            yield from _annex_b(content)
            return
        at = 0
        while at + self._length_bytes < len(content):
            start = at + self._length_bytes
            at = start + int.from_bytes(content[at:start], "big")
            if at > start:
                yield content[start:at]

    def _read_sequences(self, units: Iterator[bytes]) -> None:
        for unit in units:
            if unit and unit[0] & 31 == _NAL_SPS:
                self._sequence = _sequence_of(unit)

    def _field_of(self, unit: bytes) -> tuple[int, int] | None:
        """Return frame number and parity of the slice's field; None for a whole frame."""
        sequence = self._sequence
        if sequence is None or sequence.frames_only:
            return None
        bits = _Bits(unit[1:40])
        for _ in range(3):  # first macroblock, type, picture parameter set
            bits.golomb()
        bits.skip(2 * sequence.planes_apart)
        number = bits.take(sequence.frame_num_bits)
        return (number, bits.take(1)) if bits.take(1) else None


def _other(field: tuple[int, int]) -> tuple[int, int]:
    return field[0], 1 - field[1]


def _annex_b(content: bytes) -> Iterator[bytes]:
    at = content.find(b"\0\0\1")
    while at >= 0:
        end = content.find(b"\0\0\1", at + 3)
        unit = content[at + 3 : end if end >= 0 else None]
        if unit:
            yield unit
        at = end


def _sequence_of(unit: bytes) -> _Sequence:
    bits = _Bits(unit[1:512].replace(b"\0\0\3", b"\0\0"))
    profile = bits.take(8)
    bits.skip(16)
    bits.golomb()
    planes_apart = False
    if profile in _PROFILES_WITH_SAMPLING:
        planes_apart = _skip_sampling(bits)
    frame_num_bits = bits.golomb() + 4
    _skip_picture_order(bits)
    bits.golomb()
    bits.skip(1)
    bits.golomb()
    bits.golomb()
    return _Sequence(bool(bits.take(1)), frame_num_bits, planes_apart)


def _skip_sampling(bits: "_Bits") -> bool:
    """Pass over what high profiles add; tell whether the planes are coded apart."""
    sampling = bits.golomb()
    planes_apart = sampling == 3 and bool(bits.take(1))
    bits.golomb()
    bits.golomb()
    bits.skip(1)
    if bits.take(1):
        for number in range(8 if sampling != 3 else 12):
            if bits.take(1):
                _skip_scaling_list(bits, 16 if number < 6 else 64)
    return planes_apart


def _skip_scaling_list(bits: "_Bits", size: int) -> None:
    scale = step = 8
    for _ in range(size):
        if step:
            step = (scale + bits.signed_golomb()) % 256
        scale = step or scale


def _skip_picture_order(bits: "_Bits") -> None:
    kind = bits.golomb()
    if kind == 0:
        bits.golomb()
    elif kind == 1:
        bits.skip(1)
        bits.golomb()
        bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()


class _Bits:
    """Reads a header bit by bit; behind its end come zeros."""

    def __init__(self, content: bytes) -> None:
        self._value = int.from_bytes(content, "big")
        self._left = 8 * len(content)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            return 0
        return self._value >> self._left & (1 << count) - 1

    def skip(self, count: int) -> None:
        self._left -= count

    def golomb(self) -> int:
        """Return an unsigned number of Exp-Golomb code; 0 where the code is broken."""
        zeros = 0
        while self._left > 0 and not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros) if zeros <= 32 else 0

    def signed_golomb(self) -> int:
        value = self.golomb()
        return (value + 1) // 2 * (1 if value % 2 else -1)
