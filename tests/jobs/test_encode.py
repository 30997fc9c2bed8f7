"""The encoding job as a user runs it: nothing twice, nothing half, nothing of other encoders."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from encoding import encode
from patience import HANG_S
from places import script
from tiny_dataset import tiny_sample, write_dataset, write_samples

from schemas.latents import LATENTS_INDEX
from trainer.data.data_config import DataConfig
from trainer.data.latent_source import LatentSource
from trainer.data.open_source import open_source
from trainer.data.tensors import to_bytes
from trainer.latents.encoding_plan import LatentsConfig

JOB = script("encode")
SMALL = ("--preset", "tiny", "--set", "run.cluster.workers=1", "--set", "encoding.unit_samples=2")
DATA = DataConfig(buckets=("96x160x17",), source="latents")


def command(dataset: Path, *extra: str) -> list[str]:
    return [sys.executable, JOB, str(dataset), *SMALL, *extra]


def run(dataset: Path, *extra: str, code: int = 0) -> str:
    done = subprocess.run(
        command(dataset, *extra), capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def latents(dataset: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((dataset / "latents").iterdir())}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("tiny") / "dataset", broken={2: b"no video"})


@pytest.fixture
def in_this_process(capsys):
    """Run the job without starting Python anew each time; returns a function like `run`."""

    def run_here(dataset: Path, *extra: str, code: int = 0) -> str:
        assert main([str(dataset), *SMALL, *extra]) == code
        said = capsys.readouterr()
        return said.out + said.err

    return run_here


@pytest.mark.slow
def test_it_says_beforehand_what_it_will_take_and_goes_on_where_it_stopped(
    dataset, in_this_process
):
    said = in_this_process(dataset, "--dry-run")
    assert not (dataset / "latents").exists()
    assert "96x160x17: 8 samples of about" in said
    assert "in " + str(dataset) in said
    said = run(dataset)
    assert "4 units encoded; 5 train, 2 validation; 1 unreadable" in said
    assert f"sample {tiny_sample(2).sample_id}: the clip cannot be decoded" in said
    before = latents(dataset)
    lost = min((dataset / "latents").glob("*.parquet"))
    lost.unlink()  # a receipt without its file counts for nothing
    assert "1 units encoded" in in_this_process(dataset)
    assert latents(dataset) == before
    assert "up to date, nothing to do" in in_this_process(dataset)
    assert latents(dataset) == before
    said = in_this_process(dataset, "--codec", "wan", code=2)
    assert "video autoencoder needs weights, and encoders.path is ''" in said


@pytest.mark.faults
@pytest.mark.slow
def test_a_killed_run_goes_on_and_makes_the_same_bytes(tmp_path):
    root = write_dataset(tmp_path / "dataset", num_samples=12, num_validation=2)
    slow = ("--set", "encoding.unit_samples=1")
    with subprocess.Popen(
        command(root, *slow), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as job:
        deadline = time.monotonic() + HANG_S
        while not list((root / "latents").glob("*.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        job.send_signal(signal.SIGKILL)
    done = len(list((root / "latents").glob("*.json")))
    assert done >= 1
    assert not (root / LATENTS_INDEX).exists()  # nothing is visible before all of it is
    with pytest.raises(ValueError, match="no latents"):
        open_source(root, DATA)
    said = run(root, *slow)
    assert "10 train, 2 validation" in said
    again = write_dataset(tmp_path / "again", num_samples=12, num_validation=2)
    encode(again, DataConfig(buckets=("96x160x17",)), LatentsConfig(unit_samples=1))
    assert latents(root) == latents(again)


def main(arguments: list[str]) -> int:
    """Run the job in this process, for what ends before Ray is started."""
    from jobs import encode as job

    old, sys.argv = sys.argv, ["encode.py", *arguments]
    try:
        return job.main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    finally:
        sys.argv = old


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--codec", "wav"), "encoders.codec"),
        (("--number-type", "int8"), "encoding.number_type.*bfloat16.*float16.*float32.*int8"),
        (("--buckets", "[960x1600x17]",), "no sample of .* fits a bucket .*6 of 96x160"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(dataset, flags, message, capsys):
    assert main([str(dataset), *SMALL, *flags]) == 2
    assert re.search(message, capsys.readouterr().err, re.DOTALL)


def test_another_folder_is_refused(tmp_path, capsys):
    assert main([str(tmp_path), *SMALL]) == 2
    assert "no dataset at" in capsys.readouterr().err


def test_a_new_version_encodes_only_what_is_new(tmp_path):
    samples = [tiny_sample(number) for number in range(4)]
    root = write_samples(tmp_path / "dataset", samples[:2], per_file=2)
    data = DataConfig(buckets=("96x160x17",))
    first, _ = encode(root, data)
    write_samples(root, samples, per_file=2)  # as a second curation of more videos would
    second, _ = encode(root, data)
    assert first.files == second.files[:1]
    assert (len(second.files), second.splits) == (2, {"train": 4})


@pytest.mark.parametrize("number_type", ["float16", "float32"])
def test_number_types(tmp_path, number_type):
    root = write_dataset(tmp_path / "dataset", num_samples=1, num_validation=0)
    pixels = DataConfig(buckets=("96x160x17",))
    encode(root, pixels)
    coarse = LatentSource(root, DATA)
    [row] = coarse.locations(0)
    builder = coarse.builder(0, training=False)
    small = sum(file.size_bytes for file in coarse.layout.files)
    stored = builder._reader.read(row)
    index, _ = encode(root, pixels, LatentsConfig(number_type=number_type))
    fine = LatentSource(root, DATA).builder(0, training=False)
    again = fine._reader.read(LatentSource(root, DATA).locations(0)[0])
    exact, rounded = fine._tensor(again, "video"), builder._tensor(stored, "video")
    assert float((exact - rounded).abs().max()) <= 2**-8 * float(exact.abs().max())
    assert not (exact == rounded).all()
    larger = sum(file.size_bytes for file in index.files) / small
    assert larger == pytest.approx(2.0 if number_type == "float32" else 1.0, rel=0.2)


def test_numbers_that_do_not_fit_are_refused():
    import torch

    with pytest.raises(ValueError, match="float16 holds numbers up to 65504, a tensor has 100000"):
        to_bytes(torch.tensor([1e5]), "float16")


def test_what_differs_is_named(tmp_path):
    root = write_dataset(tmp_path / "dataset", num_samples=2, num_validation=0)
    encode(root, DataConfig(buckets=("96x160x17",)))
    other = DataConfig(buckets=("96x160x17",), source="latents", fps=8, reference_background="grey")
    with pytest.raises(ValueError, match=r"data\.fps: latents 0\.0, this run 8") as raised:
        open_source(root, other)
    assert "data.reference_background: latents 'keep', this run 'grey'" in str(raised.value)
    with pytest.raises(ValueError, match="text: latents 'words-1-32-64', this run 'umt5'"):
        open_source(root, DATA, {"text": "umt5"})
    open_source(root, DATA, {"text": "words"})  # weights that are not read are known by kind


def test_a_file_of_another_encoding_is_refused(tmp_path):
    one = write_dataset(tmp_path / "one", num_samples=1, num_validation=0)
    index, _ = encode(one, DataConfig(buckets=("96x160x17",)))
    text = (one / LATENTS_INDEX).read_text()
    (one / LATENTS_INDEX).write_text(text.replace('"data.fps": 0.0', '"data.fps": 8.0'))
    with pytest.raises(ValueError, match=r"another encoding than its index: settings data\.fps"):
        open_source(one, DataConfig(buckets=("96x160x17",), source="latents", fps=8))
    assert os.path.getsize(one / index.files[0].path) == index.files[0].size_bytes
