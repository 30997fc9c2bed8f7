"""A short form of the benchmark of kills, and every seed of it that once found a fault."""

import os
import socket
import subprocess
import sys

import pytest
import victims

from benchmarks.kills import run
from benchmarks.kills.stages import with_what_they_need
from benchmarks.kills.tally import Tally

SEEDS = {5: "none: whoever makes one of the uploads is killed"}  # seed -> the fault


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_dataset_on_a_flaky_store_is_the_same_after_kills(seed, capsys):
    words = ["--rounds", "1", "--minutes", "1", "--stages", "curate", "--workers", "1"]
    code = run.main([*words, "--videos", "1", "--kills", "1", "--seed", str(seed)])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "1 rounds, 1 kills (curate: uploader 1)" in said
    assert "0 kills" not in said
    assert "units done twice 0," in said


def test_who_uploads_is_found_by_its_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        port = client.getsockname()[1]
        assert victims.owner_of_port(port) is None  # it is this process, which is never killed
        client.close()
        assert victims.listening([os.getpid()])["127.0.0.1"] >= {server.getsockname()[1]}
    assert victims.owner_of_port(port) is None
    assert victims.job_processes(os.getpid())[os.getpid()] == victims.DRIVER


def test_the_ranks_of_a_training_are_told_from_each_other():
    nap = [sys.executable, "-c", "import time; time.sleep(600)"]
    ranks = [subprocess.Popen(nap, env={**os.environ, "RANK": rank}) for rank in "01"]
    other = subprocess.Popen(nap)
    try:
        found = {ranks[0].pid: "rank 0", ranks[1].pid: "rank 1"}
        assert victims.ranks_of(os.getpid()) == found
    finally:
        for process in (*ranks, other):
            process.kill()
            process.wait()
    assert victims.ranks_of(os.getpid()) == {}


def test_stages_are_made_from_what_comes_before_them():
    assert with_what_they_need(["export"]) == ["curate", "encode", "train", "export"]
    assert with_what_they_need(["export-dataset"]) == ["curate", "export-dataset"]


def test_the_kills_of_earlier_calls_are_added_to(tmp_path):
    totals = tmp_path / "totals.json"
    first = Tally.read(totals, seed=7)
    first.kills["curate: node"] += 2
    first.next_seed = 8
    first.write(totals)
    second = Tally.read(totals, seed=0)
    second.killed("curate", "node", "at any time")
    assert (second.next_seed, second.kills.total()) == (8, 3)
