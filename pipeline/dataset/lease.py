"""A lease on a store that cannot lock: who holds the newest one may write.

    _lease/0007.json   {"owner": …, "machine": …, "process": …, "beat": 12}

The holder counts its beat up. A lease whose beat stands still for a while is of a job that died, or
was stopped: it is taken over by creating the next number, which one alone can do. The clocks of two
machines are never compared.

A holder that slept through this finds out before it changes anything. It writes its beat and then
looks for a newer lease; who takes over creates the newer lease and then looks for a beat. Whatever
the order, one of them at least sees the other, and stops.
"""

import contextlib
import hashlib
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from schemas.remote import Refused, retry

LEASES = "_lease"
PATIENCE_S = 40.0  # without a beat, until a job counts as dead
_BEAT_S = 8.0
_ATTEMPT_S = 6.0  # for one beat; one that hangs is left behind, and the next is tried
_LOOK_S = 2.0  # between two looks at the beat of another job
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # runs while a laptop sleeps, too
_LEASE = re.compile(rf"{LEASES}/(\d{{4,}})\.json")


class _Files(Protocol):
    url: str

    def read(self, path: str) -> bytes: ...
    def write(self, path: str, content: bytes) -> None: ...
    def create(self, path: str, content: bytes) -> None: ...
    def delete(self, path: str) -> None: ...
    def list(self, folder: str = "") -> list[str]: ...


class LeaseLost(BlockingIOError, Refused):
    """Raised where a job whose lease another one took over would change the dataset."""


class Lease:
    """The lease that this job holds.

    `once` is the same store, whose calls are tried once: a beat that fails is followed by the next.
    """

    def __init__(self, words: dict[str, Any], store: _Files, once: _Files) -> None:
        self._words, self._store, self._once = words, store, once
        # Nobody can take it over before PATIENCE_S after it was renewed.
        self._number, self._renewed_at = _take(words, store)
        self._lost_after_s: float | None = None
        self._ended = threading.Event()

    def check(self) -> None:
        """Raise LeaseLost if another job took over; where that is uncertain, ask the store."""
        if _now() - self._renewed_at > PATIENCE_S / 2:
            self._ask()
        if self._lost_after_s is not None:
            raise LeaseLost(
                f"another job has taken over {self._store.url}, since this one gave no sign of "
                f"life for {self._lost_after_s:.0f} s; nothing more was changed; run again"
            )

    def confirm(self) -> None:
        """Raise LeaseLost if another job took over; ask the store in any case."""
        self._ask()
        self.check()

    def _ask(self) -> None:
        if self._lost_after_s is None:
            retry(lambda: self._renew(self._store))

    def beat(self) -> None:
        """Give signs of life until the lease ends, or is lost."""
        while self._lost_after_s is None and not self._ended.wait(_BEAT_S):
            attempt = threading.Thread(target=self._try_to_renew, daemon=True)
            attempt.start()
            attempt.join(_ATTEMPT_S)

    def _try_to_renew(self) -> None:
        with contextlib.suppress(Exception):  # of the network; the next beat may reach the store
            self._renew(self._once)

    def _renew(self, store: _Files) -> None:
        """Write a beat, unless another job took over. Raises TimeoutError for a slow answer."""
        began = _now()
        found = _read(self._number, store)
        if not self._wrote(found):
            return self._lose()
        if _now() - began > PATIENCE_S / 2:
            raise TimeoutError(f"{store.url} answered too late")  # others may have come meanwhile
        if self._ended.is_set():
            return None
        self._words["beat"] += 1
        store.write(_path(self._number), _content(self._words))
        if self._ended.is_set():  # given back while this request was under way
            return self.give_back()
        if max(_numbers(store), default=0) != self._number:
            self._lose()
            store.delete(_path(self._number))
        else:
            self._renewed_at = max(self._renewed_at, began)
        return None

    def _wrote(self, found: dict[str, Any]) -> bool:
        """Whether this is our lease; one that is half written can be no other."""
        return bool(found) and found.get("owner", self._words["owner"]) == self._words["owner"]

    def _lose(self) -> None:
        if self._lost_after_s is None:
            self._lost_after_s = _now() - self._renewed_at

    def stop(self) -> None:
        """Give no more signs of life."""
        self._ended.set()

    def give_back(self) -> None:
        """Let the next job come at once."""
        with contextlib.suppress(OSError):  # else the next job waits a little
            if self._wrote(_read(self._number, self._store)):
                self._store.delete(_path(self._number))


