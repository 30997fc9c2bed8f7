"""References come in as their colours are, and what shows nobody is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import ROOT

from trainer.sampling.references import fit_reference, open_picture


@pytest.fixture(scope="module")
def cases() -> Path:
    for place in (os.environ.get("CONTEXTANYONE_CASES"), ROOT.parent / "shared" / "cases"):
        if place and (Path(place) / "references").is_dir():
            return Path(place) / "references"
    pytest.skip("cases absent: set CONTEXTANYONE_CASES to the folder with references/")


def fitted(path: Path) -> np.ndarray:
    return fit_reference(open_picture(path), 360, 240).astype(int)


def test_grey_of_16_bits_is_scaled_to_8(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(64, axis=0)
    Image.fromarray(ramp).save(tmp_path / "grey.png")
    shown = fit_reference(open_picture(tmp_path / "grey.png"), 64, 64)
    assert np.abs(shown[32, :, 1].astype(int) - ramp[0] / 257).max() <= 1


def test_grey_case_is_the_picture(cases: Path) -> None:
    stored = np.asarray(Image.open(cases / "gray16.png")).astype(float) / 257
    assert np.abs(fitted(cases / "gray16.png")[..., 0] - stored).max() <= 1


def test_profile_is_followed(cases: Path) -> None:
    p3, srgb = (fitted(cases / f"vivid_{name}.png") for name in ("p3", "srgb"))
    assert np.abs(p3 - srgb).max() <= 3


def test_picture_that_shows_nothing_is_refused(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (200, 60, 60, 0)).save(tmp_path / "empty.png")
    with pytest.raises(ValueError, match=r"empty\.png is transparent everywhere"):
        open_picture(tmp_path / "empty.png")
    with pytest.raises(ValueError, match="transparent everywhere"):
        fit_reference(Image.new("RGBA", (64, 64), (0, 0, 0, 0)), 64, 64)


def test_transparent_case_is_refused(cases: Path) -> None:
    with pytest.raises(ValueError, match="transparent"):
        open_picture(cases / "alpha_all_transparent.png")


@pytest.mark.parametrize("name", ["exif6.webp", "phone.mpo.jpg"])
def test_phone_pictures_stand_upright(cases: Path, name: str) -> None:
    assert np.ptp(fitted(cases / name)[:, :, 0]) > 50
