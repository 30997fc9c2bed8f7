"""What a run logs is whole, appears once per step after a resume, and holds no secret."""

import json
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trainer.measures.metrics import (
    LogConfig,
    RunLog,
    held_out_scalars,
    scrub,
    scrubbed,
    truncate_metrics,
)
from trainer.measures.speed import Meter, ProgressBar, Smoothed, peak_flops

CPU = torch.device("cpu")


def _lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _board(folder, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_a_resumed_run_appends_without_logging_a_step_twice(tmp_path):
    with RunLog(tmp_path, LogConfig(every=2)) as log:
        for step in range(1, 6):
            log.scalars(step, {"loss/total": torch.tensor(float(step))})
    with RunLog(tmp_path, LogConfig(every=2), step=3) as log:
        for step in range(4, 7):
            log.scalars(step, {"loss/total": step / 10})
    expected = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 0.4), (5, 0.5), (6, 0.6)]
    assert [(row["step"], row["loss/total"]) for row in _lines(tmp_path)] == expected
    assert _board(tmp_path, "loss/total") == pytest.approx(np.array(expected), rel=1e-6)
    lines = (tmp_path / "metrics.taken-back.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [4, 5]


def test_a_run_that_starts_over_keeps_nothing_of_the_one_before(tmp_path):
    for value in (1.0, 2.0):
        with RunLog(tmp_path, LogConfig()) as log:
            log.scalars(0, {"validation/loss_mean": value})
    assert [row["validation/loss_mean"] for row in _lines(tmp_path)] == [2.0]
    assert _board(tmp_path, "validation/loss_mean") == [(0, 2.0)]


def test_what_was_logged_is_on_disk_before_the_run_ends(tmp_path):
    log = RunLog(tmp_path, LogConfig(every=100))
    log.scalars(1, {"loss/total": 0.5})
    log.message("saved step 1")
    assert _lines(tmp_path) == [{"step": 1, "loss/total": 0.5}]
    assert (tmp_path / "train.log").read_text().endswith("Z  saved step 1\n")
    log.close()
    log.close()


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 1}\n{"step": 2, "a": 2}\n{"step": 3, "a"')
    truncate_metrics(path, 9)
    assert path.read_text() == '{"step": 1, "a": 1}\n{"step": 2, "a": 2}\n'


def test_numbers_that_json_lacks_are_null_and_the_line_stays_json(tmp_path):
    with RunLog(tmp_path, LogConfig()) as log:
        log.scalars(1, {"loss/total": float("nan"), "grad_norm": torch.tensor(float("inf"))})
    assert _lines(tmp_path) == [{"step": 1, "loss/total": None, "grad_norm": None}]


def test_an_accumulator_changed_later_does_not_change_what_was_logged(tmp_path):
    total = torch.tensor(1.0, requires_grad=True)
    with RunLog(tmp_path, LogConfig()) as log:
        log.scalars(1, {"loss/total": total})
        with torch.no_grad():
            total += 1
    assert _lines(tmp_path)[0]["loss/total"] == 1.0


def test_other_ranks_write_nothing(tmp_path, capsys):
    with RunLog(tmp_path / "run", LogConfig(), rank=1) as log, ProgressBar(2, rank=1) as bar:
        log.scalars(1, {"loss/total": 1.0})
        log.message("hello")
        log.picture(1, "strip", np.zeros((4, 4, 3), np.uint8))
        bar.advance(1.0)
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().err == ""


def test_a_picture_is_seen_in_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunLog(tmp_path, LogConfig()) as log:
        log.picture(7, "validation/strip", np.zeros((8, 24, 3), np.uint8))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    picture = events.Images("validation/strip")[0]
    assert (picture.step, picture.width, picture.height) == (7, 24, 8)


def test_no_secret_reaches_a_log(tmp_path):
    settings = {
        "data": {"path": "s3://key:word@host/samples?signature=abc", "api_key": "abc"},
        "hf_token": "hf_abcdefgh1234",
        "num_tokens": 512,
    }
    assert scrubbed(settings) == {
        "data": {"path": "s3://host/samples", "api_key": "***"},
        "hf_token": "***",
        "num_tokens": 512,
    }
    assert scrub("failed with hf_abcdefgh1234 at https://a/b?X-Sig=1 now") == (
        "failed with *** at https://a/b now"
    )
    with RunLog(tmp_path, LogConfig()) as log:
        log.message("reading https://me:pw@host/x?token=1")
    assert "pw" not in (tmp_path / "train.log").read_text()


def test_missing_wandb_is_said_plainly(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="wandb is not installed; run `pip install wandb`"):
        RunLog(tmp_path, LogConfig(wandb_project="characters"))


def test_wandb_gets_the_same_numbers_and_continues_its_run(tmp_path, monkeypatch):
    started, logged = [], []
    run = SimpleNamespace(log=lambda row, step: logged.append((step, row)), finish=lambda: None)
    fake = SimpleNamespace(init=lambda **given: started.append(given) or run)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for step in (0, 1):
        with RunLog(
            tmp_path, LogConfig(wandb_project="p"), step=step, settings={"token": "x", "lr": 1}
        ) as log:
            log.scalars(step + 1, {"loss/total": 1.0})
    assert started[0]["id"] == started[1]["id"]
    assert started[0]["config"] == {"token": "***", "lr": 1}
    assert logged == [(1, {"loss/total": 1.0}), (2, {"loss/total": 1.0})]


@pytest.mark.parametrize("settings", [{"every": 0}, {"peak_tflops": -1.0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match="got"):
        LogConfig(**settings)


def test_held_out_losses_are_named_by_sigma():
    assert held_out_scalars({0.1: 1.0, 0.9: 3.0}) == {
        "validation/loss_sigma_0.1": 1.0,
        "validation/loss_sigma_0.9": 3.0,
        "validation/loss_mean": 2.0,
    }


def test_waiting_and_computing_are_told_apart():
    meter = Meter(CPU, peak_tflops=0.001)
    for _ in range(4):
        with meter.waiting():
            time.sleep(0.03)
        time.sleep(0.01)
        meter.step(tokens=100, flops=2e6)
    read = meter.read()
    assert 0.55 < read["speed/data_wait"] < 0.95
    assert read["speed/tokens_per_s"] == pytest.approx(100 / read["speed/step_s"])
    assert read["speed/tflops"] == pytest.approx(2e-6 / read["speed/step_s"])
    assert read["speed/mfu"] == pytest.approx(read["speed/tflops"] / 0.001)
    assert read["memory/peak_gib"] > 0.05
    assert meter.read() == {}


def test_mfu_is_shown_only_where_the_peak_is_known(monkeypatch):
    meter = Meter(CPU)
    meter.step(1, 1.0)
    assert "speed/mfu" not in meter.read()
    for name, tflops in {
        "NVIDIA H100 80GB HBM3": 989,
        "NVIDIA H100 PCIe": 756,
        "NVIDIA A100-SXM4-80GB": 312,
        "NVIDIA GeForce RTX 4090": 165,
    }.items():
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device, name=name: name)
        assert peak_flops(torch.device("cuda")) == tflops * 1e12
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "Abacus")
    assert peak_flops(torch.device("cuda")) is None


def test_progress_is_told_in_lines_where_there_is_no_terminal(capsys):
    with ProgressBar(5, step=1, every=2) as bar:
        for _ in range(4):
            bar.advance(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["2/5", "4/5", "5/5"]
    assert "loss 0.5000" in lines[0]
    assert lines[-1].endswith("0:00:00 left")


def test_smoothing_has_no_bias_at_its_start_and_passes_over_nan():
    mean = Smoothed(0.9)
    assert mean.value is None
    for value in (2.0, float("nan"), 2.0):
        mean.add(value)
    assert mean.value == pytest.approx(2.0)
