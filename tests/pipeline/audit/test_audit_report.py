"""The report is one page that opens anywhere, and shows what it speaks of."""

import re

import pytest
from audits import audited
from drawn_dataset import write_drawn_dataset
from faults import plant

from pipeline.audit.report.page import report_html, report_json, write_report
from pipeline.audit.report.pictures import gather_pictures

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_drawn_dataset(tmp_path_factory.mktemp("drawn") / "clean")


def page_of(folder, **settings):
    with audited(folder, **settings) as done:
        return report_html(done, gather_pictures(done)), report_json(done)


def test_page_needs_nothing_from_outside_and_stays_small(clean):
    page, _ = page_of(clean)
    assert not re.search(r"<script|<link|@import|url\(|src=\"(?!data:image/jpeg)", page)
    assert "default-src 'none'" in page
    assert len(page) < 3_000_000
    assert page.count("data:image/jpeg") > 20


def test_page_begins_with_samples_that_nobody_chose(clean):
    with audited(clean) as done:
        pictures = gather_pictures(done)
        page = report_html(done, pictures)
        ids = {row[0] for row in done.index.rows("SELECT sample_id FROM samples")}
    assert set(pictures.drawn) == ids  # fewer than thirty: all of them
    assert list(pictures.drawn) != sorted(pictures.drawn)
    assert all(len(strip.frames) == len(strip.references) == 1 for strip in pictures.drawn.values())
    assert page.index("Drawn at random") < page.index("What became of everything")
    assert page.count('<div title="') == len(ids)


def test_page_says_how_differently_characters_are_seen(clean, tmp_path):
    copy = plant("character_always_seen_alike", clean, tmp_path / "copy")
    samples = copy.rows("samples")
    [planted] = {row["character_id"] for row in samples if row["references"][0]["yaw"] == 3.0}
    other = max(row["character_id"] for row in samples if row["character_id"] != planted)
    for number, row in enumerate(row for row in samples if row["character_id"] == other):
        row["brightness"] = 0.3 + 0.1 * number
        for reference in row["references"]:
            reference["yaw"] = 15.0 * number
    copy.save()
    page, told = page_of(copy.folder)
    variety = told["facts"]["variety"]
    [seen] = [each for each in variety["largest"] if each["character_id"] == other]
    assert (seen["samples"], seen["turned"]) == (4, 45.0)
    assert seen["light"] == pytest.approx(0.3, abs=1e-3)
    assert variety["one_pose"] == pytest.approx(1 / 3, abs=1e-3)
    assert "How differently they are seen" in page
    [check] = [check for check in told["checks"] if check["id"] == "identity.always-alike"]
    assert {finding["id"] for finding in check["examples"]} == {planted}


def test_page_says_verdict_reason_and_remedy_with_a_picture(clean, tmp_path):
    folder = plant("reference_of_somebody_else", clean, tmp_path / "copy").folder
    page, told = page_of(folder)
    assert "Do not train on this yet" in page
    check = next(c for c in told["checks"] if c["id"] == "pair.other-character")
    for text in (check["title"], check["why"], check["remedy"]):
        assert text in page
    finding = page[page.index('<details id="pair.other-character"') :]
    assert "data:image/jpeg" in finding[: finding.index("</details>")]


def test_markup_in_captions_and_ids_is_harmless(clean, tmp_path):
    copy = plant("caption_with_markup", clean, tmp_path / "copy")
    sample = copy.sample()
    sample["caption"] = '<img src=x onerror="alert(1)">'
    sample["source"] = "<script>alert(2)</script>"
    copy.save()
    page, _ = page_of(copy.folder)
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page


def test_pictures_on_a_list_are_not_shown(clean, tmp_path):
    from pipeline.audit.run import read_lists

    copy = plant("known_picture", clean, tmp_path / "copy")
    lists = read_lists([], [], copy.extra["known_bad"])
    with audited(copy.folder, media=True, lists=lists) as done:
        bad = [row.sample_id for row in done.findings.examples("safety.known-picture", 50)]
        pictures = gather_pictures(done)
    assert bad
    assert not set(bad) & set(pictures.samples)
    assert not set(bad) & {sample_id for sample_id, _ in pictures.references}


def test_same_dataset_gives_the_same_page(clean, tmp_path):
    pages = []
    for name in ("one", "two"):
        with audited(clean) as done:
            write_report(done, tmp_path / name)
        pages.append((tmp_path / name / "report.html").read_bytes())
    assert pages[0] == pages[1]
