"""The lines of docs/api.md run as they stand."""

import inspect
import re

import fast_engines
import pytest
from places import ROOT
from runs import draw_video

from pipeline.curation import curation_config

PAGE = (ROOT / "docs" / "api.md").read_text()


def snippet(title: str) -> str:
    """Return the code under a heading."""
    found = re.search(rf"## {title}\n.*?```python\n(.*?)```", PAGE, re.DOTALL)
    assert found, title
    return found.group(1)


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


def test_the_generating_lines_name_what_there_is(tmp_path, monkeypatch):
    from trainer.sampling import pipeline

    allowed = set(inspect.signature(pipeline.ContextAnyonePipeline.__call__).parameters)
    called = {}

    class Instead:
        @classmethod
        def from_pretrained(cls, folder):
            called["folder"] = folder
            return cls()

        def __call__(self, prompt, **arguments):
            called.update(arguments)
            assert set(arguments) <= allowed
            return pipeline.ContextAnyonePipelineOutput([[1]])

    monkeypatch.setattr(pipeline, "ContextAnyonePipeline", Instead)
    exec(snippet("Generate"), {})
    assert called["folder"] == "model"
