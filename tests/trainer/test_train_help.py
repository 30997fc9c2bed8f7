"""train.py explains itself on one screen, and every setting on request."""

import pytest

from trainer.train import parse

NEEDED = ["--preset", "tiny", "--data", "d", "--output", "r"]


def told(capsys, *arguments: str, code: int) -> str:
    with pytest.raises(SystemExit) as stop:
        parse(list(arguments))
    assert stop.value.code == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_help_fits_a_screen_and_data_is_the_dataset(capsys):
    page = told(capsys, "--help", code=0).splitlines()
    assert len(page) <= 40
    assert max(map(len, page)) <= 100
    [line] = [line for line in page if "--data " in line and "usage" not in line]
    assert "the dataset" in line
    assert not [line for line in page if "class '" in line or "CONFIG" in line]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("train.step=7", "there is no setting train.step; did you mean train.steps?"),
        ("train.steps=many", "train.steps must be a whole number, got 'many'"),
        ("model.spatial_offset=x", "model.spatial_offset must be one of none, diagonal, got 'x'"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(capsys, setting, says):
    assert told(capsys, *NEEDED, "--set", setting, code=2) == f"train: {says}\n"


def test_the_launcher_s_flag_and_the_preset_s_settings_are_taken():
    parsed = parse([*NEEDED, "--local_rank=3", "--set", "ema.decay=0.5"])
    assert (parsed.local_rank, parsed.ema.decay, parsed.train.steps) == (3, 0.5, 600)
