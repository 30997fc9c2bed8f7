"""What an hour of video costs on an object store: processor time, requests, and bytes kept.

    python benchmarks/costs.py videos/ [--workers 2] [--set NAME=VALUE …]

Uploads the videos to an S3 server of this machine and curates them there with the engines of
`auto`, then curates them again with another threshold, which makes a second version without a look
at a video, then audits it. Each step prints CPU seconds of all its processes and its requests by
kind, as stores charge them; at the end what lies under every folder of the dataset. All numbers are
for an hour of video like these: what a short video and a run cost at least is in them.
"""

import argparse
import logging
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests" / "helpers")]

import av  # noqa: E402
import fsspec  # noqa: E402
from av.error import FFmpegError  # noqa: E402
from curate import follow  # noqa: E402
from flaky_proxy import FlakyProxy  # noqa: E402
from object_store import s3_server, use_endpoint  # noqa: E402

_VIDEOS, _DATASET = "raw/videos", "curated/dataset"
_KINDS = ("write", "read", "list", "delete")
_CURATE, _AUDIT = "jobs/curate.py", "jobs/audit.py"
_ENDS_WELL = {_CURATE: (0,), _AUDIT: (0, 2)}  # 2: it found errors
_OTHER_THRESHOLD = ("--set", "pair.references.min_quality=0.31")


def kind_of(method: str, path: str) -> str:
    """Return what a store charges a request as; deleting several objects at once is one."""
    if method == "GET" and "list-type=" in path:
        return "list"
    if method == "DELETE" or (method == "POST" and "?delete" in path):
        return "delete"
    return "read" if method in ("GET", "HEAD") else "write"


def upload(folder: Path) -> tuple[int, int, float]:
    """Put the videos of a folder on the store; return their number, bytes and seconds."""
    fs, number, size, seconds = fsspec.filesystem("s3"), 0, 0, 0.0
    for path in sorted(folder.iterdir()):
        try:
            with av.open(str(path), metadata_errors="ignore") as video:
                seconds += (video.duration or 0) / av.time_base if video.streams.video else 0
        except FFmpegError:
            continue
        fs.put_file(str(path), f"{_VIDEOS}/{path.name}")
        number, size = number + 1, size + path.stat().st_size
    return number, size, seconds


def step(proxy: FlakyProxy, words: Sequence[str]) -> tuple[float, Counter[str]]:
    """Run a command; return its CPU seconds and its requests by kind."""
    counted = Counter[str]()
    proxy.watch = lambda method, path, _: counted.update([kind_of(method, path)])
    with tempfile.TemporaryFile("w+") as log:
        job = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=log, stderr=log)
        used, _ = follow(job)
        if job.wait() not in _ENDS_WELL[words[0]]:
            log.seek(0)
            sys.exit(log.read()[-3000:])
    proxy.watch = None
    return used, counted


def kept() -> Counter[str]:
    """Return the bytes under each folder of the dataset."""
    sizes = Counter[str]()
    for path, info in fsspec.filesystem("s3").find(_DATASET, detail=True).items():
        sizes[path.removeprefix(f"{_DATASET}/").partition("/")[0]] += info["size"]
    return sizes


def measure(folder: Path, server: str, settings: Sequence[str], report: Path) -> None:
    number, size, seconds = upload(folder)
    hour = 3600 / seconds
    print(f"{number} videos, {seconds:.0f} s, {size * hour / 2**30:.2f} GiB an hour")
    dataset, curate = f"s3://{_DATASET}", (_CURATE, "--input", f"s3://{_VIDEOS}")
    steps = {
        "curate": [*curate, "--output", dataset, *settings],
        "again, other threshold": [*curate, "--output", dataset, *settings, *_OTHER_THRESHOLD],
        "audit": [_AUDIT, dataset, "--report", str(report)],
    }
    print(f"{'for an hour':24}  CPU hours" + "".join(f"{kind:>9}" for kind in _KINDS))
    with FlakyProxy(server.removeprefix("http://"), share=0) as proxy, use_endpoint(proxy.url):
        for name, words in steps.items():
            used, counted = step(proxy, words)
            requests = "".join(f"{counted[kind] * hour:9,.0f}" for kind in _KINDS)
            print(f"{name:24} {used * hour / 3600:10.2f}{requests}", flush=True)
    for place, held in sorted(kept().items()):
        print(f"{place:24} {held * hour / 2**20:9.1f} MiB an hour")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it prints every request
    named = [f"run.cluster.workers={arguments.workers}", *arguments.set]
    settings = [word for each in named for word in ("--set", each)]
    with s3_server("raw", "curated") as server, tempfile.TemporaryDirectory() as work:
        measure(arguments.folder, server, settings, Path(work) / "audit")


if __name__ == "__main__":
    main()
