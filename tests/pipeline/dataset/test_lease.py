"""Of two jobs on one object store one works; a dead one is not in the way."""

import json
import multiprocessing
import os
import threading
import uuid

import fsspec
import pytest
from object_store import s3_server

from pipeline.dataset import lease, remote_store
from pipeline.dataset.remote_store import RemoteStore
from pipeline.dataset.store import open_store
from schemas.remote import POLICY

TAKEN_OVER = r"another job has taken over .* no sign of life for \d+ s; .*run again"


@pytest.fixture(scope="module")
def bucket():
    with s3_server("leases") as url:
        yield url


@pytest.fixture(params=["s3", "memory"])
def url(request, bucket):
    return f"{request.param}://leases/{uuid.uuid4().hex}"


class Clock:
    """Time that runs where somebody waits; `meanwhile` is what others do then."""

    def __init__(self):
        self.now, self.meanwhile = 0.0, lambda: None

    def sleep(self, seconds):
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch):
    """No job gives signs of life by itself, and every job is on a machine of its own."""
    clock = Clock()
    monkeypatch.setattr(lease, "_now", lambda: clock.now)
    monkeypatch.setattr(lease, "_sleep", clock.sleep)
    monkeypatch.setattr(lease, "_BEAT_S", 3600.0)
    monkeypatch.setattr(lease, "_machine", lambda: uuid.uuid4().hex)
    monkeypatch.setenv(POLICY, "attempts=100,pause_s=0")
    return clock


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(remote_store, "_SETTLED_S", 0.1)


def leases(url):
    return open_store(url).list(lease.LEASES)


def held_by(store):
    return store._lease


def beat(store):
    """Give one sign of life, as the holder's thread does."""
    held_by(store)._try_to_renew()


def test_a_second_job_is_refused_and_the_lease_goes_with_the_job(url):
    with open_store(url).lock():
        with pytest.raises(BlockingIOError, match="another job writes to"), open_store(url).lock():
            pass
        assert len(leases(url)) == 1
    assert leases(url) == []
    with open_store(url).lock():
        pass


def test_a_job_of_another_machine_that_lives_is_waited_for_and_refused(url, clock):
    living = open_store(url)
    with living.lock():
        clock.meanwhile = lambda: beat(living)
        with pytest.raises(BlockingIOError, match="another job writes"), open_store(url).lock():
            pass
        living.write("a", b"mine")
        assert clock.now < lease.PATIENCE_S


@pytest.mark.parametrize("words", [b'{"owner": "dead", "beat": 3, "machine": "other"}', b'{"own'])
def test_a_job_of_another_machine_that_died_is_waited_for_and_replaced(url, clock, capsys, words):
    store = open_store(url)
    store.create(f"{lease.LEASES}/0007.json", words)
    with store.lock():
        assert leases(url) == [f"{lease.LEASES}/0008.json"]
        assert clock.now == lease.PATIENCE_S
    assert "waiting up to" in capsys.readouterr().out


def test_a_job_whose_lease_was_taken_over_changes_nothing_any_more(url, clock):
    asleep, awake = open_store(url), open_store(url)
    with asleep.lock():
        asleep.write("a", b"before")
        with awake.lock():
            awake.write("a", b"after")
            changes = (
                lambda: asleep.write("a", b"late"),
                lambda: asleep.create("b", b"late"),
                lambda: asleep.delete("a"),
                asleep.check_held,
            )
            for change in changes:
                with pytest.raises(BlockingIOError, match=TAKEN_OVER):
                    change()
            assert awake.list() == [f"{lease.LEASES}/0002.json", "a"]
        with pytest.raises(BlockingIOError, match=TAKEN_OVER), awake.lock():
            asleep.delete("a")  # the lease was given back, and its number is used again
    assert awake.read("a") == b"after"
    assert leases(url) == []


def test_a_job_that_slept_finds_out_also_where_no_clock_ran_meanwhile(url, clock):
    asleep, awake = open_store(url), open_store(url)
    with asleep.lock(), awake.lock():
        clock.now = 0  # as in a virtual machine that stood still
        with pytest.raises(BlockingIOError, match=TAKEN_OVER):
            asleep.check_held()


def test_a_job_that_slept_and_finds_its_lease_untouched_goes_on(url, clock):
    store = open_store(url)
    with store.lock():
        clock.now = 10_000
        store.write("a", b"mine")
        store.check_held()
        assert len(leases(url)) == 1


def test_a_sign_of_life_in_the_last_moment_keeps_the_lease(url, clock, monkeypatch):
    slow, late = open_store(url), open_store(url)
    create = late.create

    def create_late(path, content):
        beat(slow)
        create(path, content)

    monkeypatch.setattr(late, "create", create_late)
    with slow.lock():
        with pytest.raises(BlockingIOError, match="another job writes"), late.lock():
            pass
        slow.write("a", b"mine")
        assert leases(url) == [f"{lease.LEASES}/0001.json"]


