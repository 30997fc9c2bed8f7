"""A dataset that is not ours, or not whole, is refused before it is read."""

import json
import os
import pickle
import shutil
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_dataset import tiny_sample, write_dataset, write_samples
from train_batches import batches, by_place, config

from trainer.data.data_config import bucket_name, parse_bucket
from trainer.data.index import describe_buckets
from trainer.data.open_source import open_source, training_buckets


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Eight samples of 25 frames in two files, two of them held out."""
    return write_dataset(tmp_path_factory.mktemp("tiny") / "dataset")


@pytest.fixture
def copy(dataset, tmp_path) -> Path:
    """A dataset to be damaged."""
    return Path(shutil.copytree(dataset, tmp_path / "dataset"))


def test_a_missing_dataset_and_a_foreign_folder_are_refused(tmp_path):
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(ValueError, match=r"no dataset at .* it has no manifest\.json"):
            open_source(folder, config())
    (tmp_path / "manifest.json").write_text('["of something else"]')
    with pytest.raises(ValueError, match=r"manifest\.json is damaged or of another program"):
        open_source(tmp_path, config())


def _remake(root: Path, change) -> None:
    """Change the manifest, and have the pointer agree."""
    import hashlib

    pointer = json.loads((root / "manifest.json").read_text())
    manifest = json.loads((root / pointer["path"]).read_text())
    change(manifest)
    content = json.dumps(manifest).encode()
    (root / pointer["path"]).write_bytes(content)
    pointer["sha256"] = hashlib.sha256(content).hexdigest()
    (root / "manifest.json").write_text(json.dumps(pointer))


def test_an_unknown_schema_version_is_refused(copy):
    _remake(copy, lambda manifest: manifest.update(schema_version=99))
    with pytest.raises(ValueError, match="schema_version of the manifest is 99, this code reads 1"):
        open_source(copy, config())


def test_a_path_out_of_the_dataset_is_refused(copy):
    def change(manifest):
        manifest["files"][0]["path"] = "samples/../../x.parquet"

    _remake(copy, change)
    with pytest.raises(ValueError, match="missing"):
        open_source(copy, config())


def test_a_changed_manifest_is_refused(copy):
    [path] = (copy / "manifests").glob("*.json")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ValueError, match="is damaged: its SHA-256 is"):
        open_source(copy, config())


def test_missing_and_truncated_files_are_named(copy):
    first, second = sorted((copy / "samples").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"2 of 2 files are damaged: .* is missing; .* bytes, \d+"):
        open_source(copy, config())


def test_a_flipped_bit_is_found_on_demand_and_never_read(copy):
    [path, _] = sorted((copy / "samples").iterdir())
    content = bytearray(path.read_bytes())
    mdat = content.find(b"mdat")
    content[mdat + 50] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"has other bytes than were published"):
        open_source(copy, config(verify=True))
    with pytest.raises(ValueError, match=rf"{path.name}, row group 0, cannot be read"):
        batches(copy, config())


def _rewrite(root: Path, change) -> None:
    """Replace the first samples file by what `change` makes of it, listed as if it belonged."""
    path = min((root / "samples").iterdir())
    pq.write_table(change(pq.read_table(path)), path)

    def relist(manifest):
        for file in manifest["files"]:
            file["size_bytes"] = (root / file["path"]).stat().st_size

    _remake(root, relist)


class _Touch:
    """Pickled bytes that create a file when they are loaded."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path(self.marker).touch, ())


class _Pickled(pa.ExtensionType):
    """As an executor registers it: its values are unpickled when they are read."""

    def __init__(self) -> None:
        super().__init__(pa.large_binary(), "ray.data.arrow_pickled_object")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        return cls()

    def __arrow_ext_scalar_class__(self):
        class Scalar(pa.ExtensionScalar):
            def as_py(self, **_):
                return pickle.loads(self.value.as_py())

        return Scalar


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("column", ["extra", "caption"])
def test_a_pickled_column_is_refused_unread(copy, tmp_path, registered, column):
    marker = tmp_path / "marker"
    evil = [pickle.dumps(_Touch(str(marker)))] * 4
    array = pa.ExtensionArray.from_storage(_Pickled(), pa.array(evil, pa.large_binary()))

    def change(table):
        if column in table.column_names:
            return table.set_column(table.column_names.index(column), column, array)
        return table.append_column(column, array)

    with _known_to_arrow() if registered else nullcontext():
        _rewrite(copy, change)
        with pytest.raises(ValueError, match=f"column '{column}'.*Nothing of it was read"):
            open_source(copy, config())
    assert not marker.exists()


