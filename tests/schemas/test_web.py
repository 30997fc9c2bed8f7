"""A public web server cannot send a run to machines of a private network."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.dataset.remote import fetch
from schemas import web
from schemas.remote import RemoteConfig

PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"  # as these tests have it


@pytest.fixture(autouse=True)
def two_networks(monkeypatch):
    monkeypatch.setattr(web, "_is_public", lambda address: address != PRIVATE)
    web._is_inside.cache_clear()
    yield
    web._is_inside.cache_clear()


@contextmanager
def serving(host: str, redirect: str = "") -> Iterator[tuple[str, list[str]]]:
    """Serve four bytes, or redirect every request; yield the address and what was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302 if redirect else 200)
            if redirect:
                self.send_header("Location", redirect)
            self.send_header("Content-Length", "0" if redirect else "4")
            self.end_headers()
            if not redirect and self.command == "GET":
                self.wfile.write(b"data")

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{host}:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def get(url: str, tmp_path) -> bytes:
    target = tmp_path / "fetched"
    fetch(url, str(target), -1, 1 << 20, RemoteConfig(attempts=2, pause_s=0))
    return target.read_bytes()


def test_who_names_a_private_server_gets_it(tmp_path):
    with serving(PRIVATE) as (url, _):
        assert get(f"{url}/a.mp4", tmp_path) == b"data"


def test_a_redirect_among_public_servers_is_followed(tmp_path):
    with serving(PUBLIC) as (goal, _), serving(PUBLIC, f"{goal}/b.mp4") as (url, _):
        assert get(f"{url}/a.mp4", tmp_path) == b"data"


@pytest.mark.parametrize("host", [PRIVATE, "inside.test"])
def test_a_redirect_into_a_private_network_is_not_followed(tmp_path, monkeypatch, host):
    resolving(monkeypatch, [PRIVATE])
    with serving(PRIVATE) as (url, asked):
        goal = f"{url.replace(PRIVATE, host)}/secret"
        with serving(PUBLIC, goal) as (open_url, _), pytest.raises(PermissionError) as refused:
            get(f"{open_url}/a.mp4", tmp_path)
    assert f"leads to {host}, which is of a private network" in str(refused.value)
    assert asked == []


def test_a_name_that_turns_private_is_not_followed(tmp_path, monkeypatch):
    resolving(monkeypatch, [PUBLIC, PRIVATE])
    with serving(PRIVATE) as (url, asked):
        with pytest.raises(PermissionError, match=r"leads to inside\.test"):
            get(f"{url.replace(PRIVATE, 'inside.test')}/a.mp4", tmp_path)
        assert asked == []


def resolving(monkeypatch, answers: list[str]) -> list[str]:
    """Let the name inside.test have these addresses, one after the other; the last stays."""
    resolve = socket.getaddrinfo

    def look_up(host, port, *arguments, **named):
        if host == "inside.test":
            host = answers.pop(0) if len(answers) > 1 else answers[0]
        return resolve(host, port, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers
