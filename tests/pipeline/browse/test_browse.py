"""The page as a person uses it: a real server, a real chromium, a dataset of ten thousand."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pytest
import rows as draw
from chromium import new_page, open_chromium
from patience import HANG_S
from places import script
from present import current_version, there
from tiny_dataset import tiny_sample, write_samples

from pipeline.dataset.commit import publish, stage_file, table_path
from pipeline.dataset.parquet import encode_rows
from pipeline.dataset.store import open_store
from pipeline.dataset.tags import TAGS, Tag, read_tags
from schemas.manifest import FunnelRow
from schemas.tables import Clip, ClipMedia, Embedding, Reject, Track

pytestmark = pytest.mark.slow

JOB = script("browse")
MARKUP = "<img src=x onerror='window.hurt=1'><script>window.hurt=1</script> & \"two\" hats"
NUMBER = 10_000


def write_large(folder: Path) -> None:
    """Write 10,000 samples of few media, a rejected clip with its unit, embeddings, a ledger."""
    base = [tiny_sample(number, (96, 64), frames=32, references=2) for number in range(4)]
    small = [tiny_sample(number, (48, 32), frames=3, references=1) for number in range(4)]
    samples = []
    for number in range(NUMBER):
        row = base[number] if number < 4 else small[number % 4]
        kind = "in_clip_augmented" if number % 5 == 0 else "cross_video"
        references = [replace(each, kind=kind) for each in row.references]
        samples.append(
            replace(
                row, sample_id=f"sample-{number:05d}", references=references,
                sharpness=float(number), split="test" if number % 10 == 9 else "train",
            )
        )  # fmt: skip
    samples[2] = replace(samples[2], caption=MARKUP, description="")
    write_samples(folder, samples, per_file=2500)
    store = open_store(folder)
    manifest, digest = current_version(store)
    mp4 = base[0].video["bytes"]
    clips = [draw.clip("kept", "video-0", sharpness=100.0)]
    clips += [draw.clip(f"blurry-{n}", "video-0", sharpness=float(n)) for n in (5, 9)]
    tracks = [draw.track(f"track-{n}", clips[0]) for n in range(2)]
    tracks = [replace(track, character_id=base[0].character_id) for track in tracks]
    vectors = [draw.person(0), draw.looks_like(draw.person(0), 0.6, seed=1)]
    embeddings = [draw.embedding(v, f"track-{n}") for n, v in enumerate(vectors)]
    rejects = [
        Reject("quality", "clip", f"blurry-{n}", "video-0", "blurry", False, float(n), 15.0, MARKUP)
        for n in (5, 9)
    ]
    unit = [ClipMedia(clip.clip_id, mp4) for clip in clips]
    store.write("units/vi/video-0-0000/media.parquet", encode_rows(unit, ClipMedia))
    tables = {"clips": (Clip, clips), "tracks": (Track, tracks), "rejects": (Reject, rejects)}
    tables["embeddings"] = (Embedding, embeddings)
    files = [
        stage_file(table_path(name, 2, 0), encode_rows(rows, table), len(rows), store)
        for name, (table, rows) in tables.items()
    ]
    funnel = [FunnelRow("quality", "clip", 3, 1, 2, 0, {"blurry": 2})]
    files = [*manifest.files, *files]
    publish(replace(manifest, version=2, parent=digest, files=files, funnel=funnel), store)


class Address(str):
    """The server's address, and the token that was printed with it."""

    token: str

    @classmethod
    def printed(cls, text: str) -> "Address":
        place, _, query = text.partition("?")
        made = cls(place)
        made.token = query.removeprefix("token=")
        return made

    @property
    def with_token(self) -> str:
        return f"{self}?token={self.token}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    write_large(folder)
    return folder


