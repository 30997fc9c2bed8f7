"""A checkpoint is complete or not there, goes on exactly, and runs no code."""

import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from distributed import Team
from patience import works_less_than
from safetensors.torch import load_file
from tiny_engine import Training, newest, save_twice

from trainer.distributed.zero import ZeroConfig
from trainer.saving.checkpoint import check_same
from trainer.saving.complete import COMPLETE, describe, listed_files, read_json, write_json
from trainer.saving.safe_load import check_pickle

STAGES = [ZeroConfig(stage, precision="fp32", persist_elements=100) for stage in (0, 1, 2, 3)]
OTHERS = [
    ZeroConfig(2, precision="bf16"),
    ZeroConfig(3, precision="autocast"),
    ZeroConfig(3, "optimizer+parameters", "fp32"),
]


@pytest.fixture(scope="module")
def saved(two, tmp_path_factory) -> Path:
    """A run with checkpoints of steps 1 and 2; tests copy it."""
    run = tmp_path_factory.mktemp("saved") / "run"
    two.run(save_twice, STAGES[2], run)
    return run


@pytest.fixture
def run(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run [1] a+b"))


def resumed(zero, run):
    """Train 4 at once; train 2, save, go on with a fresh engine. Are both the same to the bit?"""
    whole = Training(zero)
    rows = whole.train(4)
    before = Training(zero)
    before.train(2)
    folder = before.save(run)
    draw = torch.rand(())
    after = Training(zero, seed=5)  # other weights, which the checkpoint replaces
    state = after.load(folder)
    assert torch.equal(draw, torch.rand(())), "random states go on"
    assert state["note"] == "mine"
    same = after.train(2) == rows[2:]
    ours, theirs = after.weights(), whole.weights()
    same = same and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert after.ema is not None
    assert whole.ema is not None
    shares = zip(after.ema.shares.values(), whole.ema.shares.values(), strict=True)
    return same and all(torch.equal(ours, theirs) for ours, theirs in shares)


def go_on(zero, run, steps, lora=0, seed=5):
    training = Training(zero, seed=seed, lora=lora)
    training.load(newest(run))
    return training.train(steps)


def losses(zero, steps, lora=0):
    return Training(zero, lora=lora).train(steps)


def refusal(zero, folder, **options):
    """Return the message of the ValueError, and whether the engine is as it was."""
    training = Training(zero)
    before = training.weights()
    try:
        training.load(folder, **options)
    except ValueError as error:
        after = training.weights()
        return str(error), all(torch.equal(before[name], after[name]) for name in before)
    return "no error", False


def quick_refusal(zero, folder):
    with works_less_than(20):
        return refusal(zero, folder)


def trace(rows):
    return torch.tensor([row["loss"] for row in rows])


@pytest.mark.deepspeed
def test_a_resumed_training_is_equal_to_the_bit(one, two, tmp_path):
    for number, zero in enumerate([*STAGES, *OTHERS]):
        for team in (two,) if zero in OTHERS else (one, two):
            run = tmp_path / f"{number}-{team.world_size}"
            assert all(team.run(resumed, zero, run)), (zero, team.world_size)


@pytest.mark.deepspeed
def test_what_is_written_in_the_background_is_of_the_step_that_was_saved(two, tmp_path):
    for number, zero in enumerate((STAGES[0], STAGES[3], OTHERS[0])):
        run = tmp_path / f"{number}"
        two.run(saved_both_ways, zero, run)
        waited, behind = newest(run / "waited"), newest(run / "behind")
        assert listed_files(waited).keys() == listed_files(behind).keys()
        for file in listed_files(waited):
            assert_same(content_of(waited / file), content_of(behind / file), f"{zero} {file}")


def saved_both_ways(zero, run):
    """Save a checkpoint, and the same while training goes on."""
    training = Training(zero)
    training.train(2)
    training.save(run / "waited")
    saving = training.begin_save(run / "behind", 3, frozen=True, in_background=True)
    training.train(2)
    saving.finish()


def content_of(file):
    if file.suffix == ".json":
        return read_json(file)
    if file.suffix == ".safetensors":
        return load_file(file)
    return torch.load(file, weights_only=False)


def assert_same(ours, theirs, where):
    """Compare trees of tensors; of other objects, the types."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), where
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            assert_same(ours[key], theirs[key], f"{where} {key}")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), where
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other, where)
    elif isinstance(ours, (int, float, str)):
        assert ours == theirs, where


@pytest.mark.deepspeed
def test_another_number_of_processes_goes_on_with_the_same_losses(one, two, tmp_path):
    for zero in STAGES:
        golden = trace(one.run(losses, zero, 4)[0])[2:]
        for before, after in ((one, two), (two, one)):
            run = tmp_path / f"{zero.stage}-{before.world_size}"
            before.run(save_twice, zero, run)
            for rows in after.run(go_on, zero, run, 2):
                torch.testing.assert_close(trace(rows), golden, rtol=0, atol=2e-6)
            assert sorted(os.listdir(run / "checkpoints")) == ["step-00000001", "step-00000002"]


@pytest.mark.deepspeed
@pytest.mark.slow
def test_three_processes_go_on_for_four(tmp_path):
    traces = []
    for size in (4, 3):
        team = Team(size)
        try:
            [first, *others] = team.run(two_and_two, STAGES[2], tmp_path)
        finally:
            team.stop()
        assert all(rows == first for rows in others)
        traces.append(trace(first))
    torch.testing.assert_close(traces[1], traces[0], rtol=0, atol=2e-6)


def two_and_two(zero, run):
    """Train 2 steps of a batch that 3 and 4 share, save, train 2 more; or go on from there."""
    training = Training(zero, batch=12)
    if (run / "checkpoints").exists():
        training.load(newest(run))
    else:
        training.train(2)
        training.save(run)
    return training.train(2)


@pytest.mark.deepspeed
def test_what_is_frozen_also_comes_to_another_number_of_processes(one, two, tmp_path):
    for zero in (STAGES[1], STAGES[3]):
        golden = trace(one.run(losses, zero, 3, 4)[0])[2:]
        run = tmp_path / f"{zero.stage}"
        two.run(save_twice, zero, run, 4)
        torch.testing.assert_close(
            trace(one.run(go_on, zero, run, 1, 4)[0]), golden, rtol=0, atol=2e-6
        )


@pytest.mark.deepspeed
def test_moments_of_eight_bits_go_on_to_the_bit_and_are_not_converted(one, two, tmp_path):
    pytest.importorskip("bitsandbytes")
    for stage in (0, 2):
        zero = ZeroConfig(stage, precision="fp32", optimizer="adamw8bit")
        assert all(two.run(resumed, zero, tmp_path / f"{stage}")), stage
    rows, plain = (
        trace(one.run(losses, ZeroConfig(0, precision="fp32", optimizer=name), 4)[0])
        for name in ("adamw8bit", "adamw")
    )
    assert not torch.equal(rows, plain)
    torch.testing.assert_close(rows, plain, rtol=0.02, atol=0)
    message, untouched = one.run(refusal, zero, newest(tmp_path / "2"))[0]
    assert "moments of eight bits cannot be converted" in message
    assert untouched


@pytest.mark.deepspeed
def test_a_frozen_backbone_need_not_be_saved(one, two, tmp_path):
    for zero in (STAGES[1], STAGES[3]):
        golden = trace(two.run(losses, zero, 3, 4)[0])[2:]
        run = tmp_path / f"{zero.stage}"
        two.run(save_twice, zero, run, 4, False)
        whole = tmp_path / f"{zero.stage}-whole"
        two.run(save_twice, zero, whole, 4)
        assert size_of(newest(run)) < 0.8 * size_of(newest(whole))
        for team in (two, one):  # the same base, by its seed
            rows = team.run(go_on, zero, run, 1, 4, 0)[0]
            torch.testing.assert_close(trace(rows), golden, rtol=0, atol=2e-6)


def size_of(folder):
    return sum(file.stat().st_size for file in folder.iterdir())


@pytest.mark.deepspeed
def test_stages_1_and_2_replace_each_other_and_no_others_do(two, run):
    rows = two.run(go_on, STAGES[1], run, 2)[0]
    golden = trace(two.run(losses, STAGES[2], 4)[0])[2:]
    torch.testing.assert_close(trace(rows), golden, rtol=0, atol=2e-6)
    for zero in (STAGES[0], STAGES[3], ZeroConfig(2, precision="bf16")):
        message, untouched = two.run(refusal, zero, newest(run))[0]
        assert "only stages 1 and 2 can replace each other" in message
        assert untouched


@pytest.mark.deepspeed
def test_a_changed_file_is_refused_before_the_engine_reads_it(one, run):
    folder = newest(run)
    file = folder / "mp_rank_00_model_states.pt"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(bytes(content))
    message, untouched = one.run(refusal, STAGES[2], folder)[0]
    assert f"{file} is not the file that was saved" in message
    assert untouched


class Payload:
    """A pickle that runs `touch` when it is read."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def forge(folder, file):
    """Make COMPLETE.json say that the changed file is the right one."""
    complete = read_json(folder / COMPLETE)
    complete["files"][file.name] = describe(file)
    write_json(folder / COMPLETE, complete)


@pytest.mark.deepspeed
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(one, run, tmp_path):
    marker = tmp_path / "marker"
    folder = newest(run)
    file = folder / "zero_pp_rank_1_mp_rank_00_optim_states.pt"
    torch.save({"optimizer_state_dict": Payload(marker)}, file)
    forge(folder, file)
    message, untouched = one.run(quick_refusal, STAGES[2], folder)[0]
    assert str(file) in message
    assert "posix.system" in message
    assert untouched
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["plain pickle", "nested", "bomb", "text", "empty"])
def test_what_is_no_checkpoint_of_ours_is_refused_without_reading_it(tmp_path, kind):
    marker, file = tmp_path / "marker", tmp_path / "x.pt"
    if kind == "plain pickle":
        file.write_bytes(pickle.dumps(Payload(marker)))
    elif kind == "nested":
        torch.save({"a": [{"b": Payload(marker)}], "c": torch.ones(2)}, file)
    elif kind == "bomb":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x/data.pkl", bytes(300 * 2**20))
    else:
        file.write_bytes(b"hello" if kind == "text" else b"")
    with pytest.raises(ValueError, match=str(file)):
        check_pickle(file)
    assert not marker.exists()


@pytest.mark.deepspeed
def test_a_list_of_files_may_not_leave_the_folder(run):
    folder = newest(run)
    complete = read_json(folder / COMPLETE)
    complete["files"]["../state.json"] = {"size_bytes": 1, "sha256": ""}
    write_json(folder / COMPLETE, complete)
    assert newest(run).name == "step-00000001"


@pytest.mark.deepspeed
def test_a_checkpoint_of_another_model_is_refused_with_the_keys(one, run):
    model = json.loads((newest(run) / "state.json").read_text())["model"]
    same = {"model": {**model, "num_layers": 4}}
    message, untouched = one.run(refusal_of_other, STAGES[2], newest(run), same)[0]
    assert "model.num_layers: 2 -> 4)" in message
    assert "ffn_dim" not in message
    assert untouched
    check_same({"size": [1, 2]}, {"size": (1, 2)})


def refusal_of_other(zero, folder, same):
    return refusal(zero, folder, same=same)


@pytest.mark.deepspeed
def test_state_is_json(saved):
    state = json.loads((newest(saved) / "state.json").read_text())
    assert state["step"] == 2
    assert state["engine"]["world_size"] == 2
    assert set(state["engine"]["versions"]) == {"deepspeed", "diffusers", "python", "torch"}
