"""An exported folder holds exactly the trained weights; weights are read as data only."""

import json
import os
import resource
import signal
import struct
import sys
from pathlib import Path

import pytest
import torch
from patience import works_less_than
from safetensors.torch import save_file
from tiny_engine import Training
from tiny_model import tiny_inputs, tiny_model

from trainer import export
from trainer.distributed.zero import ZeroConfig
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.sampling.model_folder import read_published
from trainer.saving.complete import COMPLETE, describe, read_json, write_json
from trainer.saving.weights import MAX_HEADER_BYTES, WeightsFile, load_weights

STAGES = [ZeroConfig(stage, precision="fp32", persist_elements=100) for stage in (0, 1, 2, 3)]


@pytest.fixture(scope="module")
def run(two, tmp_path_factory) -> Path:
    """A run of two steps without an average."""
    folder = tmp_path_factory.mktemp("exported") / "run"
    two.run(train, STAGES[2], folder, 0.0, 0)
    return folder


def train(zero, run, decay, lora):
    """Train two steps and save; return the weights after each, and what the model gives."""
    training = Training(zero, decay=decay, lora=lora)
    weights = [training.weights()]
    for _ in range(2):
        training.train(1)
        weights.append(training.weights())
    training.save(run)
    return weights, training.output()


def load(folder):
    return ContextAnyoneTransformer3DModel.from_pretrained(folder / "transformer")


def output_of(model):
    with torch.no_grad():
        return model.eval()(**tiny_inputs(1, seed=3)).sample


def call(monkeypatch, capsys, *arguments) -> tuple[int, str]:
    """Run the script; return its exit code and what it printed."""
    monkeypatch.setattr(sys, "argv", ["export.py", *map(str, arguments)])
    code = export.main()
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.mark.deepspeed
def test_the_exported_weights_are_the_trained_ones_in_every_stage(two, tmp_path):
    for zero in [
        *STAGES,
        ZeroConfig(2, precision="bf16"),
        ZeroConfig(3, "optimizer+parameters", "fp32"),
    ]:
        run = tmp_path / f"{zero.stage}-{zero.precision}-{zero.offload}"
        weights, output = two.run(train, zero, run, 0.5, 0)[0]
        export.export(run, tmp_path / "model", force=True)
        model = load(tmp_path / "model")
        assert model.state_dict().keys() == weights[-1].keys()
        for name, tensor in model.state_dict().items():
            kept = tensor.bfloat16().float() if zero.precision == "bf16" else tensor
            assert torch.equal(kept, weights[-1][name]), (zero, name)
        if zero.precision == "fp32":
            torch.testing.assert_close(output_of(model), output, rtol=0, atol=1e-5)


@pytest.mark.deepspeed
def test_the_exported_average_is_the_one_computed_by_hand(two, tmp_path):
    for zero in (STAGES[0], STAGES[3]):
        weights, _ = two.run(train, zero, tmp_path / f"{zero.stage}", 0.5, 0)[0]
        export.export(tmp_path / f"{zero.stage}", tmp_path / "model", ema=True, force=True)
        for name, tensor in load(tmp_path / "model").state_dict().items():
            expected = weights[0][name]
            for updates, new in enumerate(weights[1:]):
                decay = min(0.5, (1 + updates) / (10 + updates))
                expected = decay * expected + (1 - decay) * new[name]
            torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-6)


@pytest.mark.deepspeed
def test_adapters_are_folded_into_the_backbone(two, tmp_path):
    for zero in STAGES:
        run, model = tmp_path / f"{zero.stage}", tmp_path / f"model-{zero.stage}"
        _, output = two.run(train, zero, run, 0.5, 4)[0]
        export.export(run, model)
        assert load(model).state_dict().keys() == tiny_model().state_dict().keys()
        torch.testing.assert_close(output_of(load(model)), output, rtol=0, atol=1e-5)
        averaged = tmp_path / f"averaged-{zero.stage}"
        export.export(run, averaged, ema=True)
        assert not torch.equal(output_of(load(averaged)), output_of(load(model)))


