"""The lines of docs/api.md run as they stand."""

import re

import av
import fast_engines
import pytest
from PIL import Image
from places import ROOT
from runs import draw_video
from tiny_model import tiny_pipeline

from pipeline.curation import curation_config

PAGE = (ROOT / "docs" / "api.md").read_text()


def snippet(title: str) -> str:
    """Return the code under a heading."""
    found = re.search(rf"## {title}\n.*?```python\n(.*?)```", PAGE, re.DOTALL)
    assert found, title
    return found.group(1)


@pytest.mark.slow
def test_a_dataset_is_curated_and_audited_from_a_script(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    draw_video(tmp_path / "videos" / "0.mp4", 0)
    from jobs.curate import parse
    from schemas.settings_parser import read_settings

    quick = parse(["--input", "videos", "--output", "dataset", *fast_engines.SETTINGS,
                   "--set", "run.cluster.workers=1"])  # fmt: skip
    config = read_settings(quick, curation_config.CurationConfig)
    monkeypatch.setattr(curation_config, "CurationConfig", lambda: config)
    names: dict = {}
    exec(snippet("Curate"), names)
    assert names["code"] == 0
    assert "what became of everything" in capsys.readouterr().out
    exec(snippet("Audit"), names)
    assert names["code"] in (0, 2)
    assert names["finding"].evidence


@pytest.mark.parametrize("title", ["Curate", "Audit", "Generate"])
def test_each_is_ten_lines_at_most(title):
    assert len(snippet(title).strip().splitlines()) <= 10


def test_a_video_is_generated_from_a_script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_pipeline().save_pretrained("model")
    Image.new("RGB", (40, 60), (180, 90, 60)).save("her.jpg")
    exec(snippet("Generate"), {})
    with av.open("her.mp4") as video:
        assert video.streams.video[0].frames == 9
