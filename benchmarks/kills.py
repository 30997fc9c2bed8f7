"""Kill -9 at random moments, from a seed, until the time is over: is the end always the same?

    python benchmarks/kills.py --minutes 20
    python benchmarks/kills.py --rounds 1 --seed 7 --stages curate

One round curates drawn videos from and to an object store whose answers fail now and then, encodes
the dataset, trains two processes on it, and exports both model and dataset. Every stage is killed a
few times (its driver, a worker, Ray's raylet or its server, a rank, whoever is uploading), run
again until it ends well, and compared with a run that nobody disturbed: every object of the
dataset, the latents, the curve of losses, the weights, the exported files. Printed are kills by
kind, work that was done twice, and the time from the last kill to the end. Exit code 1 when
anything differs; the seed of that round is printed.
"""

import argparse
import contextlib
import hashlib
import json
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
from runs import draw_video  # noqa: E402

from schemas.remote import POLICY  # noqa: E402

STAGES = ("curate", "encode", "train", "export", "export-dataset")
KINDS = ("driver", "worker", "raylet", "server of Ray", "uploader")
_MARK = "CONTEXTANYONE_KILLS"  # environment of what a stage starts: the stage's name
_RUNS = 15  # of a stage, after which it must have ended well
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
    repeated_units: int = 0  # receipts of units and latents that were written twice
    repeated_steps: list[int] = field(default_factory=list)  # of a training, by kill
    recovery_s: dict[str, list[float]] = field(default_factory=dict)
    undisturbed_s: dict[str, float] = field(default_factory=dict)


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

    def command(self, stage: str) -> list[str]:
        run, model, files = (str(self.folder / name) for name in ("run", "model", "files"))
        script = {"train": "trainer/train.py", "export": "trainer/export.py",
                  "export-dataset": "jobs/export.py"}.get(stage, f"jobs/{stage}.py")  # fmt: skip
        settings = [w for name, value in _TRAINING.items() for w in ("--set", f"{name}={value}")]
        words = {
            "curate": ["--input", "s3://kills/in", "--output", self.dataset, *fast_engines.SETTINGS,
                       "--set", f"run.cluster.workers={self.workers}"],
            "encode": [self.dataset, "--preset", "tiny", "--set", "run.cluster.workers=1",
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
        environment = {**os.environ, "PYTHONPATH": path, _MARK: self.folder.name}
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


def processes_of(mark: str, driver: int) -> dict[int, str]:
    """Return the living processes of a stage with their kinds."""
    parents, found = {}, {driver}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError, IndexError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(entry.name)] = int(parent)
                if f"{_MARK}={mark}".encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: _kind_of(pid, driver) for pid in found & parents.keys()}


def _kind_of(pid: int, driver: int) -> str:
    if pid == driver:
        return "driver"
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "gone"
    if b"raylet/raylet" in line:
        return "raylet"
    return "server of Ray" if b"gcs_server" in line else "worker"


def owner_of_port(port: int) -> int | None:
    """Return the process whose connection has this local port."""
    inode = ""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].partition(":")[2], 16) == port and fields[9] != "0":
            inode = f"socket:[{fields[9]}]"
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if inode and any(os.readlink(link) == inode for link in folder.iterdir()):
                pid = int(folder.parent.name)
                return pid if pid != os.getpid() else None
    return None


def run_stage(
    stage: str, place: Place, rng: random.Random, usual_s: float, watch: Watch, tally: Tally
) -> str | None:
    """Run a stage until it ends well, killed a few times; return what is wrong, if anything."""
    kills, since = place.kills, None
    for _ in range(_RUNS):
        watch.run += 1
        job, started = place.start(stage), time.monotonic()
        before = len(place.losses())
        if kills > 0:
            kills -= 1
            kind = _kill_once(job, place, rng, usual_s, watch)
            if kind:
                tally.kills[f"{stage}: {kind}"] += 1
                since = time.monotonic()
        code = job.wait()
        _end_orphans(place.folder.name, job.pid)
        if stage == "train" and code != 0:
            tally.repeated_steps.append(_repeated_steps(place, before))
        if code == 0:
            if since:
                tally.recovery_s.setdefault(stage, []).append(
                    time.monotonic() - max(since, started)
                )
            if kills <= 0:
                return None
    return f"{stage} did not end well after {_RUNS} runs: {place.folder / stage}.txt"


def _kill_once(
    job: subprocess.Popen, place: Place, rng: random.Random, usual_s: float, watch: Watch
) -> str:
    """Kill one process at a random moment of the usual time; return its kind, '' for none."""
    wanted, moment = rng.choice(KINDS), rng.uniform(0.1, 1.0) * usual_s
    with contextlib.suppress(subprocess.TimeoutExpired):
        job.wait(moment)
        return ""  # it was quicker
    if wanted == "uploader":
        watch.killed.clear()
        watch.armed = True
        while job.poll() is None and not watch.killed.wait(0.05):
            pass
        watch.armed = False
        return wanted if watch.killed.is_set() else ""
    found = processes_of(place.folder.name, job.pid)
    fitting = [pid for pid, kind in sorted(found.items()) if kind == wanted] or [job.pid]
    victim = rng.choice(fitting)
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        return ""
    return found.get(victim, "driver")


def _end_orphans(mark: str, driver: int) -> None:
    """Let what is left of a stage end by itself; what does not is killed."""
    end = time.monotonic() + _ORPHANS_S
    while left := processes_of(mark, driver).keys() - {driver}:
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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--videos", type=int, default=3)
    parser.add_argument("--kills", type=int, default=5, help="of every stage of a round")
    parser.add_argument("--workers", type=int, default=2, help="that curate; 1 needs no Ray")
    parser.add_argument("--share", type=float, default=0.02, help="of requests that fail")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kills-") as work:
        return measure(chosen, Path(work))


def measure(chosen: argparse.Namespace, work: Path) -> int:
    tally = Tally()
    with flaky_store(chosen.videos, chosen.share) as (proxy, watch):
        golden = _undisturbed(chosen.stages, _place(chosen, work), tally)
        kinds = Counter(name.partition("/")[0].partition(" ")[0] for name in golden)
        print(f"undisturbed: {dict(kinds)}", flush=True)
        end, seed = time.monotonic() + 60 * chosen.minutes, chosen.seed
        while time.monotonic() < end and tally.rounds < chosen.rounds:
            wrong = one_round(seed, chosen.stages, _place(chosen, work), golden, watch, tally)
            _print(tally, proxy, seed)
            if wrong:
                print(f"seed {seed}: {len(wrong)} things differ: {', '.join(wrong[:10])}")
                return 1
            seed += 1
    return 0


def _place(chosen: argparse.Namespace, work: Path) -> Place:
    name = uuid.uuid4().hex[:12]
    (work / name).mkdir()
    return Place(f"s3://kills/{name}", work / name, chosen.kills, chosen.workers)


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


def _print(tally: Tally, proxy: FlakyProxy, seed: int) -> None:
    kills = ", ".join(f"{kind} {number}" for kind, number in sorted(tally.kills.items()))
    print(f"seed {seed}: {tally.rounds} rounds, {tally.kills.total()} kills ({kills})")
    print(f"  of {proxy.requests} requests failed {proxy.injected.total()}: {dict(proxy.injected)}")
    print(f"  units done twice {tally.repeated_units}, steps of training {tally.repeated_steps}")
    for stage, times in tally.recovery_s.items():
        print(
            f"  {stage:15} undisturbed {tally.undisturbed_s[stage]:5.1f} s, after a kill "
            f"{statistics.median(times):5.1f} s (median), {max(times):5.1f} s (longest)"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
