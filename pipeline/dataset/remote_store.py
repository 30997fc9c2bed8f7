"""Files of a dataset on an object store, or on any other filesystem that fsspec knows.

One PUT is atomic by itself. A file that must exist once is put if absent: `If-None-Match: *` on S3,
a generation match on Google's store. Where neither is known, or a probe shows that the server does
not care, those who want to create it draw tickets, and the first ticket wins. While a job holds the
lease, it changes nothing that it may have lost the right to.
"""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar, cast

from pipeline.dataset.lease import LEASES, Lease, hold_lease
from schemas.files import inside
from schemas.remote import (
    NotRead,
    Refused,
    RemoteConfig,
    RemoteFile,
    open_filesystem,
    read_whole,
    retry,
)
from schemas.uris import public_uri

# Filesystems that refuse a second creation by themselves.
_PUT_IF_ABSENT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})
_Result = TypeVar("_Result")
_SETTLED_S = 2.0  # a ticket is visible to all others, and a small file written, within this time
_STALE_S = 60.0  # a ticket that is older than another by this is of a job that was killed


class RemoteStore:
    """A dataset behind an fsspec URL, called under `patience`, else under the process's policy."""

    def __init__(self, url: str, patience: RemoteConfig | None = None) -> None:
        self.url, self.location = public_uri(url.rstrip("/")), url
        self._fs, self._root = open_filesystem(url.rstrip("/"))
        scheme = self.url.partition("://")[0]
        self._puts_if_absent = scheme in _PUT_IF_ABSENT
        self._patience = patience
        self._lease: Lease | None = None  # while it is held
        self._has_folders = scheme not in _PUT_IF_ABSENT or scheme == "memory"

    def read(self, path: str) -> bytes:
        return self._call(path, lambda: read_whole(self._fs, self._at(path)))

    def open(self, path: str) -> BinaryIO:
        file = self._call(path, lambda: RemoteFile(self._fs, self._at(path)))
        return cast(BinaryIO, file)

    def write(self, path: str, content: bytes) -> None:
        self._make_parent(path)
        self._change(path, lambda: self._fs.pipe_file(self._at(path), content))

    def create(self, path: str, content: bytes) -> None:
        self._make_parent(path)
        try:
            if self._puts_if_absent:
                put = self._fs.pipe_file
                self._change(path, lambda: put(self._at(path), content, mode="create"))
            else:
                self._create_by_ticket(path, content)
        except FileExistsError:  # perhaps by an attempt of ours whose answer was lost
            if not self._holds(path, content):
                raise FileExistsError(f"{self.url}/{path} exists, or is being created") from None

    def _holds(self, path: str, content: bytes) -> bool:
        try:
            return self.read(path) == content
        except FileNotFoundError:  # somebody draws a ticket for it
            return False

    def _create_by_ticket(self, path: str, content: bytes) -> None:
        """Raises FileExistsError where the file exists, or another one's ticket was first."""
        ticket, began = f"{path}.ticket-{uuid.uuid4().hex}", time.monotonic()

        def put_in_time() -> None:
            if time.monotonic() - began > _STALE_S / 2:  # soon others take it for a dead one's
                raise FileExistsError
            self._fs.pipe_file(self._at(path), content)

        self.write(ticket, b"")
        try:
            time.sleep(_SETTLED_S)
            if self.exists(path) or ticket != self._first_ticket(path, ticket):
                raise FileExistsError
            self._change(path, put_in_time)
        finally:
            self.delete(ticket)

    def _first_ticket(self, path: str, mine: str) -> str:
        """Return the winner among the tickets for a file; remove those of jobs that were killed."""
        tickets = [one for one in self.list(path.rpartition("/")[0]) if f"{path}.t" in one]
        stale = [one for one in tickets if one != mine and self._is_older(one, mine)]
        for one in stale:
            self.delete(one)
        return min(set(tickets) - set(stale), default="")

    def _is_older(self, path: str, other: str) -> bool:
        """Whether a file is much older than another, by the store's own clock, where it has one."""
        try:
            return self.modified(other) - self.modified(path) > _STALE_S
        except (FileNotFoundError, NotRead):
            return False

    def delete(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._change(path, lambda: self._fs.rm_file(self._at(path)))

    def exists(self, path: str) -> bool:
        try:
            self._call(path, lambda: self._fs.info(self._at(path)))
        except FileNotFoundError:
            return False
        return True

    def list(self, folder: str = "") -> list[str]:
        return sorted(self.sizes(folder))

    def sizes(self, folder: str = "") -> dict[str, int]:
        place = self._at(folder) if folder else self._root
        found = self._call(folder, lambda: self._fs.find(place, detail=True))
        sizes = {
            path[len(self._root) :].lstrip("/"): int(info.get("size") or 0)
            for path, info in found.items()
        }
        return {path: size for path, size in sizes.items() if size or not _marks_a_folder(path)}

    def modified(self, path: str) -> float:
        return self._call(path, lambda: self._fs.modified(self._at(path))).timestamp()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold a lease, which other jobs respect. No version depends on it: `create` decides."""
        self._puts_if_absent = self._puts_if_absent and self._refuses_a_second_creation()
        with hold_lease(self, RemoteStore(self.location, RemoteConfig(attempts=1))) as lease:
            self._lease = lease
            try:
                yield
            finally:
                self._lease = None

    def check_held(self) -> None:
        if self._lease is not None:
            self._lease.confirm()

    def _refuses_a_second_creation(self) -> bool:
        """Try it: some servers that speak S3 ignore the condition and overwrite the file."""
        path = f"{LEASES}/probe-{uuid.uuid4().hex}"
        try:
            self.create(path, b"first")
            self.create(path, b"second")
        except FileExistsError:
            return True
        except NotRead:  # others do not know the condition
            return False
        finally:
            self.delete(path)
        return False

    def _make_parent(self, path: str) -> None:
        if self._has_folders:
            parent = self._at(path).rsplit("/", 1)[0]
            self._call(path, lambda: self._fs.makedirs(parent, exist_ok=True))

    def _change(self, path: str, action: Callable[[], object]) -> None:
        """Do it, unless another job took over before this attempt. Raises LeaseLost."""

        def guarded() -> None:
            if self._lease is not None and not path.startswith(f"{LEASES}/"):
                self._lease.check()
            action()

        self._call(path, guarded)

    def _call(self, path: str, action: Callable[[], _Result]) -> _Result:
        """Do it under the policy; an error names the file."""
        try:
            return retry(action, self._patience)
        except NotRead as problem:
            raise type(problem)(f"{self.url}/{path}: {problem}{problem.advice}") from None
        except Refused:  # says all that there is to say
            raise
        except OSError as problem:
            problem.filename = f"{self.url}/{path}"
            raise

    def _at(self, path: str) -> str:
        return f"{self._root}/{inside(path)}"


def _marks_a_folder(path: str) -> bool:
    """Return whether consoles make such a key, empty, to show a folder."""
    return not path or path.endswith("/")
