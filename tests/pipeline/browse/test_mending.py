"""People correct what is shown, by mouse and key; an act is one line, and can be taken back."""

import itertools
import json
import signal
import subprocess
import sys

import pytest
from cast import ANNA, BEN, TRACKS, TWIN, write_cast
from chromium import new_page, open_chromium
from places import script
from present import current_version, there
from starlette.testclient import TestClient

from pipeline.browse.app import CHANGE_HEADER, make_app
from pipeline.dataset.corrections import CORRECTIONS, read_corrections
from pipeline.dataset.store import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(write_cast(tmp_path / "dataset"))


@pytest.fixture
def page(store):
    app = make_app(current_version(store)[0], store, "secret")
    client = TestClient(app, base_url="http://127.0.0.1")
    client.headers |= {"Authorization": "token secret", CHANGE_HEADER: "1"}
    yield client
    app.state.close()


def act(page, **body):
    answer = page.post("/api/corrections", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def people(page) -> list[list[str]]:
    rows = page.get("/api/characters").json()["rows"]
    found = (page.get(f"/api/characters/{row['character_id']}").json() for row in rows)
    return sorted(sorted(row["track_id"] for row in each["tracks"]) for each in found)


def lines(store) -> list[dict]:
    text = store.read(CORRECTIONS).decode() if store.exists(CORRECTIONS) else ""
    return [json.loads(line) for line in text.splitlines()]


BEFORE = sorted(TRACKS.values())


def test_every_act_is_one_line_by_content_ids_and_is_shown_at_once(page, store):
    made = act(page, act="merge", characters=[ANNA, BEN], why="the coat")
    joined = sorted([*TRACKS[ANNA], *TRACKS[BEN]])
    assert people(page) == sorted([joined, TRACKS[TWIN]])
    assert made["characters"] == [ANNA]  # the larger one keeps its address
    [line] = lines(store)
    assert (line["kind"], sorted(line["people"][0]), line["why"]) == ("merge", joined, "the coat")
    assert set(line) == {"kind", "people", "why", "by", "at"}
    act(page, act="separate", character=ANNA, tracks=["track-2"])
    act(page, act="move", character=TWIN, tracks=["track-4"])
    assert people(page) == [["track-0", "track-1", "track-5"], ["track-2"], ["track-3", "track-4"]]
    assert [len(each["people"]) for each in lines(store)] == [1, 2, 2]


def test_undo_takes_the_line_away_and_shows_what_was_before(page, store):
    made = act(page, act="merge", characters=[ANNA, BEN])
    named = act(page, act="name", character=TWIN, value="Zoë")
    act(page, undo=made["id"])
    assert people(page) == BEFORE
    assert [line["kind"] for line in lines(store)] == ["name"]
    act(page, undo=named["id"])
    assert not store.exists(CORRECTIONS)
    assert page.post("/api/corrections", json={"undo": made["id"]}).status_code == 404


def test_names_captions_pictures_and_splits_are_shown_as_corrected(page, store):
    act(page, act="name", character=BEN, value="Ben")
    act(page, act="split", character=BEN, value="test")
    [sample, *_] = page.get(f"/api/characters/{BEN}").json()["samples"]
    act(page, act="caption", sample=sample["sample_id"], value="He  waves.\n")
    [image, *_] = page.get(f"/api/characters/{BEN}").json()["references"]
    act(page, act="reference", reference=image["reference_id"], value="best")
    shown = page.get(f"/api/characters/{BEN}").json()
    assert shown["name"] == "Ben"
    assert {row["split"] for row in shown["samples"]} == {"test"}
    assert shown["references"][0]["mark"] == "best"
    found = page.get(f"/api/samples/{sample['sample_id']}").json()
    assert found["caption"] == "He waves."
    named = [row["name"] for row in page.get("/api/characters").json()["rows"]]
    assert sorted(named) == ["", "", "Ben"]
    states = {row["kind"]: row["state"] for row in page.get("/api/corrections").json()["rows"]}
    assert states["caption"] == states["split"] == "waits"
    assert page.get("/corrections.jsonl").content == store.read(CORRECTIONS)


def test_doubts_lead_to_decisions_and_are_asked_once(page):
    first, second = page.get("/api/review").json()["rows"]
    assert (first["kind"], first["a"], first["b"], first["samples"]) == ("split", ANNA, TWIN, 4)
    assert (second["kind"], second["track_id"]) == ("merge", "track-2")
    likeness = page.get("/api/likeness", params={"a": ANNA, "track": "track-2"}).json()
    assert likeness["inside"][0] > likeness["together"]  # it is purer without
    act(page, act="different", characters=[ANNA, TWIN])
    assert [row["kind"] for row in page.get("/api/review").json()["rows"]] == ["merge"]
    act(page, act="merge", characters=[ANNA])  # all of them are she
    assert page.get("/api/review").json() == {"rows": [], "total": 0}
    assert people(page) == BEFORE


def test_two_who_share_a_frame_cannot_be_merged(tmp_path):
    from dataclasses import replace

    import rows as draw
    from runs import rows

    from pipeline.dataset.commit import publish, stage_file, table_path
    from pipeline.dataset.parquet import encode_rows
    from schemas.tables import Track

    folder = write_cast(tmp_path / "dataset")
    store = open_store(folder)
    manifest, digest = current_version(store)
    scene = draw.clip("scene")
    tracks = [
        draw.track(row["track_id"], scene, character_id=row["character_id"])
        for row in rows(folder, "tracks")
        if row["track_id"] in ("track-3", "track-4")
    ]
    file = stage_file(table_path("tracks", 3, 0), encode_rows(tracks, Track), 2, store)
    files = [*(each for each in manifest.files if not each.path.startswith("tracks/")), file]
    publish(replace(manifest, version=3, parent=digest, files=files), store)
    app = make_app(current_version(store)[0], store, "secret")
    client = TestClient(app, base_url="http://127.0.0.1")
    headers = {"Authorization": "token secret", CHANGE_HEADER: "1"}
    body = {"act": "merge", "characters": [TWIN, BEN]}
    answer = client.post("/api/corrections", json=body, headers=headers)
    app.state.close()
    assert answer.status_code == 400
    assert "two of them are seen in the same frame" in answer.json()["error"]
    assert read_corrections(store) == ()


def test_who_is_most_alike_comes_first_and_the_map_knows_everybody(page):
    found = page.get(f"/api/similar/{ANNA}", params={"limit": 3}).json()["rows"]
    assert len(found) == 3
    assert not {row["track_id"] for row in found} & set(TRACKS[ANNA])
    cosines = [row["cosine"] for row in found]
    assert cosines == sorted(cosines, reverse=True)
    drawn = page.get("/api/map").json()
    assert sorted(drawn["ids"]) == sorted(itertools.chain(*TRACKS.values()))
    assert drawn["characters"][drawn["ids"].index("track-3")] == TWIN
    assert all(0 <= x <= 1 for place in drawn["places"] for x in place)


WRONG = [
    {}, [], {"act": "swap"}, {"act": ["merge"]}, {"act": "merge"},
    {"act": "merge", "characters": []},
    {"act": "merge", "characters": "ab"}, {"act": "merge", "characters": ["nobody", ANNA]},
    {"act": "merge", "characters": [ANNA, ANNA]}, {"act": "different", "characters": [ANNA]},
    {"act": "separate", "character": ANNA, "tracks": []},
    {"act": "separate", "character": ANNA, "tracks": TRACKS[ANNA]},
    {"act": "separate", "character": ANNA, "tracks": ["track-4"]},
    {"act": "separate", "character": 7, "tracks": ["track-0"]},
    {"act": "move", "character": ANNA, "tracks": ["track-0"]},
    {"act": "move", "character": ANNA, "tracks": ["nobody"]},
    {"act": "name", "character": ANNA, "value": "x" * 100},
    {"act": "name", "character": ANNA, "value": "\x00"},
    {"act": "name", "character": ANNA, "value": {"$": 1}},
    {"act": "split", "character": ANNA, "value": "both"},
    {"act": "caption", "sample": "nobody", "value": "x"}, {"act": "caption", "value": "x"},
    {"act": "reference", "reference": "nobody", "value": "best"},
    {"act": "name", "character": ANNA, "value": "\ud800"},
]  # fmt: skip


def test_acts_that_make_no_sense_are_refused_with_a_reason(page, store):
    for body in WRONG:
        content = json.dumps(body).encode()
        answer = page.post("/api/corrections", content=content)
        assert (answer.status_code, bool(answer.json()["error"])) == (400, True), body
    assert page.post("/api/corrections", json={"undo": 7}).status_code == 404
    del page.headers[CHANGE_HEADER]
    assert page.post("/api/corrections", json={"act": "merge"}).status_code == 403
    assert read_corrections(store) == ()


FILTERS = [
    {"words": {"split": "train"}}, {"words": {"split": [1]}}, {"words": ["split"]}, {"words": 1},
    {"least": {"split": 1}}, {"least": {"sample_id": 0.5}}, {"least": [1]},
    {"least": {"motion": True}},
    {"most": {"caption": 3}}, {"kinds": "cross_video"}, {"kinds": [["x"]]}, {"kinds": {"a": 1}},
    {"text": 5}, {"text": None}, {"text": ["a"]}, {"sort": 5}, {"sort": ["motion"]}, {"tagged": 5},
    {"tagged": []}, {"descending": "yes"}, {"text": "\ud800"}, {"words": {"split": ["\ud800"]}},
    7, "x",
]  # fmt: skip
PATHS = [
    "/api/samples?filter={", "/api/samples?filter=" + "[" * 5000, "/api/samples?offset=1e3",
    "/api/samples?limit=", "/api/samples?limit=%00", "/api/characters?offset=-1", "/api/likeness",
    "/api/likeness?a=nobody&b=nobody", "/api/tracks", "/api/tracks?ids=" + "x," * 500,
    "/api/gates/nothing", f"/api/likeness?a={ANNA}&track=%00&b=",
]  # fmt: skip


def test_questions_that_make_no_sense_get_400_with_a_reason(page):
    for question in FILTERS:
        answer = page.get("/api/samples", params={"filter": json.dumps(question)})
        assert answer.status_code == 400, (question, answer.text)
        assert answer.json()["error"]
    for path in PATHS:
        answer = page.get(path)
        assert answer.status_code in (200, 400) if "%00" in path else answer.status_code == 400, (
            path
        )


def test_without_the_token_nothing_is_answered(store):
    app = make_app(current_version(store)[0], store, "secret")
    stranger = TestClient(app, base_url="http://127.0.0.1:8421", follow_redirects=False)
    for path in ("/", "/api/summary", "/main.js", "/tags.jsonl", "/media/clip/x", "/?token=wrong"):
        assert stranger.get(path).status_code == 403, path
    body = {"act": "name", "character": ANNA, "value": "Mine"}
    assert (
        stranger.post("/api/corrections", json=body, headers={CHANGE_HEADER: "1"}).status_code
        == 403
    )
    for wrong in ("token wrong", "Bearer secret", "token"):
        assert stranger.get("/", headers={"Authorization": wrong}).status_code == 403
    answer = stranger.get("/?a=1&token=secret")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?a=1")
    cookie = answer.headers["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    assert stranger.get("/api/summary").status_code == 200  # by the cookie, for this port alone
    assert stranger.get("/main.js").headers["cache-control"] == "no-store"
    app.state.close()


@pytest.mark.browser
def test_a_person_mends_a_dataset_by_key_and_by_mouse(store):
    """A real page: doubts, a merge, a split, a name, the map's lasso, and undo."""
    job = [sys.executable, script("browse"), store.url, "--port", "0"]
    with subprocess.Popen(job, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = there(server.stdout).readline().split(" at ")[1].split()[0]
            with open_chromium() as browser:
                page = new_page(browser, viewport={"width": 1280, "height": 900})
                failed = []
                page.on("pageerror", lambda error: failed.append(str(error)))
                page.goto(url)
                page.wait_for_selector(".card")
                mend(page, url.partition("?")[0], store)
                assert failed == []
                assert barriers(page, url.partition("?")[0]) == {}
        finally:
            server.send_signal(signal.SIGINT)


def barriers(page, url: str) -> dict[str, list]:
    """Return what keeps people out of the pages that mend, in the dark on a narrow screen."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.set_viewport_size({"width": 420, "height": 900})
    found = {}
    for place, ready in (
        (f"character/{BEN}", ".matrix"), ("review", ".gain:has-text('mean')"), ("map", ".map"),
        (f"similar/{BEN}", ".shot"), ("corrections", "tbody tr"),
    ):  # fmt: skip
        page.goto(f"{url}#/{place}")
        page.wait_for_selector(ready)
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        violations = axe.run(page).response["violations"]
        bad = [(each["id"], each["nodes"][0]["html"][:160]) for each in violations
               if each["impact"] in ("serious", "critical")]  # fmt: skip
        if bad or over > 0:
            found[place] = [over, *bad]
    return found


def mend(page, url: str, store) -> None:
    def said(text: str) -> None:
        page.locator("#told").get_by_text(text).wait_for()

    page.keyboard.press("3")  # doubts: one skipped, one answered no, then the first again
    page.locator("h2:text-is('Same person?')").wait_for()
    page.locator(".gain:has-text('purity')").wait_for()
    page.keyboard.press("s")
    page.locator("h3:has-text('This shot')").wait_for()
    page.keyboard.press("n")
    said("two people")
    page.get_by_role("button", name="Begin again").click()
    page.locator(".gain:has-text('mean cosine')").wait_for()
    page.keyboard.press("y")
    said("one person")
    page.locator("h2:text-is('No doubt is left')").wait_for()
    assert [line["kind"] for line in lines(store)] == ["separate", "merge"]
    page.keyboard.press("u")
    said("taken back")
    page.locator("h2:text-is('Same person?')").wait_for()

    page.keyboard.press("2")  # two cards chosen and merged
    page.wait_for_selector(".card[data-character]")
    page.locator(f".card[data-character='{BEN}']").focus()
    page.keyboard.press("x")
    page.locator(f".card[data-character='{TWIN}']").focus()
    page.keyboard.press("x")
    page.keyboard.press("g")
    said("2 characters are one")
    assert sorted(lines(store)[-1]["people"][0]) == ["track-3", "track-4", "track-5"]

    page.goto(f"{url}#/character/{BEN}")  # a shot chosen by mouse, split off by key; a name
    page.locator("[data-track=track-4] input").check()
    page.keyboard.press("s")
    said("1 shot split off")
    assert lines(store)[-1]["people"] == [["track-4"], ["track-3", "track-5"]]
    page.locator("[data-track=track-4]").wait_for(state="detached")
    page.locator(".matrix").wait_for()
    page.keyboard.press("n")
    page.keyboard.type("Ben")
    page.keyboard.press("Enter")
    page.locator("h2:text-is('Ben')").wait_for()
    page.locator("#split-it").select_option("validation")
    said("in validation")
    page.get_by_role("button", name="✕ bad").first.click()
    said("never used again")
    assert [line["kind"] for line in lines(store)[-3:]] == ["name", "split", "reference"]

    page.keyboard.press("4")  # the whole map in a lasso, and a point by keys
    box = page.locator("canvas.map").bounding_box()
    left, top = box["x"] + 10, box["y"] + 10
    right, bottom = box["x"] + box["width"] - 10, box["y"] + box["height"] - 10
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=3)
    page.mouse.up()
    page.locator(".picked:has-text('6 tracks')").wait_for()
    page.keyboard.press("c")
    page.locator("canvas.map").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    page.locator(".picked:has-text('1 track')").wait_for()

    page.keyboard.press("5")  # everything that was decided, and one taken back
    page.locator("tbody tr").nth(5).wait_for()
    assert page.locator("tbody tr").count() == len(lines(store)) == 6
    page.get_by_role("button", name="Take back").first.click()
    said("taken back")
    assert len(lines(store)) == 5
