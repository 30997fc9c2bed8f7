"""A command line of settings refuses what it does not know, by name, and explains what it knows."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest
import yaml

from schemas.settings import check_settings, setting
from schemas.settings_help import topics_of
from schemas.settings_parser import SettingsParser, read_settings
from trainer.latents.encoding_plan import LatentsConfig
from trainer.train_config import TrainConfig


class Colour(StrEnum):
    RED = "bright-red"
    BLUE = "sky-blue"


@dataclass(frozen=True)
class WindowConfig:
    """One of a list."""

    floor: float = 0.5


@dataclass(frozen=True)
class ClipsConfig:
    """Clips.

    Attributes:
        max_s: longer shots make several clips.
        sizes: sides of a clip.
        colours: of the frame.
        codec: how it is stored.
        gap: between two, null for none.
        windows: several of them.
    """

    max_s: float = setting(10.0, low=0.5, high=60, unit="s")
    sizes: tuple[int, ...] = (480, 320)
    colours: tuple[Colour, ...] = (Colour.RED,)
    codec: Literal["h264", "av1"] = "h264"
    gap: int | None = None
    windows: tuple[WindowConfig, ...] = ()

    def __post_init__(self) -> None:
        check_settings(self, "observe.clips")


@dataclass(frozen=True)
class ObserveConfig:
    """What is measured.

    Attributes:
        part_s: length of a part.
        clips: length and size of clips.
    """

    part_s: float = 600.0
    clips: ClipsConfig = field(default_factory=ClipsConfig)


@dataclass(frozen=True)
class JobConfig:
    """All.

    Attributes:
        observe: what is measured.
    """

    observe: ObserveConfig = field(default_factory=ObserveConfig)


def renamed(settings):
    """Once `clips` stood at the top."""
    return {"observe": settings} if "clips" in settings else dict(settings)


def parser() -> SettingsParser:
    made = SettingsParser("job", "Do it.", "--output FOLDER …", renamed=renamed)
    made.flag("--output", "FOLDER", "where to", required=True)
    made.flag("--limit", "N", "at most", type=int)
    made.shortcut("--short", "", "short clips", lambda value: [f"--observe.clips.max_s={value}"])
    first = {"long": "60", "longer": "50"}
    made.shortcut(
        "--preset", "NAME", "", lambda name: [f"--observe.clips.max_s={first[name]}"], first=True
    )
    made.add_settings(JobConfig)
    return made


def read(*arguments: str) -> JobConfig:
    return read_settings(parser().parse(["--output", "x", *arguments]), JobConfig)


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        read(*arguments)
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "class '" not in told
    return told


def test_settings_come_from_flags_shortcuts_and_files_the_last_word_counts(tmp_path):
    (tmp_path / "c.yaml").write_text("observe: {clips: {max_s: 6, colours: [sky-blue]}}\n")
    file = ("--config", str(tmp_path / "c.yaml"))
    assert read().observe.clips == ClipsConfig()
    assert read(*file).observe.clips == ClipsConfig(max_s=6.0, colours=(Colour.BLUE,))
    assert read(*file, "--set", "observe.clips.max_s=5").observe.clips.max_s == 5.0
    assert read("--observe.clips.max_s=4").observe.clips.max_s == 4.0
    assert read("--set=observe.clips={max_s: 3}").observe.clips.max_s == 3.0
    assert read("--short", "2").observe.clips.max_s == 2.0
    assert read("--set", "observe.clips.max_s=5", "--preset", "long").observe.clips.max_s == 5.0
    assert read("--set", "observe.clips.sizes=[1]").observe.clips.sizes == (1,)
    assert read("--set", "observe.clips.gap=3").observe.clips.gap == 3
    [window] = read("--set", "observe.clips.windows=[{floor: 1}]").observe.clips.windows
    assert window == WindowConfig(1.0)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("observe.clips.max=5", "observe.clips.max; did you mean observe.clips.max_s?"),
        ("observe.clips.max_=5", "there is no setting observe.clips.max_;"),
        ("max_s=5", "there is no setting max_s; did you mean observe.clips.max_s?"),
        ("clips.max_s=5", "clips.max_s is now called observe.clips.max_s"),
        ("clips={max_s: 5}", "clips is now called observe.clips"),
        ("observe.clips={mx_s: 5}", "observe.clips.mx_s; did you mean observe.clips.max_s?"),
        ("observe.clips=c.yaml", "observe.clips is a section: set observe.clips.max_s or another"),
        ("observe.clips.max_s", "--set takes NAME=VALUE, got 'observe.clips.max_s'"),
        ("observe.clips.max_s=soon", "observe.clips.max_s must be a number, got 'soon'"),
        ("observe.clips.sizes=[a]", "observe.clips.sizes must be a list, each a whole number"),
        ("observe.clips.colours=[red]", "colours must be one of bright-red, sky-blue, got 'red'"),
        ("observe.clips.codec=mp3", "observe.clips.codec must be one of h264, av1, got 'mp3'"),
        ("observe.clips.windows=[{floor: low}]", "windows: floor must be a number, got 'low'"),
        (
            "observe.clips.windows=[{flor: 1}]",
            "observe.clips.windows cannot be read: Option 'flor'",
        ),
        ("observe.clips.gap=x", "observe.clips.gap must be a whole number or null, got 'x'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_in_one_line(capsys, word, says):
    told = refused(capsys, "--set", word)
    assert told.startswith("job: ")
    assert says in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--limt", "3"), "there is no --limt; did you mean --limit?"),
        (("--lim", "3"), "there is no --lim; did you mean --limit?"),
        (("--limit", "three"), "--limit must be a whole number, got 'three'"),
        (("--observe.clips.mx=3",), "observe.clips.mx; did you mean observe.clips.max_s?"),
        (("--config", "none.yaml"), "--config none.yaml cannot be read"),
        (("--set",), "--set takes NAME=VALUE, got ''"),
        (("stray",), "unrecognized arguments: stray"),
    ],
)
def test_a_flag_that_is_not_there_is_refused(capsys, words, says):
    assert says in refused(capsys, *words)


def test_what_is_missing_is_named(capsys):
    with pytest.raises(SystemExit) as stop:
        parser().parse([])
    assert stop.value.code == 2
    assert "job: --output must be given" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("observe: {clips: {mxs: 6}}", "c.yaml: there is no setting observe.clips.mxs"),
        ("clips: {max_s: 6, gap: 1}", "clips.gap is now called observe.clips.gap"),
        ("observe: {clips: {max_s: soon}}", "observe.clips.max_s must be a number, got 'soon'"),
        ("- 3", "must hold settings"),
        ("a: [", "cannot be read"),
        ("observe: !!python/object/apply:os.system ['touch ran']", "python/object"),
    ],
)
def test_a_wrong_file_is_refused_and_runs_nothing(capsys, tmp_path, monkeypatch, content, says):
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(content)
    assert says in refused(capsys, "--config", "c.yaml")
    assert not Path("ran").exists()


def printed(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        parser().parse(list(arguments))
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_what_is_printed_can_be_read_again(capsys, tmp_path):
    text = printed(capsys, "--print_config", "--set", "observe.clips.colours=[sky-blue]")
    assert yaml.safe_load(text)["observe"]["clips"]["colours"] == ["sky-blue"]
    assert list(yaml.safe_load(text)) == ["observe"]
    (tmp_path / "c.yaml").write_text(text)
    assert read("--config", str(tmp_path / "c.yaml")).observe.clips.colours == (Colour.BLUE,)


def test_help_explains_flags_sections_and_settings(capsys):
    page = printed(capsys, "--help")
    assert "--limit N" in page
    assert "observe" in page
    section = printed(capsys, "--help", "observe.clips")
    assert "observe.clips.max_s=10.0  (a number, from 0.5 to 60, s)" in section
    assert "longer shots make several clips." in section
    assert "colours=[bright-red]  (a list, each one of bright-red, sky-blue)" in section
    assert printed(capsys, "--help", "clips") == section
    assert "observe.part_s=600.0" in printed(capsys, "--help", "all")
    assert "part_s" not in section


def test_help_for_what_is_not_there_says_what_is_meant(capsys):
    assert "did you mean observe.clips?" in refused(capsys, "--help", "observe.clip")


@pytest.mark.parametrize("config", [TrainConfig, LatentsConfig], ids=lambda config: config.__name__)
def test_every_setting_has_a_text(config):
    topics = list(topics_of(config()))
    assert topics
    assert [topic.name for topic in topics if not topic.text] == []
