"""Nodes of a cluster come and go while a job works; all of them must see the same files."""

import subprocess
import time

import pytest
from patience import HANG_S
from ray_nodes import ray_nodes
from runs import command, content

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.slow]


@pytest.fixture(scope="module")
def nodes():
    with ray_nodes() as nodes:
        yield nodes


class Job:
    """A curation on the nodes that are there, with one worker per processor."""

    def __init__(self, nodes, output, videos, *extra) -> None:
        self._output, self._text = output, output.with_suffix(".txt")
        words = command(output, videos, extra=("--set", "run.cluster.workers=0", *extra))
        with self._text.open("w") as text:
            self.process = subprocess.Popen(
                words, env=nodes.settings, stdout=text, stderr=subprocess.STDOUT
            )

    @property
    def said(self) -> str:
        return self._text.read_text()

    def units(self) -> int:
        return len(list(self._output.glob("units/*/*/receipt.json")))

    def wait_until(self, happened) -> None:
        deadline = time.monotonic() + HANG_S
        while not happened():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def end(self) -> int:
        return self.process.wait(HANG_S)


def test_nodes_and_drivers_that_come_and_go_change_no_byte(nodes, videos, golden, tmp_path):
    job = Job(nodes, tmp_path / "out", videos)
    job.wait_until(lambda: "waiting up to 600 s for 1 CPU" in job.said)
    first = nodes.add()
    job.wait_until(lambda: job.units() >= 1)
    job.process.kill()
    job.end()
    again = Job(nodes, tmp_path / "out", videos)
    again.wait_until(lambda: again.units() >= 2)
    nodes.kill(first)
    nodes.add()
    assert again.end() == 0, again.said
    assert content(tmp_path / "out") == content(golden)


def test_a_node_that_does_not_see_the_output_is_named(nodes, videos, tmp_path):
    (tmp_path / "out").mkdir()
    hide = 'mount -t tmpfs none "$0" && exec "$@"'
    apart = ("unshare", "--mount", "sh", "-c", hide, tmp_path / "out")
    if subprocess.run([*apart, "true"], check=False).returncode != 0:
        pytest.skip("this user may not mount anything")
    address = nodes.add(within=apart)
    job = Job(nodes, tmp_path / "out", videos)
    assert job.end() == 2, job.said
    assert f"node {address} does not see {tmp_path / 'out'}" in job.said
    assert job.units() == 0
