"""Kill -9 at random moments, from a seed, until the time is over: is the end always the same?

    python -m benchmarks.kills.run --minutes 20 --totals totals.json
    python -m benchmarks.kills.run --rounds 1 --seed 7 --stages train export
    python -m benchmarks.kills.run --nodes 2 --stages curate encode --pause 10

One round curates drawn videos from and to an object store whose answers fail now and then, encodes
the dataset, trains two processes on it, and exports both model and dataset. Every stage is killed a
few times (its driver, a worker, Ray's raylet or its server, the launcher of a training or one of
its ranks, whoever is uploading; with --nodes also a whole node, for which another is started, and
the head's server, after which the cluster begins anew), run
again until it ends well, and compared with a run that nobody disturbed: every object of the
dataset, the latents, the curve of losses, the weights, the exported files. What comes before the
first of --stages is made once, undisturbed, and every round begins with a copy of it.

Printed are kills by kind and moment, work that was done twice, and the time from the last kill to
the end. With --totals they are added to those of earlier calls, and the seeds go on from there.
Exit code 1 when anything differs; the seed of that round is printed.
"""

import argparse
import contextlib
import logging
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import fsspec  # noqa: E402
from flaky_proxy import FlakyProxy  # noqa: E402
from object_store import s3_server, use_endpoint  # noqa: E402
from ray_nodes import Nodes, ray_nodes  # noqa: E402
from runs import draw_video  # noqa: E402
from victims import job_processes  # noqa: E402

from benchmarks.kills.moments import KINDS, Killer, Watch  # noqa: E402
from benchmarks.kills.stages import STAGES, TRAIN, Place, with_what_they_need  # noqa: E402
from benchmarks.kills.tally import Tally  # noqa: E402
from schemas.remote import POLICY  # noqa: E402

_MORE_RUNS = 10  # of a stage than kills, after which it must have ended well
_ORPHANS_S = 8.0  # that what a driver leaves behind may need to end


@dataclass(frozen=True)
class Rounds:
    """Rounds of kills, all compared with one undisturbed run."""

    stages: Sequence[str]  # that are killed
    kills: int  # of every stage
    who: Sequence[str]  # is killed, all if empty
    pause_s: float  # at most, before a kill
    new_place: Callable[[], Place]
    watch: Watch
    tally: Tally
    uploads: dict[str, int]  # of every stage, undisturbed
    golden: dict[str, str]
    start: Place  # with what comes before the first stage that is killed
    between: Sequence[str]  # stages from there on

    @classmethod
    def after_undisturbed(
        cls, chosen: argparse.Namespace, new_place: Callable[[], Place], watch: Watch, tally: Tally
    ) -> "Rounds":
        """Run everything once, undisturbed, to know what must come out."""
        needed = with_what_they_need(chosen.stages)
        first = min(needed.index(stage) for stage in chosen.stages)
        place, start = new_place(), new_place()
        uploads: dict[str, int] = {}
        for number, stage in enumerate(needed):
            if number == first:
                start.take(place)
            began = time.monotonic()
            watch.begin()
            assert place.start(stage).wait() == 0, place.output_of(stage).read_text()[-3000:]
            tally.undisturbed_s[stage], uploads[stage] = time.monotonic() - began, watch.uploads
        return cls(
            chosen.stages, chosen.kills, chosen.who, chosen.pause, new_place, watch, tally,
            uploads, place.content(), start, needed[first:],
        )  # fmt: skip

    def run(self, seed: int) -> list[str]:
        """Run every stage with kills; return what differs from the undisturbed run."""
        rng, place = random.Random(seed), self.new_place()
        self.watch.receipts.clear()
        place.take(self.start)
        for stage in self.between:
            if not self._run_stage(stage, place, rng):
                print(place.output_of(stage).read_text()[-3000:])
                return [f"{stage} did not end well: {place.output_of(stage)}"]
            present = place.content()
            wrong = differences({name: self.golden.get(name, "") for name in present}, present)
            if wrong:
                return wrong
            kills = self.tally.kills.total()
            print(
                f"seed {seed}, {stage}: {len(present)} things as undisturbed, {kills} kills so far",
                flush=True,
            )
        self.tally.rounds += 1
        receipts = self.watch.receipts
        self.tally.repeated_units += len(receipts) - len({path for path, _ in receipts})
        found = differences(self.golden, place.content())
        if not found:
            place.remove()
        return found

    def _run_stage(self, stage: str, place: Place, rng: random.Random) -> bool:
        """Run a stage until it ends well, killed a few times; return whether it did."""
        usual_s = min(self.tally.undisturbed_s[stage], self.pause_s)
        killer = Killer(stage, place, rng, usual_s, self.uploads[stage], self.watch, self.who)
        kills, since, last = self.kills if stage in self.stages else 0, 0.0, ""
        for _ in range(kills + _MORE_RUNS):
            self.watch.begin()
            if place.nodes and not place.nodes.server():
                place.nodes.start_again()
            _replace_lost(place)
            job, before = place.start(stage), len(place.losses())
            while kills > 0 and job.poll() is None:
                kills -= 1
                if struck := killer.strike(job):
                    self.tally.killed(stage, *struck)
                    since, last = time.monotonic(), struck[0]
                _replace_lost(place)
            code = job.wait()
            _end_orphans(place, job.pid)
            if code == 0:
                if last:
                    self.tally.recovered(stage, last, time.monotonic() - since)
                return True
            if stage == TRAIN:
                self.tally.repeated_steps.append(_repeated_steps(place, before))
        return False


