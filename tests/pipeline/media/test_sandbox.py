"""A call that kills its process costs only itself."""

import os
import signal
import time
from pathlib import Path

import pytest

from pipeline.media import sandbox
from pipeline.media.sandbox import Child, Died, SandboxConfig, StartFailed, resident_mib
from schemas.reasons import Failure

pytestmark = pytest.mark.slow  # each starts a process


def make_handler():
    def handler(argument, announce):
        announce("handling")
        return _ACTIONS[argument[0]](*argument[1:])

    return handler


def _exhaust() -> None:
    hoard = []
    while True:
        hoard.append(bytearray(os.urandom(1 << 20) * 16))


def _grow_past_address_space() -> None:
    bytearray(1 << 50)


def _be_killed(counter: Path, times: int) -> str:
    """End as if by the kernel or by Ray, the first `times` times."""
    before = counter.read_text() if counter.exists() else ""
    if len(before) < times:
        counter.write_text(before + "x")
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


_ACTIONS = {
    "killed": _be_killed,
    "echo": lambda value: value,
    "pid": os.getpid,
    "exit": os._exit,
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "sleep": time.sleep,
    "exhaust": _exhaust,
    "allocate": _grow_past_address_space,
    "raise": lambda: int("not a number"),
    "open": lambda path: Path(path).read_bytes(),
}


@pytest.fixture
def child():
    limits = SandboxConfig(deadline_s=5.0, memory_mib=400, deadline_per_video_s=0.0)
    child = Child(make_handler, limits)
    yield child
    child.close()


def test_its_modules_are_ours_wherever_we_are(child, other_checkout):
    assert child.call(("echo", "ours")) == "ours"


@pytest.mark.parametrize(
    ("argument", "failure", "says"),
    [
        (("exit", 3), Failure.CRASH, "exit code 3"),
        (("segfault",), Failure.CRASH, "SIGSEGV"),
        (("exhaust",), Failure.MEMORY, "400 allowed"),
        (("allocate",), Failure.MEMORY, "address space"),
        (("raise",), Failure.ERROR, "ValueError at test_sandbox.py"),
        (("open", "/no/such/file"), Failure.IO, "No such file"),
    ],
)
def test_a_dying_call_is_named_and_the_next_one_works(child, argument, failure, says):
    died = child.call(argument)
    assert isinstance(died, Died)
    assert died.failure == failure
    assert died.stage == "handling"
    assert says in died.detail
    assert child.call(("echo", "alive")) == "alive"


def test_a_call_whose_process_is_killed_from_outside_is_made_once_more(child, tmp_path):
    assert child.call(("killed", tmp_path / "first", 1)) == "survived"
    died = child.call(("killed", tmp_path / "always", 9))
    assert died == Died(Failure.CRASH, "handling", "SIGKILL")
    assert (tmp_path / "always").read_text() == "xx"


def make_nothing():
    raise ValueError("weights are missing: none of them is here")


def test_a_handler_that_cannot_be_built_ends_the_run_with_its_own_words():
    child = Child(make_nothing, SandboxConfig())
    with pytest.raises(StartFailed, match="weights are missing: none of them is here"):
        child.call(("echo", "alive"))


def make_large():
    hoard = os.urandom(1 << 20) * 500
    return lambda argument, announce: len(hoard)


def test_memory_is_counted_beyond_what_the_engines_take():
    child = Child(make_large, SandboxConfig(memory_mib=300, address_space_mib=0))
    assert child.call(None) == 500 << 20
    child.close()


@pytest.mark.slow
def test_a_call_that_waits_for_a_processor_gets_more_time(monkeypatch):
    """It sleeps, and a clock says that it works, as slowly as on a busy machine."""
    worked = iter(range(1, 10_000))
    monkeypatch.setattr(sandbox, "processor_s", lambda pid: 0.001 * next(worked))
    child = Child(make_handler, SandboxConfig(deadline_s=2.0, deadline_per_video_s=0.0))
    assert child.call(("sleep", 3.0)) is None
    started = time.monotonic()
    assert child.call(("sleep", 600.0)).failure == Failure.TIMEOUT
    assert 10.0 <= time.monotonic() - started < 300.0
    child.close()


def make_handler_slowly():
    time.sleep(2.5)
    return make_handler()


def test_a_slow_start_takes_nothing_from_the_first_call():
    child = Child(make_handler_slowly, SandboxConfig(deadline_s=4.0, deadline_per_video_s=0.0))
    assert child.call(("sleep", 2.5)) is None
    child.close()


def test_a_hanging_call_ends_at_the_deadline():
    child = Child(make_handler, SandboxConfig(deadline_s=1.0))
    started = time.monotonic()
    died = child.call(("sleep", 600))
    assert isinstance(died, Died)
    assert died.failure == Failure.TIMEOUT
    assert "sandbox.deadline_s" in died.detail
    assert time.monotonic() - started < 300
    child.close()


def test_longer_videos_get_more_time():
    child = Child(make_handler, SandboxConfig(deadline_s=1.0, deadline_per_video_s=1.0))
    assert child.call(("sleep", 2), seconds_of_video=30) is None
    child.close()


def test_one_process_serves_many_calls_and_is_replaced_after_its_share():
    child = Child(make_handler, SandboxConfig(calls=3))
    pids = [child.call(("pid",)) for _ in range(6)]
    assert len(set(pids[:3])) == 1
    assert len(set(pids[3:])) == 1
    assert pids[0] != pids[3]
    child.close()


def test_the_child_leaves_when_its_caller_is_killed(tmp_path: Path):
    caller = os.fork()
    if caller == 0:
        child = Child(make_handler, SandboxConfig())
        (tmp_path / "pid").write_text(str(child.call(("pid",))))
        child.call(("sleep", 120))
        os._exit(0)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    orphan = int((tmp_path / "pid").read_text())
    os.kill(caller, signal.SIGKILL)
    os.waitpid(caller, 0)
    for _ in range(100):
        if resident_mib(orphan) == 0:
            return
        time.sleep(0.1)
    pytest.fail(f"process {orphan} outlived its caller by 10 s")