@pytest.fixture(scope="module")
def url(folder):
    """The address of the running job."""
    server = subprocess.Popen(
        [sys.executable, JOB, str(folder), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    line = there(server.stdout).readline()
    assert "http://127.0.0.1:" in line
    yield Address.printed(line.split(" at ")[1].split()[0])
    server.send_signal(signal.SIGINT)
    assert server.wait(HANG_S) in (0, 130)


@pytest.fixture(scope="module")
def chromium():
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium, url):
    """A page whose errors fail the test, and which asks nobody but the server for anything."""
    page = new_page(chromium, viewport={"width": 1280, "height": 800})
    errors, asked = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url.with_token)
    page.wait_for_selector(".card")
    assert "token" not in page.url
    yield page
    page.close()
    assert errors == []
    assert [one for one in asked if not one.startswith(url)] == []


@dataclass(frozen=True)
class Answer:
    """A response that was read."""

    status: int
    headers: http.client.HTTPMessage
    content: bytes


def ask(url: Address, path: str, method="GET", body=None, **headers) -> Answer:
    """Send a request exactly as written: no client cleans the path."""
    host = url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(host, timeout=HANG_S)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("Authorization", f"token {url.token}")
    connection.request(method, path, body=body, headers=named)
    answer = connection.getresponse()
    return Answer(answer.status, answer.headers, answer.read())


def found(page, text: str) -> None:
    page.wait_for_selector(f"#found:text-is('{text}')")


def until(page, expression: str) -> None:
    """Wait for a value; what the driver has for it needs eval, which the page's policy forbids."""
    for _ in range(300):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {expression}")


@pytest.mark.browser
def test_a_clip_plays_and_seeks_in_the_viewer(page, url):
    page.locator(".card").first.click()
    until(page, "document.querySelector('#player')?.readyState >= 2")
    until(page, "document.querySelector('#player').currentTime > 0.1")
    page.evaluate("document.querySelector('#player').pause()")
    page.evaluate("document.querySelector('#player').currentTime = 1.5")
    until(page, "!document.querySelector('#player').seeking")
    at = page.evaluate("document.querySelector('#player').currentTime")
    assert at == pytest.approx(1.5, abs=0.05)
    page.keyboard.press(".")
    until(page, "document.querySelector('#player').currentTime > 1.53")
    assert page.locator("#viewer .reference").count() == 2
    assert page.locator("#viewer .reference .person").first.evaluate("e => e.naturalWidth") > 0
    page.keyboard.press("j")
    page.wait_for_selector("#viewer dd:text-is('sample-00001')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer", state="hidden")


@pytest.mark.browser
def test_pointing_at_a_card_plays_it_and_leaving_stops_it(page):
    page.locator(".card .clip").first.hover()
    until(page, "document.querySelector('.card video')?.currentTime > 0.05")
    page.mouse.move(5, 400)
    page.wait_for_selector(".card video", state="detached")


