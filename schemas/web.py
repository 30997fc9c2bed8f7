"""Web addresses that a person names may be of any network; where they lead may not.

A public server could otherwise send a run, by a redirect or by its name's next answer, to machines
behind the firewall, or to the credentials that clouds serve at 169.254.169.254.
"""

import errno
import functools
import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

_CONNECT_S, _SILENCE_S = 30, 60  # of a web server, until it counts as a passing error


class LeadsInside(Exception):
    """Raised when a public address leads into a private network."""

    def __init__(self, host: str) -> None:
        super().__init__(f"a public address leads to {host}, which is of a private network")

    def fact(self) -> OSError:
        return PermissionError(errno.EACCES, str(self))


def web_options(url: str) -> dict[str, Any]:
    """Return the options of fsspec's HTTPFileSystem for what is at a URL.

    One that is encoded already is sent as it is; bytes are waited for, not the whole file.
    """
    import aiohttp

    patience = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
    options = {"encoded": url.isascii() and " " not in url, "client_kwargs": {"timeout": patience}}
    if not _is_inside(urlsplit(url).hostname or ""):
        options["get_client"] = _outward_client
    return options


@functools.cache
def _is_inside(host: str) -> bool:
    """Return whether a host is, by name or number, of a private network or this machine."""
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return any(not _is_public(str(address[0])) for *_, address in found)


def _is_public(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_global


async def _outward_client(**options: Any) -> Any:
    """Make a client that opens connections to public addresses only."""
    import aiohttp

    class Outward(aiohttp.ThreadedResolver):
        async def resolve(self, host: str, *arguments: Any, **named: Any) -> Any:
            found = await super().resolve(host, *arguments, **named)
            public = [one for one in found if _is_public(one["host"])]
            if not public:
                raise LeadsInside(host)
            return public

    async def look(_session: Any, _context: Any, redirect: Any) -> None:
        """Look at hosts that are numbers: those are not resolved."""
        headers = redirect.response.headers
        target = urlsplit(headers.get("Location") or headers.get("URI") or "").hostname or ""
        try:
            public = _is_public(target)
        except ValueError:  # a name, or the same host
            return
        if not public:
            raise LeadsInside(target)

    redirects = aiohttp.TraceConfig()
    redirects.on_request_redirect.append(look)
    connector = aiohttp.TCPConnector(resolver=Outward())
    return aiohttp.ClientSession(connector=connector, trace_configs=[redirects], **options)
