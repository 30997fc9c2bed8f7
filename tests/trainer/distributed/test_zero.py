"""Every ZeRO stage, precision and number of processes trains the same."""

import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from patience import HANG_S
from tiny_engine import Training

from trainer.distributed.optimizer import OptimizerConfig, lr_at, parameter_groups
from trainer.distributed.zero import ZeroConfig, engine_config, micro_steps

FP32 = {stage: ZeroConfig(stage, precision="fp32", persist_elements=100) for stage in (0, 1, 2, 3)}
AUTOCAST = [ZeroConfig(stage, precision="autocast") for stage in (0, 1, 2, 3)]
BF16 = [ZeroConfig(stage, precision="bf16", persist_elements=100) for stage in (1, 2, 3)]
OFFLOADED = [
    ZeroConfig(2, "optimizer", "fp32"),
    ZeroConfig(3, "optimizer+parameters", "fp32", persist_elements=0),
]
# Numbers of bf16 between 2 and 4, where the losses are, lie 2^-6 apart: rounding moves one by 2^-7.
LOW_PRECISION = 2**-7


@pytest.fixture(scope="module")
def golden(one):
    """Five updates of one process without ZeRO."""
    return one.run(losses, FP32[0])[0]


def losses(zero, steps=5):
    return Training(zero).train(steps)


def spoiled(zero):
    """Return whether a bad loss in one process changed anything, and how training went on."""
    training = Training(zero)
    training.train(1)
    before = training.weights()
    bad = training.train(1, spoiled=1)[0]
    after = training.weights()
    same = all(torch.equal(before[name], after[name]) for name in before)
    return same, bad, training.train(2), training.engine.skipped_steps


def average(zero):
    """Return whether the model has the averaged weights inside `swapped`, and its own after."""
    training = Training(zero)
    training.train(2)
    own, loss = training.weights(), float(training.loss_of(9).detach())
    assert training.ema is not None
    with training.ema.swapped():
        averaged, other = training.weights(), float(training.loss_of(9).detach())
    back = training.weights()
    same = all(torch.equal(own[name], back[name]) for name in own)
    return averaged, same, loss, other, float(training.loss_of(9).detach())


def trace(rows, key):
    return torch.tensor([row[key] for row in rows])


@pytest.mark.deepspeed
def test_all_stages_and_numbers_of_processes_have_the_same_losses(one, two, golden):
    assert golden[-1]["loss"] < golden[0]["loss"]
    for zero in [*FP32.values(), *OFFLOADED]:
        for team in (one, two):
            rows = team.run(losses, zero)[0]
            for key in ("loss", "norm", "lr"):
                torch.testing.assert_close(trace(rows, key), trace(golden, key), rtol=0, atol=2e-6)


@pytest.mark.deepspeed
def test_low_precision_trains_alike_in_all_stages(two, golden):
    for zero in [*AUTOCAST, *BF16]:
        rows = two.run(losses, zero)[0]
        assert all(row["applied"] for row in rows)
        gap = (trace(rows, "loss") - trace(golden, "loss")).abs().max()
        assert gap < LOW_PRECISION, (zero, gap)


@pytest.mark.deepspeed
def test_a_loss_that_is_not_a_number_on_one_process_is_skipped_by_all(two):
    for zero in [*FP32.values(), AUTOCAST[2], *BF16, *OFFLOADED]:
        results = two.run(spoiled, zero)
        assert [result[0] for result in results] == [True, True], zero
        for _, bad, rest, skipped in results:
            assert not bad["applied"]
            assert bad["norm"] == math.inf
            assert skipped == 1
            assert rest[0]["lr"] == bad["lr"]  # the schedule waited
            assert all(row["applied"] and math.isfinite(row["loss"]) for row in rest)


@pytest.mark.deepspeed
def test_the_average_can_be_tried_in_every_stage(one, two):
    expected = one.run(average, FP32[0])[0]
    for zero in FP32.values():
        for averaged, same, loss, other, again in two.run(average, zero):
            assert same
            assert loss == again
            assert loss != other
            for name, tensor in expected[0].items():
                torch.testing.assert_close(averaged[name], tensor, rtol=0, atol=2e-6)


@pytest.mark.deepspeed
def test_one_process_needs_neither_a_launcher_nor_a_compiler(tmp_path):
    code = (
        "from trainer.distributed.zero import init_process_group; import torch;"
        "print(init_process_group()); x = torch.ones(2); torch.distributed.all_reduce(x); print(x)"
    )
    empty = {"PATH": str(tmp_path), "HOME": str(tmp_path), "TORCH_EXTENSIONS_DIR": str(tmp_path)}
    environment = {n: v for n, v in os.environ.items() if n not in ("RANK", "WORLD_SIZE")} | empty
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stderr
    assert "Process(rank=0, world_size=1, device=device(type='cpu')" in done.stdout
    assert not list(tmp_path.rglob("*.so"))


def test_a_batch_is_split_or_the_allowed_numbers_are_named():
    assert micro_steps(32, 2, 4) == 4
    with pytest.raises(ValueError, match=r"5 processes.*\[1, 2, 3, 4, 6, 12\]"):
        micro_steps(12, 1, 5)
    with pytest.raises(ValueError, match="none"):
        micro_steps(9, 2, 1)


def test_the_rate_warms_up_then_stays_or_falls():
    constant = OptimizerConfig(lr=1.0, warmup_steps=3)
    assert [lr_at(constant, step, 10) for step in (0, 1, 2, 3, 9)] == [0.25, 0.5, 0.75, 1, 1]
    cosine = OptimizerConfig(lr=1.0, warmup_steps=0, schedule="cosine", min_lr_share=0.2)
    assert lr_at(cosine, 0, 10) == 1
    assert lr_at(cosine, 5, 10) == pytest.approx(0.6)
    assert lr_at(cosine, 10, 10) == lr_at(cosine, 99, 10) == pytest.approx(0.2)


def test_only_trainable_matrices_decay():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2), torch.nn.Linear(2, 2))
    model[2].requires_grad_(False)
    groups = parameter_groups(
        model, OptimizerConfig(new_modules_lr_scale=4), lambda name: name[0] == "1"
    )
    found = {(len(g["params"]), g["decayed"], g["lr_scale"]) for g in groups}
    assert found == {(1, True, 1.0), (1, False, 1.0), (2, False, 4)}
    with pytest.raises(ValueError, match="no trainable parameter"):
        parameter_groups(model.requires_grad_(False), OptimizerConfig())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stage": 1, "offload": "optimizer+parameters"}, r"zero\.stage >= 3, got 1"),
        ({"stage": 0, "offload": "optimizer"}, r"zero\.stage >= 1, got 0"),
        ({"stage": 0, "precision": "bf16"}, "stage 0 keeps no fp32 copy"),
        ({"bucket_elements": 0}, r"zero\.bucket_elements must be from 1 to 1e\+12, got 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ZeroConfig(**settings)


@pytest.mark.parametrize("name", ["lr", "eps"])
def test_an_optimizer_needs_positive_numbers(name):
    with pytest.raises(ValueError, match=rf"optimizer\.{name} must be .*> 0, got 0"):
        replace(OptimizerConfig(), **{name: 0})


def test_buffers_are_no_larger_than_the_model():
    config = engine_config(ZeroConfig(3), OptimizerConfig(), 2, 3, 4, num_elements=1000)
    assert config["zero_optimization"]["reduce_bucket_size"] == 1000
    assert config["train_batch_size"] == 24
    assert "offload_optimizer" not in config["zero_optimization"]
