"""A public web server cannot send a run to machines of a private network."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest

from pipeline.dataset.inputs import list_inputs
from pipeline.dataset.remote import fetch
from schemas import web
from schemas.remote import POLICY, RemoteConfig, open_filesystem, retry

PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"  # as these tests have it


@pytest.fixture(autouse=True)
def two_networks(monkeypatch):
    monkeypatch.setattr(
        web, "_is_public", lambda address: ip_address(address) != ip_address(PRIVATE)
    )


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


def test_a_private_server_is_read_where_a_setting_says_so(tmp_path, monkeypatch):
    with serving(PRIVATE) as (url, asked):
        with pytest.raises(PermissionError, match=f"leads to {PRIVATE}"):
            get(f"{url}/a.mp4", tmp_path)
        with pytest.raises(ValueError, match=r"private network.*set run\.remote\.private_web=true"):
            list_inputs([f"{url}/a.mp4"])
        assert asked == []
        monkeypatch.setenv(POLICY, "private_web=true")
        assert get(f"{url}/a.mp4", tmp_path) == b"data"
        [video] = list_inputs([f"{url}/a.mp4"])
        assert video.size_bytes == 4


HOSTS = ["127.0.0.1", "[::1]", "[::ffff:7f00:1]", "169.254.169.254", "2130706433", "0x7f.1"]
HOSTS += ["192.168.3.4", "100.64.0.1", "localhost"]


@pytest.mark.parametrize(
    "location",
    [f"http://{host}/a.mp4" for host in HOSTS]
    + ["HTTPS://10.0.0.1/a.mp4", "http://me:word@127.0.0.1:80/a.mp4"]
    + ["simplecache::http://127.0.0.1/a.mp4", "zip://a.mp4::http://localhost/a.zip"],
)
def test_no_spelling_of_a_private_address_is_opened(location, monkeypatch):
    monkeypatch.undo()  # networks are as they are
    with pytest.raises(ValueError, match="is of a private network"):
        list_inputs([location])
    with pytest.raises(OSError, match=r"of a private network|InvalidUrlClientError"):
        retry(lambda: opened(location), RemoteConfig(attempts=1))


def opened(location: str) -> bytes:
    fs, path = open_filesystem(location)
    return fs.cat_file(path)


def test_an_archive_on_the_web_is_not_followed_into_a_private_network(monkeypatch):
    with serving(PRIVATE) as (url, asked), serving(PUBLIC, f"{url}/a.zip") as (open_url, _):
        with pytest.raises(PermissionError, match="leads to"):
            retry(lambda: opened(f"zip://a.mp4::{open_url}/a.zip"), RemoteConfig(attempts=1))
        assert asked == []


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
        location = f"{url.replace(PRIVATE, 'inside.test')}/a.mp4"
        assert list_inputs([location])
        with pytest.raises(PermissionError, match=r"leads to inside\.test"):
            get(location, tmp_path)
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
