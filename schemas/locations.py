"""Where a dataset or a file lies: a path of this machine, or a URL; and slips that are neither.

s3:/bucket/out            would make a folder named `s3:`; refused with what to write instead
file:/x, file://localhost/x, file:///x     all are the path /x
s3://KEY:SECRET@bucket    would be a bucket of that name; keys belong into the environment
"""

import re
from pathlib import Path

from schemas.uris import FILE, is_cut_by_a_slash, public_uri

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# simplecache::s3://bucket/data, also where nobody knows the first: no folder is meant
_CHAIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*::.*://")
_ONE_SLASH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")  # one letter would be a drive
_FILE = re.compile(r"file:(?=/)", re.IGNORECASE)
S3_SCHEMES = ("s3", "s3a")
_KEYS_OF = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}
_KEYS_OF |= {"s3a": _KEYS_OF["s3"], "gcs": _KEYS_OF["gs"]}


def is_url(location: str) -> bool:
    """Return whether a location is a URL, and no path."""
    return bool(_URL.match(location) or _CHAIN.match(location))


def location_of(text: str | Path) -> str:
    """Return the path of this machine that is meant, or the URL with its scheme in small letters.

    Raises ValueError for a slip, without any secret that is in it. A Path is taken as it is.
    """
    if isinstance(text, Path):
        return str(text)
    if _FILE.match(text):
        return _path_of(text)
    if _ONE_SLASH.match(text):
        scheme = text.partition(":")[0].lower()
        raise ValueError(
            f"{scheme}:/ is no URL: write {shown(text)}, or ./{scheme}:/… for a folder of that name"
        )
    if not is_url(text):
        return text
    _refuse_keys(text)
    scheme, mark, rest = text.partition("://")
    return text if _CHAIN.match(text) else scheme.lower() + mark + rest


def _path_of(url: str) -> str:
    rest = url.partition(":")[2]
    if not rest.startswith("//"):
        return rest
    host, slash, path = rest[2:].partition("/")
    if host.lower() not in ("", "localhost") or not slash:
        raise ValueError(
            f"{FILE}… names a file of the machine {host.rpartition('@')[2]!r}; only those of this "
            f"one are read: write {FILE}/path, or the path alone"
        )
    return slash + path


def _refuse_keys(url: str) -> None:
    for link in url.split("::"):
        scheme, _, rest = link.partition("://")
        place, slash, path = rest.partition("/")
        keys = _KEYS_OF.get(scheme.lower())
        cut = is_cut_by_a_slash(place, path)
        if keys and ("@" in place or cut):
            kept = path.partition("@")[2] if cut else f"{place.rpartition('@')[2]}{slash}{path}"
            clean = f"{scheme.lower()}://{kept}"
            raise ValueError(
                f"a URL must hold no key: write {public_uri(clean)}, and set {keys}, instead of "
                "what stands before the @"
            )


def shown(text: str | Path) -> str:
    """Return what was given, as messages name it: without secrets, whatever is wrong with it."""
    if _FILE.match(str(text)):
        return str(text)
    return public_uri(re.sub(r"^([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/])", r"\1://", str(text)))
