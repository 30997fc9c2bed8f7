"""The server captioner against real HTTP on loopback: good, busy, broken, hostile, absent."""

import base64
import json
import logging
import socket
import threading
import time
from collections import deque
from dataclasses import replace
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

import numpy as np
import pytest
from patience import HANG_S
from rows import clip, track

from pipeline.engines.captions import chat_client
from pipeline.engines.captions.caption_settings import VlmConfig
from pipeline.engines.captions.server import ServerCaptioner
from pipeline.engines.interfaces import CaptionFacts
from pipeline.media.images import decode_image

KEY = "sk-canary-0123456789"
CAPTION = "A man walks slowly through a park while the camera follows him from behind."
LOOK = "A slim man with short black hair, a red coat and a brown leather bag."
GOOD = json.dumps({"caption": CAPTION, "character": LOOK})


def completion(text):
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


class Handler(BaseHTTPRequestHandler):
    """Serves what the test has put into `server.answers`, else a good completion."""

    protocol_version = "HTTP/1.1"

    @property
    def served(self) -> "Server":
        return cast(Server, self.server)

    def do_GET(self):
        self.served.seen.append(("GET", self.path, dict(self.headers), b""))
        status, body = self.served.models
        self.send(status, body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.served.seen.append(("POST", self.path, dict(self.headers), body))
        with self.served.lock:
            answer = self.served.answers.popleft() if self.served.answers else (200, GOOD)
        answer(self, body) if callable(answer) else self.reply(*answer)

    def reply(self, status, text, headers=()):
        self.send(status, completion(text) if status == 200 else text, headers)

    def send(self, status, body, headers=()):
        content = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.answers = [], deque()
        self.models = (200, json.dumps({"data": [{"id": "qwen"}]}))
        self.lock = threading.Lock()
        self.gate = threading.Event()

    def handle_error(self, request, client_address):
        pass

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def posts(self):
        return [json.loads(body) for method, _, _, body in self.seen if method == "POST"]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("CONTEXTANYONE_CAPTION_API_KEY", raising=False)
    served = Server()
    thread = threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield served
    served.gate.set()
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def engine(server, pauses):
    def build(**settings):
        made = ServerCaptioner(VlmConfig(server=server.url, **settings))
        made.client = replace(made.client, sleep=pauses.append)
        return made

    return build


def facts(name="clip", value=90):
    made = clip(name)
    shown = tuple(np.full((60, 80, 3), value + k, np.uint8) for k in range(4))
    return CaptionFacts(made, (), track("me", made), shown)


# --- good --------------------------------------------------------------------------------------


def test_a_good_answer_becomes_caption_and_description(server, engine):
    made = engine()
    assert made.caption([facts()]) == [(CAPTION, LOOK)]
    [outcome] = made.outcomes([facts()])
    assert (outcome.engine, outcome.problem) == ("server-vlm/1:qwen", "")
    assert made.info.weights_digest == "served as qwen"


def test_the_request_holds_the_frames_in_order_as_jpeg(server, engine):
    engine(frames=3, frame_px=56, max_tokens=77).caption([facts()])
    [body] = server.posts
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("qwen", 77, 0)
    *pictures, text = body["messages"][0]["content"]
    assert '"character"' in text["text"]
    assert "3 pictures" in text["text"]
    values = []
    for picture in pictures:
        kind, _, content = picture["image_url"]["url"].partition(",")
        assert kind == "data:image/jpeg;base64"
        decoded = decode_image(base64.b64decode(content))
        assert decoded.shape == (42, 56, 3)
        values.append(decoded.mean())
    assert values == pytest.approx([90, 92, 93], abs=0.6)


def test_answers_stay_with_their_clips_however_they_finish(server, engine):
    def by_brightness(handler, body):
        url = json.loads(body)["messages"][0]["content"][0]["image_url"]["url"]
        value = round(decode_image(base64.b64decode(url.partition(",")[2])).mean())
        time.sleep(0.002 * (120 - value))  # the first come last
        handler.reply(200, GOOD.replace("a park", f"street {value}"))

    server.answers.extend([by_brightness] * 8)
    texts = [text for text, _ in engine().caption([facts(f"c{k}", 30 + 10 * k) for k in range(8)])]
    assert texts == [CAPTION.replace("a park", f"street {30 + 10 * k}") for k in range(8)]


def test_requests_run_at_once_up_to_the_limit(server, engine):
    arrived, waiting, most = threading.Barrier(4, timeout=HANG_S), [], []

    def together(handler, _):
        with server.lock:
            waiting.append(handler)
            most.append(len(waiting))
        arrived.wait()  # passes only when four are there at once
        with server.lock:  # before the answer, after which the next request may come
            waiting.remove(handler)
        handler.reply(200, GOOD)

    server.answers.extend([together] * 8)
    made = engine(concurrency=4)
    assert made.caption([facts(f"c{k}") for k in range(8)]) == [(CAPTION, LOOK)] * 8
    assert max(most) == 4


def test_the_key_goes_to_the_server_and_nowhere_else(server, engine, monkeypatch, caplog):
    monkeypatch.setenv("CONTEXTANYONE_CAPTION_API_KEY", KEY)
    server.answers.extend(
        [(500, f"boom for {KEY}"), (400, f"Incorrect API key provided: {KEY}"), (200, GOOD)]
    )
    with caplog.at_level(logging.DEBUG):
        made = engine(concurrency=1)
        outcomes = made.outcomes([facts("a"), facts("b")])
    assert all(headers["Authorization"] == f"Bearer {KEY}" for _, _, headers, _ in server.seen)
    assert "Incorrect API key provided: ***" in outcomes[0].problem
    for text in (caplog.text, repr(made), repr(outcomes), repr(made.settings), repr(made.info)):
        assert KEY not in text


def test_a_key_that_breaks_headers_is_refused_without_repeating_it(server, engine, monkeypatch):
    monkeypatch.setenv("CONTEXTANYONE_CAPTION_API_KEY", f"{KEY}\r\nX-Evil: 1")
    with pytest.raises(ValueError, match="holds signs that a key cannot have") as caught:
        engine()
    assert KEY not in str(caught.value)


# --- busy and broken ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_load_and_faults_are_tried_again(server, engine, pauses, status):
    server.answers.extend([(status, "busy"), (200, GOOD)])
    assert engine().caption([facts()]) == [(CAPTION, LOOK)]
    assert len(server.posts) == 2
    assert len(pauses) == 1


def test_pauses_double_with_a_draw_that_repeats(server, engine, pauses):
    for _ in range(2):
        server.answers.extend([(500, "")] * 4)
        engine().caption([facts()])
    first, second = pauses[:4], pauses[4:]
    assert first == second
    for attempt, pause in enumerate(first):
        assert 0.25 * 2**attempt <= pause <= 0.5 * 2**attempt


def test_retry_after_is_honoured_as_number_and_date_and_bounded(server, engine, pauses):
    from datetime import UTC, datetime, timedelta

    later = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    for value in ("7", later, "86400", "soon"):
        server.answers.append((429, "slow down", [("Retry-After", value)]))
    assert engine(max_wait_s=30).caption([facts()]) == [(CAPTION, LOOK)]
    assert pauses[0] == 7
    assert 17 <= pauses[1] <= 20
    assert pauses[2] == 30
    assert pauses[3] <= 4


def test_a_silent_server_times_out_and_the_clip_falls_back(server, engine):
    server.answers.extend([lambda *_: server.gate.wait(HANG_S)] * 2)
    started = time.monotonic()
    [outcome] = engine(timeout_s=0.1, retries=0).outcomes([facts()])
    assert time.monotonic() - started < 60  # the server would go on for a quarter of an hour
    assert outcome.engine == "attributes/5"
    assert "no answer within 0.1 s, 1 tries" in outcome.problem


def test_a_dripping_body_times_out(server, engine):
    def drip(handler, _):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        for _ in range(30_000):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            if server.gate.wait(0.03):
                return

    server.answers.extend([drip] * 2)
    started = time.monotonic()
    [outcome] = engine(timeout_s=0.2, retries=0).outcomes([facts()])
    assert time.monotonic() - started < 60  # the server would go on for a quarter of an hour
    assert "no answer within 0.2 s" in outcome.problem


def garbage(body):
    return lambda handler, _: handler.send(200, body)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<html>gateway</html>", "the answer is no JSON"),
        (b"\xff\xfe\x00", "the answer is no JSON"),
        (b"[" * 100_000, "the answer is no JSON"),
        (b"{}", "no chat completion"),
        (b'{"choices": []}', "no chat completion"),
        (b'{"choices": [{"message": {"content": null}}]}', "holds no text"),
        (b"x" * (chat_client.MAX_BODY + 10), "larger than 1048576 bytes"),
        (completion("no json at all").encode(), "no JSON object with the keys"),
        (completion('{"caption": "I\'m sorry.", "character": "x"}').encode(), "refusal"),
    ],
)
def test_unusable_answers_fall_back_with_the_reason(server, engine, body, problem):
    server.answers.extend([garbage(body)] * 4)
    [outcome] = engine(retries=1).outcomes([facts()])
    assert outcome.engine == "attributes/5"
    assert problem in outcome.problem


