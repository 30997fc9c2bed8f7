"""A training of several characters at once, from its samples to a video that names them."""

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest
from distributed import Team
from encoding import encode
from tiny_dataset import pair_sample, tiny_sample, write_samples

from trainer import generate
from trainer.data.data_config import DataConfig
from trainer.encoders import EncoderConfig
from trainer.export import export
from trainer.sampling.model_folder import marked_characters, read_published

BUCKET = "32x48x5"
SETTINGS = {
    "model.layers": 1, "model.heads": 2, "model.head_dim": 24, "model.ffn_dim": 64,
    "model.freq_dim": 32, "model.reconstruction": "other", "model.checkpointing": 1,
    "data.buckets": f"[{BUCKET}]", "data.num_workers": 0, "data.characters": 2,
    "data.random_start": False, "train.batch_size": 4, "train.micro_batch": 2, "train.steps": 2,
    "optimizer.schedule": "constant", "validation.sampling.steps": 2, "validation.samples": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    made = [pair_sample(number, size=(96, 64), frames=9) for number in range(4)]
    made += [tiny_sample(number, size=(96, 64), frames=9) for number in (4, 5)]
    return write_samples(tmp_path_factory.mktemp("pairs") / "data", made)


def run_main(words: list[str]) -> tuple[int, str, str]:
    """Run the command in this process; return its exit code and what it said."""
    from trainer.train import main

    sys.argv = ["train.py", *words]
    said, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        code = main()
    return code, said.getvalue(), errors.getvalue()


def train(one: Team, data: Path, run: Path, *extra: str, **changes) -> tuple[int, str, str]:
    changed = {name.replace("__", "."): value for name, value in changes.items()}
    settings = {**SETTINGS, **changed}
    flags = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    words = ["--preset", "tiny", "--data", str(data), "--output", str(run), *flags, *extra]
    [outcome] = one.run(run_main, words)
    return outcome


@pytest.fixture(scope="module")
def run(one, data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    code, said, errors = train(one, data, folder)
    assert code == 0, errors
    assert "up to 2 characters of a sample, 1 reference(s) of each" in said
    return folder


def test_it_is_trained_exported_and_generates_whom_the_prompt_names(
    run, data, tmp_path, monkeypatch
):
    assert list((run / "validation" / "step-00000002").rglob("*.mp4"))
    export(run, tmp_path / "model")
    assert read_published(tmp_path / "model").characters == 2
    for number in range(2):
        image = pair_sample(number).references[0].image["bytes"]
        (tmp_path / f"{number}.jpg").write_bytes(image)
    words = ["generate", "--model", str(tmp_path / "model"), "--prompt", "Anna waves to Bob."]
    words += ["--character", f"anna={tmp_path / '0.jpg'}", "--output", str(tmp_path / "both.mp4")]
    words += ["--character", f"bob={tmp_path / '1.jpg'}"]
    monkeypatch.setattr(sys, "argv", words)
    assert generate.main() == 0
    record = json.loads((tmp_path / "both.json").read_text())
    assert list(record["characters"]) == ["anna", "bob"]
    assert marked_characters(tmp_path / "model") == 2
    boxed = [word.replace(".jpg", ".jpg@0,0,0.5,1") if "=" in word else word for word in words]
    boxed[boxed.index(str(tmp_path / "both.mp4"))] = str(tmp_path / "boxed.mp4")
    monkeypatch.setattr(sys, "argv", boxed)
    assert generate.main() == 0
    assert (tmp_path / "boxed.mp4").read_bytes() != (tmp_path / "both.mp4").read_bytes()


def test_it_goes_on_only_with_as_many_characters(one, run, data):
    code, _, errors = train(one, data, run, data__characters=1, train__steps=3)
    assert code == 2
    assert "training.data.characters: 2 -> None" in errors
    assert train(one, data, run, train__steps=3)[0] == 0


def test_latents_of_several_give_the_losses_that_samples_give(one, data, tmp_path):
    encode(
        data,
        DataConfig(buckets=(BUCKET,), num_workers=0, characters=2),
        encoders=EncoderConfig(codec="lapped"),
    )
    losses = []
    augment = {f"data__augment__{name}": 0 for name in (
        "shrink", "rotation_degrees", "brightness", "contrast", "saturation", "background"
    )}  # fmt: skip
    for source in ("samples", "latents"):
        folder = tmp_path / source
        code, _, errors = train(one, data, folder, data__source=source, **augment)
        assert code == 0, errors
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss/total"] for line in lines if "loss/total" in line])
    assert losses[0]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_references_that_read_no_name_are_refused(one, data, tmp_path):
    code, _, errors = train(one, data, tmp_path, model__reference_text="prompt")
    assert code == 2
    assert "data.characters above 1 needs references that are clean and read their names" in errors


@pytest.mark.deepspeed
def test_marks_are_trained_alike_where_weights_are_spread(one, data, run, tmp_path):
    code, _, errors = train(one, data, tmp_path, zero__stage=3, validation__videos=0)
    assert code == 0, errors
    whole, spread = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (run, tmp_path)
    )
    losses = [
        [line["loss/total"] for line in lines if "loss/total" in line] for lines in (whole, spread)
    ]
    assert losses[1] == pytest.approx(losses[0][:2], rel=1e-4)
