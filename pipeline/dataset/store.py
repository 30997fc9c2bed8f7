"""Files of a dataset on any filesystem: a write is seen whole or not at all.

A folder of this machine is written by temporary file, fsync and rename; on an object store one
PUT is atomic by itself. Paths are relative to the root and never leave it.
"""

import contextlib
import errno
import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from pipeline.dataset.remote_store import RemoteStore
from schemas.files import inside
from schemas.locations import is_url, location_of
from schemas.remote import retry_local

TEMPORARY = ".tmp-"
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
# Where Ray 2.60 unpacks what `ray job submit --working-dir` sent; the job runs in there.
_COPY_OF_RAY = re.compile(r"/working_dir_files/_ray_pkg_\w+(/|$)")


class Store(Protocol):
    """The filesystem that holds a dataset."""

    url: str  # its name in messages, without secrets
    location: str  # what opens it again, in a worker

    def read(self, path: str) -> bytes: ...

    def open(self, path: str) -> BinaryIO:
        """Open for random access; the caller closes it."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Replace the file; a crash leaves the old content or the new, nothing between."""
        ...

    def create(self, path: str, content: bytes) -> None:
        """Write a file that must not exist yet with other content, or raise FileExistsError.

        Of several that create one file at the same time, one succeeds.
        """
        ...

    def delete(self, path: str) -> None: ...

    def exists(self, path: str) -> bool: ...

    def list(self, folder: str = "") -> list[str]:
        """Return every file below the folder, sorted; none when the folder is missing."""
        ...

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Return the bytes of every file below the folder, by path."""
        ...

    def modified(self, path: str) -> float:
        """Return when a file was written, in seconds since 1970."""
        ...

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the store against a second driver, or raise BlockingIOError."""
        ...

    def check_held(self) -> None:
        """Raise BlockingIOError if another driver took over a store that is held."""
        ...


def open_store(url: str | Path) -> Store:
    """Return the store behind a folder or an fsspec URL such as s3://bucket/dataset.

    Raises ValueError for a slip such as s3:/bucket, which would become a folder.
    """
    location = location_of(url)
    return RemoteStore(location) if is_url(location) else LocalStore(location)


class LocalStore:
    """A folder of this machine, or one that is mounted on it."""

    def __init__(self, root: str) -> None:
        self._root = Path(root).expanduser().absolute()
        self.url = self.location = str(self._root)
        if self._root.is_file():
            raise ValueError(f"{self.url} is a file; name a folder")
        if _COPY_OF_RAY.search(self.url):
            raise ValueError(
                f"{self.url} lies in Ray's copy of --working-dir, which goes when the cluster "
                "does; give an absolute path that every node sees, or the URL of an object store"
            )

    def read(self, path: str) -> bytes:
        return retry_local(self._at(path).read_bytes)

    def open(self, path: str) -> BinaryIO:
        return self._at(path).open("rb")

    def write(self, path: str, content: bytes) -> None:
        retry_local(lambda: self._write(path, content))

    def _write(self, path: str, content: bytes) -> None:
        with self._staged(path, content) as staged:
            os.replace(staged, self._at(path))

    def create(self, path: str, content: bytes) -> None:
        retry_local(lambda: self._create(path, content))

    def _create(self, path: str, content: bytes) -> None:
        with self._staged(path, content) as staged:
            try:
                self._claim(staged, self._at(path))
            except FileExistsError:
                if not self.exists(path) or self.read(path) != content:
                    raise

    def _claim(self, staged: Path, target: Path) -> None:
        """Give a file its name, or raise FileExistsError.

        Where there are no hard links (exFAT, some FUSE) whoever creates a second file first may
        do so. The content is still seen whole or not at all; but who is killed between the two
        leaves that file, and nobody can create the name until the next `lock` sweeps it.
        """
        try:
            return os.link(staged, target)  # unlike rename, refuses an existing name
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        claim = target.parent / f".{target.name}{TEMPORARY}claim"
        claim.open("xb").close()
        try:
            if target.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
            os.replace(staged, target)
        finally:
            claim.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _staged(self, path: str, content: bytes) -> Iterator[Path]:
        target = self._at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.parent / f".{target.name}{TEMPORARY}{uuid.uuid4().hex}"
        try:
            with staged.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield staged
        except OSError as error:
            if error.filename is None:  # a full disk does not say where
                error.filename = str(target)
            raise
        finally:
            staged.unlink(missing_ok=True)
        _sync_folder(target.parent)

    def delete(self, path: str) -> None:
        self._at(path).unlink(missing_ok=True)
        self._drop_empty(self._at(path).parent)

    def _drop_empty(self, folder: Path) -> None:
        with contextlib.suppress(OSError):  # rmdir refuses a folder that holds something
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent

    def exists(self, path: str) -> bool:
        return self._at(path).exists()

    def list(self, folder: str = "") -> list[str]:
        base = self._at(folder) if folder else self._root
        found = (Path(at) / name for at, _, names in os.walk(base) for name in names)
        return sorted(
            path.relative_to(self._root).as_posix() for path in found if TEMPORARY not in path.name
        )

    def sizes(self, folder: str = "") -> dict[str, int]:
        return {path: self._at(path).stat().st_size for path in self.list(folder)}

    def modified(self, path: str) -> float:
        return self._at(path).stat().st_mtime

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / "_lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BlockingIOError(
                    f"another job writes to {self._root}: wait for it, or choose another folder"
                ) from None
            self._sweep()
            yield

    def check_held(self) -> None:
        """A lock of the kernel is held until its process ends."""

    def _sweep(self) -> None:
        """Remove what killed writers left; nobody else writes while the lock is held."""
        for at, _, names in os.walk(self._root):
            for name in names:
                if name.startswith(".") and TEMPORARY in name:
                    (Path(at) / name).unlink(missing_ok=True)

    def _at(self, path: str) -> Path:
        return self._root / inside(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
