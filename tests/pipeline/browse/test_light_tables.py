"""Large tables are read in pieces while the page is open: every row once, each with its media."""

import pytest
from present import current_version
from tiny_dataset import write_dataset

from pipeline.browse import light_tables, queries
from pipeline.browse.light_tables import LightTables, load_tables
from pipeline.browse.media_cache import Media
from pipeline.dataset.parquet import read_rows
from pipeline.dataset.store import open_store
from pipeline.dataset.tables import files_of


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(light_tables, "_PIECE", 10)  # one row group of media
    folder = write_dataset(tmp_path / "d", 25, (48, 32), 2, references=1, per_file=14)
    store = open_store(folder)
    return current_version(store)[0], store


def test_every_row_is_read_once_and_knows_its_media(dataset):
    manifest, store = dataset
    db = load_tables(manifest, store)
    media = Media(manifest, store)
    written = [row for path in files_of("samples", manifest) for row in read_rows(store.open(path))]
    question = queries.SampleQuery()
    shown = queries.samples(db.cursor(), question, {}, 0, 200)
    assert shown["total"] == len(written) == 25
    assert [row["sample_id"] for row in shown["rows"]] == [row["sample_id"] for row in written]
    for row in written:
        found = queries.sample(db.cursor(), row["sample_id"])
        assert found is not None
        assert media.of_sample(found, "clip") == row["video"]["bytes"]
    media.close()


def test_what_was_read_is_shown_before_the_rest_is_there(dataset, monkeypatch):
    import threading

    manifest, store = dataset
    monkeypatch.setattr(light_tables, "_SMALL", 0)
    first_piece, go_on = threading.Event(), threading.Event()
    insert = LightTables._insert

    def slowly(self, sql, name, part, db=None):
        insert(self, sql, name, part, db)
        if sql.startswith("INSERT") and name == "samples" and not first_piece.is_set():
            first_piece.set()
            go_on.wait()

    monkeypatch.setattr(LightTables, "_insert", slowly)
    tables = LightTables(manifest, store)
    first_piece.wait()
    assert tables.wait_for_first(0.01) == 0
    shown = queries.samples(tables.db.cursor(), queries.SampleQuery(), {}, 0, 200)
    assert 0 < shown["total"] < 25
    go_on.set()
    tables.wait_for_first(60)  # now there is something to show
    assert tables.wait() == 1
    assert queries.samples(tables.db.cursor(), queries.SampleQuery(), {}, 0, 200)["total"] == 25
    tables.close()


def test_a_small_dataset_is_read_whole_before_the_first_page(dataset):
    tables = LightTables(*dataset)
    assert tables.wait_for_first(60) == 1
    tables.close()
