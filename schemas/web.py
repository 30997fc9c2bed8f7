"""Web addresses are those of public servers, and so is where they lead.

A list of addresses from elsewhere could otherwise send a run, at once, by a redirect or by a name's
next answer, to machines behind the firewall, or to the credentials that clouds serve at
169.254.169.254. Who has videos on a server of a private network says so in a setting.
"""

import errno
import ipaddress
import re
import socket
from typing import Any
from urllib.parse import urlsplit

WEB_SCHEMES = frozenset({"http", "https"})
_LINK = re.compile(r"::(?=\w+://)")  # of a chain: an address may hold two colons as well
_CONNECT_S, _SILENCE_S = 30, 60  # of a web server, until it counts as a passing error


class LeadsInside(Exception):
    """Raised when an address is of a private network, or leads into one."""

    def __init__(self, host: str) -> None:
        super().__init__(f"the address leads to {host}, which is of a private network")

    def fact(self) -> OSError:
        return PermissionError(errno.EACCES, str(self))


def web_options(location: str, private: bool) -> dict[str, Any]:
    """Return the options of fsspec's HTTPFileSystem for what is at a URL.

    One that is encoded already is sent as it is; bytes are waited for, not the whole file. Only
    where `private` says so is a connection to a private network opened.
    """
    import aiohttp

    patience = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
    encoded = location.isascii() and " " not in location
    options = {"encoded": encoded, "client_kwargs": {"timeout": patience}}
    return options if private else {**options, "get_client": _outward_client}


def private_host(location: str) -> str:
    """Return the host of a private network that a URL, or a chain of them, names; '' for none."""
    links = [
        link for link in _LINK.split(location) if link.partition("://")[0].lower() in WEB_SCHEMES
    ]
    return next((host for host in map(_host_of, links) if _is_inside(host)), "")


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # such as brackets that do not close
        return ""


def _is_inside(host: str) -> bool:
    """Return whether a host is, by name or number, of a private network or this machine."""
    try:
        return not _is_public(host)
    except ValueError:  # a name, or a number in another spelling
        pass
    try:
        found = socket.getaddrinfo(host, None) if host else []
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

    def look(host: str) -> None:
        """Look at hosts that are numbers: those are not resolved."""
        try:
            public = _is_public(host)
        except ValueError:  # a name, or the same host
            return
        if not public:
            raise LeadsInside(host)

    async def before(_session: Any, _context: Any, request: Any) -> None:
        look(request.url.host or "")

    async def between(_session: Any, _context: Any, redirect: Any) -> None:
        headers = redirect.response.headers
        look(_host_of(headers.get("Location") or headers.get("URI") or ""))

    traced = aiohttp.TraceConfig()
    traced.on_request_start.append(before)
    traced.on_request_redirect.append(between)
    connector = aiohttp.TCPConnector(resolver=Outward())
    return aiohttp.ClientSession(connector=connector, trace_configs=[traced], **options)
