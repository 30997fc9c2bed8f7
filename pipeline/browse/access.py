"""Who may ask: whoever has the token that was printed at the start, as Jupyter does it.

Other accounts of the machine reach the port, too. The token comes once in the address and stays in
a cookie; programs may send it in a header.
"""

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.responses import JSONResponse, RedirectResponse, Response

PARAMETER = "token"
_SCHEME = "token "  # of the header Authorization
_REFUSAL = "open the address that was printed when jobs/browse.py began: it holds a token"


class Access:
    """Refuses requests without the token; exchanges the one in an address for a cookie."""

    def __init__(self, app: Any, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query).get(PARAMETER, "")
        if given and self._right(given):
            await self._welcome(scope, query)(scope, receive, send)
        elif self._known(headers, _port(scope)):
            await self._app(scope, receive, send)
        else:
            await JSONResponse({"error": _REFUSAL}, 403)(scope, receive, send)

    def _welcome(self, scope: Any, query: list[tuple[str, str]]) -> Response:
        """Set the cookie and send the browser on, so that the token stays out of its history."""
        left = urlencode([pair for pair in query if pair[0] != PARAMETER])
        path = "/" + scope["path"].lstrip("/")  # of this host, whatever the slashes
        answer = RedirectResponse(path + (f"?{left}" if left else ""), 303)
        answer.set_cookie(
            _cookie_name(_port(scope)), self._token, httponly=True, samesite="strict", path="/"
        )
        return answer

    def _known(self, headers: dict[bytes, str], port: int) -> bool:
        sent = headers.get(b"authorization", "")
        if sent.lower().startswith(_SCHEME) and self._right(sent[len(_SCHEME) :].strip()):
            return True
        try:
            cookies = SimpleCookie(headers.get(b"cookie", ""))
        except CookieError:
            return False
        cookie = cookies.get(_cookie_name(port))
        return cookie is not None and self._right(cookie.value)

    def _right(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._token.encode())


def _port(scope: Any) -> int:
    return (scope.get("server") or ("", 0))[1] or 0


def _cookie_name(port: int) -> str:
    """Return a name of this server alone: cookies do not tell the ports of a host apart."""
    return f"browse-{port}"
