"""Kill -9 at random moments, from a seed, until the time is over: is the end always the same?

    python benchmarks/kills.py --minutes 20 --totals totals.json
    python benchmarks/kills.py --rounds 1 --seed 7 --stages curate
    python benchmarks/kills.py --nodes 2 --stages curate encode --pause 10

One round curates drawn videos from and to an object store whose answers fail now and then, encodes
the dataset, trains two processes on it, and exports both model and dataset. Every stage is killed a
few times (its driver, a worker, Ray's raylet or its server, a rank, whoever is uploading; with
--nodes also a whole node, for which another is started), run again until it ends well, and compared
with a run that nobody disturbed: every object of the dataset, the latents, the curve of losses, the
weights, the exported files. Printed are kills by kind, work that was done twice, and the time from
the last kill to the end. With --totals they are added to those of earlier calls, and the seeds go
on from there. Exit code 1 when anything differs; the seed of that round is printed.
"""

import argparse
import contextlib
import hashlib
import json
import logging
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import fast_engines  # noqa: E402
import fsspec  # noqa: E402
from flaky_proxy import FlakyProxy  # noqa: E402
from object_store import s3_server, use_endpoint  # noqa: E402
from ray_nodes import Nodes, ray_nodes  # noqa: E402
from runs import draw_video  # noqa: E402
from victims import DRIVER, RAYLET, SERVER, WORKER, job_processes, kind_of, owner_of_port  # noqa: E402

from schemas.remote import POLICY  # noqa: E402

STAGES = ("curate", "encode", "train", "export", "export-dataset")
_UPLOADER, _NODE = "uploader", "node"
KINDS = (DRIVER, WORKER, RAYLET, SERVER, _UPLOADER)
KINDS_ON_NODES = (DRIVER, WORKER, RAYLET, _NODE, _UPLOADER)
_ON_NODES = ("curate", "encode")  # stages that work on the nodes, where there are any
_MARK = "CONTEXTANYONE_KILLS"  # environment of what a stage starts: the stage's name
_MORE_RUNS = 10  # of a stage than kills, after which it must have ended well
_ORPHANS_S = 8.0  # that what a driver leaves behind may need to end
_TRAINING = {
    "data.buckets": "[48x64x5]", "data.num_workers": 0, "data.max_crop": 0.9,
    "train.steps": 12, "train.batch_size": 2, "train.micro_batch": 1, "checkpoint.every": 3,
    "validation.every": 100, "validation.samples": 1, "validation.videos": 0,
    "data.validation_split": "train", "log.every": 1, "model.layers": 1,
    "model.heads": 2, "model.head_dim": 24, "model.ffn_dim": 64, "model.freq_dim": 32,
}  # fmt: skip


@dataclass
class Tally:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)  # "stage: kind"
    rounds: int = 0
    next_seed: int = 0
    requests: int = 0  # to the store
    failed: int = 0
    repeated_units: int = 0  # receipts of units and latents that were written twice
    repeated_steps: list[int] = field(default_factory=list)  # of a training, by kill
    recovery_s: dict[str, list[float]] = field(default_factory=dict)  # by "stage: kind"
    undisturbed_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None, seed: int) -> "Tally":
        """Return what earlier calls have counted, or nothing, with the first seed."""
        if path is None or not path.exists():
            return cls(next_seed=seed)
        stored = json.loads(path.read_text())
        return cls(**{**stored, "kills": Counter(stored["kills"])})

    def write(self, path: Path) -> None:
        stored = {**vars(self), "kills": dict(self.kills)}
        path.with_suffix(".tmp").write_text(json.dumps(stored, indent=1))
        path.with_suffix(".tmp").replace(path)


class Watch:
    """Sees every upload: counts receipts, and kills whoever uploads when it is armed."""

    def __init__(self) -> None:
        self.run = 0  # counts the starts of jobs
        self.receipts: set[tuple[str, int]] = set()  # path, run; repeated calls count once
        self.armed = False
        self.killed = threading.Event()

    def __call__(self, method: str, path: str, port: int) -> None:
        if method != "PUT":
            return
        unit = "/units/" in path and path.endswith("receipt.json")
        if unit or ("/latents/" in path and path.endswith(".json") and "index" not in path):
            self.receipts.add((path, self.run))
        if self.armed and (process := owner_of_port(port)):
            self.armed = False
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                self.killed.set()


