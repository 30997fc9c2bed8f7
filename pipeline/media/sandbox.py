"""A child process that may die: native code on untrusted bytes runs here.

The child stays alive between calls (a call costs microseconds); it is replaced when it crashes,
hangs, eats memory or raises. What happened becomes a `Died`, never an exception of the caller.
"""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from schemas.reasons import Failure
from schemas.settings import check_settings, setting

_POLL_S = 0.05  # how often memory and deadline are looked at
# Sent from outside, so no fault of the call: by the kernel when memory is short, or by Ray, which
# kills the children of a worker that is about to end, a moment before the worker itself.
_FROM_OUTSIDE = (signal.SIGKILL.name, signal.SIGTERM.name)
_PAUSE_S = 1.0  # before the second attempt at such a call; a worker that is ending is gone by then
_PATIENCE = 5  # deadlines that a child may last that works on a busy machine
_HANGS_S = 3.0  # without any processor time: it is not a busy machine that the child waits for
_MEBIBYTE = 2**20
Announce = Callable[[str], None]  # called by the handler with the name of the stage it enters
Handler = Callable[[Any, Announce], Any]


@dataclass(frozen=True)
class SandboxConfig:
    """Limits of the child process that reads untrusted media.

    Attributes:
        deadline_s: seconds for one call, and as many for the child's start before it. On a busy
            machine, where the child is working and did not get that much of a processor's time
            yet, it may take several times as long.
        deadline_per_video_s: further seconds for every second of video in the call.
        memory_mib: resident memory, beyond what its engines take, at which the child is killed.
        address_space_mib: address space (RLIMIT_AS) at which its allocations fail; 0 for no limit,
            as a child with a GPU needs, whose driver maps the memory of the whole machine.
        calls: calls after which the child is replaced, which bounds leaks of native code.
    """

    deadline_s: float = setting(120.0, above=0, high=86_400, unit="s")
    deadline_per_video_s: float = setting(10.0, low=0, high=3600, unit="s")
    memory_mib: int = setting(3072, low=64, high=2**20, unit="MiB")
    address_space_mib: int = setting(16384, low=0, high=2**24, unit="MiB")
    calls: int = setting(200, low=1, high=10**6)

    def __post_init__(self) -> None:
        check_settings(self, "run.sandbox")
        if 0 < self.address_space_mib < self.memory_mib:
            raise ValueError(
                f"run.sandbox.address_space_mib must be 0 or >= memory_mib ({self.memory_mib}), "
                f"got {self.address_space_mib}"
            )


@dataclass(frozen=True)
class Died:
    """How a call ended that brought no result, and in which stage."""

    failure: Failure
    stage: str
    detail: str


class StartFailed(ValueError):
    """Raised when the child cannot build its handler: no call can succeed."""


