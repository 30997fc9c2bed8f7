"""Stop cleanly: after SIGTERM, SIGUSR1 or Ctrl-C the step is finished, saved, and training ends."""

import signal
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Stopped(Exception):
    """Ends a validation in the middle, on all processes at once."""


class StopRequest:
    """Notes that a stop was requested; a second Ctrl-C interrupts at once.

    Attributes:
        requested: of this process: a signal alone sets it, at any moment; nothing takes it back.
        agreed: all processes know of it since the same step: on this the loop ends.
    """

    def __init__(self) -> None:
        self.requested = False
        self.agreed = False
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
