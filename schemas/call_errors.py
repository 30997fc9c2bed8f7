"""What an error of another machine, or of a library on the way there, says, and of what.

fact          of the file: it is missing, forbidden, or exists; asking again changes nothing
credentials   of this machine: none are here just now, or they have expired; they come back
lasting       of the call: a wrong region, bucket, key or name, a quota; somebody has to act
passing       of the moment: everything else

S3's own answer decides where there is one: s3fs hides it behind errors of Python that say less.
"""

import errno
import json
import os
from dataclasses import dataclass

from schemas.uris import without_secrets
from schemas.web import LeadsInside

# What botocore and Google's library call it.
NO_CREDENTIALS = frozenset({"NoCredentialsError", "DefaultCredentialsError"})
_CREDENTIALS_AWAY = NO_CREDENTIALS | {
    *("CredentialRetrievalError", "TokenRetrievalError", "RefreshError", "MetadataRetrievalError"),
}
_LASTING_ERRORS = frozenset({"PartialCredentialsError", "ProfileNotFound", "ParamValidationError"})
_CREDENTIALS_CODES = {
    "ExpiredToken": "credentials: expired token",
    "ExpiredTokenException": "credentials: expired token",
    "TokenRefreshRequired": "credentials: expired token",
    "RequestExpired": "credentials: expired token",
    "RequestTimeTooSkewed": "credentials: this machine's clock is not the store's",
}
_FACTS = {  # libraries raise them without a number
    FileNotFoundError: errno.ENOENT,
    FileExistsError: errno.EEXIST,
    PermissionError: errno.EACCES,
    IsADirectoryError: errno.EISDIR,
    NotADirectoryError: errno.ENOTDIR,
}
_FORBIDDEN = frozenset({"AccessDenied", "Forbidden", "403", "InvalidObjectState"})
_PASSING_STATUS = frozenset({307, 408, 409, 425, 429})  # below 500; from there on all may pass
_PASSING_CODES = frozenset(  # bytes that were lost on the way; an upload that is made again, whole
    {
        *("RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"),
        *("NoSuchUpload", "400"),  # HEAD has no room for a code: perhaps an expired token
    }
)
_LONGEST = 200  # letters of a server's or a library's own words


class NotRead(OSError):
    """Raised when a call could not be done this time; says nothing about the file."""

    advice = "; run again"


class LastingFault(NotRead):
    """Raised when somebody has to act before the call can be done; says nothing about the file."""

    advice = ""


@dataclass(frozen=True)
class _Answer:
    """What S3 said: its code, such as NoSuchKey, or the HTTP status where it gave none."""

    code: str
    message: str
    status: int

    def describe(self) -> str:
        return f"HTTP {self.code}" if self.code.isdigit() else _cut(f"{self.code}: {self.message}")


def fact_of(error: BaseException) -> OSError | None:
    """Return what an error says about the file itself, None where it says nothing of it."""
    for cause in (error, error.__cause__):  # fsspec hides it, too
        if isinstance(cause, LeadsInside):
            return cause.fact()
    answer = _answer_of(error)
    if answer:
        return _fact_of_answer(answer)
    status = _status_of(error)
    if status in (404, 410):
        return FileNotFoundError(errno.ENOENT, f"HTTP {status}")
    if 400 <= status < 500 and status not in _PASSING_STATUS:
        return PermissionError(errno.EACCES, f"HTTP {status}")
    if status:
        return None
    number = next((n for kind, n in _FACTS.items() if isinstance(error, kind)), 0)
    if isinstance(error, OSError) and error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
        number = error.errno
    return OSError(number, os.strerror(number)) if number else None


def _fact_of_answer(answer: _Answer) -> OSError | None:
    if answer.code in _PASSING_CODES:
        return None
    if answer.status in (404, 410):
        return FileNotFoundError(errno.ENOENT, answer.describe())
    if answer.status == 412:  # nothing but a creation has a condition
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    if answer.code in _FORBIDDEN:
        return PermissionError(errno.EACCES, answer.describe())
    if answer.code == "KeyTooLongError":
        return OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    return None


def lacks_credentials(error: BaseException) -> bool:
    """Return whether no credentials are here: perhaps never, perhaps not just now."""
    return _credentials_name(error) in NO_CREDENTIALS


def is_lasting(error: BaseException) -> bool:
    """Return whether an error that is no fact about a file comes again however often one asks."""
    if type(error).__name__ in _LASTING_ERRORS:
        return True
    answer = _answer_of(error)
    if answer:
        passing = answer.code in _PASSING_CODES or answer.code in _CREDENTIALS_CODES
        return 300 <= answer.status < 500 and answer.status not in _PASSING_STATUS and not passing
    return _is_misuse(error)


def _is_misuse(error: BaseException) -> bool:
    """Return whether a name or a call is wrong, and not an answer that came garbled."""
    garbled = isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, OSError))
    return isinstance(error, (ValueError, TypeError)) and not garbled


def _credentials_name(error: BaseException) -> str:
    names = [type(cause).__name__ for cause in (error, error.__cause__)]
    return next((name for name in names if name in _CREDENTIALS_AWAY), "")


def _answer_of(error: BaseException) -> _Answer | None:
    for cause in (error, error.__cause__):
        response = getattr(cause, "response", None)
        if isinstance(response, dict) and response.get("Error"):
            said, about = response["Error"], response.get("ResponseMetadata", {})
            code = str(said.get("Code", ""))
            status = about.get("HTTPStatusCode") or (int(code) if code.isdigit() else 0)
            return _Answer(code or str(status), str(said.get("Message", "")), status)
    return None


def _status_of(error: BaseException) -> int:
    """Return the HTTP status behind an error; fsspec hides one behind FileNotFoundError."""
    for cause in (error, error.__cause__):
        status = getattr(cause, "status", None)
        if isinstance(status, int):
            return status
    return 0


def describe(error: BaseException) -> str:
    """Return a few words about an error; a library's own text only without secrets of URLs."""
    if isinstance(error, NotRead):
        return str(error)
    name = _credentials_name(error)
    if name:
        return f"{'no credentials' if name in NO_CREDENTIALS else 'credentials: away'} ({name})"
    answer = _answer_of(error)
    if answer:
        expired = _CREDENTIALS_CODES.get(answer.code)
        return f"{expired} ({answer.code})" if expired else answer.describe()
    status = _status_of(error)
    if status:
        return f"HTTP {status}"
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return _cut(f"{type(error).__name__}: {error}") if is_lasting(error) else type(error).__name__


def _cut(text: str) -> str:
    """Return a text as one line of bounded length, in which no URL holds a secret."""
    line = " ".join(without_secrets(text).split()).rstrip(": ")
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