@pytest.mark.browser
def test_filters_and_sorting_show_what_they_say(page):
    found(page, "10,000 samples")
    page.locator("#kinds input[value=in_clip_augmented]").check()
    found(page, "2,000 samples")
    page.locator("#word-split").select_option("test")
    found(page, "0 samples")
    page.locator("#kinds input[value=in_clip_augmented]").uncheck()
    found(page, "1,000 samples")
    page.locator("#sort").select_option("sharpness")
    page.locator("#turn").click()
    page.wait_for_selector(".card[data-id=sample-09999]")
    page.locator("#least-sharpness").evaluate(
        "e => { e.value = 5000; e.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    until(page, "document.querySelector('#found').textContent.startsWith('50')")
    page.locator("#search").fill("sample-09999")
    found(page, "1 sample")


@pytest.mark.browser
def test_ten_thousand_samples_scroll_with_few_cards(page):
    cards = "document.querySelectorAll('.card').length"
    assert 0 < page.evaluate(cards) < 60
    page.evaluate("scrollTo(0, document.body.scrollHeight / 2)")
    page.wait_for_selector(".card[data-index='5000']")
    assert page.evaluate(cards) < 60
    page.locator(".card").first.focus()
    page.keyboard.press("End")
    page.wait_for_selector(".card.selected[data-id=sample-09999]")
    assert page.evaluate(cards) < 60
    page.keyboard.press("Home")
    page.wait_for_selector(".card.selected[data-id=sample-00000]")


@pytest.mark.browser
def test_markup_in_texts_is_text(page, url):
    page.locator("#search").fill("onerror=")
    found(page, "1 sample")
    assert page.locator(".card .caption").inner_text() == MARKUP
    page.locator(".card").click()
    page.wait_for_selector("#viewer .told")
    assert page.locator("#viewer .told").inner_text() == MARKUP
    page.keyboard.press("Escape")
    page.goto(f"{url}#/rejects")
    page.wait_for_selector(".card .detail")
    assert page.locator(".card .detail").first.inner_text() == MARKUP
    assert page.evaluate("window.hurt") is None
    assert page.locator("main script, main img[src='x']").count() == 0


@pytest.mark.browser
def test_keys_move_open_tag_and_veto_and_the_file_has_it(page, folder):
    page.locator(".card").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".card.selected[data-id=sample-00001]")
    page.keyboard.press("v")
    page.wait_for_selector(".card[data-id=sample-00001].vetoed")
    store = open_store(folder)
    assert read_tags(store) == [Tag("sample-00001", "veto")]
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer .tag.veto")
    page.keyboard.press("t")
    page.keyboard.type("Look-Again")
    page.keyboard.press("Tab")
    page.keyboard.type("the second picture <b>")
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer .tag >> text=look-again")
    lines = [json.loads(line) for line in (folder / TAGS).read_text().splitlines()]
    assert lines == [
        {"note": "the second picture <b>", "sample_id": "sample-00001", "tag": "look-again"},
        {"note": "", "sample_id": "sample-00001", "tag": "veto"},
    ]
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer", state="hidden")
    with page.expect_download() as download:
        page.locator("text=Export tags").click()
    assert Path(download.value.path()).read_bytes() == (folder / TAGS).read_bytes()


@pytest.mark.browser
def test_characters_rejects_thresholds_and_funnel(page, url):
    page.keyboard.press("2")
    page.wait_for_selector(".card[data-character]")
    assert page.locator(".card[data-character]").count() == 4
    who = tiny_sample(0).character_id
    page.locator(f".card[data-character='{who}']").click()
    page.wait_for_selector(".matrix td")
    assert page.locator(".matrix td").all_inner_texts() == ["1.00", "0.60", "0.60", "1.00"]
    page.goto(f"{url}#/rejects/quality/blurry")
    page.wait_for_selector(".card[data-reason=blurry] .clip img")
    until(page, "document.querySelector('.card .clip img').naturalWidth > 0")
    page.goto(f"{url}#/threshold")
    page.wait_for_selector("#verdict:has-text('At 15')")
    page.locator("#threshold").evaluate(
        "e => { e.value = 8; e.dispatchEvent(new Event('input')); }"
    )
    page.wait_for_selector("#verdict:has-text('1 would come back, 0 would go')")
    page.goto(f"{url}#/funnel")
    told = page.locator(".losses tr:has-text('blurry')")
    assert "--set pair.quality.min_sharpness=9" in told.inner_text()
    page.locator(".funnel a.chip:has-text('blurry 2')").click()
    page.wait_for_selector(".card[data-reason=blurry]")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (420, "dark")])