@contextlib.contextmanager
def hold_lease(store: _Files, once: _Files) -> Iterator[Lease]:
    """Take the lease, keep it as long as the block runs, give it back.

    Raises BlockingIOError when a living job holds it. One of a job that died on this machine is
    taken over at once, another after `PATIENCE_S`.
    """
    words = {"owner": uuid.uuid4().hex, "beat": 0, "machine": _machine(), "process": _process()}
    lease = Lease(words, store, once)
    beating = threading.Thread(target=lease.beat, daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        lease.stop()
        beating.join()
        lease.give_back()


def _take(words: dict[str, Any], store: _Files) -> tuple[int, float]:
    """Create the next lease; return its number, and since when it is ours."""
    numbers = _numbers(store)
    newest = max(numbers, default=0)
    last = _last_words(newest, store) if numbers else {}
    since = _now()
    try:
        store.create(_path(newest + 1), _content(words))
    except FileExistsError:
        raise _refusal(store) from None
    if last and _read(newest, store) not in (last, {}):  # it lives, and was only slow
        store.delete(_path(newest + 1))
        raise _refusal(store)
    for number in numbers:
        store.delete(_path(number))
    return newest + 1, since


def _last_words(number: int, store: _Files) -> dict[str, Any]:
    """Return the lease of a job that has ended, empty where it was given back.

    Where only patience tells, wait. Raises BlockingIOError for the lease of a living job.
    """
    seen = _read(number, store)
    if seen and seen.get("machine") == _machine():
        if _process_of(seen.get("process")) == seen.get("process"):
            raise _refusal(store)
        return seen
    if seen:
        print(
            f"another job has written to {store.url}; waiting up to {PATIENCE_S:.0f} s for a sign "
            "of its life",
            flush=True,
        )
    silent_s, before = 0.0, _now()
    while seen and silent_s < PATIENCE_S:
        _sleep(_LOOK_S)
        found, now = _read(number, store), _now()
        if found and found != seen:
            raise _refusal(store)
        # A store that did not answer for a while says nothing of the other job.
        silent_s, before, seen = silent_s + min(now - before, 2 * _LOOK_S), now, found
    if not seen and _numbers(store):  # given back, and taken by somebody else
        raise _refusal(store)
    return seen


def _read(number: int, store: _Files) -> dict[str, Any]:
    """Return what a lease says, empty where there is none."""
    try:
        content = store.read(_path(number))
    except FileNotFoundError:
        return {}
    try:
        return dict(json.loads(content))
    except (ValueError, TypeError):  # half written, on a filesystem that shows that
        return {"unreadable": content.hex()}


def _numbers(store: _Files) -> list[int]:
    return sorted(int(found[1]) for path in store.list(LEASES) if (found := _LEASE.fullmatch(path)))


def _path(number: int) -> str:
    return f"{LEASES}/{number:04d}.json"


def _content(lease: dict[str, Any]) -> bytes:
    return json.dumps(lease, sort_keys=True).encode()


def _refusal(store: _Files) -> BlockingIOError:
    return BlockingIOError(
        f"another job writes to {store.url}: wait for it, or choose another folder"
    )


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _machine() -> str:
    """Name the place in which process ids mean the same, without telling its name."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text(),
            os.readlink("/proc/self/ns/pid"),
        ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _process() -> str:
    return _process_of(str(os.getpid()))


def _process_of(process: Any) -> str:
    """Return `id-start time` of a living process, '' of one that ended."""
    number = str(process).partition("-")[0]
    try:
        stat = Path(f"/proc/{int(number)}/stat").read_text()
    except (OSError, ValueError):
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else f"{number}-{fields[19]}"
