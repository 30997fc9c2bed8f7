"""What a command can only write here is refused as a URL, instead of a folder named `s3:`."""

import importlib
import sys

import pytest

URL = "s3://bucket/folder"


@pytest.mark.parametrize(
    ("job", "arguments"),
    [
        ("audit", ["dataset", "--report", URL]),
        ("benchmark", ["dataset", URL]),
        ("calibrate", ["--known", "people", "--output", URL]),
        ("demo_videos", [URL]),
        ("evaluate", ["--benchmark", "items", "--output", URL]),
        ("export", ["dataset", "--format", "webdataset", "--output", URL]),
        ("forget", ["dataset", "--character", "c", "--report", URL]),
        ("models", ["fetch", "yolox_nano", "--folder", URL]),
        ("study", ["make", "--benchmark", URL, "--videos", "a=b", "--output", "o", "--key", "k"]),
    ],
)
def test_a_url_is_refused_where_a_folder_of_this_machine_is_meant(
    job, arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [job, *arguments])
    module = importlib.import_module(f"jobs.{job}")
    with pytest.raises(SystemExit) as ended:
        sys.exit(module.main())
    assert ended.value.code in (2, 3)
    assert f"must be on this machine, got '{URL}'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
