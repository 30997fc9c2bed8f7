"""The whole job, stopped in every way that happens: nothing lost, nothing done twice."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import fast_engines
import pytest
import victims
from patience import HANG_S
from runs import command, content, curate, draw_video, environment, rows

from pipeline.dataset.store import LocalStore
from pipeline.dataset.units import read_receipts

pytestmark = [pytest.mark.ray, pytest.mark.faults]


def _entries(folder: Path) -> int:
    """Count files and folders below, while a run makes and removes them."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def _start(output: Path, videos: Path, workers: int, **streams) -> subprocess.Popen:
    setting = ("--set", f"run.cluster.workers={workers}")
    return subprocess.Popen(command(output, videos, extra=setting), env=environment(), **streams)


def test_a_driver_killed_at_any_moment_loses_and_doubles_nothing(videos, golden, tmp_path):
    """Kill -9 it after random numbers of files; a run that ends first begins anew."""
    draw, kills = random.Random(21), 6
    while kills:
        enough = _entries(tmp_path) + draw.randrange(24)
        driver = _start(tmp_path, videos, 1, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while driver.poll() is None and _entries(tmp_path) < enough:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.4))
        if driver.poll() is None:
            driver.kill()
            driver.wait()
            kills -= 1
        else:
            assert driver.returncode == 0
            shutil.rmtree(tmp_path)
    curate(tmp_path, videos)
    assert content(tmp_path) == content(golden)


def test_on_ray_a_killed_driver_an_interrupt_and_the_death_of_all_lose_nothing(
    videos, golden, tmp_path
):
    """One after another, each while the run goes on with what the one before it left."""
    driver = _start(tmp_path, videos, 2)
    _wait_for_a_unit(tmp_path, driver)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    driver = _start(tmp_path, videos, 2, stderr=subprocess.PIPE, text=True)
    assert driver.stderr is not None
    assert any(line.startswith("identify") for line in driver.stderr)  # orphans commit units, too
    driver.send_signal(signal.SIGINT)
    assert "run the same command again to go on" in driver.communicate(timeout=HANG_S)[1]
    assert driver.returncode == 130
    driver = _start(tmp_path, videos, 2)
    _wait_for_a_unit(tmp_path, driver)
    killed = victims.job_processes(driver.pid)
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert driver.wait(HANG_S) == -signal.SIGKILL
    assert {victims.RAYLET, victims.SERVER, victims.WORKER} <= set(killed.values())
    curate(tmp_path, videos)
    assert content(tmp_path) == content(golden)


def _wait_for_a_unit(output: Path, driver: subprocess.Popen) -> None:
    """Wait until one more unit is committed."""
    before = _units(output)
    while driver.poll() is None and _units(output) == before:
        time.sleep(0.02)


def _units(output: Path) -> int:
    return len(list(output.glob("units/*/*/receipt.json")))


@pytest.mark.parametrize("workers", [1, 2])
def test_poison_costs_only_itself(videos, tmp_path, workers, monkeypatch):
    """Exit, segfault, endless allocation and a hang, beside healthy videos; each is tried once."""
    doses = tmp_path / "doses"
    monkeypatch.setenv(fast_engines.DOSES, str(doses))
    for seed, (name, (colour, _)) in enumerate(fast_engines.POISON.items(), start=50):
        draw_video(tmp_path / f"{name}.mp4", seed, corner=colour)
    poisoned = [
        *(
            "--set",
            "observe.engines.people=fast_engines:PoisonedPeople",
            "--set",
            "run.max_failed=0.9",
        ),
        *("--set", "run.sandbox.deadline_s=20", "--set", "run.sandbox.deadline_per_video_s=0"),
        *("--set", "run.sandbox.memory_mib=700", "--set", f"run.cluster.workers={workers}"),
    ]
    output = tmp_path / "dataset"
    done = curate(output, videos / "1.mp4", videos / "2.mp4", tmp_path, extra=poisoned)
    failed = {row["video_id"]: row for row in rows(output, "rejects") if row["failed"]}
    assert sorted(row["reason"] for row in failed.values()) == [
        "crash", "crash", "memory", "timeout",
    ]  # fmt: skip
    assert {row["stage"] for row in failed.values()} == {"shots"}
    assert all("in tracks" in row["detail"] for row in failed.values())
    assert len(rows(output, "videos")) == 2
    assert "4 videos failed" in done.stdout
    again = curate(output, videos / "1.mp4", videos / "2.mp4", tmp_path, extra=poisoned)
    assert "nothing to do" in again.stdout
    assert sorted(doses.read_text().split()) == sorted(fast_engines.POISON)
    strict = [*poisoned, "--set", "run.max_failed=0.5", "--set", "run.cluster.workers=1"]
    curate(output, videos / "1.mp4", videos / "2.mp4", tmp_path, extra=strict, code=3)


