"""A web server on loopback that counts what it sends, and fails as often as it is told."""

import os
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from schemas.remote import POLICY


class WebServer:
    """Serves the files of a folder; a context manager, in which loopback may be read.

    `sent` counts bytes of bodies by name, `asked` GET requests by name. `failures` holds the next
    answers of a name: a status, "reset" (half the body, then nothing), or "short" likewise without
    a length.
    """

    def __init__(self, folder: Path) -> None:
        self.sent: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.failures: dict[str, list[int | str]] = {}
        self.down = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(head=True)

            def do_GET(self) -> None:
                self._answer(head=False)

            def _answer(self, head: bool) -> None:
                name = unquote(urlsplit(self.path).path).lstrip("/")
                path = folder / name
                trouble = server._next_trouble(name, head)
                if not path.is_file() and not trouble:
                    trouble = 404
                if isinstance(trouble, int):
                    self.send_error(trouble)
                    return
                content = path.read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("ETag", f'"{hash(content)}"')
                self.end_headers()
                if head:
                    return
                part = content[: len(content) // 2] if trouble else content
                self.wfile.write(part)
                server.sent[name] += len(part)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def _next_trouble(self, name: str, head: bool) -> int | str | None:
        if not head:
            self.asked[name] += 1
        if self.down:
            return 503
        left = self.failures.get(name, [])
        return left.pop(0) if left and not head else None

    def __enter__(self) -> "WebServer":
        self._policy = os.environ.get(POLICY, "")
        os.environ[POLICY] = f"{self._policy},private_web=true"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        os.environ[POLICY] = self._policy
        self._http.shutdown()
        self._http.server_close()