def test_no_page_has_barriers_or_runs_over_the_side(chromium, url, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    size = {"width": width, "height": 800}
    page = new_page(chromium, viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page.goto(url.with_token)
    for place, ready in (("samples", ".card"), ("rejects", ".card"), ("funnel", ".funnel")):
        page.goto(f"{url}#/{place}")
        page.wait_for_selector(ready)
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, place
        found = axe.run(page).response["violations"]
        bad = [(each["id"], each["nodes"][0]["html"][:120]) for each in found
               if each["impact"] in ("serious", "critical")]  # fmt: skip
        assert bad == [], place
    page.close()


def test_paths_hosts_and_foreign_changes_are_refused(url, folder):
    for path in (
        "/../../../../etc/passwd", "/..%2f..%2f..%2fetc%2fpasswd", "/static/../app.py",
        "/media/clip/..%2f..%2fmanifest.json", "/media/clip/%00", "/media/clip/../../manifest.json",
        "/media/unit-clip/..", "/media/image/sample-00000/-1", "/media/video/sample-00000/0",
        "/api/samples/nobody", "/api/characters/nobody", "//etc/passwd", "/%5c..%5c..%5cetc",
    ):  # fmt: skip
        answer = ask(url, path)
        assert answer.status in (400, 404), path
        assert b"root:" not in answer.content
        assert b'"files"' not in answer.content
    assert ask(url, "/api/summary", Host="evil.example").status == 400
    assert ask(url, "/api/summary", Host="localhost").status == 200
    body = json.dumps({"sample_id": "sample-00000", "tag": "mine"})
    before = (folder / TAGS).read_bytes() if (folder / TAGS).exists() else b""
    assert ask(url, "/api/tags", "POST", body).status == 403
    assert ask(url, "/api/tags", "POST", "x" * 20_000, x_browse="1").status == 413
    assert ask(url, "/api/tags", "POST", "[]", x_browse="1").status == 400
    other = json.dumps({"sample_id": "nobody", "tag": "mine"})
    assert ask(url, "/api/tags", "POST", other, x_browse="1").status == 404
    bad = json.dumps({"sample_id": "sample-00000", "tag": "Two Words"})
    assert b"tag must be" in ask(url, "/api/tags", "POST", bad, x_browse="1").content
    assert ((folder / TAGS).read_bytes() if (folder / TAGS).exists() else b"") == before


def test_wrong_questions_are_told_and_run_nothing(url):
    for question in (
        {"sort": "sharpness; DROP TABLE samples"}, {"words": {"1=1 OR split": ["a"]}},
        {"least": {"sharpness": "a"}}, {"unknown": 1}, {"least": {"sharpness": 1e999}}, [],
    ):  # fmt: skip
        asked = json.dumps(question).replace("Infinity", "1e999")
        answer = ask(url, f"/api/samples?filter={quote(asked)}")
        assert answer.status == 400, question
        assert json.loads(answer.content)["error"]
    assert ask(url, "/api/samples?offset=-1").status == 400
    assert ask(url, "/api/samples?limit=1000000").status == 400
    assert ask(url, "/api/gates/clips.sharpness").status == 400


def test_ranges_are_answered_as_players_need_them(url):
    whole = ask(url, "/media/clip/sample-00000")
    size = len(whole.content)
    assert (whole.status, whole.headers["accept-ranges"]) == (200, "bytes")
    assert "default-src 'none'" in whole.headers["content-security-policy"]
    assert whole.headers["cache-control"] == "no-store"
    for asked, start, end in (
        ("bytes=0-0", 0, 1), ("bytes=10-99", 10, 100), ("bytes=50-", 50, size),
        ("bytes=-7", size - 7, size), ("bytes=0-999999999", 0, size),
    ):  # fmt: skip
        part = ask(url, "/media/clip/sample-00000", Range=asked)
        assert part.status == 206
        assert part.content == whole.content[start:end]
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    for asked in (f"bytes={size}-", "bytes=9-3"):
        assert ask(url, "/media/clip/sample-00000", Range=asked).status == 416
    assert ask(url, "/media/clip/sample-00000", Range="pages=1-2").status == 200


def test_what_is_no_dataset_and_a_port_in_use_are_told(tmp_path, url):
    port = url.rstrip("/").rsplit(":", 1)[1]
    for arguments, text in (
        ([tmp_path], "holds no dataset"),
        ([tmp_path, "--port", "99999"], "holds no dataset"),
    ):
        done = subprocess.run(
            [sys.executable, JOB, *map(str, arguments)], capture_output=True, text=True,
            timeout=HANG_S, env={**os.environ, "PYTHONUNBUFFERED": "1"}, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert text in done.stderr
    from pipeline.browse.serve import _listen

    with pytest.raises(ValueError, match=f"port {port} cannot be used"):
        _listen(int(port))
    with contextlib.closing(_listen(0)) as free:
        assert free.getsockname()[0] == "127.0.0.1"