@contextmanager
def _known_to_arrow():
    """The extension type registered, as Ray Data does when it is imported (perhaps already)."""
    try:
        pa.register_extension_type(_Pickled())
    except pa.ArrowKeyError:
        yield
    else:
        yield
        pa.unregister_extension_type("ray.data.arrow_pickled_object")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.append_column("label", pa.array([1] * 4)),
            r"foreign column 'label' \(int64\)",
        ),
        (lambda t: t.drop_columns(["boxes"]), "no column 'boxes'"),
        (
            lambda t: t.set_column(10, "width", pa.array(["160"] * 4)),
            "column 'width' is string, not int32",
        ),
        (lambda t: t.slice(0, 2), "2 rows, the manifest lists 4"),
        (
            lambda t: t.set_column(0, "sample_id", pa.array(["x" * 2_000_000] * 4)),
            "declares .* bytes for 4 rows",
        ),
    ],
)
def test_a_foreign_table_is_refused(copy, change, message):
    _rewrite(copy, change)
    with pytest.raises(ValueError, match=message):
        open_source(copy, config())


def test_buckets_that_no_clip_fits_are_named_with_what_was_seen(dataset):
    data = config(buckets=("96x160x49", "480x832x17"))
    with pytest.raises(ValueError, match="fewer than 1 samples") as caught:
        training_buckets(open_source(dataset, data), data)
    told = str(caught.value)
    for part in ("96x160x49 (0)", "480x832x17 (0)", "6 of 96x160", "25 to 25 frames at 16"):
        assert part in told
    assert "data.buckets" in told


def test_a_bucket_without_clips_is_left_out_beside_one_that_has_some(dataset):
    data = config(buckets=("96x160x17", "96x160x49", "480x832x17"))
    buckets = training_buckets(open_source(dataset, data), data)
    assert {bucket_name(bucket): len(rows) for bucket, rows in buckets.items()} == {"96x160x17": 6}
    assert describe_buckets(buckets, data) == "samples: 6 of 96x160x17; 2 buckets have none"


def test_a_bucket_with_fewer_clips_than_asked_for_is_refused(dataset):
    data = config(buckets=("96x160x17", "96x160x49"), min_samples=7)
    with pytest.raises(ValueError, match=r"fewer than 7 samples in split 'train': 96x160x17 \(6\)"):
        training_buckets(open_source(dataset, data), data)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"buckets": ("96x160x29",)}, "6 too short"),
        ({"buckets": ("192x320x17",)}, "6 too small"),
        ({"buckets": ("32x160x17",)}, "6 too much to crop"),
        ({"fps": 24.0}, "6 too few frames a second"),
        ({"fps": 8.0}, "6 too short"),
    ],
)
def test_samples_that_fit_no_bucket_are_counted_by_reason(dataset, settings, reason):
    data = config(**settings)
    with pytest.raises(ValueError, match=f"Fit no bucket: {reason}"):
        training_buckets(open_source(dataset, data), data)


def test_an_empty_split_names_the_others(dataset):
    data = config(train_split="test")
    with pytest.raises(ValueError, match=r"split 'test' has no samples.*6 of train, 2 of valid"):
        training_buckets(open_source(dataset, data), data)


def test_clips_go_to_the_nearest_aspect_then_the_longest(tmp_path):
    samples = [
        tiny_sample(0, (160, 96), 25),
        tiny_sample(1, (160, 96), 60),
        tiny_sample(2, (96, 160), 25),
        tiny_sample(3, (128, 128), 25),
    ]
    root = write_samples(tmp_path / "dataset", samples)
    sizes = ("96x160x17", "96x160x49", "160x96x17", "48x80x17", "112x112x17")
    source = open_source(root, config(buckets=sizes))
    found = {bucket: rows.tolist() for bucket, rows in source.assign("train").buckets.items()}
    assert found[parse_bucket("96x160x17")] == [0]
    assert found[parse_bucket("96x160x49")] == [1]
    assert found[parse_bucket("160x96x17")] == [2]
    assert found[parse_bucket("48x80x17")] == []
    assert found[parse_bucket("112x112x17")] == [3]


def test_a_dataset_is_read_from_an_object_store_alike(dataset):
    import fsspec

    url = f"memory://{os.urandom(4).hex()}/dataset"
    fsspec.filesystem("memory").put(f"{dataset}/", url.removeprefix("memory:/"), recursive=True)
    ours = by_place(batches(dataset, config(), steps=(0, 2)))
    assert by_place(batches(url, config(), steps=(0, 2))) == ours
