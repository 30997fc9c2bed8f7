"""Find the processes of a job, on this machine, and say what each of them is."""

import contextlib
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

_LISTENING = "0A"  # of the states in /proc/net/tcp
RAYLET, SERVER, WORKER, DRIVER = "raylet", "server of Ray", "worker", "driver"


def processes_with(setting: str) -> set[int]:
    """Return the living processes that have NAME=VALUE in their environment."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            alive = _stat(entry)[0] not in "ZX"
            if alive and setting.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
    return found


def job_processes(driver: int, setting: str = "") -> dict[int, str]:
    """Return the kinds of a driver, of what it has started, and of what has its `setting`."""
    parents, found = {}, {driver} | (processes_with(setting) if setting else set())
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            state, parent = _stat(entry)[:2]
            if state not in "ZX":
                parents[int(entry.name)] = int(parent)
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    kinds = {pid: kind_of(pid) or WORKER for pid in found & parents.keys()}
    return {pid: DRIVER if pid == driver else kind for pid, kind in kinds.items()}


def ranks_of(launcher: int) -> dict[int, str]:
    """Return the processes of a training that its launcher has started, as "rank 0" and so on."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            state, parent = _stat(entry)[:2]
            if state not in "ZX" and int(parent) == launcher:
                settings = (entry / "environ").read_bytes().split(b"\0")
                ranks = [s.decode() for s in settings if s.startswith(b"RANK=")]
                found |= {int(entry.name): f"rank {rank.partition('=')[2]}" for rank in ranks}
    return found


def kind_of(pid: int) -> str:
    """Return what Ray calls a process, '' for one that is not Ray's."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    kinds = {b"raylet/raylet": RAYLET, b"gcs_server": SERVER, b"ray::": WORKER}
    return next((kind for words, kind in kinds.items() if words in line), "")


def listening(pids: Iterable[int]) -> dict[str, set[int]]:
    """Return the addresses on which processes listen, with their ports."""
    own = {inode for pid in pids for inode in _sockets(pid)}
    found: dict[str, set[int]] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and fields[9] in own:
                address, port = fields[1].split(":")
                found.setdefault(_readable(address), set()).add(int(port, 16))
    return found


def _sockets(pid: int) -> set[str]:
    """Return the numbers of the sockets that a process holds."""
    found = set()
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                kind, _, number = os.readlink(link).partition(":[")
                found |= {number.rstrip("]")} if kind == "socket" else set()
    return found


def _readable(address: str) -> str:
    """Return an address of /proc/net: words of 32 bits, in the order of this machine."""
    words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
    found = ipaddress.ip_address(b"".join(words))
    return str(getattr(found, "ipv4_mapped", None) or found)


def owner_of_port(port: int) -> int | None:
    """Return the process, other than this one, whose connection has this local port."""
    numbers = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].partition(":")[2], 16) == port and fields[9] != "0":
            numbers.add(fields[9])
    for entry in Path("/proc").glob("[0-9]*") if numbers else ():
        if numbers & _sockets(int(entry.name)):
            return int(entry.name) if int(entry.name) != os.getpid() else None
    return None


def _stat(entry: Path) -> list[str]:
    """Return the state of a process, its parent, and more."""
    return (entry / "stat").read_text().rpartition(")")[2].split()
