"""How inputs are named in tables, logs and messages: reversible, printable, without secrets.

    /videos/a.mp4                 a file of this machine, as it is
    file:///videos/caf%E9.mp4     one whose name is not UTF-8, or holds signs that are not printed
    s3://bucket/a.mp4             elsewhere: without user, password and the marks of a signature

What is opened is the location: a path as Python writes it (PEP 383), or the URL with its secrets.
"""

import os
import re
from urllib.parse import quote, unquote, unquote_to_bytes

FILE = "file://"
# Not UTF-8 (as surrogates), controls, line ends, and marks that turn the order of reading.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_SECRET = re.compile(  # names of parameters, whatever else is in the query
    r"x-(amz|goog|ms|oss|obs|cos|tos|bce)-.*|googleaccessid|awsaccesskeyid|ossaccesskeyid"
    r"|(.*[-_.])?(sig|signature|token|secret|password|passwd|pwd|auth|authorization|credentials?"
    r"|hmac|jwt|key|keyid|apikey|accesskey|session|sessionid|sid|policy|ticket|otp)"
    r"|.*(token|secret|passw|signature|apikey|accesskey).*|key-pair-id|hdnts|hdnea|expires?|code",
    re.IGNORECASE,
)
_BESIDE_A_SIGNATURE = re.compile(
    r"s[a-z]{1,4}|e|t|ts|exp|acl|ip|nonce|salt|time|timestamp|validfrom|validto|md5|hash|secure"
    r"|user|username|client|clientid|tenant|hmac.*|nva|nvb",
    re.IGNORECASE,
)
_LONG = 20  # a parameter without a name that is as long as this is a secret, not a version


def is_local(location: str) -> bool:
    """Return whether an absolute path or a file URL is meant."""
    return location.startswith(("/", FILE))


def uri_of_path(path: str) -> str:
    """Return the uri of an absolute path: itself, or a percent-encoded file URL."""
    return FILE + quote(os.fsencode(path)) if _UNPRINTABLE.search(path) else path


def path_of_uri(uri: str) -> str:
    """Return the path that `uri_of_path` was given."""
    return _decoded(uri) if uri.startswith(FILE) else uri


def path_of_file_url(url: str) -> str:
    """Return the path of a file URL, as people write it.

    One that `uri_of_path` makes is decoded; others are taken literally if that exists.
    """
    literal, decoded = url.removeprefix(FILE), _decoded(url)
    ours = uri_of_path(decoded) == url
    return literal if os.path.lexists(literal) and not ours else decoded


def _decoded(url: str) -> str:
    return os.fsdecode(unquote_to_bytes(url.removeprefix(FILE)))


def public_uri(location: str) -> str:
    """Return the name of an input, without anything that lets others open it.

    The same file has the same name under a signature that changes every hour.
    """
    if is_local(location):
        return uri_of_path(path_of_uri(location))
    if "://" not in location:
        return _printable(location)
    return _printable("::".join(_without_secrets(part) for part in location.split("::")))


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(lambda sign: quote(sign[0].encode(errors="surrogateescape")), text)


def _without_secrets(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    web = scheme.lower() in ("http", "https")
    rest = rest.partition("#")[0] if web else rest
    place, _, query = rest.partition("?")
    host, slash, path = place.partition("/")
    if is_cut_by_a_slash(host, path):
        host, slash, path = path.partition("@")[2].partition("/")
    user, at, host_alone = host.rpartition("@")
    if at and (web or ":" in user):  # abfs://container@account names no user
        host = host_alone
    kept = _without_signature(query, web)
    return f"{scheme}://{host}{slash}{path}" + (f"?{kept}" if kept else "")


def is_cut_by_a_slash(host: str, path: str) -> bool:
    """Return whether a password that holds a slash was parted from its @ (half of AWS's have one).

    What has a colon before the first slash and is no password: a port, an ARN, an IPv6 address.
    """
    if ":" not in host or "@" in host or "@" not in path:
        return False
    return not host.rpartition(":")[2].isdigit() and not host.startswith(("arn:", "["))


def _without_signature(query: str, web: bool) -> str:
    """Return the query without the parameters of a signature."""
    parameters = [parameter for parameter in query.split("&") if parameter]
    open_ones = [parameter for parameter in parameters if not _is_secret(parameter, web)]
    if len(open_ones) < len(parameters):
        open_ones = [p for p in open_ones if not _BESIDE_A_SIGNATURE.fullmatch(_name_of(p))]
    return "&".join(open_ones)


def _is_secret(parameter: str, web: bool) -> bool:
    if "=" not in parameter:  # elsewhere than on the web, a "?" is a sign like any other
        return web and len(parameter) >= _LONG
    return bool(_SECRET.fullmatch(_name_of(parameter)))


def _name_of(parameter: str) -> str:
    return unquote(parameter.partition("=")[0])


def without_secrets(text: str) -> str:
    """Return a text in which `public_uri` names every URL."""
    return _URL.sub(lambda url: public_uri(url[0]), text)