@dataclass(frozen=True)
class Place:
    """Where one round works."""

    dataset: str  # URL
    folder: Path
    kills: int = 5  # of every stage
    workers: int = 2
    pause_s: float = 60.0  # at most, before a kill
    nodes: Nodes | None = None
    num_nodes: int = 0

    def on_nodes(self, stage: str) -> Nodes | None:
        return self.nodes if stage in _ON_NODES else None

    def command(self, stage: str) -> list[str]:
        run, model, files = (str(self.folder / name) for name in ("run", "model", "files"))
        script = {"train": "trainer/train.py", "export": "trainer/export.py",
                  "export-dataset": "jobs/export.py"}.get(stage, f"jobs/{stage}.py")  # fmt: skip
        workers = 0 if self.nodes else self.workers  # 0: one for every processor
        encoders = 0 if self.nodes else 1
        settings = [w for name, value in _TRAINING.items() for w in ("--set", f"{name}={value}")]
        words = {
            "curate": ["--input", "s3://kills/in", "--output", self.dataset, *fast_engines.SETTINGS,
                       "--set", f"run.cluster.workers={workers}"],
            "encode": [self.dataset, "--preset", "tiny", "--set", f"run.cluster.workers={encoders}",
                       "--set", "encoding.unit_samples=1",
                       "--set", f"data.buckets={_TRAINING['data.buckets']}",
                       "--set", f"data.max_crop={_TRAINING['data.max_crop']}"],
            "train": ["--preset", "tiny", "--data", self.dataset, "--output", run, *settings,
                      "--processes", "2"],
            "export": [run, model, "--force"],
            "export-dataset": [self.dataset, "--format", "webdataset", "--output", files],
        }[stage]  # fmt: skip
        return [sys.executable, str(ROOT / script), *words]

    def start(self, stage: str) -> subprocess.Popen:
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
        nodes = self.on_nodes(stage)
        environment = {**(nodes.settings if nodes else os.environ), "PYTHONPATH": path}
        environment[_MARK] = self.folder.name
        environment.setdefault("OMP_NUM_THREADS", "1")
        if stage == "export-dataset":
            shutil.rmtree(self.folder / "files", ignore_errors=True)
        with (self.folder / f"{stage}.txt").open("ab") as output:
            return subprocess.Popen(
                self.command(stage), env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    def content(self) -> dict[str, str]:
        """Return a digest of everything that must be the same, by name."""
        fs = fsspec.filesystem("s3")
        root = self.dataset.removeprefix("s3://")
        found = {}
        for path in fs.find(root):
            name = path.removeprefix(f"{root}/")
            if name != "units/inputs.parquet" and not name.startswith("_lease/"):
                found[name] = hashlib.sha256(fs.cat_file(path)).hexdigest()
        for name in ("model", "files"):
            for path in sorted((self.folder / name).rglob("*")):
                if path.is_file() and path.name != "made_by.json":
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    found[str(path.relative_to(self.folder))] = digest
        for line in self.losses():
            found[f"loss of step {line['step']}"] = repr(line["loss/total"])
        return found

    def losses(self) -> list[dict]:
        path = self.folder / "run" / "metrics.jsonl"
        lines = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
        return [line for line in lines if "loss/total" in line]


def run_stage(
    stage: str, place: Place, rng: random.Random, usual_s: float, watch: Watch, tally: Tally
) -> str | None:
    """Run a stage until it ends well, killed a few times; return what is wrong, if anything."""
    kills, since, last = place.kills, 0.0, ""
    for _ in range(place.kills + _MORE_RUNS):
        watch.run += 1
        _replace_lost(place)
        job, before = place.start(stage), len(place.losses())
        while kills > 0 and job.poll() is None:
            kills -= 1
            kind = _kill_once(job, stage, place, rng, usual_s, watch)
            if kind:
                tally.kills[f"{stage}: {kind}"] += 1
                since, last = time.monotonic(), kind
            _replace_lost(place)
        code = job.wait()
        _end_orphans(place.folder.name, job.pid)
        if stage == "train" and code != 0:
            tally.repeated_steps.append(_repeated_steps(place, before))
        if code == 0 and last:
            took = time.monotonic() - since
            tally.recovery_s.setdefault(f"{stage}: {last}", []).append(took)
            last = ""
        if code == 0 and kills <= 0:
            return None
    return f"{stage} did not end well: {place.folder / stage}.txt"


def _kill_once(
    job: subprocess.Popen,
    stage: str,
    place: Place,
    rng: random.Random,
    usual_s: float,
    watch: Watch,
) -> str:
    """Kill at a random moment of the usual time; return what was killed, '' for nothing."""
    nodes = place.on_nodes(stage)
    wanted = rng.choice(KINDS_ON_NODES if nodes else KINDS)
    with contextlib.suppress(subprocess.TimeoutExpired):
        job.wait(rng.uniform(0.1, 1.0) * min(usual_s, place.pause_s))
        return ""  # it was quicker
    if wanted == _UPLOADER:
        return wanted if _kill_uploader(job, watch) else ""
    if wanted == _NODE and nodes and nodes.living():
        nodes.kill(rng.choice(nodes.living()))
        return wanted
    found = job_processes(job.pid, f"{_MARK}={place.folder.name}")
    if nodes:
        of_nodes = {pid for address in nodes.living() for pid in nodes.processes(address)}
        found |= {pid: kind for pid in of_nodes if (kind := kind_of(pid))}
    fitting = [pid for pid, kind in sorted(found.items()) if kind == wanted] or [job.pid]
    victim = rng.choice(fitting)
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        return ""
    return found.get(victim, DRIVER)


def _kill_uploader(job: subprocess.Popen, watch: Watch) -> bool:
    """Kill the next process that uploads; return whether one did."""
    watch.killed.clear()
    watch.armed = True
    while job.poll() is None and not watch.killed.wait(0.05):
        pass
    watch.armed = False
    return watch.killed.is_set()


def _replace_lost(place: Place) -> None:
    """Start a node for every one that is gone, while the job works on what is left."""
    if place.nodes:
        for _ in range(place.num_nodes - len(place.nodes.living())):
            place.nodes.add()


def _end_orphans(mark: str, driver: int) -> None:
    """Let what is left of a stage end by itself; what does not is killed."""
    end = time.monotonic() + _ORPHANS_S
    while left := job_processes(driver, f"{_MARK}={mark}").keys() - {driver}:
        if time.monotonic() > end:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)


