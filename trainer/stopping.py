"""Stop in good order: SIGTERM and Ctrl-C end the step, save, and exit."""

import signal
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Remembers that the process was asked to stop; asked a second time, it stops at once."""

    def __init__(self) -> None:
        self.requested = False
        self._former = {}

    def __enter__(self) -> "StopRequest":
        self._former = {number: signal.signal(number, self._request) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
