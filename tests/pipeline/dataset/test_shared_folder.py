"""What one node reads or writes and another does not see is said before work is given to it."""

import pytest

from pipeline.dataset import shared_folder
from pipeline.dataset.store import open_store
from pipeline.execution.budget import ClusterConfig

ANY = ClusterConfig()


@pytest.fixture
def second_node(monkeypatch):
    """Let a node 10.0.0.3 see what `change` leaves of what this one sees."""

    def set_view(change):
        other = lambda look, _: {"10.0.0.3": change(look())}  # noqa: E731
        monkeypatch.setattr(shared_folder, "on_other_nodes", other)

    return set_view


def test_a_node_that_would_write_elsewhere_is_named(second_node, tmp_path):
    store = open_store(tmp_path / "dataset")
    second_node(lambda there: there)
    shared_folder.check_writable_everywhere(store, ANY)
    second_node(lambda there: not there)
    with pytest.raises(ValueError, match=r"node 10\.0\.0\.3 does not see .*dataset: take a folder"):
        shared_folder.check_writable_everywhere(store, ANY)
    assert list((tmp_path / "dataset").iterdir()) == []  # the mark is gone


@pytest.mark.parametrize("elsewhere", [[-1], [4]], ids=["nothing", "another"])
def test_a_node_that_would_read_another_dataset_is_named(second_node, tmp_path, elsewhere):
    store = open_store(tmp_path)
    store.write("samples/a.parquet", b"12345")
    second_node(lambda sizes: sizes)
    shared_folder.check_readable_everywhere(store, ["samples/a.parquet"], ANY)
    second_node(lambda _: elsewhere)
    with pytest.raises(ValueError, match=r"node 10\.0\.0\.3 does not see"):
        shared_folder.check_readable_everywhere(store, ["samples/a.parquet"], ANY)


def test_an_object_store_is_the_same_everywhere(second_node):
    second_node(lambda _: pytest.fail("no node needs to be asked"))
    store = open_store("memory://shared")
    shared_folder.check_writable_everywhere(store, ANY)
    shared_folder.check_readable_everywhere(store, ["samples/a.parquet"], ANY)
