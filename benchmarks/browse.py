"""How long the page takes with many samples, and how much memory.

    python benchmarks/browse.py --samples 1000000 --folder /tmp/many

It writes a synthetic dataset first (samples, clips, tracks; tiny media, 1,000 rows a group), unless
the folder holds one, and sends to the application what the page sends.
"""

import argparse
import io
import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

PER_FILE = 10_000
GROUP = 1_000
FILTERS = (
    {"least": {"sharpness": 990}},
    {"words": {"split": ["test"]}},
    {"text": "red"},
    {"sort": "sharpness", "descending": True},
    {"kinds": ["cross_video"], "most": {"sharpness": 5}},
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    if not (given.folder / "manifest.json").exists():
        write_many(given.folder, given.samples)
    measure(given.folder)


def measure(folder: Path) -> None:
    """Open the dataset, wait until all is read, ask; print seconds of wall and of CPU."""
    from starlette.testclient import TestClient

    from pipeline.browse.app import CHANGE_HEADER, make_app
    from pipeline.dataset.commit import require_manifest
    from pipeline.dataset.store import open_store

    store = open_store(folder)
    with Lap("from the start to the first page"):
        app = make_app(require_manifest(store)[0], store, "token")
        page = TestClient(app, base_url="http://127.0.0.1")
        page.headers |= {"Authorization": "token token", CHANGE_HEADER: "1"}
        page.get("/api/summary")
        first = page.get("/api/samples").json()["rows"][0]
    with Lap("until all is read"):
        while page.get("/api/version").json()["reading"] < 1:
            time.sleep(1)
    for question in FILTERS:
        with Lap(json.dumps(question)):
            page.get("/api/samples", params={"filter": json.dumps(question)})
    for path in ("summary", "characters", f"characters/{first['character_id']}", "review"):
        with Lap(path):
            page.get(f"/api/{path}")
    with Lap("a correction"):
        act = {"act": "name", "character": first["character_id"], "value": "Ana"}
        made = page.post("/api/corrections", json=act).json()
    page.post("/api/corrections", json={"undo": made["id"]})
    app.state.close()
    print(f"memory at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


class Lap:
    """Prints what a stretch took."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        self._begun = time.monotonic(), time.process_time()

    def __exit__(self, *_: object) -> None:
        wall, cpu = time.monotonic() - self._begun[0], time.process_time() - self._begun[1]
        print(f"{wall:8.2f} s, {cpu:8.2f} s of CPU: {self._what}", flush=True)


def write_many(folder: Path, number: int) -> None:
    """Write samples of a few drawn clips under new ids, five of each character."""
    import rows as draw
    from tiny_dataset import tiny_sample

    from pipeline.dataset.commit import publish, stage_file, table_path
    from pipeline.dataset.sample_schema import sample_schema
    from pipeline.dataset.store import open_store
    from schemas.columns import to_table
    from schemas.manifest import Manifest
    from schemas.tables import Clip, Sample, Track

    random, store, files = np.random.default_rng(0), open_store(folder), []
    few = [tiny_sample(place, (48, 32), frames=3, references=2) for place in range(4)]
    samples = [
        replace(few[place % 4], sharpness=float(random.uniform(0, 1000)),
                split="train" if place % 50 else "test")
        for place in range(PER_FILE)
    ]  # fmt: skip
    clip = draw.clip("clip")
    track = replace(
        draw.track("track", clip), boxes=[[0.0, 0.0, 9.0, 9.0]] * 3, detected=[True] * 3
    )
    whole = to_table(samples, Sample)
    tables = {
        "samples": whole.cast(sample_schema(whole.schema)),
        "clips": to_table([clip] * PER_FILE, Clip),
        "tracks": to_table([track] * PER_FILE, Track),
    }
    for part in range(number // PER_FILE):
        places = range(part * PER_FILE, (part + 1) * PER_FILE)
        for name, table in tables.items():
            content = _encoded(_under_new_ids(table, places))
            files.append(stage_file(table_path(name, 1, part), content, PER_FILE, store))
    publish(
        Manifest(
            version=1, parent="", inputs_digest="", observe_digest="", config_digest="",
            config={}, engines=[], libraries={}, funnel=[], splits={"train": number}, files=files,
        ),
        store,
    )  # fmt: skip


def _under_new_ids(table: pa.Table, places: range) -> pa.Table:
    ids = {"sample_id": "s", "clip_id": "c", "track_id": "t", "video_id": "v", "shot_id": "h"}
    columns: dict[str, list[Any]] = {
        name: [f"{letter}{place:023d}" for place in places] for name, letter in ids.items()
    }
    columns["character_id"] = [f"p{place // 5:023d}" for place in places]
    for name in columns.keys() & set(table.column_names):
        place = table.schema.get_field_index(name)
        values = pa.array(columns[name], pa.string())
        table = table.set_column(place, table.schema.field(place), values)
    return table


def _encoded(table: pa.Table) -> bytes:
    from pipeline.dataset.parquet import writer_options

    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=GROUP, **writer_options(table.schema))
    return sink.getvalue()


if __name__ == "__main__":
    main()
