"""Every arrow of the house leads down, and the picture of it is true."""

import re

import pytest
from places import ROOT

from benchmarks.house import ORDER, House, draw, measure

PAGE = ROOT / "docs" / "architecture.md"


@pytest.fixture(scope="module")
def house() -> House:
    return measure()


def test_imports_lead_down_and_in_no_circle(house):
    reasons = [reason for pair in house.upward for reason in house.arrows[pair]]
    assert not reasons, "\n".join(reasons)
    assert not house.circles
    assert set(house.lines) == {room for group in ORDER for room in group}


def test_the_house_stays_small_enough_to_keep_in_mind(house):
    assert len(house.lines) <= 20
    assert max(house.floors.values()) <= 10
    assert len(house.arrows) <= 100


def test_an_upward_import_and_a_circle_are_found(tmp_path):
    for name, text in {
        "schemas/tables.py": "from pipeline.media.reader import read\n",
        "pipeline/media/reader.py": "import pipeline.media.pixels\n",
        "pipeline/media/pixels.py": "def scale():\n    from pipeline.media.reader import read\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    house = measure(tmp_path)
    assert house.upward == [("schemas", "pipeline/media")]
    assert house.circles == (("pipeline.media.pixels", "pipeline.media.reader"),)


def test_the_page_shows_the_house_as_it_is(house):
    page = PAGE.read_text()
    assert draw(house) in page, "run: python benchmarks/house.py --draw"
    figures = (len(house.lines), max(house.floors.values()), len(house.arrows), 0, 0)
    assert f"| now | {' | '.join(map(str, figures))} |" in page


def test_the_page_names_files_that_exist():
    for name in re.findall(
        r"`((?:pipeline|trainer|schemas|jobs|benchmarks)/[\w/.]+)`", PAGE.read_text()
    ):
        assert (ROOT / name).exists(), name
