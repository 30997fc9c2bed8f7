"""Start the processes of a training on this machine, and stop them so that nothing is lost.

A stop that reaches the launcher is passed on to every process and waited for, however long the step
takes; the exit code is 0 when all saved. No process outlives the launcher by more than that: a
launcher that is killed is a stop as well. A process that fails ends the others.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

_LAUNCHER = "CONTEXTANYONE_LAUNCHER"  # pid; in the environment of what it started
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_AFTER_FAILURE_S = 60  # that the others have to end when one failed; they may wait for it for ever
_POLL_S = 0.2
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Processes:
    """What is started here: one process a GPU, as a part of all nodes.

    Attributes:
        count: processes of this node.
        node: number of this node, from 0.
        nodes: nodes in all; each starts the same count.
        master: HOST:PORT of node 0; '' with one node takes a free port of this machine.
    """

    count: int = 1
    node: int = 0
    nodes: int = 1
    master: str = ""

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.node < self.nodes:
            raise ValueError(
                f"--processes must be at least 1 and --node K/N with K from 0 to N-1, got "
                f"{self.count} and {self.node}/{self.nodes}"
            )
        if self.nodes > 1 and not self.master.rpartition(":")[2].isdecimal():
            raise ValueError(
                f"with {self.nodes} nodes --master must be HOST:PORT of node 0, the same on all, "
                f"got {self.master!r}"
            )

    @classmethod
    def of_flags(cls, count: int, node: str, master: str) -> "Processes":
        """Read `--node K/N`, or `slurm` for what srun says. Raises ValueError for anything else."""
        if node == "slurm":
            node = "/".join(os.environ.get(name, "?") for name in ("SLURM_NODEID", "SLURM_NNODES"))
        number, _, nodes = node.partition("/")
        if not (number.isdecimal() and nodes.isdecimal()):
            raise ValueError(f"--node must be K/N such as 0/4, or slurm under srun, got {node!r}")
        return cls(count, int(number), int(nodes), master)

    def environment(self, local_rank: int) -> dict[str, str]:
        """Return what a process must know to find the others."""
        host, _, port = self.master.rpartition(":")
        return {
            "RANK": str(self.node * self.count + local_rank),
            "LOCAL_RANK": str(local_rank),
            "WORLD_SIZE": str(self.nodes * self.count),
            "LOCAL_WORLD_SIZE": str(self.count),
            "MASTER_ADDR": host,
            "MASTER_PORT": port,
            _LAUNCHER: str(os.getpid()),
        }


def is_launched() -> bool:
    """Tell whether this process was started by a launcher, ours or another."""
    return "RANK" in os.environ


def launch(command: Sequence[str], processes: Processes) -> int:
    """Run the command in every process; return 0 when all ended well, else the first failure."""
    if not processes.master:
        processes = Processes(processes.count, master=f"127.0.0.1:{_free_port()}")
    team = _Team()
    former = {number: signal.signal(number, team.pass_on) for number in _SIGNALS}
    try:
        for local_rank in range(processes.count):
            environment = {**os.environ, **processes.environment(local_rank)}
            # A session of its own: Ctrl-C at the terminal comes through the launcher, once.
            started = subprocess.Popen(command, env=environment, start_new_session=True)
            team.members.append(started)
            if team.passed:  # asked to stop while they were being started
                started.send_signal(team.passed)
        return team.wait()
    finally:
        team.kill()
        for number, handler in former.items():
            signal.signal(number, handler)


class _Team:
    """The processes of this node."""

    def __init__(self) -> None:
        self.members: list[subprocess.Popen[bytes]] = []
        self.passed = 0

    def pass_on(self, number: int, frame: FrameType | None = None) -> None:
        self.passed = number
        for member in self.members:
            if member.poll() is None:
                member.send_signal(number)

    def wait(self) -> int:
        """Wait for all; after a failure the others are asked to stop, and then made to."""
        deadline = float("inf")
        first = 0
        while any(member.poll() is None for member in self.members):
            failed = [code for member in self.members if (code := member.poll())]
            if failed and not first:
                first, deadline = failed[0], time.monotonic() + _AFTER_FAILURE_S
                self.pass_on(signal.SIGTERM)
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(_POLL_S)
        codes = [first, *(member.returncode for member in self.members)]
        code = next((code for code in codes if code), 0)
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        for member in self.members:
            if member.poll() is None:
                member.kill()
                member.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def follow_launcher() -> None:
    """In a process that `launch` started: save and stop when the launcher is gone."""
    launcher = os.environ.get(_LAUNCHER)
    if launcher is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(launcher):  # it was gone before we asked
        sys.exit(128 + signal.SIGTERM)
