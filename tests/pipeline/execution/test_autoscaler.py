"""Ray's own autoscaler, which begins without a GPU, is asked for one and waited for."""

import subprocess
from pathlib import Path

import pytest
from patience import HANG_S
from ray_nodes import ray_nodes
from runs import command, content, rows

ONE_GPU = {"CPU": 1, "GPU": 1, "object_store_memory": 2**27}


@pytest.mark.ray
@pytest.mark.slow
def test_a_gpu_that_the_autoscaler_has_yet_to_start_is_shared_and_changes_no_measure(
    videos, golden, tmp_path
):
    """Ray counts the GPU, and the engines compute on the CPU as before."""
    wanted = (
        *("--set", "run.cluster.workers=2", "--set", "run.cluster.gpu_workers=1"),
        *("--set", "observe.engines.masks=fast_engines:GpuMasks"),
        *("--set", "pair.engines.captions=fast_engines:GpuCaptions"),
    )
    with ray_nodes(cpus=1, growing=ONE_GPU) as nodes:
        done = subprocess.run(
            command(tmp_path, videos, extra=wanted),
            env=nodes.settings,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "for 2 CPU and 0.25 GPU: the cluster has 1 and 0" in done.stderr
    assert "1 workers cut clips, 1 run engines on 0.25 GPU each" in done.stdout
    assert measured(tmp_path) == measured(golden)
    captioned = [row for row in rows(tmp_path, "clips") if row["caption"]]
    assert captioned
    assert {row["caption"] for row in captioned} == {"It was shown 16 frames."}
    assert {row["caption_digest"] for row in captioned} == {"d" * 64}


def measured(dataset: Path) -> dict[str, bytes]:
    """Return the tables without captions; settings name the engines, which want a GPU here."""
    files = content(dataset)
    tables = ("units/", "videos/", "tracks/", "embeddings/", "rejects/")
    return {n: files[n] for n in files if n.startswith(tables) and n.endswith(".parquet")}
