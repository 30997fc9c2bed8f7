"""Read the files of a folder on any filesystem. Nothing here writes."""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from schemas.bounded_parquet import BoundedParquet
from schemas.files import inside
from schemas.locations import is_url, location_of, shown
from schemas.remote import RemoteFile, open_filesystem, read_whole, retry

READERS = 16  # files looked at at once; an object store answers slowly, but many at a time


class Folder:
    """A folder of this machine or an fsspec URL such as s3://bucket/dataset."""

    def __init__(self, url: str | Path) -> None:
        place = location_of(url)
        self.is_local = not is_url(place)
        local = Path(place).expanduser().absolute() if self.is_local else ""
        self._location = str(local) if self.is_local else place.rstrip("/")
        self.url = shown(self._location)  # its name in messages, without secrets
        self._filesystem: tuple[int, Any, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_filesystem": None}  # clients of a process are of no use to others

    def read(self, path: str) -> bytes:
        """Return a file's bytes; raises FileNotFoundError."""
        if self.is_local:
            return Path(self._local(path)).read_bytes()
        filesystem, root = self._remote()
        return retry(lambda: read_whole(filesystem, f"{root}/{inside(path)}"))

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size of every file below a folder, by path; empty when there is none."""
        if self.is_local:
            base = Path(self._local(folder))
            found = (Path(at) / name for at, _, names in os.walk(base) for name in names)
            root = Path(self._location)
            return {path.relative_to(root).as_posix(): path.stat().st_size for path in found}
        filesystem, root = self._remote()
        found = retry(lambda: filesystem.find(f"{root}/{inside(folder)}", detail=True))
        return {name[len(root) :].lstrip("/"): info["size"] for name, info in found.items()}

    @contextlib.contextmanager
    def parquet(self, path: str) -> Iterator[BoundedParquet]:
        """Open a Parquet file; page checksums are compared as pages are read."""
        file = self.open_parquet(path)
        try:
            yield file
        finally:
            file.close()

    def open_parquet(self, path: str) -> BoundedParquet:
        """Open a Parquet file; the caller closes it."""
        if self.is_local:
            local = self._local(path)
            return BoundedParquet(local)
        filesystem, root = self._remote()
        # pyarrow asks for the ranges that it needs, and only for those.
        file = RemoteFile(filesystem, f"{root}/{inside(path)}", ahead=0)
        return BoundedParquet(file, f"{self.url}/{path}", pre_buffer=True)

    def _local(self, path: str) -> str:
        return f"{self._location}/{inside(path)}"

    def _remote(self) -> tuple[Any, str]:
        if self._filesystem is None or self._filesystem[0] != os.getpid():
            filesystem, root = open_filesystem(self._location)
            self._filesystem = (os.getpid(), filesystem, root)
        return self._filesystem[1:]


def in_parallel(function: Any, values: list[Any]) -> list[Any]:
    """Return the results in the order of the values; the first error ends it."""
    with ThreadPoolExecutor(min(READERS, max(1, len(values)))) as pool:
        return list(pool.map(function, values))