class Child:
    """A process that holds a handler and answers one call after the other."""

    def __init__(self, make_handler: Callable[[], Handler], limits: SandboxConfig) -> None:
        """`make_handler` is pickled by reference or value and called in the child."""
        self._make_handler = make_handler
        self._limits = limits
        self._process: subprocess.Popen | None = None
        self._connection: Connection | None = None
        self._calls = 0
        self._idle_mib = 0  # resident when the handler was built

    def call(self, argument: Any, seconds_of_video: float = 0.0) -> Any | Died:
        """Return what the handler returns for `argument`, or how the child died.

        A call whose child was killed from outside is made once more. Raises StartFailed when the
        handler cannot be built.
        """
        result = self._call_once(argument, seconds_of_video)
        if isinstance(result, Died) and result.detail in _FROM_OUTSIDE:
            time.sleep(_PAUSE_S)
            result = self._call_once(argument, seconds_of_video)
        return result

    def _call_once(self, argument: Any, seconds_of_video: float) -> Any | Died:
        if self._process is None or self._calls >= self._limits.calls:
            self._respawn()
        assert self._connection is not None
        assert self._process is not None
        self._calls += 1
        limits = self._limits
        deadline_s = limits.deadline_s + limits.deadline_per_video_s * seconds_of_video
        stage = "start"
        try:
            clock = _Clock(self._process.pid, deadline_s)
            self._connection.send(argument)
            while True:
                died = self._wait(stage, clock)
                if died:
                    break
                kind, value = self._connection.recv()
                if kind == "result":
                    return value
                if kind == "stage":
                    stage = value
                    continue
                if kind == "ready":
                    self._idle_mib = value
                    clock = _Clock(self._process.pid, deadline_s)  # its start is not the call's
                    continue
                if kind == "unusable":
                    self.close()
                    raise StartFailed(value)
                died = Died(Failure(kind), stage, value)
                break
        except (EOFError, ConnectionError):
            died = Died(Failure.CRASH, stage, self._cause_of_death())
        self.close()
        return died

    def _wait(self, stage: str, clock: "_Clock") -> Died | None:
        assert self._connection is not None
        assert self._process is not None
        while not self._connection.poll(_POLL_S):
            if clock.is_over():
                detail = f"no result after {clock.waited_s:.0f} s; raise run.sandbox.deadline_s"
                return Died(Failure.TIMEOUT, stage, detail)
            used = resident_mib(self._process.pid)
            allowed = self._limits.memory_mib
            if self._idle_mib and used > self._idle_mib + allowed:
                detail = (
                    f"{used} MiB resident, {allowed} allowed beyond the {self._idle_mib} of its "
                    "engines; raise run.sandbox.memory_mib"
                )
                return Died(Failure.MEMORY, stage, detail)
        return None

    def _cause_of_death(self) -> str:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=5)
            return signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return "closed its connection"

    def _respawn(self) -> None:
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # not from the folder where we happen to be, which may hold our names
                    "-m",
                    "pipeline.media.sandbox",
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        self._connection.send((self._make_handler, self._limits.address_space_mib))
        self._calls = self._idle_mib = 0

    def close(self) -> None:
        """End the child. A later call starts a new one."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._connection = None


class _Clock:
    """Tells a call that hangs from one that waits for a processor."""

    def __init__(self, pid: int, deadline_s: float) -> None:
        self._pid, self._deadline_s = pid, deadline_s
        self._started = self._seen_working = time.monotonic()
        self._before_s = self._worked_s = processor_s(pid)

    @property
    def waited_s(self) -> float:
        return time.monotonic() - self._started

    def is_over(self) -> bool:
        worked_s = processor_s(self._pid)
        if worked_s > self._worked_s:
            self._worked_s, self._seen_working = worked_s, time.monotonic()
        if self.waited_s <= self._deadline_s:
            return False
        hangs = time.monotonic() - self._seen_working > _HANGS_S
        had_its_time = worked_s - self._before_s >= self._deadline_s
        return hangs or had_its_time or self.waited_s > _PATIENCE * self._deadline_s


def processor_s(pid: int) -> float:
    """Return the processor time that a process has had, 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()  # a name may hold spaces
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def resident_mib(pid: int) -> int:
    """Return the resident memory of a process, 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm") as statm:
            pages = int(statm.read().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * resource.getpagesize() // _MEBIBYTE


def _serve(connection: Connection) -> None:
    """Run in the child: build the handler, then answer until the caller is gone."""
    make_handler, address_space_mib = connection.recv()
    if address_space_mib:
        limit = address_space_mib * _MEBIBYTE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        handler = make_handler()
    except Exception as error:  # whatever a library says of missing weights or of its device
        connection.send(("unusable", str(error) or type(error).__name__))
        return
    connection.send(("ready", resident_mib(os.getpid())))
    while True:
        argument = connection.recv()
        try:
            reply = ("result", handler(argument, lambda stage: connection.send(("stage", stage))))
        except MemoryError:
            reply = (str(Failure.MEMORY), f"address space of {address_space_mib} MiB exhausted")
        except OSError as error:
            reply = (str(Failure.IO), f"{type(error).__name__}: {error.strerror or error}")
        except (
            Exception
        ) as error:  # whatever a library raises on hostile bytes becomes a ledger line
            reply = (str(Failure.ERROR), _one_line(error))
        connection.send(reply)


def _one_line(error: Exception) -> str:
    """Say what was raised and where, in one line."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(place.filename)}:{place.lineno}"
    return f"{type(error).__name__} at {where}: {' '.join(str(error).split())}"[:300]


def _exit_with_parent(parent: int) -> None:
    """Leave when the caller was killed: nobody would ever read the answer."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's business
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):
        _serve(Connection(descriptor))


if __name__ == "__main__":
    main()
