"""Whom to kill, and when: drawn from a seed.

A stage spends most of its time in starting up. So some kills wait until something is at stake: an
upload, a step of training, a checkpoint or an export that is half written.
"""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from victims import DRIVER, RAYLET, SERVER, WORKER, job_processes, kind_of, owner_of_port, ranks_of

from benchmarks.kills.stages import EXPORT, EXPORT_DATASET, TRAIN, Place

UPLOADER, NODE, LAUNCHER = "uploader", "node", "launcher"
_KINDS = {
    TRAIN: (LAUNCHER, "rank 0", "rank 1"),
    EXPORT: (DRIVER,),
    EXPORT_DATASET: (DRIVER,),
}
_KINDS_ON_STORE = (DRIVER, WORKER, RAYLET, SERVER, UPLOADER)
_KINDS_ON_NODES = (DRIVER, WORKER, RAYLET, SERVER, NODE, UPLOADER)
KINDS = (DRIVER, WORKER, RAYLET, SERVER, NODE, UPLOADER, LAUNCHER, "rank 0", "rank 1")
AT_ANY_TIME, AFTER_STEP, IN_SAVE = "at any time", "after a step", "in a save"
_MOMENTS = {
    TRAIN: (AT_ANY_TIME, AFTER_STEP, IN_SAVE),
    EXPORT: (AT_ANY_TIME, IN_SAVE),
    EXPORT_DATASET: (AT_ANY_TIME, IN_SAVE),
}
_MOST_STEPS = 5  # that a kill after a step waits for
_STEP_S = 0.1  # about, of the training that is killed
_SAVE_S = 0.05  # about, of its checkpoint
_LOOK_S = 0.004  # between two looks at what a stage does
_LIST_S = 0.2  # between two looks at all processes


class Watch:
    """Sees every upload: counts receipts, and kills whoever uploads when it is armed."""

    def __init__(self) -> None:
        self.run = 0  # counts the starts of jobs
        self.uploads = 0  # of this job
        self.receipts: set[tuple[str, int]] = set()  # path, run; repeated calls count once
        self._from: int | None = None  # the upload from which on whoever uploads is killed
        self.killed = threading.Event()

    def begin(self) -> None:
        """Count for another job."""
        self.run, self.uploads = self.run + 1, 0

    @contextlib.contextmanager
    def armed(self, after: int) -> Iterator[None]:
        """Kill once, whoever uploads when this job has made a number of uploads."""
        self.killed.clear()
        self._from = after
        yield
        self._from = None

    def __call__(self, method: str, path: str, port: int) -> None:
        if method != "PUT":
            return
        self.uploads += 1
        unit = "/units/" in path and path.endswith("receipt.json")
        if unit or ("/latents/" in path and path.endswith(".json") and "index" not in path):
            self.receipts.add((path, self.run))
        due = self._from is not None and self.uploads > self._from
        if due and (process := owner_of_port(port)):
            self._from = None
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                self.killed.set()


@dataclass(frozen=True)
class Killer:
    """Kills a stage, whose undisturbed run takes `usual_s` and makes `usual_uploads`.

    Whom it kills is drawn from `who`, as far as the stage has them; from all if that is empty.
    """

    stage: str
    place: Place
    rng: random.Random
    usual_s: float
    usual_uploads: int
    watch: Watch
    who: Sequence[str] = ()

    def strike(self, job: subprocess.Popen) -> tuple[str, str] | None:
        """Kill once; return what was killed and when, None where the job ended before that."""
        nodes = self.place.nodes_of(self.stage)
        kinds = _KINDS_ON_NODES if nodes else _KINDS.get(self.stage, _KINDS_ON_STORE)
        kind = self.rng.choice([kind for kind in self.who if kind in kinds] or kinds)
        moment = self.rng.choice(_MOMENTS.get(self.stage, (AT_ANY_TIME,)))
        if kind == UPLOADER:
            return (UPLOADER, "in a save") if self._kill_uploader(job) else None
        if not self._wait(job, moment):
            return None
        if kind == NODE and nodes and nodes.living():
            nodes.kill(self.rng.choice(nodes.living()))
            return NODE, moment
        killed = self._kill_process(job, kind)
        return (killed, moment) if killed else None

    def _wait(self, job: subprocess.Popen, moment: str) -> bool:
        """Wait for the moment; return whether the job still runs."""
        if moment == AFTER_STEP:
            last = len(self.place.losses()) + self.rng.randint(1, _MOST_STEPS)
            came = _wait_until(lambda: len(self.place.losses()) >= last, job)
            time.sleep(self.rng.uniform(0, _STEP_S))
        elif moment == IN_SAVE:
            came = _wait_until(self.place.is_saving, job)
            time.sleep(self.rng.uniform(0, _SAVE_S))
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                job.wait(self.rng.uniform(0.1, 1.0) * self.usual_s)
            came = True
        return came and job.poll() is None

    def _kill_process(self, job: subprocess.Popen, wanted: str) -> str:
        """Kill a process of this kind; return the kind, '' if it was gone.

        Where there is none yet: the driver, or the first that comes if `who` names it.
        """
        found = self._processes(job)
        while wanted in self.who and wanted not in found.values() and job.poll() is None:
            time.sleep(_LIST_S)
            found = self._processes(job)
        fitting = [pid for pid, kind in sorted(found.items()) if kind == wanted] or [job.pid]
        victim = self.rng.choice(fitting)
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return ""
        return found[victim]

    def _processes(self, job: subprocess.Popen) -> dict[int, str]:
        """Return the kinds of all processes that work for this job."""
        if self.stage == TRAIN:
            return {**ranks_of(job.pid), job.pid: LAUNCHER}
        found = job_processes(job.pid, self.place.mark)
        if nodes := self.place.nodes_of(self.stage):
            of_nodes = {pid for address in nodes.living() for pid in nodes.processes(address)}
            found |= {pid: kind for pid in of_nodes if (kind := kind_of(pid))}
            found |= {server: SERVER} if (server := nodes.server()) else {}
        return {**found, job.pid: DRIVER}

    def _kill_uploader(self, job: subprocess.Popen) -> bool:
        """Kill who makes an upload that is drawn from all of them; return whether one did."""
        with self.watch.armed(after=int(self.rng.random() * self.usual_uploads)):
            while job.poll() is None and not self.watch.killed.wait(0.05):
                pass
        return self.watch.killed.is_set()


def _wait_until(came: Callable[[], bool], job: subprocess.Popen) -> bool:
    """Wait until something came; return whether it did before the job ended."""
    while job.poll() is None:
        if came():
            return True
        time.sleep(_LOOK_S)
    return False
