"""Settings come from YAML and flags; what is not a setting is refused by its name."""

import pytest
from places import ROOT

from jobs.curate import parse
from pipeline.curation.curation_config import CurationConfig
from pipeline.dataset.settings_digest import differing_keys, settings_digest
from schemas.reasons import PairKind
from schemas.settings_help import topics_of
from schemas.settings_parser import read_settings

NEEDED = ["--input", "videos", "--output", "dataset"]


def settings(*arguments: str) -> CurationConfig:
    return read_settings(parse([*NEEDED, *arguments]), CurationConfig)


def test_the_shipped_file_holds_the_defaults():
    assert settings("--config", str(ROOT / "configs" / "curate.yaml")) == CurationConfig()


def test_a_flag_overrides_the_file(tmp_path):
    (tmp_path / "c.yaml").write_text("observe: {clips: {max_s: 6, min_s: 3}}\n")
    config = settings("--config", str(tmp_path / "c.yaml"), "--set", "observe.clips.max_s=5")
    assert (config.observe.clips.min_s, config.observe.clips.max_s) == (3.0, 5.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("observe: {clips: {maxs: 6}}\n", "maxs"),
        ("observe: {clip: {max_s: 6}}\n", "clip"),
        ("observe: {clips: {max_s: soon}}\n", "max_s"),
        ("clips: !!python/object/apply:os.system ['touch ran']\n", "python/object"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_runs_nothing(
    tmp_path, monkeypatch, capsys, text, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(SystemExit) as stop:
        settings("--config", "c.yaml")
    assert stop.value.code == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("observe.part_s=20", "part_s must be >= 10 x observe.clips.max_s"),
        ("run.max_failed=2", "run.max_failed must be from 0 to 1"),
        ("observe.engines.people=yolo", "observe.engines.people must be one of auto, detr, opencv"),
        ("observe.clips.min_s=11", "observe.clips.min_s must be at most max_s (10 s), got 11"),
        ("pair.duplicates.max_distance=9", "pair.duplicates.max_distance must be from 0 to 3 bits"),
        ("pair.references.tiers=[[cross]]", "must be one of cross_video, same_video_other_shot"),
        ("pair.shards.size_mib=0", "pair.shards.size_mib must be from 1 to 2048 MiB"),
    ],
)
def test_an_impossible_value_is_named_with_what_is_allowed(setting, says, capsys):
    with pytest.raises((SystemExit, ValueError), match=None) as stop:
        settings("--set", setting)
    assert says in str(stop.value) + capsys.readouterr().err


def test_pair_kinds_go_by_the_names_that_the_dataset_has():
    config = settings("--set", "pair.references.tiers=[[cross_video, edited]]")
    assert config.pair.references.tiers == ((PairKind.CROSS_VIDEO, PairKind.EDITED),)


def test_what_decides_and_what_only_runs_are_told_apart():
    named = ("--engines", "embedded")
    plain, more = settings(*named), settings(*named, "--set", "run.cluster.workers=3")
    assert settings_digest(plain.identity()) == settings_digest(more.identity())
    later = settings(*named, "--set", "pair.references.max_references=2")
    assert settings_digest(plain.identity()) != settings_digest(later.identity())
    assert plain.observe == later.observe
    other = settings(*named, "--set", "observe.clips.max_s=5")
    assert differing_keys(other.observe.identity(), plain.observe.identity()) == [
        "observe.clips.max_s: now 5.0, then 10.0"
    ]


def told(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit):
        parse(list(arguments))
    captured = capsys.readouterr()
    return captured.out + captured.err


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (
            "pair.quality.min_sharpnes=3",
            "there is no setting pair.quality.min_sharpnes; did you mean "
            "pair.quality.min_sharpness?",
        ),
        ("clips.max_s=5", "clips.max_s is now called observe.clips.max_s"),
        ("pairing.references.tiers=[]", "pairing.references.tiers is now called pair.refer"),
        ("engines.captions=vlm", "engines.captions is now called pair.engines.captions"),
        ("cluster.workers=1", "cluster.workers is now called run.cluster.workers"),
        ("max_failed=1", "max_failed is now called run.max_failed"),
        ("clips={max_s: 5}", "clips is now called observe.clips"),
        ("max_s=5", "there is no setting max_s; did you mean observe.clips.max_s?"),
    ],
)
def test_a_name_that_is_cut_short_or_old_is_refused_with_the_right_one(setting, says, capsys):
    assert told(capsys, *NEEDED, "--set", setting).startswith(f"curate: {says}")


@pytest.mark.parametrize("number", ["-3", "0", "many"])
def test_an_impossible_limit_is_refused(number, capsys):
    said = told(capsys, *NEEDED, f"--limit={number}")
    assert said == f"curate: --limit must be a whole number >= 1, got '{number}'\n"


def test_a_limit_is_taken_beside_other_settings():
    arguments = parse([*NEEDED, "--limit", "2", "--set", "run.cluster.workers=2"])
    assert arguments.limit == 2
    assert read_settings(arguments, CurationConfig).run.cluster.workers == 2


def test_help_fits_a_screen_and_every_setting_is_explained(capsys):
    page = told(capsys, "--help").splitlines()
    assert len(page) <= 40
    assert max(map(len, page)) <= 100
    topics = list(topics_of(CurationConfig()))
    assert [topic.name for topic in topics if not topic.text] == []
    everything = told(capsys, "--help", "all")
    assert [topic.name for topic in topics if topic.name not in everything] == []
    assert "class '" not in everything


def test_all_settings_can_be_printed_and_read_again(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(told(capsys, "--print_config"))
    assert settings("--config", str(tmp_path / "c.yaml")) == CurationConfig()
