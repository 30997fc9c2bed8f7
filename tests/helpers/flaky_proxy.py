"""A proxy before a web server that lets a share of all requests fail, as stores and networks do."""

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("503", "500", "reset", "lost answer", "slow", "cut", "twice")
_SLOW_S = 0.3
_ONE_HOP = frozenset({"connection", "transfer-encoding", "keep-alive"})


class FlakyProxy:
    """Passes requests on to `target` (host:port); a context manager.

    A share of them fails, drawn from a seed: answered with 503 or 500, cut off before or after the
    server has done the work, answered late, answered with half a body, or done twice. `injected`
    counts the faults, `requests` all requests. `says` may answer in the server's place: it returns
    status and body for a method and a path, or None.
    """

    def __init__(self, target: str, share: float = 0.05, seed: int = 0) -> None:
        self.share, self.injected, self.requests = share, Counter[str](), 0
        self.watch: Callable[[str, str, int], None] | None = None  # method, path, client's port
        self.says: Callable[[str, str], tuple[int, bytes] | None] = lambda method, path: None
        self._random, self._alone = random.Random(seed), threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                fault = proxy.draw()
                if proxy.watch:
                    proxy.watch(self.command, self.path, self.client_address[1])
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                said = proxy.says(self.command, self.path)
                if said:
                    self._answer(said[0], {"Content-Type": "application/xml"}, said[1])
                    return
                if fault in ("503", "500"):
                    self._answer(int(fault), {}, b"")
                    return
                if fault == "reset":
                    self._hang_up()
                    return
                if fault == "twice":
                    self._ask(body)
                status, headers, content = self._ask(body)
                if fault == "slow":
                    time.sleep(_SLOW_S)
                if fault == "lost answer":
                    self._hang_up()
                else:
                    self._answer(status, headers, content, cut=fault == "cut")

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

            def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
                server = http.client.HTTPConnection(target, timeout=60)
                server.request(self.command, self.path, body or None, dict(self.headers))
                answer = server.getresponse()
                content = answer.read()
                server.close()
                return answer.status, dict(answer.getheaders()), content

            def _answer(
                self, status: int, headers: dict[str, str], content: bytes, cut: bool = False
            ) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in _ONE_HOP | {"content-length"}:
                        self.send_header(name, value)
                listed = {name.lower(): value for name, value in headers.items()}
                head = self.command == "HEAD"
                length = listed.get("content-length", "0") if head else str(len(content))
                self.send_header("Content-Length", length)
                self.end_headers()
                if not head:
                    self.wfile.write(content[: len(content) // 2] if cut else content)
                if cut:
                    self._hang_up()

            def _hang_up(self) -> None:
                """Reset the connection."""
                self.close_connection = True
                self.wfile.flush()
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that went away

        self._http = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def draw(self) -> str:
        """Return the fault of the next request, '' for none."""
        with self._alone:
            self.requests += 1
            fault = self._random.choice(FAULTS) if self._random.random() < self.share else ""
            if fault:
                self.injected[fault] += 1
            return fault

    def __enter__(self) -> "FlakyProxy":
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
