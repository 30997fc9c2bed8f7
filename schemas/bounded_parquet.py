"""Read Parquet that somebody else may have made, and never unpack more than a limit."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.parquet_sizes import ColumnChunk, Unpacked
from schemas.remote import RemoteFile

MOST_BYTES = 4 << 30  # of all that is read at once: one row group, mostly
MOST_LIGHT_BYTES = 1 << 30  # of it, without media
_REMOTE_BYTES = 64 << 20  # a remote column that is smaller by its footer is not looked at


class BoundedParquet(pq.ParquetFile):
    """A Parquet file that raises ValueError rather than unpack too much; checksums are compared.

    The message names file, column, row group, the values and the limit. Of a file on this machine
    every page that is to be read is looked at first; of a remote one, those of the columns that by
    the footer could be large.
    """

    def __init__(self, source: Any, name: str = "", **options: Any) -> None:
        """Open a path, or a file that is open; `name` is what messages call it."""
        is_path = isinstance(source, str)
        self._name = name or (source if is_path else str(getattr(source, "name", "a file")))
        self._is_remote = isinstance(source, RemoteFile)
        self._known: dict[tuple[int, int], Unpacked] = {}  # by row group and leaf
        super().__init__(source, memory_map=is_path, page_checksum_verification=True, **options)
        self._mapped = pa.memory_map(source) if is_path else None
        self._bytes = self._mapped or pa.PythonFile(source, mode="r")

    def close(self, force: bool = False) -> None:
        super().close(force)
        if self._mapped:
            self._mapped.close()

    def read_row_group(
        self,
        i: int,
        columns: list | None = None,
        use_threads: bool = True,
        use_pandas_metadata: bool = False,
    ) -> pa.Table:
        self._check([i], columns)
        return super().read_row_group(i, columns, use_threads, use_pandas_metadata)

    def read_row_groups(
        self,
        row_groups: list,
        columns: list | None = None,
        use_threads: bool = True,
        use_pandas_metadata: bool = False,
    ) -> pa.Table:
        self._check(row_groups, columns)
        return super().read_row_groups(row_groups, columns, use_threads, use_pandas_metadata)

    def read(
        self,
        columns: list | None = None,
        use_threads: bool = True,
        use_pandas_metadata: bool = False,
    ) -> pa.Table:
        self._check(range(self.num_row_groups), columns)
        return super().read(columns, use_threads, use_pandas_metadata)

    def _check(self, groups: Iterable[int], columns: Sequence[str] | None) -> None:
        """Refuse to read columns of row groups at once that take too much memory."""
        leaves = self._leaves(columns)
        found = [self._unpacked(group, leaf) for group in groups for leaf in leaves]
        light = sum(chunk.size for chunk in found if not chunk.is_media)
        limit = MOST_LIGHT_BYTES if light > MOST_LIGHT_BYTES else MOST_BYTES
        if light > limit or sum(chunk.size for chunk in found) > limit:
            largest = max(
                found, key=lambda chunk: (not chunk.is_media or light <= limit, chunk.size)
            )
            raise ValueError(
                f"{self._name}: {largest}, {limit >> 20} MiB are allowed at once; write the file "
                "again with shorter values or smaller row groups"
            )

    def _leaves(self, columns: Sequence[str] | None) -> list[int]:
        """Return the leaves of columns that are named as a whole or by a path into them."""
        paths = [self.schema.column(leaf).path for leaf in range(len(self.schema))]
        if columns is None:
            return list(range(len(paths)))
        return [
            leaf
            for leaf, path in enumerate(paths)
            if any(path == name or path.startswith(f"{name}.") for name in columns)
        ]

    def _unpacked(self, group: int, leaf: int) -> Unpacked:
        if (group, leaf) not in self._known:
            row_group = self.metadata.row_group(group)
            column = self.schema.column(leaf)
            chunk = ColumnChunk(column, row_group.column(leaf), group, row_group.num_rows)
            found = chunk.unpacked_by_footer()
            if not self._is_remote or found.size > _REMOTE_BYTES:
                try:
                    found = chunk.unpacked_by_pages(self._bytes.read_at)
                except ValueError as error:
                    raise ValueError(
                        f"{self._name}, row group {group}, column {column.path!r}: {error}; "
                        "restore the file"
                    ) from error
            self._known[group, leaf] = found
        return self._known[group, leaf]
