"""The benchmark for a GPU runs through on a CPU in tiny sizes, and says what does not hold."""

import json
import sys

import pytest
import torch
from places import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu  # pyright: ignore[reportMissingImports]
from gpu_stages import (  # pyright: ignore[reportMissingImports]
    Setting,
    sampling,
    training,
    what_must_hold,
)

pytestmark = pytest.mark.slow

TINY = Setting(torch.device("cpu"), tiny=True)


def test_everything_that_must_hold_holds_on_a_cpu():
    rows = {name: gpu._outcome(run) for name, run in what_must_hold(TINY)}
    held = {name for name, row in rows.items() if row.get("holds")}
    assert len(held) >= 6
    assert not [name for name, row in rows.items() if row.get("holds") is False]
    missing = {name for name in rows if name not in held}
    assert all("attention is native attention" in name for name in missing)


@pytest.mark.parametrize("ways", [training, sampling])
def test_speeds_are_measured(ways):
    for name, run in ways(TINY):
        if name.startswith("49 frames") and "compiled" not in name and "8-bit" not in name:
            row = run()
            assert row["s/step"] > 0, name
            if ways is training:
                assert row["tokens/s"] > 0
                assert row["estimated GiB"] > 0


def test_an_attention_that_is_tried_does_not_stay():
    before = next(iter(sampling(TINY)))[1]
    before()
    for _, run in what_must_hold(TINY):
        gpu._outcome(run)
    before()


def test_results_are_on_the_disk_as_they_come(tmp_path, monkeypatch, capsys):
    def items(_):
        yield "first", lambda: {"s/step": 0.5, "holds": True}
        yield "second", lambda: {"holds": json.loads((tmp_path / "gpu.json").read_text()) == {}}
        yield "third", lambda: torch.empty(3) @ torch.empty(4)

    monkeypatch.setattr(gpu, "STAGES", [("stage", 1.0, items)])
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--tiny", "--output", str(tmp_path)])
    assert gpu.main() == 1
    assert "does not hold:\nstage: second" in capsys.readouterr().out
    rows = json.loads((tmp_path / "gpu.json").read_text())["stages"]["stage"]
    assert rows[0] == {"what": "first", "s/step": 0.5, "holds": True}
    assert rows[2]["note"].startswith("RuntimeError: ")
    page = (tmp_path / "gpu.md").read_text()
    assert "| what | s/step | holds | note |" in page
    assert "| first | 0.5 | True |  |" in page


def test_what_there_was_no_time_for_says_so(tmp_path):
    report = gpu.Report(tmp_path, {"device": "none"})
    gpu.measure(report, TINY, 0)
    rows = [row for stage in report.stages.values() for row in stage]
    assert len(rows) > 20
    assert {row["note"] for row in rows} == {"no time left"}


def test_without_a_gpu_it_asks_for_tiny_sizes(tmp_path, monkeypatch, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--output", str(tmp_path)])
    with pytest.raises(SystemExit):
        gpu.main()
    assert "--tiny runs the same stages on a CPU" in capsys.readouterr().err
