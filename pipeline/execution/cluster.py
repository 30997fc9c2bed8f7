"""Join a running cluster of Ray, or start one on this machine, and say what it has."""

import contextlib
import logging
import math
import os
import re
import socket
import sys
import time
from pathlib import Path

from pipeline.execution.budget import Budget, ClusterConfig, Resources
from pipeline.execution.machine import has_gpu, usable_cpus

_LOOK_EVERY_S = 1.0
_RAY_KNOWS = ("RAY_ADDRESS", "RAY_OVERRIDE_RESOURCES")  # where these are set
# Set to 0, Ray's own servers, of which most would listen on all interfaces, listen on loopback, as
# they do by default on a Mac. Read when Ray is imported.
_MANY_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
# A node that does not answer for 10 s, five times, is lost for Ray. On one machine it is only busy,
# and the run that Ray takes it from hangs or ends; one that has died refuses at once.
_PATIENCE = "RAY_health_check_timeout_ms"
_PATIENCE_MS = 120_000
_STARTS = 4  # Ray gives its node 30 s, too little for a busy machine, and has no setting for it
_KNOCK_S = 30.0  # for a head to take a connection; Ray itself tries for many minutes
_started: set[str] = set()  # addresses of what `connect` started on this machine


def needs_ray() -> bool:
    """Return whether work belongs on Ray: on a cluster that was joined, or beside GPUs."""
    address = _address()
    joined = address is not None and address not in _started
    return joined or has_gpu() or any(name in os.environ for name in _RAY_KNOWS)


def _address() -> str | None:
    """Return where the Ray is that this process is connected to."""
    ray = sys.modules.get("ray")
    return ray.get_runtime_context().gcs_address if ray and ray.is_initialized() else None


def connect(cluster: ClusterConfig) -> None:
    """Join the running cluster (RAY_ADDRESS or a submitted job), else start one of this machine."""
    if not os.environ.get("RAY_ADDRESS"):
        os.environ.setdefault(_MANY_MACHINES, "0")
    import ray

    if ray.is_initialized():
        return
    # Ray warns about its own habits (tokens switched on, arguments of restartable actors).
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Nobody is told of a run, and no actor is started to gather what would be told.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Errors of what nobody waits for: Ray's own statistics, when it lost the actor that keeps them,
    # print one every five seconds. All that is ours is waited for.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    if os.environ.get("RAY_ADDRESS"):
        _join(os.environ["RAY_ADDRESS"])
        gpus = cluster.gpu_workers * cluster.gpus_per_worker
        wait_for(Resources(max(1, cluster.workers), gpus), cluster)
        return
    _start(cluster)


def _join(address: str) -> None:
    """Connect to the cluster that RAY_ADDRESS names, or raise ConnectionError in one line."""
    import ray

    try:
        _knock(address)
        ray.init(logging_level=logging.WARNING, log_to_driver=False)
    except Exception as error:  # Ray raises RuntimeError, ConnectionError and classes of its own
        said = re.split(r"\.\s|\.$|\n", str(error).strip())[0] or type(error).__name__
        mode = os.environ.get("RAY_AUTH_MODE") or "not set"
        token = "set" if os.environ.get("RAY_AUTH_TOKEN") else "not set"
        raise ConnectionError(
            f"cannot join the cluster at RAY_ADDRESS={address}: {said}. RAY_AUTH_MODE is {mode}, "
            f"RAY_AUTH_TOKEN {token}: a cluster with a token wants RAY_AUTH_MODE=token and the "
            "token of its head, there or in ~/.ray/auth_token; and this machine has to be one of "
            f"its nodes (ray start --address={address}), or the job is sent by ray job submit"
        ) from error


def _knock(address: str) -> None:
    """Wait until somebody listens at host:port, or raise OSError; other addresses are Ray's."""
    place = re.fullmatch(r"\[?([^/\]]+)\]?:(\d+)", address)
    deadline = time.monotonic() + _KNOCK_S
    while place:
        try:
            socket.create_connection((place[1], int(place[2])), timeout=_KNOCK_S).close()
            return
        except OSError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_LOOK_EVERY_S)


def _start(cluster: ClusterConfig) -> None:
    """Start Ray on this machine; try again when it was too slow."""
    import ray

    os.environ.setdefault(_PATIENCE, str(_PATIENCE_MS))
    for _ in range(_STARTS):
        try:
            ray.init(
                address="local",
                num_cpus=cluster.workers or usable_cpus(),
                include_dashboard=False,
                logging_level=logging.WARNING,
                log_to_driver=False,
            )
            _started.add(ray.get_runtime_context().gcs_address)
            _keep_token_private()
            return
        except Exception as error:  # Ray raises the bare class
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    raise Budget(
        f"Ray did not start within 30 s, {_STARTS} times: the machine is too busy; try again when "
        "it is not, or set RAY_ADDRESS to a running cluster"
    )


def present() -> Resources:
    """Return what the cluster that was joined or started has now."""
    import ray

    amounts = ray.cluster_resources()
    return Resources(amounts.get("CPU", 0.0), amounts.get("GPU", 0.0))


def wait_for(wanted: Resources, cluster: ClusterConfig) -> None:
    """Wait until a running cluster has this, as long as the settings say; ask its autoscaler."""
    if present().holds(wanted):
        return
    from ray.autoscaler.sdk import request_resources

    have, end = present(), time.monotonic() + cluster.nodes_s
    print(
        f"waiting up to {cluster.nodes_s} s for {wanted.cpus:g} CPU and {wanted.gpus:g} GPU: the "
        f"cluster has {have.cpus:g} and {have.gpus:g} (run.cluster.nodes_s)",
        file=sys.stderr,
        flush=True,
    )
    whole_gpus = [{"GPU": 1}] * math.ceil(wanted.gpus)
    request_resources(num_cpus=math.ceil(wanted.cpus), bundles=whole_gpus)
    while time.monotonic() < end and not present().holds(wanted):
        time.sleep(_LOOK_EVERY_S)
    request_resources(num_cpus=0)  # or the nodes would be kept when the run has ended


def _keep_token_private() -> None:
    """Let nobody else read the token that Ray's ports want: Ray leaves its mode to the umask."""
    place = os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    with contextlib.suppress(OSError):
        Path(place).expanduser().chmod(0o600)


def resources(cluster: ClusterConfig) -> Resources:
    """Return the resources; Ray is started only where nothing else knows them."""
    if not needs_ray() and _address() is None:
        return Resources(cluster.workers or usable_cpus(), gpus=0.0)
    connect(cluster)
    return present()


def num_workers(cluster: ClusterConfig) -> int:
    """Return how many processes may work at once."""
    available = int(resources(cluster).cpus)
    if available < 1:
        raise Budget("the cluster has no CPU: start a node with --num-cpus")
    return min(cluster.workers or available, available)


def num_gpus(cluster: ClusterConfig) -> int:
    """Return how many GPUs the cluster has."""
    return int(resources(cluster).gpus)


def describe_workers(cluster: ClusterConfig) -> str:
    """Return how many processes a run will have and where, without starting any."""
    if os.environ.get("RAY_ADDRESS"):
        return f"{cluster.workers or 'one per CPU'} on the running cluster"
    workers = cluster.workers or usable_cpus()
    return (
        "1, in this process" if workers == 1 and not needs_ray() else f"{workers} on this machine"
    )