def test_a_body_without_end_is_cut_off(server, engine):
    sent = []

    def endless(handler, _):
        handler.send_response(200)
        handler.end_headers()
        try:
            while not server.gate.is_set():
                handler.wfile.write(b"x" * 65_536)
                sent.append(65_536)
        except OSError:
            pass
        handler.close_connection = True

    server.answers.extend([endless] * 2)
    [outcome] = engine(retries=0).outcomes([facts()])
    assert "larger than" in outcome.problem
    assert sum(sent) < 2 * (chat_client.MAX_BODY + (16 << 20))  # what the sockets buffer


def test_a_dropped_connection_is_tried_again(server, engine):
    def drop(handler, _):
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    server.answers.append(drop)
    assert engine().caption([facts()]) == [(CAPTION, LOOK)]


def test_a_refused_request_is_not_repeated_as_it_is(server, engine, pauses):
    server.answers.extend([(400, "picture too large")] * 2)
    [outcome] = engine().outcomes([facts()])
    assert pauses == []
    assert "status 400: picture too large" in outcome.problem


def test_a_server_that_refuses_everything_ends_the_run(server, engine):
    server.answers.extend([(400, "no")] * 100)
    with pytest.raises(ValueError, match="refused 16 requests in a row"):
        engine(concurrency=1).outcomes([facts(f"c{k}") for k in range(20)])