def test_a_store_that_is_down_for_long_says_nothing_of_the_job_that_works(clock, monkeypatch):
    url = f"memory://leases/{uuid.uuid4().hex}"
    kind = fsspec.get_filesystem_class("memory")
    plain = kind.cat_file

    def down(self, *path, **more):
        if 3 < clock.now < 68:
            clock.now += 5
            raise ConnectionError
        return plain(self, *path, **more)

    monkeypatch.setattr(kind, "cat_file", down)
    living = open_store(url)
    with living.lock():
        clock.meanwhile = lambda: clock.now > 68 and beat(living)
        with pytest.raises(BlockingIOError, match="another job writes"), open_store(url).lock():
            pass
        assert clock.now > 68
        living.write("a", b"mine")


def test_a_request_that_hangs_does_not_keep_the_next_sign_of_life(monkeypatch):
    url = f"memory://leases/{uuid.uuid4().hex}"
    kind = fsspec.get_filesystem_class("memory")
    plain, hung, release, beaten = kind.cat_file, [], threading.Event(), threading.Event()

    def hang_once(self, path, *more, **options):
        if threading.current_thread() is not threading.main_thread():
            if not hung:
                hung.append(path)
                release.wait(60)
            elif json.loads(plain(self, path))["beat"]:
                beaten.set()
        return plain(self, path, *more, **options)

    monkeypatch.setattr(kind, "cat_file", hang_once)
    monkeypatch.setattr(lease, "_BEAT_S", 0.01)
    monkeypatch.setattr(lease, "_ATTEMPT_S", 0.01)
    with open_store(url).lock():
        assert beaten.wait(60)
        release.set()


def test_a_sign_of_life_that_arrives_after_the_end_leaves_no_lease(url, clock, monkeypatch):
    store = open_store(url)
    with store.lock():
        held = held_by(store)
        write = held._once.write

        def arrive_late(path, content):
            held.stop()
            held.give_back()
            write(path, content)

        monkeypatch.setattr(held._once, "write", arrive_late)
        beat(store)
        assert leases(url) == []


def _hold(url, ready):
    with open_store(url).lock():
        ready.set()
        multiprocessing.Event().wait(60)


def test_a_killed_job_of_this_machine_is_replaced_at_once(bucket):
    url = f"s3://leases/{uuid.uuid4().hex}"
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(url, ready))
    holder.start()
    assert ready.wait(60)
    holder.kill()
    holder.join()
    with open_store(url).lock():
        assert leases(url) == [f"{lease.LEASES}/0002.json"]


def test_one_of_many_creates_a_file_also_where_the_server_overwrites(url, quick, monkeypatch):
    store = open_store(url)
    monkeypatch.setattr(store, "_puts_if_absent", False)
    store.create("manifests/0001.json", b"first")
    with pytest.raises(FileExistsError):
        store.create("manifests/0001.json", b"second")
    store.write("manifests/0002.json.ticket-000", b"")  # somebody came first
    # That the file is not there yet is no error of its own: whoever came first will write it.
    with pytest.raises(FileExistsError, match=r"manifests/0002\.json exists, or is being created"):
        store.create("manifests/0002.json", b"mine")
    assert store.list("manifests") == ["manifests/0001.json", "manifests/0002.json.ticket-000"]


def test_a_ticket_of_a_killed_job_is_in_nobodys_way(tmp_path, quick):
    store = open_store(f"local://{tmp_path}/data")
    stale = f"{lease.LEASES}/0001.json.ticket-000"
    store.write(stale, b"")
    made = store.modified(stale) - 2 * remote_store._STALE_S
    os.utime(tmp_path / "data" / stale, (made, made))
    with store.lock():
        assert store.list(lease.LEASES) == [f"{lease.LEASES}/0001.json"]


def test_a_ticket_of_a_living_job_refuses_the_lease_in_one_line(tmp_path, quick):
    store = open_store(f"local://{tmp_path}/data")
    store.write(f"{lease.LEASES}/0001.json.ticket-000", b"")
    with pytest.raises(BlockingIOError, match="another job writes to"), store.lock():
        pass


def test_a_server_that_does_not_care_for_the_condition_is_found_out(bucket, quick, monkeypatch):
    url = f"s3://leases/{uuid.uuid4().hex}"
    kind = fsspec.get_filesystem_class("s3")
    plain = kind._pipe_file

    async def careless(self, path, data, mode="overwrite", **more):
        return await plain(self, path, data, **more)

    monkeypatch.setattr(kind, "_pipe_file", careless)
    kind.clear_instance_cache()
    store = RemoteStore(url)
    with store.lock():
        assert not store._puts_if_absent
        store.create("a", b"first")
        with pytest.raises(FileExistsError):
            store.create("a", b"second")
