"""What is written for the law and for readers: every figure has its query, the rest stays open."""

import re
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from tiny_dataset import tiny_sample, write_samples

from pipeline.dataset.store import open_store
from pipeline.dataset.tags import Tag, read_tags, vetoed, write_tags
from pipeline.export.export_source import export
from pipeline.export.formats import writer_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Five samples of four clips and characters; one is vetoed, one source tries to break out."""
    rows = [tiny_sample(number, (64, 48), frames=8) for number in range(6)]
    rows[1] = replace(rows[1], source="https://example.org/a|<script>\n# x", licence="CC-BY-4.0")
    rows[2] = replace(rows[2], source="", clip_id="clip-0")
    edited = replace(rows[3].references[0], kind="edited")
    rows[3] = replace(rows[3], references=[edited, rows[3].references[1]], split="validation")
    folder = tmp_path_factory.mktemp("dataset")
    write_samples(folder, rows)
    write_tags([Tag(rows[5].sample_id, "veto")], open_store(folder))
    return folder


@pytest.mark.parametrize(
    ("name", "file"), [("ai-act", "summary.md"), ("datasheet", "datasheet.md")]
)
def test_each_figure_is_what_its_query_finds_in_the_files(made, tmp_path, name, file):
    export(writer_of(name), open_store(made), tmp_path / "out")
    page = (tmp_path / "out" / file).read_text()
    figures = re.findall(r"^\| [^|]+ \| ([\d,.]+) \| `(SELECT [^`]+)` \|$", page, re.M)
    assert len(figures) >= 6
    with asked(made) as db:
        for shown, query in figures:
            [[value]] = db.execute(query).fetchall()
            assert shown.replace(",", "") == str(value), query
        lists = re.findall(r": `(SELECT [^`]+)`\n\n((?:- .+\n?)+)", page)
        assert len(lists) >= 4
        for query, lines in lists:
            rows = db.execute(query).fetchall()
            numbers = [line.rsplit(": ", 1)[-1] for line in lines.strip().splitlines()]
            assert numbers == [str(number) for _, number in rows] or (numbers, rows) == (
                ["- none"],
                [],
            )


def asked(folder: Path) -> duckdb.DuckDBPyConnection:
    """Open the dataset's own files as the page describes the table."""
    db = duckdb.connect()
    [refused] = vetoed(read_tags(open_store(folder)))
    db.execute(
        'CREATE VIEW samples AS SELECT *, len("references") AS num_references,'
        ' list_transform("references", lambda x: x.kind) AS reference_kinds'
        f" FROM read_parquet('{folder}/samples/*.parquet')"
        f" WHERE sample_id <> '{refused}'"
    )
    return db


def test_the_summary_has_three_sections_and_leaves_open_what_nobody_recorded(made, tmp_path):
    export(writer_of("ai-act"), open_store(made), tmp_path / "out")
    page = (tmp_path / "out" / "summary.md").read_text()
    heads = re.findall(r"^## (.+)$", page, re.M)
    assert heads == ["1. General information", "2. List of data sources", "3. Data processing"]
    assert "- Provider, contact, authorised representative: **[to be filled in]**" in page
    assert "1 of 5 videos name an address" in page
    assert "reference images that a model edited | 1 |" in page
    assert "- unknown: 1" in page  # the source that nobody stated
    assert "1 samples that a person vetoed are left out" in page
    assert "<script>" not in page
    assert "\n# x" not in page


def test_the_datasheet_has_the_seven_sections(made, tmp_path):
    export(writer_of("datasheet"), open_store(made), tmp_path / "out")
    page = (tmp_path / "out" / "datasheet.md").read_text()
    assert re.findall(r"^## (.+)$", page, re.M) == [
        "Motivation", "Composition", "Collection", "Preprocessing", "Uses", "Distribution",
        "Maintenance",
    ]  # fmt: skip
    assert "- train: 4" in page
    assert "- validation: 1" in page
    assert "<script>" not in page


def test_nothing_to_describe_is_said(tmp_path):
    row = tiny_sample(0)
    write_samples(tmp_path / "in", [row])
    write_tags([Tag(row.sample_id, "veto")], open_store(tmp_path / "in"))
    with pytest.raises(ValueError, match="the dataset has no sample"):
        export(writer_of("ai-act"), open_store(tmp_path / "in"), tmp_path / "out")
