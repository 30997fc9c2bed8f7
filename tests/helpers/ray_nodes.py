"""A Ray cluster of several nodes on this machine's loopback, whose nodes can be killed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from patience import HANG_S
from runs import environment
from victims import RAYLET, SERVER, kind_of, processes_with

RAY = str(Path(sys.executable).parent / "ray")
_HEAD = "127.0.0.2"  # for 127.0.0.1 Ray would take the address of the network
_STARTS = 4
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

    def start_head(self, cpus: int = 0, growing: Mapping[str, float] | None = None) -> None:
        """Start the head; `growing` are the resources of a node that its autoscaler may start."""
        words = ["--head", f"--port={self._port}", f"--num-cpus={cpus}"]
        words += [f"--temp-dir={self._folder}", f"--ray-client-server-port={_free_port()}"]
        if growing:
            plan = self._folder / "autoscaler.json"
            plan.write_text(json.dumps(self._autoscaler(growing)))
            self.settings |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
            words.append(f"--autoscaling-config={plan}")
        if not any(self._start(_HEAD, *words) for _ in range(_STARTS)):
            raise AssertionError(self.logs())

    def _autoscaler(self, growing: Mapping[str, float]) -> dict[str, Any]:
        """Return the settings of Ray's own autoscaler, whose nodes are on this machine."""
        lists = ("initialization_commands", "setup_commands", "head_setup_commands",
                 "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands",
                 "cluster_synced_files", "rsync_exclude", "rsync_filter")  # fmt: skip
        return {
            "cluster_name": self._folder.name,
            "max_workers": 1,
            "provider": {
                "type": "fake_multinode",
                "gcs_address": self.settings["RAY_ADDRESS"],
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "available_node_types": {
                "ray.head.default": {"resources": {}, "node_config": {}, "max_workers": 0},
                "growing": {
                    "resources": dict(growing),
                    "node_config": {},
                    "min_workers": 0,
                    "max_workers": 1,
                },
            },
            "head_node_type": "ray.head.default",
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": 60,
            "file_mounts_sync_continuously": False,
            **{name: {} for name in ("auth", "docker", "file_mounts")},
            **{name: [] for name in lists},
        }

    def add(self, *flags: str, within: Sequence[str] = ()) -> str:
        """Start a node of one processor; return its address. `within` is put before `ray`.

        One at a time: two that start at once may take the same names of files (seen on Ray 2.60).
        """
        for _ in range(_STARTS):
            high, low = divmod(len(self._started), 250)
            address = f"127.0.{high}.{low + 2}"
            words = (f"--address={self.settings['RAY_ADDRESS']}", "--num-cpus=1", *flags)
            if self._start(address, *words, within=within):
                return address
        raise AssertionError(self.logs())

    def _start(self, address: str, *flags: str, within: Sequence[str] = ()) -> bool:
        """Return whether a node has started: Ray gives it 30 s, too little for a busy machine."""
        words = [*within, RAY, "start", "--block", f"--node-ip-address={address}", *flags]
        for name in ("dashboard-agent-listen", "dashboard-agent-grpc", "metrics-export"):
            words.append(f"--{name}-port={_free_port()}")
        words += ["--min-worker-port=0", "--max-worker-port=0"]
        words += ["--include-dashboard=false"] if "--head" in flags else []
        own = {name: v for name, v in self.settings.items() if name != "RAY_ADDRESS"}
        path = self._folder / f"{address}.log"
        with path.open("w") as log:
            self._started[address] = subprocess.Popen(
                words, env={**own, _MARK: f"{self._folder.name}-{address}-"}, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + HANG_S
        while time.monotonic() < deadline and self._started[address].poll() is None:
            if "Ray runtime started" in path.read_text():
                return True
            time.sleep(0.2)
        self.kill(address)
        return False

    def living(self) -> list[str]:
        """Return the addresses of the nodes that have a raylet, without the head's."""
        return [
            address
            for address, started in self._started.items()
            if address != _HEAD
            and started.poll() is None
            and any(kind_of(pid) == RAYLET for pid in self.processes(address))
        ]

    def server(self) -> int | None:
        """Return the process of Ray's server, which the head has, or None if it is gone."""
        return next((pid for pid in self.processes(_HEAD) if kind_of(pid) == SERVER), None)

    def start_again(self) -> None:
        """End all that is left of the cluster, and start a head at the address of the first."""
        self.stop()
        self.start_head()

    def sweep(self) -> None:
        """End what a node leaves behind whose raylet is gone: its log monitor goes on working."""
        living = {_HEAD, *self.living()}
        for address, process in self._started.items():
            if address not in living and process.poll() is None:
                self.kill(address)

    def processes(self, address: str) -> set[int]:
        return processes_with(f"{_MARK}={self._folder.name}-{address}-")

    def kill(self, address: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to every process of a node at once: it is gone without a word."""
        for process in self.processes(address):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def stop(self) -> None:
        for address, process in self._started.items():
            self.kill(address)
            process.wait()

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("*.log")))


@contextlib.contextmanager
def ray_nodes(cpus: int = 0, growing: Mapping[str, float] | None = None) -> Iterator[Nodes]:
    """Yield a cluster with its head alone. Its sockets' paths may have at most 107 bytes."""
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        nodes = Nodes(Path(folder))
        try:
            nodes.start_head(cpus, growing)
            yield nodes
        finally:
            nodes.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
