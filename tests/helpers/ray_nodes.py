"""A Ray cluster of several nodes on this machine's loopback, whose nodes can be killed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from patience import HANG_S
from runs import environment

RAY = str(Path(sys.executable).parent / "ray")
_HEAD = "127.0.0.2"  # for 127.0.0.1 Ray would take the address of the network
_MARK = "CONTEXTANYONE_TEST_NODE"  # in the environment of all that a node starts


class Nodes:
    """A head without processors, where the driver runs, and nodes that come and go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, subprocess.Popen] = {}  # by address
        port = _free_port()
        self.settings = {
            **environment(),
            "RAY_ADDRESS": f"{_HEAD}:{port}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": os.urandom(16).hex(),
            "RAY_DISABLE_IMPORT_WARNING": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._port = port

    def start_head(self) -> None:
        words = ("--head", f"--port={self._port}", "--num-cpus=0", f"--temp-dir={self._folder}")
        self._start(_HEAD, *words)
        self._wait_for(_HEAD)

    def add(self, *flags: str, within: Sequence[str] = ()) -> str:
        """Start a node of one processor; return its address. `within` is put before `ray`."""
        address = f"127.0.0.{len(self._started) + 2}"
        self._start(
            address, f"--address={self.settings['RAY_ADDRESS']}", "--num-cpus=1", *flags,
            within=within,
        )  # fmt: skip
        self._wait_for(address)
        return address

    def _start(self, address: str, *flags: str, within: Sequence[str] = ()) -> None:
        words = [*within, RAY, "start", "--block", f"--node-ip-address={address}", *flags]
        for name in ("dashboard-agent-listen", "dashboard-agent-grpc", "metrics-export"):
            words.append(f"--{name}-port={_free_port()}")
        words += ["--min-worker-port=0", "--max-worker-port=0"]
        words += ["--include-dashboard=false"] if "--head" in flags else []
        own = {name: v for name, v in self.settings.items() if name != "RAY_ADDRESS"}
        with (self._folder / f"{address}.log").open("w") as log:
            self._started[address] = subprocess.Popen(
                words, env={**own, _MARK: f"{self._folder.name}-{address}-"}, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def _wait_for(self, address: str) -> None:
        code = (
            "import ray; ray.init(log_to_driver=False, logging_level='ERROR');"
            "print([node['NodeManagerAddress'] for node in ray.nodes() if node['Alive']])"
        )
        deadline, said = time.monotonic() + HANG_S, ""
        while time.monotonic() < deadline:
            done = subprocess.run(
                [sys.executable, "-c", code], env=self.settings, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            if f"'{address}'" in done.stdout:
                return
            said = done.stdout + done.stderr
            time.sleep(0.5)
        raise AssertionError(said + self.logs())

    def kill(self, address: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to every process of a node at once: it is gone without a word."""
        mark = f"{_MARK}={self._folder.name}-{address}-".encode()
        for process in _processes_with(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def stop(self) -> None:
        for address, process in self._started.items():
            self.kill(address)
            process.wait()

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("*.log")))


@contextlib.contextmanager
def ray_nodes() -> Iterator[Nodes]:
    """Yield a cluster with its head alone. Its sockets' paths may have at most 107 bytes."""
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        nodes = Nodes(Path(folder))
        try:
            nodes.start_head()
            yield nodes
        finally:
            nodes.stop()


def _processes_with(mark: bytes) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
