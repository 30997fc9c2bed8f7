"""Answer with bytes, or with the range of them that was asked for (RFC 9110, one range)."""

import re

from starlette.requests import Request
from starlette.responses import Response

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def respond(request: Request, content: bytes | None, media_type: str) -> Response:
    """Return 200, 206 or 416; 404 without content. A list of ranges is answered whole."""
    if content is None:
        return Response("not here", 404, media_type="text/plain")
    headers = {"Accept-Ranges": "bytes"}
    byte_range = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if byte_range is None or byte_range.groups() == ("", ""):
        return Response(content, 200, headers, media_type)
    first, last = byte_range.groups()
    size = len(content)
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start >= size or start > end:
        return Response(b"", 416, headers | {"Content-Range": f"bytes */{size}"}, media_type)
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return Response(content[start : end + 1], 206, headers, media_type)
