"""A save that is killed, dies, or finds the disk full loses no checkpoint."""

import io
import logging
import os
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from distributed import Team
from tiny_engine import Training, newest, save_twice

from trainer.distributed.zero import ZeroConfig
from trainer.saving.checkpoint import newest_intact
from trainer.saving.complete import (
    COMPLETE,
    FAULT,
    POINTER,
    find_newest,
    read_json,
    set_aside_after,
)

ZERO = ZeroConfig(2, precision="fp32")
BOUNDARIES = [
    *("partial made", "deepspeed file 1", "deepspeed file 2", "random state written"),
    *("ema written", "staged state.json", "state written", "hashed", f"staged {COMPLETE}"),
    *("complete written", "published", f"staged {POINTER}", "pointer written"),
    *("hidden for removal", "purged one"),
]


@pytest.fixture(scope="module")
def saved(two, tmp_path_factory) -> Path:
    """A run with checkpoints of steps 1 and 2; tests copy it."""
    run = tmp_path_factory.mktemp("saved") / "run"
    two.run(save_twice, ZERO, run)
    return run


@pytest.fixture
def run(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run [1] a+b"))


def go_on_and_save(zero, run, in_background=False):
    """Train one step more and save; return the step of the checkpoint and the next."""
    training = Training(zero, seed=5)
    training.load(newest(run))
    step = training.step
    training.train(1)
    training.save(run, keep=2, in_background=in_background)
    return step, training.step


@pytest.mark.deepspeed
@pytest.mark.faults
def test_a_kill_at_any_boundary_of_a_save_loses_no_checkpoint(one, saved, tmp_path):
    seed = tmp_path / "seed"
    one.run(save_twice, ZERO, seed)
    kills = [(name, False) for name in BOUNDARIES]
    kills += [(name, True) for name in ("deepspeed file 2", "ema written", "hashed")]
    runs = [(name, tmp_path / f"{number}") for number, (name, _) in enumerate(kills)]
    for (name, run), (_, in_background) in zip(runs, kills, strict=True):
        shutil.copytree(seed, run)
        victim = Team(1, environment={FAULT: name})
        assert victim.run(go_on_and_save, ZERO, run, in_background) == ["died"], name
        assert victim.stop() == [-9]
    for name, run in runs:
        late = BOUNDARIES.index(name) >= BOUNDARIES.index("published")
        assert one.run(go_on_and_save, ZERO, run) == [(3, 4) if late else (2, 3)], name
        left = sorted(os.listdir(run / "checkpoints"))
        assert left == [f"step-{step:08d}" for step in ((3, 4) if late else (2, 3))]
        assert read_json(run / POINTER)["checkpoint"] == left[-1]


@pytest.mark.deepspeed
@pytest.mark.faults
def test_a_process_that_dies_in_a_save_ends_the_others_without_a_checkpoint(run):
    victims = Team(2, timeout_s=20)
    start = time.monotonic()
    answers = victims.run(save_where_one_dies, ZERO, run)
    assert answers[1] == "died"
    assert "RuntimeError" in answers[0] or "OSError" in answers[0], answers[0]
    assert time.monotonic() - start < 200  # 20 s of waiting, and not for ever
    victims.stop()
    assert newest(run).name == "step-00000002"


def save_where_one_dies(zero, run):
    training = Training(zero)
    training.train(3)
    if torch.distributed.get_rank() == 1:
        os.environ[FAULT] = "deepspeed file 1"
    try:
        training.save(run)
    except (OSError, RuntimeError) as error:
        return repr(error)
    return "saved"


def save_on_a_full_disk(zero, run, full_rank, limit, in_background):
    """Let one process write no file larger than `limit`; return the error, then save again."""
    training = Training(zero)
    training.train(3)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    if torch.distributed.get_rank() == full_rank:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        training.save(run, in_background=in_background)
        message = "no error"
    except OSError as error:
        message = str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    torch.distributed.barrier()
    between = sorted(os.listdir(run / "checkpoints"))
    torch.distributed.barrier()
    return message, between, training.save(run).name


@pytest.mark.deepspeed
def test_a_full_disk_in_one_process_is_an_error_in_all_and_loses_nothing(two, run):
    two.run(ignore_limit_signal)
    tries = [(0, 50_000), (1, 50_000), (0, 1_000), (1, 6_000), (1, 7_000)]
    tries = [(*each, False) for each in tries] + [(1, 50_000, True), (0, 1_000, True)]
    for full_rank, *how in tries:
        for message, between, name in two.run(save_on_a_full_disk, ZERO, run, full_rank, *how):
            assert "step 3 was not saved, the earlier ones are untouched" in message
            assert f"process {full_rank}: " in message
            assert between == ["step-00000001", "step-00000002"]
            assert name == "step-00000003"
        shutil.rmtree(newest(run))


@pytest.mark.deepspeed
def test_later_checkpoints_are_kept_until_a_new_one_is_complete(one, run):
    before = (run / "checkpoints" / "step-00000002" / "state.json").read_bytes()
    [aside] = set_aside_after(run, 1)
    assert newest(run).name == "step-00000001"
    assert (aside / "state.json").read_bytes() == before
    assert one.run(go_on_and_save, ZERO, run) == [(1, 2)]
    assert sorted(os.listdir(run / "checkpoints")) == ["step-00000001", "step-00000002"]


@pytest.mark.deepspeed
def test_a_flipped_bit_falls_back_to_the_checkpoint_before(two, run):
    [file] = (run / "checkpoints" / "step-00000002").glob("ema-00001*")
    flip_a_bit(file)
    for name, said in two.run(find_intact, run):
        assert name == "step-00000001"
        assert not said or f"{file} is not the file that was saved" in said
    [file] = (run / "checkpoints" / "step-00000001").glob("state.json")
    flip_a_bit(file)
    for name, said in two.run(find_intact, run):
        assert name == "none"
        assert f"none of the checkpoints in {run / 'checkpoints'} can be used" in said


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def find_intact(run):
    """Return the checkpoint's name and what was said on the way."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger("trainer").addHandler(handler)
    try:
        found = newest_intact(run)
        return found and found.name, said.getvalue()
    except ValueError as error:
        return "none", str(error)
    finally:
        logging.getLogger("trainer").removeHandler(handler)


@pytest.mark.deepspeed
def test_files_have_the_mode_that_the_umask_gives(saved):
    modes = {file.stat().st_mode & 0o777 for file in saved.rglob("*") if file.is_file()}
    assert modes == {0o666 & ~current_umask()}


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def ignore_limit_signal():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


@pytest.mark.deepspeed
def test_only_the_newest_are_kept_and_a_step_may_be_saved_again(one, run):
    assert one.run(save_three, ZERO, run)[0] == ["step-00000002", "step-00000003"]
    set_aside_after(run, 2)
    assert newest(run).name == "step-00000002"
    set_aside_after(run, 0)
    assert find_newest(run) is None


def save_three(zero, run):
    training = Training(zero)
    for step in (1, 1, 2, 3):
        training.train(step - training.step)
        training.save(run, keep=2)
    return sorted(os.listdir(run / "checkpoints"))


@pytest.mark.deepspeed
@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (None, "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
        (b"[1]", "must hold a JSON object, got list"),
        (b'{"checkpoint": "../../etc"}', "names no checkpoint"),
        (b'{"checkpoint": "step-00000009"}', "names step-00000009, which is not complete"),
    ],
)
def test_a_pointer_that_is_of_no_use_is_told_and_not_needed(run, caplog, content, warning):
    (run / POINTER).unlink()
    if content is not None:
        (run / POINTER).write_bytes(content)
    assert newest(run).name == "step-00000002"
    assert warning in caplog.text


@pytest.mark.deepspeed
@pytest.mark.parametrize("damage", ["no marker", "shorter", "missing", "added"])
def test_a_partial_checkpoint_is_told_and_passed_over(run, caplog, damage):
    damaged = run / "checkpoints" / "step-00000002"
    file = sorted(damaged.glob("*.pt"))[0]
    if damage == "no marker":
        (damaged / COMPLETE).unlink()
    elif damage == "shorter":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "missing":
        file.unlink()
    else:
        (damaged / "extra.pt").write_bytes(b"")
    assert newest(run).name == "step-00000001"
    assert "looking for an older one" in caplog.text
    assert f"{POINTER} names step-00000002, which is not complete" in caplog.text


def test_a_run_without_a_checkpoint_has_none(tmp_path, caplog):
    assert find_newest(tmp_path) is None
    assert not caplog.records
    (tmp_path / POINTER).write_text('{"checkpoint": "step-00000001"}')
    assert find_newest(tmp_path) is None
    assert "not complete" in caplog.text
