"""A page that was open before somebody was forgotten shows nobody, and brings nobody back."""

import signal
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from chromium import new_page, open_chromium
from places import script
from present import current_version, there
from starlette.testclient import TestClient
from tiny_dataset import tiny_sample, write_samples

from pipeline.browse.app import CHANGE_HEADER, make_app
from pipeline.browse.light_tables import LightTables
from pipeline.dataset.corrections import CORRECTIONS
from pipeline.dataset.store import open_store
from pipeline.dataset.tags import TAGS, Tag, read_tags
from pipeline.forget import forget
from pipeline.forget.erasure import sample_id_of
from pipeline.forget.targets import ForgetRequest, find_targets

CHANGES = {CHANGE_HEADER: "1"}


@pytest.fixture
def opened(tmp_path):
    stays, goes = (
        replace(row, sample_id=sample_id_of(asdict(row))) for row in map(tiny_sample, range(2))
    )
    store = open_store(write_samples(tmp_path / "dataset", [stays, goes]))
    app = make_app(current_version(store)[0], store, "secret")
    page = TestClient(app, base_url="http://127.0.0.1")
    page.headers["Authorization"] = "token secret"
    yield store, page, stays, goes
    app.state.close()


def tag(page: TestClient, sample_id: str):
    body = {"sample_id": sample_id, "tag": "veto", "note": "it is her"}
    return page.post("/api/tags", json=body, headers=CHANGES)


def forget_person(store, character_id: str) -> None:
    request = ForgetRequest(characters=(character_id,))
    targets = find_targets(request, current_version(store)[0], store)
    assert forget.finish(forget.begin(targets, store), store).clean


def test_an_open_page_follows_to_the_version_without_the_forgotten(opened):
    store, page, stays, goes = opened
    assert page.get(f"/api/samples/{goes.sample_id}").status_code == 200
    assert page.get(f"/media/clip/{goes.sample_id}").status_code == 200  # in the server's cache now
    assert tag(page, goes.sample_id).status_code == 200
    forget_person(store, goes.character_id)
    for path in ("api/samples", "media/clip", "media/poster"):
        assert page.get(f"/{path}/{goes.sample_id}").status_code == 404
    assert page.get("/api/summary").json()["version"] == 2
    assert page.get("/api/tags").json() == []
    assert tag(page, goes.sample_id).status_code == 404
    assert goes.sample_id.encode() not in (store.read(TAGS) if store.exists(TAGS) else b"")
    assert tag(page, stays.sample_id).status_code == 200
    assert read_tags(store) == [Tag(stays.sample_id, "veto", "it is her")]


def test_an_open_page_cannot_bring_the_person_back_by_a_correction(opened):
    """Nor by taking back what was said of the person before."""
    store, page, stays, goes = opened

    def correct(**body):
        return page.post("/api/corrections", json=body, headers=CHANGES)

    named = correct(act="name", character=goes.character_id, value="Anna Example").json()["id"]
    assert correct(act="name", character=stays.character_id, value="Ben").status_code == 200
    forget_person(store, goes.character_id)
    acts = (
        {"act": "name", "character": goes.character_id, "value": "Anna"},
        {"act": "merge", "characters": [stays.character_id, goes.character_id]},
        {"act": "caption", "sample": goes.sample_id, "value": "Anna waves."},
        {"act": "move", "character": stays.character_id, "tracks": [goes.track_id]},
        {"undo": named},
    )
    for body in acts:
        answer = correct(**body)
        assert 400 <= answer.status_code < 500, (body, answer.text)
    written = store.read(CORRECTIONS)
    assert b"Ben" in written
    for piece in ("Anna", goes.character_id, goes.sample_id, goes.track_id):
        assert piece.encode() not in written
    shown = page.get("/api/characters").json()["rows"]
    assert [row["character_id"] for row in shown] == [stays.character_id]


def test_a_version_that_comes_while_the_page_asks_gets_its_corrections_too(opened, monkeypatch):
    store, page, _, _ = opened
    server = page.app.state.close.__self__
    before, after = server._tables, LightTables(server._manifest, store)
    after.wait()
    monkeypatch.setattr(server, "_laid", None)  # the page was opened before all was read
    share = LightTables.share

    def asked_while_a_version_comes(tables: LightTables) -> float:
        if tables is before:
            server._tables, server._laid = after, None
        return share.__get__(tables)

    monkeypatch.setattr(LightTables, "share", property(asked_while_a_version_comes))
    server._reading_share()
    assert server._laid is not after  # nothing was laid over the new version's tables as yet
    server._reading_share()
    assert server._laid is after
    before.close()


def test_nobody_is_tagged_while_another_job_writes(opened):
    store, page, stays, _ = opened
    with store.lock():
        answer = tag(page, stays.sample_id)
    assert answer.status_code == 503
    assert "another job writes to" in answer.json()["error"]
    assert read_tags(store) == []
    assert tag(page, stays.sample_id).status_code == 200


@pytest.mark.browser
def test_the_person_leaves_the_screen_of_an_open_page(opened):
    """A real page, left alone: it notices the new version by itself."""
    store, _, stays, goes = opened
    job = [sys.executable, script("browse"), store.url, "--port", "0"]
    with subprocess.Popen(job, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = there(server.stdout).readline().split(" at ")[1].split()[0]
            with open_chromium() as browser:
                page = new_page(browser)
                page.goto(url)
                page.get_by_text(goes.caption).wait_for()
                url = url.partition("?")[0]  # the cookie knows the token now
                page.goto(f"{url}#/compare/{goes.character_id}/{stays.character_id}")
                sides = page.locator(".sides section")
                sides.nth(0).get_by_text(f"Character {goes.character_id[:12]}").wait_for()
                sides.nth(1).get_by_text(f"Character {stays.character_id[:12]}").wait_for()
                assert sides.nth(0).locator(".references img").count() >= 2
                page.goto(f"{url}#/samples")
                page.get_by_text(goes.caption).wait_for()
                forget_person(store, goes.character_id)
                page.get_by_text(goes.caption).wait_for(state="detached")
                page.get_by_text(stays.caption).wait_for()
                assert goes.caption not in page.inner_text("body")
        finally:
            server.send_signal(signal.SIGINT)