def _replace_lost(place: Place) -> None:
    """Start a node for every one that is gone, while the job works on what is left.

    Without its head a cluster takes none; the job has to end, and the next finds another head.
    """
    if place.nodes and place.nodes.server():
        place.nodes.sweep()
        for _ in range(place.num_nodes - len(place.nodes.living())):
            place.nodes.add()


def _end_orphans(place: Place, driver: int) -> None:
    """Let what is left of a stage end by itself; what does not is killed."""
    end = time.monotonic() + _ORPHANS_S
    while left := job_processes(driver, place.mark).keys() - {driver}:
        if time.monotonic() > end:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)


def _repeated_steps(place: Place, before: int) -> int:
    """Return how many steps of a killed run are in no complete checkpoint."""
    steps = [line["step"] for line in place.losses()[before:]]
    return max(0, max(steps) - place.saved_step()) if steps else 0


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
    parser.add_argument(
        "--who", nargs="+", choices=KINDS, default=(), help="is killed; one named twice, more often"
    )
    parser.add_argument("--pause", type=float, default=60.0, help="at most, in s, before a kill")
    parser.add_argument("--workers", type=int, default=2, help="that curate; 1 needs no Ray")
    parser.add_argument("--nodes", type=int, default=0, help="of a cluster on this machine")
    parser.add_argument("--share", type=float, default=0.02, help="of requests that fail")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="to kill")
    chosen = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-"))
        proxy, watch = stack.enter_context(flaky_store(chosen.videos, chosen.share))
        nodes = stack.enter_context(ray_nodes()) if chosen.nodes else None
        for _ in range(chosen.nodes):
            assert nodes
            nodes.add()
        return measure(chosen, Path(work), proxy, watch, nodes)


def measure(
    chosen: argparse.Namespace, work: Path, proxy: FlakyProxy, watch: Watch, nodes: Nodes | None
) -> int:
    def new_place() -> Place:
        name = uuid.uuid4().hex[:12]
        (work / name).mkdir()
        return Place(f"s3://kills/{name}", work / name, chosen.workers, nodes, chosen.nodes)

    tally = Tally.read(chosen.totals, chosen.seed)
    rounds = Rounds.after_undisturbed(chosen, new_place, watch, tally)
    kinds = Counter(name.partition("/")[0].partition(" ")[0] for name in rounds.golden)
    print(f"undisturbed: {dict(kinds)}", flush=True)
    end, number = time.monotonic() + 60 * chosen.minutes, 0
    while time.monotonic() < end and number < chosen.rounds:
        seed, requests, failed = tally.next_seed, proxy.requests, proxy.injected.total()
        wrong = rounds.run(seed)
        tally.requests += proxy.requests - requests
        tally.failed += proxy.injected.total() - failed
        tally.next_seed, number = seed + 1, number + 1
        print(f"seed {seed}: {tally.report()}", flush=True)
        if chosen.totals:
            tally.write(chosen.totals)
        if wrong:
            print(f"seed {seed}: {len(wrong)} things differ: {', '.join(wrong[:10])}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
