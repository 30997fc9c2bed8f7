"""Read single rows of Parquet files, in any order."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.remote import NotRead
from trainer.data.files import Folder
from trainer.data.index import RowLocation

_OPEN_FILES = 32
_ATTEMPTS = 3  # at reading a row group of a disk that may be mounted
_PAUSE_S = 0.5  # before the second attempt, doubled before each further one


class RowReader:
    """Reads rows one by one; keeps a few open files, and row groups up to a number of bytes.

    It belongs to one process. What it keeps does not travel with it to another.
    """

    def __init__(self, folder: Folder, columns: Sequence[str], cache_bytes: int) -> None:
        """Read `columns`, as Parquet names them, dots included."""
        self._folder, self._columns, self._cache_bytes = folder, list(columns), cache_bytes
        self._forget()

    def _forget(self) -> None:
        self._files: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int], pa.Table] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("_folder", "_columns", "_cache_bytes")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def read(self, location: RowLocation) -> dict[str, Any]:
        """Return a row as plain values. Raises ValueError when its file is damaged."""
        group = self._group(location.path, location.group)
        return group.slice(location.row, 1).to_pylist()[0]

    def _group(self, path: str, number: int) -> pa.Table:
        key = (path, number)
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key]
        group = self._read(path, number)
        self._groups[key] = group
        while len(self._groups) > 1 and (
            sum(cached.nbytes for cached in self._groups.values()) > self._cache_bytes
        ):
            self._groups.popitem(last=False)
        return group

    def _read(self, path: str, number: int) -> pa.Table:
        for attempt in range(_ATTEMPTS):
            try:
                return self._file(path).read_row_group(
                    number, columns=self._columns, use_threads=False
                )
            except NotRead:  # patience is at its end
                raise
            except (OSError, pa.ArrowException) as error:
                self._files.pop(path, None)
                if attempt == _ATTEMPTS - 1:
                    raise ValueError(
                        f"{self._folder.url}/{path}, row group {number}, cannot be read: {error}; "
                        "restore the file (data.verify=true finds all damaged ones)"
                    ) from error
                time.sleep(_PAUSE_S * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _file(self, path: str) -> pq.ParquetFile:
        if path not in self._files:
            self._files[path] = self._folder.open_parquet(path)
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(path)
        return self._files[path]
