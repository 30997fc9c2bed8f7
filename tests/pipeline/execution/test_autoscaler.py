"""Ray's own autoscaler, which begins without a GPU, is asked for one and waited for."""

import subprocess
from pathlib import Path

import pytest
from patience import HANG_S
from ray_nodes import ray_nodes
from runs import command, content

ONE_GPU = {"CPU": 1, "GPU": 1, "object_store_memory": 2**27}


@pytest.mark.ray
@pytest.mark.slow
def test_a_gpu_that_the_autoscaler_has_yet_to_start_is_used(videos, golden, tmp_path):
    wanted = (
        *("--set", "run.cluster.workers=2", "--set", "run.cluster.gpu_workers=1"),
        *("--set", "run.cluster.gpus_per_worker=1"),
        *("--set", "observe.engines.masks=fast_engines:GpuMasks"),
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
    assert "for 2 CPU and 1 GPU: the cluster has 1 and 0" in done.stderr
    assert "1 workers cut clips, 1 run engines on 1 GPU each" in done.stdout
    assert data(tmp_path) == data(golden)


def data(dataset: Path) -> dict[str, bytes]:
    """Return the tables; the settings beside them name the engine, which wants a GPU here."""
    files = content(dataset)
    return {name: files[name] for name in files if name.endswith(".parquet")}
