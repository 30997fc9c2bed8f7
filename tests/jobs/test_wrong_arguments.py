"""What a command cannot use is refused in one line: what is wrong, the value, what to do."""

import importlib
import json
import sys

import pytest

from jobs.contextanyone import COMMANDS

CURATED = "holds no dataset: manifest.json is missing; give the folder that jobs/curate.py wrote"
DAMAGED = "manifest.json is damaged or of another program"
READS_A_DATASET = {
    "browse": ["{}", "--port", "0"],
    "contact-sheet": ["{}", "sheet.png"],
    "forget": ["{}", "--video", "a", "--report", "report"],
    "export-dataset": ["{}", "--format", "croissant", "--output", "exported"],
    "benchmark": ["{}", "set"],
}
READS_A_SET = {
    "evaluate": ["--benchmark", "{}", "--output", "results"],
    "study": ["make", "--benchmark", "{}", "--videos", "a=b", "c=d", "--output", "s", "--key", "k"],
}
RESULTS = ["results", "--key"]
CASES = [
    ("study", [*RESULTS, "gone", "a.csv"], "--key gone cannot be read: there is no such file"),
    ("study", [*RESULTS, "empty", "a.csv"], "--key empty cannot be read: it is a folder"),
    ("study", [*RESULTS, "text", "a.csv"], "--key text: it is not the key of a study"),
    ("study", [*RESULTS, "list.json", "a.csv"], "list.json: it is not the key of a study"),
    ("study", [*RESULTS, "binary", "a.csv"], "--key binary: it is not the key of a study"),
    ("study", [*RESULTS, "old.json", "a.csv"], "study_version is 0, this code reads 1"),
    ("study", [*RESULTS, "key.json", "gone"], "answers gone cannot be read: there is no such file"),
    ("study", [*RESULTS, "key.json", "empty"], "answers empty cannot be read: it is a folder"),
    ("study", [*RESULTS, "key.json", "text"], "text is not a rater's CSV: it needs the columns"),
    ("study", [*RESULTS, "key.json", "binary"], "binary is not a CSV in UTF-8"),
    ("study", [*RESULTS, "key.json", "text", "--seed", "-1"], "study.seed must be from 0"),
    ("study", ["make", *READS_A_SET["study"][1:], "--pairs", "-1"], "study.pairs must be from 0"),
    ("study", ["make", "--benchmark", "set", "--videos", "a", "--output", "s", "--key", "k"],
     "--videos must be NAME=FOLDER, every name once, got 'a'"),
    ("evaluate", ["--benchmark", "gone", "--output", "r", "--protocol", "vbnch"], "got 'vbnch'"),
    ("evaluate", ["--benchmark", "gone", "--output", "r", "--seed", "-1"], "seed must be from 0"),
    ("evaluate", ["--benchmark", "gone", "--output", "r", "--engines", "x"], "engines must be one"),
    ("benchmark", ["empty", "set", "--limit", "-1"], "items.limit must be from 0"),
    ("benchmark", ["empty", "set", "--splits", "tset"], "--splits must be some of train"),
    ("contact-sheet", ["empty", "sheet.png", "--rows", "0"], "--rows must be at least 1, got 0"),
    ("contact-sheet", ["text", "sheet.png"], "text is a file; name a folder"),
    ("export-dataset", ["empty", "--format", "csv", "--output", "e"], "--format must be one of"),
    ("calibrate", ["--known", "gone", "--output", "c"], "gone is neither a folder with one folder"),
    ("calibrate", ["--known", "empty", "--output", "c"], "empty holds pictures of 0 people"),
    ("curate", ["--input", "gone", "--output", "d"], "input gone: no such file or folder"),
    ("curate", ["--input", "empty", "--output", "d"], "a folder without videos (0 files seen)"),
    ("curate", ["--input", "text", "--output", "text"], "text is a file; name a folder"),
    ("curate", ["--config", "gone", "--input", "text", "--output", "d"], "--config gone cannot be"),
    ("curate", ["--config", "empty", "--input", "text", "--output", "d"], "read: it is a folder"),
    ("curate", ["--config", "bad.json", "--input", "text", "--output", "d"], "read as YAML"),
    ("curate", ["--models", "gone", "--input", "text", "--output", "d"], "weights 'gone' does not"),
    ("models", ["fetch", "det_10g", "--folder", "text"], "--folder must be a folder, got text"),
    ("models", ["fetch", "det10g"], "no weights 'det10g'; the registry has"),
    ("doctor", ["--models", "gone"], "the folder of weights 'gone' does not exist"),
    ("demo-videos", ["text"], "the folder of videos must be a folder, got text"),
    ("audit", ["empty"], "empty holds no dataset"),
    ("audit", ["empty", "--baseline", "gone"], "--baseline gone cannot be read: there is no such"),
    ("audit", ["empty", "--opt-out", "gone"], "--opt-out gone cannot be read: there is no such"),
    ("audit", ["empty", "--held-out", "binary"], "--held-out binary is not text in UTF-8"),
    ("audit", ["empty", "--sample", "0"], "--sample must be at least 1, got 0"),
]  # fmt: skip


@pytest.fixture
def wrong_files(tmp_path, monkeypatch):
    """A folder with what people give by mistake."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.json").write_text("{no")
    (tmp_path / "list.json").write_text("[1]")
    key = {"study_version": 1, "study_id": "s", "questions": ["face"], "pairs": []}
    (tmp_path / "key.json").write_text(json.dumps(key))
    (tmp_path / "old.json").write_text(json.dumps(key | {"study_version": 0}))
    for name, content in {"bad": "{no", "list": "[]", "object": "{}"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(content)
        (tmp_path / name / "benchmark.json").write_text(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refuse(wrong_files, monkeypatch, capsys):
    """Call a command that must refuse its arguments; returns its line."""

    def call(name: str, arguments: list[str]) -> str:
        monkeypatch.setattr(sys, "argv", [f"contextanyone {name}", *arguments])
        try:
            code = importlib.import_module(COMMANDS[name].module).main()
        except SystemExit as stop:
            code = stop.code
        assert code == COMMANDS[name].unusable
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        return error

    return call


@pytest.mark.parametrize(("name", "arguments", "says"), CASES)
def test_an_argument_that_cannot_be_used_is_refused_in_one_line(refuse, name, arguments, says):
    assert says in refuse(name, arguments)


@pytest.mark.parametrize("name", READS_A_DATASET)
def test_what_is_no_dataset_is_refused_by_every_command_that_reads_one(refuse, wrong_files, name):
    for folder, says in {"gone": CURATED, "empty": CURATED, "text": "text is a file; name a folder",
                         "bad": DAMAGED, "list": DAMAGED, "object": DAMAGED}.items():  # fmt: skip
        error = refuse(name, [word.format(folder) for word in READS_A_DATASET[name]])
        assert says in error
        assert str(wrong_files / folder) in error


@pytest.mark.parametrize("name", READS_A_SET)
def test_what_is_no_evaluation_set_is_refused_by_every_command_that_reads_one(refuse, name):
    missing, other = "benchmark.json is missing; build one with", "it is not an evaluation set"
    for folder, says in {"gone": missing, "empty": missing, "text": missing,
                         "bad": other, "list": other, "object": other}.items():  # fmt: skip
        error = refuse(name, [word.format(folder) for word in READS_A_SET[name]])
        assert says in error
        assert folder in error
