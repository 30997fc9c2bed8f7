"""Ask every node of a cluster whether it sees the dataset's folder, before work is given to it.

On a folder of one machine, workers elsewhere would read nothing, or another dataset of that name,
and write where nobody looks.
"""

import contextlib
import functools
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence

from pipeline.dataset.store import TEMPORARY, LocalStore, Store
from pipeline.execution.budget import ClusterConfig
from pipeline.execution.nodes import on_other_nodes


@contextlib.contextmanager
def marked(store: Store) -> Iterator[str]:
    """Yield the absolute path of a new file in the store, '' where that is an object store."""
    if not isinstance(store, LocalStore):
        yield ""
        return
    mark = f".nodes{TEMPORARY}{uuid.uuid4().hex}"  # swept by the next run if this one is killed
    try:
        store.write(mark, mark.encode())
        yield os.path.join(store.location, mark)
    finally:
        store.delete(mark)


def check_writable_everywhere(store: Store, cluster: ClusterConfig) -> None:
    """Raise ValueError where a node would write into a folder of its own."""
    with marked(store) as mark:
        if mark:
            _refuse_blind(on_other_nodes(functools.partial(os.path.exists, mark), cluster), store)


def check_readable_everywhere(store: Store, paths: Sequence[str], cluster: ClusterConfig) -> None:
    """Raise ValueError where a node would read other files than these, or none."""
    if isinstance(store, LocalStore):
        look = functools.partial(_sizes, [os.path.join(store.location, path) for path in paths])
        own = look()
        seen = on_other_nodes(look, cluster)
        _refuse_blind({node: sizes == own for node, sizes in seen.items()}, store)


def does_not_see(address: str, store: Store) -> ValueError:
    """Return what is said of a node that does not see the store."""
    return ValueError(
        f"node {address} does not see {store.url}: take a folder that is mounted on every node, "
        "or an object store"
    )


def _refuse_blind(seen: Mapping[str, bool], store: Store) -> None:
    for address in sorted(seen):
        if not seen[address]:
            raise does_not_see(address, store)


def _sizes(paths: Sequence[str]) -> list[int]:
    """Return the bytes of files, -1 for those that are not there."""
    return [os.path.getsize(path) if os.path.exists(path) else -1 for path in paths]
