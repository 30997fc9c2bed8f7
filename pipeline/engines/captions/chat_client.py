"""Talk to an OpenAI-compatible server: one host, bounded answers, patient and repeatable retries.

Plain `http.client`: no redirects, no proxies from the environment, no cookies. The key is read
from the environment when it is sent and appears in no message.
"""

import http.client
import json
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from pipeline.engines.captions.caption_settings import KEY_ENV, VlmConfig, check_server_url
from schemas.ids import unit_interval

MAX_BODY = 1 << 20  # bytes of an answer; two texts take a few hundred
_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_CONFIGURATION = (301, 302, 303, 307, 308, 401, 403, 404, 405)
_FIRST_PAUSE_S = 0.5  # doubled each time
_DETAIL = 200  # signs of a server's own words in a message


class ServerUnusable(Exception):
    """Raised when no request can succeed: nobody answers, wrong key, wrong model, wrong address."""


class RequestRefused(Exception):
    """Raised when this one request got no usable answer; the next may."""


class _Retriable(Exception):
    """A failure that may pass; `pause_s` is what the server asks for."""

    def __init__(self, message: str, pause_s: float | None = None, unreachable: bool = False):
        super().__init__(message)
        self.pause_s = pause_s
        self.unreachable = unreachable


@dataclass(frozen=True)
class ChatClient:
    """Requests to one server. Safe to share between threads.

    `post` tries again on timeouts, dropped connections and statuses of load; pauses double, are
    shortened by up to a half by a draw from the request's name and number, and follow Retry-After.
    """

    settings: VlmConfig
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        check_server_url(self.settings.server)
        _key()  # a bad one is refused before the run

    @property
    def address(self) -> str:
        """Return scheme, host and path, for messages."""
        return self.settings.server.rstrip("/")

    def get(self, path: str) -> Any:
        """Return the JSON of one GET, without retries: it is the question whether anybody is there.

        Raises ServerUnusable saying what to do.
        """
        try:
            return self._once("GET", path, None)
        except (_Retriable, RequestRefused) as error:
            raise ServerUnusable(
                f"the caption server {self.address} cannot be used: {error}. Start it (for example "
                "`vllm serve MODEL`), correct CONTEXTANYONE_CAPTION_SERVER, or use "
                "pair.engines.captions=attributes, which needs no server"
            ) from error

    def post(self, path: str, body: dict[str, Any], name: str) -> Any:
        """Return the JSON of a POST. Raises RequestRefused or ServerUnusable."""
        content = json.dumps(body).encode()
        for attempt in range(self.settings.retries + 1):
            try:
                return self._once("POST", path, content)
            except _Retriable as error:
                if attempt == self.settings.retries:
                    tries = f"{error}, {attempt + 1} tries"
                    if error.unreachable:
                        message = f"the caption server {self.address} cannot be used: {tries}"
                        raise ServerUnusable(message) from error
                    raise RequestRefused(tries) from error
                self.sleep(self._pause_s(error, name, attempt))
        raise AssertionError("the loop returns or raises")

    def _pause_s(self, error: _Retriable, name: str, attempt: int) -> float:
        draw = unit_interval("retry", name, attempt)
        own = _FIRST_PAUSE_S * 2**attempt * (0.5 + 0.5 * draw)
        return min(self.settings.max_wait_s, own if error.pause_s is None else error.pause_s)

    def _once(self, method: str, path: str, content: bytes | None) -> Any:
        connection = self._connected()
        try:
            status, headers, body = self._exchange(connection, method, path, content)
        except TimeoutError as error:
            raise _Retriable(f"no answer within {self.settings.timeout_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise _Retriable(f"the connection broke ({type(error).__name__})") from error
        finally:
            connection.close()
        if status != 200:
            raise self._status_error(status, headers, body)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _Retriable("the answer is no JSON") from error

    def _connected(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.settings.server)
        assert parts.hostname, "checked at construction"
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=self.settings.timeout_s)
        try:
            connection.connect()
        except ssl.SSLError as error:
            connection.close()
            raise ServerUnusable(f"{self.address}: {type(error).__name__} in TLS") from error
        except OSError as error:
            connection.close()
            message = f"no connection ({type(error).__name__})"
            raise _Retriable(message, unreachable=True) from error
        return connection

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        content: bytes | None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        deadline = time.monotonic() + self.settings.timeout_s
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        key = _key()
        if key:
            headers["Authorization"] = f"Bearer {key}"
        root = urlsplit(self.settings.server).path.rstrip("/")
        connection.request(method, root + path, content, headers)
        response = connection.getresponse()
        return response.status, response.headers, _read(connection, response, deadline)

    def _status_error(
        self, status: int, headers: http.client.HTTPMessage, body: bytes
    ) -> Exception:
        detail = f"status {status}{_detail(body)}"
        if status in _RETRIED:
            return _Retriable(detail, _retry_after_s(headers.get("Retry-After")))
        if status in _CONFIGURATION:
            hint = f"; is {KEY_ENV} set and right?" if status in (401, 403) else ""
            hint = hint or "; redirects are not followed" * (300 <= status < 400)
            return ServerUnusable(f"the caption server {self.address} says {detail}{hint}")
        return RequestRefused(detail)


def _read(connection: Any, response: http.client.HTTPResponse, deadline: float) -> bytes:
    """Read a body of bounded size in bounded time, however slowly it drips."""
    chunks, size = [], 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if connection.sock is not None:
            connection.sock.settimeout(left)
        chunk = response.read1(65_536)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY:
            raise RequestRefused(f"the answer is larger than {MAX_BODY} bytes")


def _key() -> str:
    """Return the key, '' when there is none. Raises ValueError, which does not repeat it."""
    key = os.environ.get(KEY_ENV, "").strip()
    if not all("!" <= sign <= "~" for sign in key):
        raise ValueError(f"{KEY_ENV} holds signs that a key cannot have (spaces, line breaks, ...)")
    return key


def _detail(body: bytes) -> str:
    """Return the start of a server's own words on one printable line, without the key."""
    text = body[:4096].decode("utf-8", "replace")
    key = _key()
    text = text.replace(key, "***") if key else text
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return f": {line[:_DETAIL]}" if line else ""


def _retry_after_s(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, given as a number or as a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
