"""What is written down of how tracks fit their characters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMPARE = """
import hashlib, sys
sys.path.insert(0, "tests/helpers")
import numpy as np, rows
from pipeline.pairing.cohesion import Cohesion
from pipeline.pairing.vectors import identity_vectors

random = np.random.default_rng(5)
clip = rows.clip("scene")
tracks = [rows.track(f"t{n:04}", clip, character_id=f"c{n // 3:04}") for n in range(169)]
vectors = [rows.embedding(random.normal(size=4656), track.track_id) for track in tracks]
found = Cohesion(tracks, identity_vectors(vectors)).memberships(rows.WINDOWS)
print(hashlib.sha256(found.own.tobytes() + found.second.tobytes()).hexdigest())
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two processors to differ")
def test_two_threads_write_down_what_one_does():
    """Products of matrices had other last bits: the same input gave other bytes."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", COMPARE], cwd=ROOT, check=True, capture_output=True, text=True,
            env=os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)},
        ).stdout
        for threads in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1
