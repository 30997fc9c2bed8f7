"""How long an audit takes, and how much memory: many light rows, and clips by the second.

    python benchmarks/audit.py rows --samples 100000      # every check that needs no pixels
    python benchmarks/audit.py clips DATASET              # every check; clips a second

`rows` writes a synthetic dataset (tiny media, all tables, ten rows a group) first, unless --folder
holds one, and audits it in a process of its own whose peak memory it reports.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

PER_FILE = 10_000  # samples
DIMENSION = 128
_MEASURE = """
import json, resource, sys, time
from pipeline.audit.report.page import write_report
from pipeline.audit.run import AuditConfig, audit
from pathlib import Path
start = time.monotonic(), time.process_time()
config = AuditConfig(media=sys.argv[2] == "media", workers=int(sys.argv[3]))
with audit(sys.argv[1], config) as done:
    checked = time.monotonic() - start[0]
    write_report(done, Path(sys.argv[4]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": done.seconds, "checked_s": round(checked, 1),
        "with_report_s": round(time.monotonic() - start[0], 1),
        "cpu_s": round(time.process_time() - start[1], 1), "peak_mib": round(peak),
        "findings": done.findings.counts(), "clips_per_s": round(done.media.clips_per_s, 2)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    acts = parser.add_subparsers(dest="act", required=True)
    rows = acts.add_parser("rows", help="synthetic rows, no pixels")
    rows.add_argument("--samples", type=int, default=100_000)
    rows.add_argument("--folder", type=Path, help="write the dataset here, or use the one there")
    clips = acts.add_parser("clips", help="media of a real dataset")
    clips.add_argument("dataset")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if given.act == "clips":
            measure(given.dataset, "media", given.workers, scratch)
            return
        folder = given.folder or Path(scratch) / "dataset"
        if not (folder / "manifest.json").exists():
            started = time.monotonic()
            write_many(folder, given.samples)
            print(f"wrote {given.samples} samples in {time.monotonic() - started:.0f} s")
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{size / 2**20:.0f} MiB")
        measure(str(folder), "rows", given.workers, scratch)


def measure(dataset: str, what: str, workers: int, scratch: str) -> None:
    """Audit in a fresh process and print time, memory and findings."""
    command = [sys.executable, "-c", _MEASURE, dataset, what, str(workers), f"{scratch}/report"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    print(json.dumps(json.loads(done.stdout.splitlines()[-1]), indent=1))
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"CPU with children: {children.ru_utime + children.ru_stime:.1f} s")


def write_many(folder: Path, number: int) -> None:
    """Write `number` samples with all their tables, from a few drawn ones under new ids."""
    from drawn_dataset import write_drawn_dataset

    from pipeline.audit.dataset import TABLES, table_schema
    from pipeline.dataset.commit import publish, read_manifest, stage_file, table_path
    from pipeline.dataset.parquet import encode_table
    from pipeline.dataset.store import open_store

    with tempfile.TemporaryDirectory() as scratch:
        small = write_drawn_dataset(Path(scratch) / "small")
        there = [table for table in TABLES if (small / table).exists()]
        seeds = {table: pq.read_table(small / table).to_pylist() for table in there}
        found = read_manifest(open_store(small))
    assert found is not None, "the small dataset has a manifest"
    store, files = open_store(folder), []
    random = np.random.default_rng(0)
    for part, top in enumerate(range(0, number, PER_FILE)):
        rows = _rows(seeds, range(top, min(number, top + PER_FILE)), random)
        for table, some in rows.items():
            data = encode_table(pa.Table.from_pylist(some, schema=table_schema(table)))
            files.append(stage_file(table_path(table, 1, part), data, len(some), store))
    splits = {"train": number, "validation": 0, "test": 0}
    publish(replace(found[0], files=files, splits=splits, funnel=[]), store)


def _rows(seeds: dict, places: range, random: np.random.Generator) -> dict[str, list[dict]]:
    """Return the rows of some samples: one video, clip, track each; five samples a character."""
    rows: dict[str, list[dict]] = {table: [] for table in seeds if table != "rejects"}
    tiny = b"\0" * 1500  # stands for a clip: nothing decodes it here
    for place in places:
        sample = seeds["samples"][place % len(seeds["samples"])]
        ids = {name: f"{name[:2]}{place:022x}" for name in ("video_id", "clip_id", "track_id")}
        character = {"character_id": f"ch{place // 5:022x}"}
        mean, image = (_vector(place // 5, random) for _ in range(2))
        reference = sample["references"][0] | ids | {
            "reference_id": f"re{place:022x}", "kind": "in_clip_augmented", "time_gap_s": 0.0,
            "augmentation": "{}", "time_s": sample["start_s"] + 0.5,
            "similarity": float(mean @ image), "sha256": f"{place:064x}",
            "image": {"bytes": tiny[:800], "path": ""}, "mask": {"bytes": tiny[:100], "path": ""},
        }  # fmt: skip
        caption = f"A person in a red top passes house {place} of the long street."
        rows["samples"].append(
            sample | ids | character
            | {"sample_id": f"sa{place:022x}", "split": "train", "caption": caption,
               "references": [reference], "video": {"bytes": tiny, "path": ""}}
        )  # fmt: skip
        look = random.bytes(24).hex()
        rows["clips"].append(
            seeds["clips"][place % 12] | ids | _times(sample)
            | {"perceptual_hash": look, "sha256": f"{place:064x}"}
        )  # fmt: skip
        rows["tracks"].append(
            seeds["tracks"][place % 12] | ids | character
            | {"boxes": sample["boxes"], "first_frame": sample["first_frame"]}
        )  # fmt: skip
        if place % 5 == 0:
            of_five = {f"num_{name}": 5 for name in ("tracks", "clips", "shots", "videos")}
            rows["characters"].append(seeds["characters"][0] | character | of_five)
        rows["videos"].append(seeds["videos"][0] | {"video_id": ids["video_id"]})
        vector = {"track_id": ids["track_id"], "video_id": ids["video_id"]}
        seed = seeds["embeddings"][0]
        rows["embeddings"].append(seed | vector | {"reference_id": "", "vector": mean.tolist()})
        own = {"reference_id": reference["reference_id"], "vector": image.tolist()}
        rows["embeddings"].append(seed | vector | own)
    return rows


def _times(sample: dict) -> dict:
    names = ("shot_id", "start_s", "end_s", "width", "height", "fps", "num_frames")
    return {name: sample[name] for name in names}


def _vector(who: int, random: np.random.Generator) -> np.ndarray:
    """Return a unit vector near the direction of character `who`."""
    direction = np.random.default_rng(who).standard_normal(DIMENSION)
    near = direction / np.linalg.norm(direction) + 0.02 * random.standard_normal(DIMENSION)
    return near / np.linalg.norm(near)


if __name__ == "__main__":
    main()
