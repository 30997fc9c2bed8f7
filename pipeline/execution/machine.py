"""What this machine has, read without starting anything."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
# NVIDIA's, AMD's, and either of them seen from inside WSL
_GPU_DEVICES = ("nvidia[0-9]*", "kfd", "dxg")


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """Return how many processors this process may keep busy, by its affinity and its container."""
    allowed = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return max(1, min(allowed, int(quota))) if quota else allowed


def _quota(cgroup: Path) -> float | None:
    """Return the container's CPU quota in processors, None without one."""
    try:
        if (cgroup / "cpu.max").exists():
            time, period = (cgroup / "cpu.max").read_text().split()
        else:  # the first version of cgroups
            time = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        return int(time) / int(period) if int(time) > 0 else None
    except (OSError, ValueError):  # no cgroups here, or "max"
        return None


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """Return whether there is a GPU, even one that this process may not use."""
    return any(any(devices.glob(name)) for name in _GPU_DEVICES)