@pytest.mark.deepspeed
def test_the_folder_says_what_it_is(run, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "model"
    code, printed = call(monkeypatch, capsys, run, folder, "--dtype", "bf16")
    assert code == 0
    assert "of step 2" in printed
    assert "parameters in bf16" in printed
    assert read_published(folder).step == 2
    stored = load_weights(folder / "transformer")
    assert stored["proj_out.weight"].dtype == torch.bfloat16
    assert stored["scale_shift_table"].dtype == torch.float32
    assert stored["blocks.0.norm2.weight"].dtype == torch.float32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.deepspeed
def test_a_folder_is_replaced_only_by_force_and_kept_when_the_export_fails(
    run, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "model.v1"
    assert call(monkeypatch, capsys, run, folder)[0] == 0
    code, printed = call(monkeypatch, capsys, run, folder)
    assert (code, "is not empty" in printed) == (2, True)
    before = tree(folder)
    code, printed = call(monkeypatch, capsys, run, folder, "--force", "--ema")
    assert (code, "holds no EMA" in printed) == (2, True)
    assert tree(folder) == before
    assert call(monkeypatch, capsys, run, folder, "--force", "--dtype", "bf16")[0] == 0
    assert tree(folder) != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.v1"]


@pytest.mark.deepspeed
def test_force_replaces_nothing_but_what_an_export_wrote(run, tmp_path, monkeypatch, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "mine.jpg").write_text("keep")
    model = tmp_path / "model"
    export.export(run, model)
    (model / "notes.txt").write_text("keep")
    file = tmp_path / "file"
    file.write_text("keep")
    link = tmp_path / "link"
    link.symlink_to(photos)
    places = {
        photos: "holds mine.jpg, which this program did not write",
        link: "holds mine.jpg",
        model: "holds notes.txt, which this program did not write",
        file: "is a file",
        run: "holds what is read",
        run.parent: "holds what is read",
        run / "checkpoints": "which this program did not write",
    }
    before = tree(tmp_path) | tree(run.parent)
    for place, message in places.items():
        code, printed = call(monkeypatch, capsys, run, place, "--force")
        assert code == 2, place
        assert message in printed
        assert tree(tmp_path) | tree(run.parent) == before, place


@pytest.mark.deepspeed
def test_an_object_store_is_refused_by_name(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, capsys, run, "s3://bucket/model")
    assert ended.value.code == 2
    assert "must be on this machine, got 's3:" in (capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.deepspeed
def test_a_full_disk_leaves_no_part_of_an_export(run, tmp_path, monkeypatch, capsys):
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        code, printed = call(monkeypatch, capsys, run, tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert code == 2
    assert str(tmp_path / "model") in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.deepspeed
def test_exported_files_have_the_mode_that_the_umask_gives(run, tmp_path):
    before = os.umask(0o027)
    try:
        export.export(run, tmp_path / "model")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o640}


def tree(folder: Path) -> dict[Path, bytes]:
    """Everything below a folder, with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.deepspeed
def test_a_checkpoint_with_a_payload_is_not_exported(two, tmp_path, monkeypatch, capsys):
    marker = tmp_path / "marker"
    two.run(train, STAGES[1], tmp_path / "run", 0.0, 0)
    folder = tmp_path / "run" / "checkpoints" / "step-00000002"
    file = folder / "mp_rank_00_model_states.pt"
    torch.save({"module": Payload(marker)}, file)
    complete = read_json(folder / COMPLETE)
    complete["files"][file.name] = describe(file)
    write_json(folder / COMPLETE, complete)
    code, printed = call(monkeypatch, capsys, tmp_path / "run", tmp_path / "model")
    assert code == 2
    assert "could run code" in printed
    assert not marker.exists()
    assert not (tmp_path / "model").exists()


def test_a_folder_without_a_checkpoint_is_an_error(tmp_path, monkeypatch, capsys):
    code, printed = call(monkeypatch, capsys, tmp_path, tmp_path / "model")
    assert code == 2
    assert "no complete checkpoint" in printed


class Payload:
    """A pickle that makes a file when it is read."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def raw(header: object, data: bytes = b"") -> bytes:
    """A safetensors file with this header, whether or not it makes sense."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(begin: int, end: int, shape: list, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_weights_are_read_from_a_file_and_from_a_sharded_folder(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path / "sharded", max_shard_size="50KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    save_file(model.state_dict(), tmp_path / "one.safetensors")
    for path in (tmp_path / "sharded", tmp_path / "one.safetensors"):
        weights = WeightsFile(path)
        assert weights.keys() == model.state_dict().keys()
        for name, tensor in model.state_dict().items():
            assert torch.equal(weights[name], tensor)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header of 0 bytes"),
        (struct.pack("<Q", 2**30) + b"{}", f"header of {2**30} bytes"),
        (raw(b" " * (MAX_HEADER_BYTES + 1)), f"at most {MAX_HEADER_BYTES}"),
        (raw(b"\xff\xfe"), "wrong header"),
        (raw(b"[" * 100_000), "wrong header"),
        (raw([]), "wrong header"),
        (raw({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)), "b takes bytes 4 to 12"),
        (raw({"a": entry(4, 12, [2])}, bytes(12)), "a takes bytes 4 to 12"),
        (raw({"a": entry(0, 8, [3])}, bytes(8)), "a takes bytes 0 to 8, 0 to 12 meant"),
        (raw({"a": entry(0, 8, [2])}, bytes(4)), "tensors end at 8, the file at 4"),
        (raw({"a": entry(0, 8, [2], "F99")}, bytes(8)), "wrong header"),
        (raw({"a": entry(0, 8, [-2])}, bytes(8)), r"shape \[-2\]"),
        (raw({f"{i}": entry(0, 0, [0]) for i in range(60_000)}), "60000 tensors, 50000 allowed"),
    ],
)
def test_a_malformed_file_is_refused_quickly(tmp_path, content, message):
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    with works_less_than(2), pytest.raises(ValueError, match=message):
        load_weights(file)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no .safetensors file"),
        ({"model.bin": b""}, r"model\.bin is a pickle.*save_file"),
        ({"model.safetensors": b"", "modeling_x.py": b""}, r"holds code \(modeling_x\.py\)"),
        ({"a.safetensors": b"", "b.safetensors": b""}, "several sets of weights"),
        ({"x.safetensors.index.json": b"{"}, "no index"),
        (
            {"x.safetensors.index.json": b'{"weight_map": {"a": "../y.safetensors"}}'},
            r"names '../y\.safetensors'",
        ),
        ({"x.safetensors.index.json": b'{"weight_map": {"a": 1}}'}, "names 1"),
    ],
)
def test_a_folder_that_is_not_plain_weights_is_refused(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_weights(tmp_path)


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".pth", ".pkl"])
def test_pickled_weights_are_refused_and_not_run(tmp_path, suffix):
    file = tmp_path / f"weights{suffix}"
    torch.save({"a": Payload(tmp_path / "marker")}, file)
    with pytest.raises(ValueError, match=r"is a pickle, which can run any code.*save_file"):
        load_weights(file)
    assert not (tmp_path / "marker").exists()


def test_a_path_to_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be a \.safetensors file or a folder"):
        load_weights(tmp_path / "missing")
