"""One continuous time for the packets of a stream whose own timestamps may restart."""

from fractions import Fraction

import av

_BACK_S = 0.1  # a step back of less is a muxer's rounding
_AHEAD_S = 10.0  # a longer step ahead is no gap where joined recordings keep their own clocks
_CLOCKED = ("mpegts", "mpeg")  # containers of broadcasts and discs, which are joined by appending


class Timeline:
    """Moves the packets that follow a restarted clock to where the ones before them end."""

    def __init__(self, container: str, timebase: Fraction, nominal: int) -> None:
        self.restarts: list[int] = []  # pts from which another recording is shown
        self._nominal = nominal  # duration of a frame, as everything here in units of the timebase
        self._back = float(_BACK_S / timebase)
        self._ahead = float(_AHEAD_S / timebase) if container in _CLOCKED else float("inf")
        self._shift = 0
        self._latest: int | None = None  # dts
        self._end = 0

    def place(self, packet: av.Packet) -> None:
        """Give a packet its time in the whole."""
        if packet.dts is not None:
            packet.dts = self._go_on(packet.dts + self._shift)
        if packet.pts is not None:
            packet.pts += self._shift
        shown = packet.dts if packet.pts is None else packet.pts
        if shown is not None:
            self._end = max(self._end, shown + (packet.duration or self._nominal))

    def _go_on(self, dts: int) -> int:
        """Return a packet's dts; where the clock restarts, it follows the end of what was."""
        if self._latest is not None and not self._continues(dts):
            self._shift += self._end - dts
            dts = self._end
            self.restarts.append(dts)
        self._latest = dts
        return dts

    def _continues(self, at: int) -> bool:
        assert self._latest is not None, "there is a packet before"
        return self._latest - self._back <= at <= self._latest + self._ahead

    def is_start(self, previous: int | None, pts: int) -> bool:
        """Return whether another recording begins between two frames that follow each other."""
        if previous is None or not self.restarts:
            return False
        return any(previous < start <= pts for start in self.restarts)
