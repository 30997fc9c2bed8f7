"""The training command, as a user runs it: from a dataset to checkpoints and curves."""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from distributed import Team
from encoding import encode
from patience import HANG_S
from PIL import Image
from places import ROOT
from safetensors.torch import load_file
from tiny_dataset import write_dataset
from training_command import (
    SCRIPT,
    Outcome,
    arguments,
    metrics,
    pids_of,
    run_main,
    steps_of,
    wait_for,
)

from trainer import generate
from trainer.data.data_config import DataConfig
from trainer.export import export, export_adapter
from trainer.latents.encoding_plan import LatentsConfig
from trainer.sampling.model_folder import read_published
from trainer.saving.run_folder import LOCK


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), size=(96, 64), frames=9)


def train(one: Team, data: Path, run: Path, *extra: str, code: int = 0, **changes) -> str:
    """Train in the one, assert the exit code, return what was said."""
    [outcome] = one.run(run_main, arguments(data, run, *extra, **changes))
    assert outcome.code == code, outcome.errors
    return outcome.errors


@pytest.fixture(scope="module")
def run(one, data, tmp_path_factory) -> Path:
    """Four steps, saved and validated after two and four."""
    folder = tmp_path_factory.mktemp("run")
    train(one, data, folder, train__steps=4, checkpoint__every=2, validation__every=2)
    return folder


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    path = run / "checkpoints" / f"step-{step:08d}" / "mp_rank_00_model_states.pt"
    return torch.load(path, weights_only=False)["module"]


