"""Under a foreign launcher: a process that it may kill, and the training that it may not.

DeepSpeed's and torch's launchers kill what has not ended 30 s after a stop, less than a step and a
save of a large model take, and the outer process of `deepspeed` dies of a SIGTERM without a word to
anyone. So what they start is a keeper. The training runs in a session of its own, gets every signal
that the keeper gets, and takes the end of the keeper, or of a launcher above it, for a stop.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_LINGER_S = 1800.0  # longest life of a training without its keeper: one step and one save
_POLL_S = 0.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_PID_BYTES = 8
_NO_CODE = 1  # of a training that was killed


def is_foreign() -> bool:
    """Tell whether `deepspeed` or `torchrun` started this process."""
    return "CROSS_RANK" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ


class Training:
    """The end of the keeper's pipe in the process that trains."""

    def __init__(self, status: int) -> None:
        self._status = status

    def ended(self, code: int) -> None:
        """Tell the keeper with which code to end."""
        with contextlib.suppress(OSError):  # it is gone
            os.write(self._status, bytes([code]))


def split() -> Training | int:
    """Become two processes: return what speaks to the keeper in the one that trains.

    In the keeper it returns the exit code, when the training has ended.
    """
    life_out, life_in = os.pipe()
    status_out, status_in = os.pipe()
    middle = os.fork()
    if not middle:
        os.setsid()
        if os.fork():  # whoever ends the keeper's tree does not find the training in it
            os._exit(0)
        os.close(life_in)
        os.close(status_out)
        os.write(status_in, os.getpid().to_bytes(_PID_BYTES, "little"))
        threading.Thread(target=_stop_without_keeper, args=(life_out,), daemon=True).start()
        return Training(status_in)
    os.close(status_in)
    os.close(life_out)
    os.waitpid(middle, 0)
    named = os.read(status_out, _PID_BYTES)
    if len(named) < _PID_BYTES:  # it was killed before it began
        return _NO_CODE
    return _keep(int.from_bytes(named, "little"), status_out)


def _stop_without_keeper(life: int) -> None:
    os.read(life, 1)  # returns when the keeper is gone
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LINGER_S)
    os._exit(_NO_CODE)


def _keep(training: int, status: int) -> int:
    """Pass signals on until the training says how it ended."""
    for number in _SIGNALS:
        signal.signal(number, lambda number, _: _send(training, number))
    above = list(_launchers())
    while True:
        ready, _, _ = select.select([status], [], [], _POLL_S)
        if ready:
            code = os.read(status, 1)
            return code[0] if code else _NO_CODE
        if above and any(_started(pid) != since for pid, since in above):
            above = []
            _send(training, signal.SIGTERM)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _launchers() -> Iterator[tuple[int, str]]:
    """Yield the processes whose end is a stop: our parent, and `deepspeed` above it."""
    parent = os.getppid()
    yield parent, _started(parent)
    above = _parent_of(parent)
    if above and b"deepspeed" in _read(above, "cmdline"):
        yield above, _started(above)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _fields(pid: int) -> list[str]:
    return _read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def _parent_of(pid: int) -> int:
    fields = _fields(pid)
    return int(fields[1]) if fields else 0


def _started(pid: int) -> str:
    """Return when a process was started, '' when it is gone or a zombie."""
    fields = _fields(pid)
    return fields[19] if fields and fields[0] not in ("Z", "X") else ""