def test_a_retry_that_is_killed_before_it_publishes_is_published_by_the_next_run(
    tmp_path, monkeypatch
):
    colour, _ = fast_engines.POISON["red"]
    draw_video(tmp_path / "healthy.mp4", 1)
    draw_video(tmp_path / "poisoned.mp4", 50, corner=colour)
    poisoned = ("--set", "observe.engines.people=fast_engines:PoisonedPeople")
    poisoned += ("--set", "run.max_failed=0.9")
    output, inputs = tmp_path / "dataset", (tmp_path / "healthy.mp4", tmp_path / "poisoned.mp4")
    curate(output, *inputs, extra=poisoned)
    assert len(rows(output, "videos")) == 1

    monkeypatch.setenv(fast_engines.CURED, "1")
    words = command(output, *inputs, extra=(*poisoned, "--retry-failed"))
    retry = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL)
    store = LocalStore(str(output))
    while retry.poll() is None and failed_units(store) != [False, False]:
        time.sleep(0.01)
    retry.kill()
    retry.wait()
    curate(output, *inputs, extra=poisoned)
    assert len(rows(output, "videos")) == 2
    assert "nothing to do" in curate(output, *inputs, extra=poisoned).stdout


def failed_units(store: LocalStore) -> list[bool] | None:
    """Return of every unit whether it failed; None while a job is replacing one."""
    try:
        return [receipt.failed for receipt in read_receipts(store).values()]
    except FileNotFoundError:
        return None


def test_a_killed_worker_does_not_stop_the_run(videos, golden, tmp_path):
    """Two workers on Ray, and others in their place, make what one makes in its own process."""
    driver, killed = _start(tmp_path, videos, 2), 0
    while driver.poll() is None and killed < 2:
        for pid in children_of(driver.pid, "MapWorker")[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
                time.sleep(2)
        time.sleep(0.2)
    assert driver.wait(HANG_S) == 0
    assert killed == 2
    assert content(tmp_path) == content(golden)


def children_of(root: int, name: str) -> list[int]:
    """Return the descendants of a process whose command line holds the name."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().split(")")[1].split()[1]
                )
                names[int(entry.name)] = (entry / "cmdline").read_text()
            except OSError:
                continue
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return [pid for pid in sorted(family) if name in names.get(pid, "")]


def test_an_interrupt_says_how_to_go_on(videos, golden, tmp_path):
    driver = _start(tmp_path, videos, 1, stderr=subprocess.PIPE, text=True)
    assert driver.stderr is not None
    for line in driver.stderr:  # in the middle: some videos are identified, none is observed
        if line.startswith("identify:"):
            break
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=HANG_S)
    assert driver.returncode == 130, said
    assert "run the same command again to go on" in said
    curate(tmp_path, videos)
    assert content(tmp_path) == content(golden)


def test_a_full_disk_ends_the_run_with_the_path_and_leaves_nothing_half_done(
    videos, golden, tmp_path
):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here: needs root")
    try:
        done = curate(disk / "dataset", videos, code=2)
        assert "No space left on device" in done.stderr
        assert str(disk / "dataset" / "units") in done.stderr
        assert "Traceback" not in done.stderr
        assert not list(disk.rglob("*.tmp-*"))
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        curate(disk / "dataset", videos)
        assert content(disk / "dataset") == content(golden)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