def test_a_run_holds_what_its_owner_looks_for(run):
    steps = [line for line in metrics(run) if "loss/total" in line]
    held_out = [line for line in metrics(run) if "validation/loss_mean" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert [line["step"] for line in held_out] == [0, 2, 4]
    assert {f"validation/loss_sigma_0.{n}" for n in range(1, 10)} <= held_out[0].keys()
    for line in steps:
        total = line["loss/diffusion"] + line["loss/reference"]
        assert line["loss/total"] == pytest.approx(total)
    shown = run / "validation" / "step-00000004"
    for folder in (shown, shown / "averaged"):
        files = sorted(path.suffix for path in folder.iterdir() if path.is_file())
        assert files == [".jpg", ".mp4"]
    assert list((run / "tensorboard").glob("events*"))
    assert "held-out loss" in (run / "train.log").read_text()
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["gap"] == 30


def test_the_averaged_weights_are_measured_beside_the_trained(run):
    lines = [line for line in metrics(run) if "validation_averaged/loss_mean" in line]
    trained = {line["step"]: line for line in metrics(run) if "validation/loss_mean" in line}
    assert [line["step"] for line in lines] == [2, 4]
    for line in lines:
        ours = [line[f"validation_averaged/loss_sigma_0.{n}"] for n in range(1, 10)]
        theirs = [trained[line["step"]][f"validation/loss_sigma_0.{n}"] for n in range(1, 10)]
        assert ours == pytest.approx(theirs, rel=0.5)
        assert ours != theirs


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(one, data, run, tmp_path):
    train(one, data, tmp_path, train__steps=2, validation__every=2)
    said = train(one, data, tmp_path, train__steps=4, validation__every=2)
    assert "going on after step 2" in said
    theirs = [line for line in metrics(run) if "loss/total" in line]
    ours = [line for line in metrics(tmp_path) if "loss/total" in line]
    for mine, whole in zip(ours, theirs, strict=True):
        assert {k: mine[k] for k in mine if "loss" in k} == {
            k: whole[k] for k in mine if "loss" in k
        }
    for name, value in weights(run, 4).items():
        assert torch.equal(weights(tmp_path, 4)[name], value), name


def test_a_checkpoint_in_the_background_is_that_of_a_run_that_waits(one, data, run, tmp_path):
    settings = {"checkpoint__background": "true", "checkpoint__every": 1, "validation__every": 2}
    train(one, data, tmp_path, train__steps=3, **settings)
    said = train(one, data, tmp_path, train__steps=4, **settings)
    assert "going on after step 3" in said
    for name, value in weights(run, 4).items():
        assert torch.equal(weights(tmp_path, 4)[name], value), name


def test_a_finished_run_has_nothing_to_do(one, data, run):
    before = (run / "metrics.jsonl").read_bytes()
    train(one, data, run, train__steps=4, checkpoint__every=2, validation__every=2)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_another_seed_trains_on_other_draws(one, data, run, tmp_path):
    train(one, data, tmp_path, train__steps=1, train__seed=1, validation__videos=0)
    assert metrics(tmp_path)[1]["loss/diffusion"] != metrics(run)[1]["loss/diffusion"]


@pytest.mark.parametrize(
    "change",
    [
        {"model__information_flow": "symmetric"},
        {"model__reference_noise": "shared", "model__reconstruction": "clean"},
        {"model__reference_text": "prompt", "model__emphasize_rope": "gap"},
        {"model__emphasize": "none", "model__gap": 1, "model__spatial_offset": "diagonal"},
        {"model__reconstruction": "other", "model__emphasize": "low_rank"},
        {"model__reconstruction": "self", "model__emphasize": "full", "data__references": 2},
        {"model__reconstruction": "video_timestep", "model__emphasize": "true"},
        {"data__references": 2, "model__checkpointing": 1, "flow__subject_weight": 1.0},
        {"model__checkpointing": 1, "model__checkpointing_keeps": "attention"},
        {"zero__precision": "autocast", "ema__decay": 0.9},
    ],
    ids=lambda change: ",".join(change),
)
def test_every_choice_of_the_method_trains_and_generates(one, data, tmp_path, change):
    train(one, data, tmp_path, train__steps=1, **change)
    assert list((tmp_path / "validation" / "step-00000001").glob("*.mp4"))


def test_adapters_train_while_the_backbone_stays_and_is_not_saved(one, data, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    settings = {"checkpoint__every": 1, "model__lora__rank": 2, "validation__videos": 0}
    train(one, data, whole, train__steps=2, **settings)
    before, after = weights(whole, 1), weights(whole, 2)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert any("lora_B" in name for name in changed)
    assert any("emphasize" in name for name in changed)
    assert not any("base_layer" in name for name in after)
    train(one, data, halves, train__steps=1, **settings)
    train(one, data, halves, train__steps=2, **settings)
    for name, value in after.items():
        assert torch.equal(weights(halves, 2)[name], value), name
    exported = [export(run, tmp_path / f"{run.name}-model") for run in (whole, halves)]
    saved = sum(value.numel() for value in after.values())
    assert exported[0].num_parameters == exported[1].num_parameters > saved
    files = export_adapter(whole, tmp_path / "her.safetensors", "diffusers", False, False, {})
    assert sum(len(load_file(file)) for file in files) == len(after)
    with pytest.raises(ValueError, match="exists: choose another name"):
        export_adapter(whole, files[0], "diffusers", False, False, {})
    export_adapter(whole, files[0], "kohya", False, True, {})
    files[0].write_bytes(b"mine")
    with pytest.raises(ValueError, match="exists: choose another name"):
        export_adapter(whole, files[0], "diffusers", False, True, {})


def test_latents_made_before_train_as_well(one, tmp_path):
    data = write_dataset(tmp_path / "data", size=(96, 64), frames=9)
    encode(data, DataConfig(buckets=("32x48x5",)))
    train(one, data, tmp_path / "run", train__steps=2, data__source="latents")
    assert [line["step"] for line in metrics(tmp_path / "run")][-1] == 2
    assert list((tmp_path / "run" / "validation" / "step-00000002").glob("*.mp4"))


def test_latents_give_the_losses_that_samples_give(one, tmp_path):
    data = write_dataset(tmp_path / "data", size=(96, 64), frames=9)
    encode(data, DataConfig(buckets=("32x48x5",)), LatentsConfig(number_type="float32"))
    changes = ("shrink", "rotation_degrees", "brightness", "contrast", "saturation", "background")
    unchanged = {f"data__augment__{name}": 0 for name in changes}
    same = {**unchanged, "data__random_start": "false", "validation__videos": 0, "log__every": 1}
    for source in ("samples", "latents"):
        train(one, data, tmp_path / source, train__steps=3, data__source=source, **same)
    ours, theirs = metrics(tmp_path / "latents"), metrics(tmp_path / "samples")
    assert len(ours) == len(theirs)
    for one_line, other in zip(ours, theirs, strict=True):
        losses = [name for name in other if "loss" in name or "reference" in name]
        assert losses
        # A sample is encoded alone or in its batch: the products of the codec round differently.
        assert {name: one_line[name] for name in losses} == pytest.approx(
            {name: other[name] for name in losses}, rel=1e-5
        )


def test_updates_that_are_not_finite_stop_the_run_with_its_samples(one, data, tmp_path):
    said = train(
        *(one, data, tmp_path),
        train__steps=9,
        code=2,
        optimizer__lr=100,
        optimizer__warmup_steps=0,
        optimizer__clip_norm=0,
        train__max_nonfinite=1,
        validation__videos=0,
    )
    assert "2 updates in a row had a loss or gradient that is not finite" in said
    assert "last saw samples " in said


def train_and_stop_while_agreeing(words: list[str]) -> Outcome:
    """Train, and get a signal just after the processes agreed that nobody was asked to stop."""
    from trainer.loop import Trainer

    agree = Trainer._agree

    def stopped_meanwhile(trainer: Trainer, *tally: Any) -> Any:
        agreed = agree(trainer, *tally)
        if trainer.counters.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return agreed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_agree", stopped_meanwhile)
        return run_main(words)


def test_a_stop_in_the_moment_of_agreeing_is_not_lost(one, data, tmp_path):
    words = arguments(data, tmp_path, train__steps=9, validation__videos=0)
    [outcome] = one.run(train_and_stop_while_agreeing, words)
    assert outcome.code == 0, outcome.errors
    assert [line["step"] for line in metrics(tmp_path) if "loss/total" in line] == [1, 2, 3]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]


def test_an_unreadable_clip_is_counted_and_named(one, tmp_path):
    data = write_dataset(tmp_path / "data", size=(96, 64), frames=9, broken={1: b"no video"})
    train(one, data, tmp_path / "run", train__steps=3, validation__videos=0)
    state = json.loads(next((tmp_path / "run").glob("checkpoints/*/state.json")).read_text())
    [broken] = state["unreadable"]
    assert metrics(tmp_path / "run")[-1]["step"] == 3
    said = train(*(one, data, tmp_path / "strict"), code=2, train__steps=3, data__max_skipped=0)
    assert broken in said
    assert "data.max_skipped allows 0" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data__buckets": "[480x832x81]"}, "480x832x81"),
        ({"model__text_dim": 32}, "takes text features of width 32, the encoder gives 64"),
        ({"model__pretrained": "/nowhere"}, "/nowhere"),
        ({"flow__shift": 5.0}, "validation.sampling.shift must equal flow.shift"),
        ({"model__speed": 3}, "speed"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be_are_named(one, data, tmp_path, change, message):
    assert message in train(one, data, tmp_path, code=2, train__steps=1, **change)
    assert not (tmp_path / "checkpoints").exists()


def test_a_missing_dataset_is_named(one, tmp_path):
    assert "no dataset at" in train(one, tmp_path / "nothing", tmp_path / "run", code=2)


def test_an_unknown_preset_is_named(one, tmp_path):
    [outcome] = one.run(run_main, ["--preset", "huge", "--data", "x", "--output", str(tmp_path)])
    assert outcome.code == 2
    assert "preset must be one of skyreels-v2-14b, tiny, wan-1.3b, " in (outcome.errors)


def test_an_output_that_cannot_be_written_is_named(one, data, tmp_path):
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in train(one, data, tmp_path / "file" / "run", code=2)


def test_a_checkpoint_of_another_model_is_refused_by_its_difference(one, data, run):
    said = train(one, data, run, code=2, train__steps=6, model__gap=7)
    assert "model.gap: 30 -> 7" in said
    said = train(one, data, run, code=2, train__steps=6, train__seed=3)
    assert "training.train.seed: 0 -> 3" in said


def test_a_run_is_not_overwritten(one, data, run):
    said = train(one, data, run, "--resume", "never", code=2)
    assert "holds checkpoints already" in said


def test_a_folder_is_trained_in_by_one_at_a_time(one, data, tmp_path):
    folder = tmp_path / "run.v1"
    train(one, data, folder, train__steps=1, validation__videos=0)
    with (folder / LOCK).open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = train(one, data, folder, train__steps=2, validation__videos=0, code=2)
    assert f"{folder} is being trained by process " in said
    train(one, data, folder, train__steps=2, validation__videos=0)


def test_a_folder_of_something_else_is_not_trained_in(one, data, tmp_path):
    (tmp_path / "config.yaml").write_text("mine: true")
    said = train(one, data, tmp_path, code=2)
    assert f"{tmp_path} holds config.yaml and no training" in said
    assert (tmp_path / "config.yaml").read_text() == "mine: true"
    assert f"{tmp_path / 'config.yaml'} is a file" in train(
        *(one, data, tmp_path / "config.yaml"), code=2
    )
    [outcome] = one.run(run_main, arguments(data, Path("s3://bucket/run")))
    assert outcome.code == 2
    assert "must be on this machine" in outcome.errors


def test_a_resume_sets_later_checkpoints_aside_and_refuses_those_of_another_run(
    one, data, run, tmp_path
):
    again = Path(shutil.copytree(run, tmp_path / "again"))
    begun = tmp_path / "begun"
    settings = {"checkpoint__every": 2, "validation__every": 2, "train__steps": 3}
    first = again / "checkpoints" / "step-00000002"
    said = train(one, data, again, "--resume", str(first), train__steps=2)
    assert f"set aside {again / 'checkpoints' / '.step-00000004.aside'}" in said
    assert (again / "checkpoints" / ".step-00000004.aside" / "COMPLETE.json").exists()
    said = train(one, data, begun, "--resume", str(first), **settings)
    record = json.loads((begun / "run.json").read_text())
    assert record["begun_from"]["step"] == 2
    assert record["run_id"] != json.loads((again / "run.json").read_text())["run_id"]
    said = train(one, data, begun, "--resume", str(first), code=2, **settings)
    assert "is of another run" in said
    assert sorted(path.name for path in (begun / "checkpoints").iterdir()) == ["step-00000003"]
    train(one, data, again, **settings)
    names = sorted(path.name for path in (again / "checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000003"]


def test_a_run_knows_its_data_and_refuses_others(one, data, run, tmp_path):
    manifest = (data / "manifests" / "0001.json").read_bytes()
    digest = hashlib.sha256(manifest).hexdigest()
    state = json.loads((run / "checkpoints" / "step-00000004" / "state.json").read_text())
    assert state["data"]["dataset"] == {
        "dataset_id": digest[:16],
        "version": 1,
        "manifest_sha256": digest,
        "splits": {"train": 6, "validation": 2},
        "samples": 6,
    }
    assert state["data"]["fps"] == 16
    record = json.loads((run / "run.json").read_text())
    assert record["stretches"] == [{"after_step": 0, "data": state["data"]}]
    again = Path(shutil.copytree(run, tmp_path / "again"))
    other = write_dataset(tmp_path / "other", 7, size=(96, 64), frames=9)
    settings = {"train__steps": 5, "validation__videos": 0}
    said = train(one, other, again, code=2, **settings)
    assert f"dataset.dataset_id: {digest[:16]} -> " in said
    assert "dataset.samples: 6 -> 5" in said
    for change in ({"data__fps": 8.0}, {"data__reference_background": "grey"}):
        [name] = change
        said = train(one, data, again, code=2, **settings, **change)
        assert f"{name.removeprefix('data__')}: " in said
    said = train(one, other, again, "--accept-changes", **settings)
    assert "goes on with other data: dataset.dataset_id" in said
    record = json.loads((again / "run.json").read_text())
    assert [each["after_step"] for each in record["stretches"]] == [0, 4]


def test_a_model_and_its_videos_say_what_made_them(one, tmp_path, monkeypatch):
    data, run = write_dataset(tmp_path / "data", size=(96, 64), frames=9, fps=10), tmp_path / "run"
    train(one, data, run, train__steps=1, data__reference_background="grey")
    export(run, tmp_path / "model")
    published = read_published(tmp_path / "model")
    state = json.loads((run / "checkpoints" / "step-00000001" / "state.json").read_text())
    assert (published.size.fps, published.sizes) == (10, ("32x48x5",))
    assert published.reference_background == "grey"
    assert published.made_by is not None
    assert published.made_by["data"] == state["data"]
    assert published.made_by["run_id"] == json.loads((run / "run.json").read_text())["run_id"]
    assert published.made_by["weights"] == "last"
    Image.new("RGB", (32, 32), "red").save(tmp_path / "her.png")
    words = ["--model", tmp_path / "model", "--reference", tmp_path / "her.png", "--prompt", "a"]
    words += ["--steps", 1, "--output", tmp_path / "her.mp4"]
    monkeypatch.setattr(sys, "argv", ["generate.py", *map(str, words)])
    assert generate.main() == 0
    record = json.loads((tmp_path / "her.json").read_text())
    assert record["model_made_by"]["data"]["dataset"] == state["data"]["dataset"]


def test_what_cannot_fit_is_refused_with_advice(one, data, tmp_path):
    said = train(
        *(one, data, tmp_path),
        code=2,
        model__layers=20,
        model__heads=256,
        model__head_dim=128,
        model__ffn_dim=131072,
    )
    assert "What would help" in said
    assert "model.lora.rank" in said


@pytest.mark.parametrize("preset", ["wan-1.3b", "wan-1.3b-lora", "wan-14b"])
def test_the_large_presets_are_whole(preset):
    from trainer.train import parse

    parsed = parse(["--preset", preset, "--data", "d", "--output", "r"])
    assert parsed.model.heads * parsed.model.head_dim in (1536, 5120)
    assert parsed.encoders.codec == "wan"


@pytest.mark.slow
@pytest.mark.parametrize("script", ["trainer.train", "jobs.encode"])
def test_wrong_arguments_are_said_before_a_model_library_is_loaded(script):
    code = f"import sys, {script} as script; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PATH": path}


@pytest.mark.deepspeed
@pytest.mark.faults
def test_two_processes_under_the_launcher_train_as_one_does_and_a_stop_saves(
    one, data, run, tmp_path
):
    command = [str(Path(sys.executable).parent / "deepspeed"), "--num_gpus", "2"]
    command += ["--master_addr", "127.0.0.1", "--master_port", "29731", SCRIPT]
    # A micro-batch of 4 does not split over two processes: it is lowered, and the order stays.
    changes = {"checkpoint__every": 2, "validation__every": 2, "zero__stage": 3}
    folder = tmp_path / "run"
    command += arguments(data, folder, train__steps=100_000, train__micro_batch=4, **changes)
    said = tmp_path / "said"
    with said.open("w") as output:
        launcher = subprocess.Popen(command, env=environment(), stdout=output, stderr=output)
    try:
        wait_for(lambda: len(steps_of(folder)) > 4 or launcher.poll() is not None)
        launcher.terminate()
        # What cannot be had: this process has no handler, so it ends with the signal, at once.
        assert launcher.wait(HANG_S) == -signal.SIGTERM, said.read_text()
        wait_for(lambda: not pids_of(folder))
    finally:
        for pid in pids_of(folder):
            os.kill(pid, signal.SIGKILL)
    last = steps_of(folder)[-1]
    assert (folder / "checkpoints" / f"step-{last:08d}" / "COMPLETE.json").exists()
    assert "train.micro_batch lowered from 4 to 2" in said.read_text()
    for ours, alone in zip(metrics(folder), metrics(run), strict=False):  # of the first four steps
        for name in (key for key in alone if "loss" in key):
            assert ours[name] == pytest.approx(alone[name], rel=1e-4), (ours["step"], name)