def _repeated_steps(place: Place, before: int) -> int:
    """Return how many steps of a killed run are in no complete checkpoint."""
    steps = [line["step"] for line in place.losses()[before:]]
    saved = [
        int(path.parent.name.rpartition("-")[2])
        for path in (place.folder / "run" / "checkpoints").glob("step-*/COMPLETE.json")
    ]
    return max(0, max(steps, default=0) - max(saved, default=0)) if steps else 0


def differences(golden: dict[str, str], found: dict[str, str]) -> list[str]:
    return sorted(
        name for name in golden.keys() | found.keys() if golden.get(name) != found.get(name)
    )


@contextlib.contextmanager
def flaky_store(videos: int, share: float) -> Iterator[tuple[FlakyProxy, Watch]]:
    """Serve drawn videos from a store whose answers fail for a share of all requests."""
    watch = Watch()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it prints every request
    with s3_server("kills") as url, tempfile.TemporaryDirectory() as work:
        for number in range(videos):
            draw_video(Path(work) / f"{number}.mp4", number)
            fsspec.filesystem("s3").put_file(f"{work}/{number}.mp4", f"kills/in/{number}.mp4")
        with FlakyProxy(url.removeprefix("http://"), share) as proxy, use_endpoint(proxy.url):
            proxy.watch = watch
            os.environ[POLICY] = "attempts=12,pause_s=0.02"
            yield proxy, watch


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=10**6)
    parser.add_argument("--seed", type=int, default=0, help="the first; --totals goes on after it")
    parser.add_argument("--totals", type=Path, metavar="FILE", help="JSON, added to at every round")
    parser.add_argument("--videos", type=int, default=3)
    parser.add_argument("--kills", type=int, default=5, help="of every stage of a round")
    parser.add_argument("--pause", type=float, default=60.0, help="at most, in s, before a kill")
    parser.add_argument("--workers", type=int, default=2, help="that curate; 1 needs no Ray")
    parser.add_argument("--nodes", type=int, default=0, help="of a cluster on this machine")
    parser.add_argument("--share", type=float, default=0.02, help="of requests that fail")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    chosen = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-"))
        proxy, watch = stack.enter_context(flaky_store(chosen.videos, chosen.share))
        nodes = stack.enter_context(ray_nodes()) if chosen.nodes else None
        if nodes:
            for _ in range(chosen.nodes):
                nodes.add()
        return measure(chosen, Path(work), proxy, watch, nodes)


