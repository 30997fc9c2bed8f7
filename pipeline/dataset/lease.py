"""A lease on a store that cannot lock: who holds the newest one may write.

    _lease/0007.json   {"owner": …, "machine": …, "process": …, "beat": 12}

The holder counts its beat up. A lease whose beat stands still for a while is of a job that died, or
was stopped: it is taken over by creating the next number, which one alone can do. No clocks are
compared. A holder that slept through this does no harm when it wakes up: a version is made by
creating its manifest, and that is refused then.
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

LEASES = "_lease"
PATIENCE_S = 40.0  # without a beat, until a job counts as dead
_BEAT_S = 8.0
_LEASE = re.compile(rf"{LEASES}/(\d{{4,}})\.json")


class _Files(Protocol):
    url: str

    def read(self, path: str) -> bytes: ...
    def write(self, path: str, content: bytes) -> None: ...
    def create(self, path: str, content: bytes) -> None: ...
    def delete(self, path: str) -> None: ...
    def list(self, folder: str = "") -> list[str]: ...


@contextlib.contextmanager
def hold_lease(store: _Files) -> Iterator[None]:
    """Take the lease, keep it as long as the block runs, give it back.

    Raises BlockingIOError when a living job holds it. One of a job that died on this machine is
    taken over at once, another after `PATIENCE_S`.
    """
    lease = {"owner": uuid.uuid4().hex, "beat": 0, "machine": _machine(), "process": _process()}
    number = _take(lease, store)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(number, lease, store, ended), daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        with contextlib.suppress(OSError):  # else the next job waits a little
            if _read(number, store).get("owner") == lease["owner"]:
                store.delete(_path(number))


def _take(lease: dict[str, Any], store: _Files) -> int:
    numbers = _numbers(store)
    newest = max(numbers, default=0)
    if numbers and not _is_dead(newest, store):
        raise _refusal(store)
    try:
        store.create(_path(newest + 1), _content(lease))
    except FileExistsError:
        raise _refusal(store) from None
    for number in numbers:
        store.delete(_path(number))
    return newest + 1


def _is_dead(number: int, store: _Files) -> bool:
    """Return whether the job behind a lease has ended; where only patience tells, wait."""
    seen = _read(number, store)
    if not seen:
        return not _numbers(store)  # given back
    if seen.get("machine") == _machine():
        return _process_of(seen.get("process")) != seen.get("process")
    print(
        f"another job has written to {store.url}; waiting up to {PATIENCE_S:.0f} s for a sign of "
        "its life",
        flush=True,
    )
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        time.sleep(min(2.0, PATIENCE_S / 8))
        now = _read(number, store)
        if now != seen:
            return not now and not _numbers(store)  # given back
    return True


def _beat(number: int, lease: dict[str, Any], store: _Files, ended: threading.Event) -> None:
    while not ended.wait(_BEAT_S):
        with contextlib.suppress(Exception):  # of the network; the next beat may reach the store
            if _read(number, store).get("owner") != lease["owner"]:
                return  # taken over
            lease["beat"] += 1
            store.write(_path(number), _content(lease))


def _read(number: int, store: _Files) -> dict[str, Any]:
    try:
        return json.loads(store.read(_path(number)))
    except (FileNotFoundError, ValueError):
        return {}


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