# --- absent, wrong, elsewhere --------------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_absent_server_is_named_before_the_run_starts():
    with pytest.raises(ValueError, match="ConnectionRefusedError") as caught:
        ServerCaptioner(VlmConfig(server=f"http://127.0.0.1:{free_port()}/v1"))
    for word in ("vllm serve", "CONTEXTANYONE_CAPTION_SERVER", "pair.engines.captions=attributes"):
        assert word in str(caught.value)


def test_a_server_that_dies_ends_the_run(server, engine):
    made = engine(retries=2)
    server.shutdown()
    server.server_close()
    with pytest.raises(ValueError, match=r"cannot be used: no connection.*3 tries"):
        made.outcomes([facts()])


@pytest.mark.parametrize(
    ("models", "wanted", "message"),
    [
        ((200, '{"data": [{"id": "a"}, {"id": "b"}]}'), "", r"serves \(a, b\), got ''"),
        ((200, '{"data": [{"id": "a"}]}'), "other", r"serves \(a\), got 'other'"),
        ((200, "[]"), "", r"serves \(none\)"),
        ((200, "<html>"), "", "no JSON"),
        ((401, "who are you"), "", "CONTEXTANYONE_CAPTION_API_KEY set and right"),
        ((302, ""), "", "redirects are not followed"),
        ((404, ""), "", "status 404"),
    ],
)
def test_a_wrong_server_is_named_before_the_run_starts(server, engine, models, wanted, message):
    server.models = models
    with pytest.raises(ValueError, match=message):
        engine(model=wanted)


def test_redirects_are_never_followed(server, engine):
    other = Server()
    server.answers.append((307, "", [("Location", other.url)]))
    with pytest.raises(ValueError, match="redirects are not followed"):
        engine().outcomes([facts()])
    assert other.seen == []
    other.server_close()


def test_proxies_of_the_environment_are_not_used(server, engine, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert engine().caption([facts()]) == [(CAPTION, LOOK)]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/passwd", "must be http"),
        ("ftp://host/v1", "must be http"),
        ("localhost:8000", "must be http"),
        ("http://", "must be http"),
        ("http://user:hunter2@host/v1", "no user or password"),
        ("http://host/v1?key=hunter2", "no query"),
        ("http://host/v1#x", "no query"),
        ("http://host /v1", "no query"),
        ("http://host:99999/v1", "no address"),
        ("http://[::1/v1", "no address"),
    ],
)
def test_addresses_that_are_none_are_refused_without_secrets(url, message):
    with pytest.raises(ValueError, match=message) as caught:
        VlmConfig(server=url)
    assert "hunter2" not in str(caught.value)


def test_without_an_address_the_message_names_the_alternative():
    with pytest.raises(ValueError, match=r"CONTEXTANYONE_CAPTION_SERVER.*attributes"):
        ServerCaptioner(VlmConfig())
