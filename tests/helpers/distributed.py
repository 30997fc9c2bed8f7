"""Runs functions in processes that form a gloo group, without the seconds that each would start.

One process imports torch, diffusers and DeepSpeed once per test session; the members of every Team
are forked from it. It never computes itself, so it has no threads that a fork would lose.
"""

import atexit
import contextlib
import functools
import gc
import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

_PATIENCE_S = 240


class Team:
    """W processes; `run(function, ...)` calls it in all and returns what each returned.

    timeout_s: how long a member waits for another that is gone.
    """

    def __init__(
        self,
        world_size: int,
        timeout_s: float = _PATIENCE_S,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.world_size = world_size
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        settings = {
            **(environment or {}),
            "WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        with Listener(family="AF_UNIX") as door:
            self._pids = _ask("fork", world_size, door.address, settings, timeout_s)
            entered = [door.accept() for _ in range(world_size)]
        self._pipes: list[Connection] = [pipe for _, pipe in sorted((p.recv(), p) for p in entered)]

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call `function(*arguments)` in every process; an exception in one is raised here.

        The answer of a process that died is "died".
        """
        for pipe in self._pipes:
            pipe.send((function, arguments))
        answers = []
        for rank, pipe in enumerate(self._pipes):
            if not pipe.poll(_PATIENCE_S):
                raise TimeoutError(f"process {rank} did not answer in {_PATIENCE_S} s")
            try:
                answers.append(pipe.recv())
            except (EOFError, ConnectionResetError):
                answers.append((None, "died"))
        for rank, (problem, _) in enumerate(answers):
            if problem:
                raise AssertionError(f"in process {rank}:\n{problem}")
        return [value for _, value in answers]

    def stop(self) -> list[int]:
        """End the processes; return their exit codes, negative for a signal."""
        for pipe in self._pipes:
            pipe.close()
        return _ask("wait", self._pids)


@functools.cache
def _zygote() -> Connection:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_fork_on_demand, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    atexit.register(ours.close)
    return ours


def _ask(*request: Any) -> Any:
    pipe = _zygote()
    pipe.send(request)
    return pipe.recv()


def _fork_on_demand(pipe: Connection) -> None:
    os.environ |= {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    import torch

    torch.set_num_threads(1)
    import tiny_engine  # noqa: F401  what the members need, once

    from trainer.distributed.zero import load_deepspeed

    load_deepspeed()
    gc.freeze()  # DeepSpeed collects garbage at many points, and all these modules are none
    with contextlib.suppress(EOFError):
        while True:
            kind, *arguments = pipe.recv()
            pipe.send(_fork(*arguments) if kind == "fork" else _wait(*arguments))


def _fork(world_size: int, address: str, settings: dict[str, str], timeout_s: float) -> list[int]:
    pids = []
    for rank in range(world_size):
        pid = os.fork()
        if not pid:
            _serve(rank, address, settings, timeout_s)
        pids.append(pid)
    return pids


def _wait(pids: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def _serve(rank: int, address: str, settings: dict[str, str], timeout_s: float) -> None:
    """Answer calls until the caller closes its end; never return."""
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  DeepSpeed prints
    pipe = Client(address, family="AF_UNIX")
    pipe.send(rank)
    os.environ |= {**settings, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    from trainer.distributed.zero import init_process_group

    init_process_group(timedelta(seconds=timeout_s))
    with contextlib.suppress(EOFError):
        while True:
            function, arguments = pipe.recv()
            try:
                pipe.send(("", function(*arguments)))
            except BaseException:
                pipe.send((traceback.format_exc(), None))
    os._exit(0)