def measure(
    chosen: argparse.Namespace, work: Path, proxy: FlakyProxy, watch: Watch, nodes: Nodes | None
) -> int:
    tally = Tally.read(chosen.totals, chosen.seed)
    golden = _undisturbed(chosen.stages, _place(chosen, work, nodes), tally)
    kinds = Counter(name.partition("/")[0].partition(" ")[0] for name in golden)
    print(f"undisturbed: {dict(kinds)}", flush=True)
    end, rounds = time.monotonic() + 60 * chosen.minutes, 0
    while time.monotonic() < end and rounds < chosen.rounds:
        seed, requests, failed = tally.next_seed, proxy.requests, proxy.injected.total()
        place = _place(chosen, work, nodes)
        wrong = one_round(seed, chosen.stages, place, golden, watch, tally)
        tally.requests += proxy.requests - requests
        tally.failed += proxy.injected.total() - failed
        tally.next_seed, rounds = seed + 1, rounds + 1
        _print(tally, seed)
        if chosen.totals:
            tally.write(chosen.totals)
        if wrong:
            print(f"seed {seed}: {len(wrong)} things differ: {', '.join(wrong[:10])}")
            return 1
    return 0


def _place(chosen: argparse.Namespace, work: Path, nodes: Nodes | None) -> Place:
    name = uuid.uuid4().hex[:12]
    (work / name).mkdir()
    return Place(
        f"s3://kills/{name}", work / name, chosen.kills, chosen.workers, chosen.pause, nodes,
        chosen.nodes,
    )  # fmt: skip


def _undisturbed(stages: Sequence[str], place: Place, tally: Tally) -> dict[str, str]:
    for stage in stages:
        started = time.monotonic()
        job = place.start(stage)
        output = place.folder / f"{stage}.txt"
        assert job.wait() == 0, output.read_text()[-3000:]
        tally.undisturbed_s[stage] = time.monotonic() - started
    return place.content()


def one_round(
    seed: int, stages: Sequence[str], place: Place, golden: dict[str, str], watch: Watch,
    tally: Tally,
) -> list[str]:  # fmt: skip
    """Run every stage with kills; return what differs from the undisturbed run."""
    rng = random.Random(seed)
    watch.receipts.clear()
    for stage in stages:
        wrong = run_stage(stage, place, rng, tally.undisturbed_s[stage], watch, tally)
        if wrong:
            print((place.folder / f"{stage}.txt").read_text()[-3000:])
            return [wrong]
        present = place.content()
        wrong = differences({name: golden.get(name, "") for name in present}, present)
        if wrong:
            return wrong
        print(
            f"seed {seed}, {stage}: {len(present)} things as undisturbed, "
            f"{tally.kills.total()} kills so far",
            flush=True,
        )
    tally.rounds += 1
    tally.repeated_units += len(watch.receipts) - len({path for path, _ in watch.receipts})
    found = differences(golden, place.content())
    if not found:
        fsspec.filesystem("s3").rm(place.dataset, recursive=True)
        shutil.rmtree(place.folder)
    return found


def _print(tally: Tally, seed: int) -> None:
    kills = ", ".join(f"{kind} {number}" for kind, number in sorted(tally.kills.items()))
    print(f"seed {seed}: {tally.rounds} rounds, {tally.kills.total()} kills ({kills})")
    print(f"  of {tally.requests} requests failed {tally.failed}")
    print(f"  units done twice {tally.repeated_units}, steps of training {tally.repeated_steps}")
    for killed, times in sorted(tally.recovery_s.items()):
        usual_s = tally.undisturbed_s[killed.partition(":")[0]]
        print(
            f"  {killed:25} undisturbed {usual_s:5.1f} s, from the last kill to the end "
            f"{statistics.median(times):5.1f} s (median), {max(times):5.1f} s (longest)"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
