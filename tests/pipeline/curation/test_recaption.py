"""Captions of a finished dataset are written anew: versioned, resumable, without the sources."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from drawn_dataset import write_drawn_dataset
from present import current_version

from jobs.caption import parse, run
from pipeline.audit.run import AuditConfig, audit
from pipeline.curation.recaption import recaption
from pipeline.dataset.store import LocalStore
from pipeline.engines.captions.caption_settings import VlmConfig, configured_captioner
from pipeline.engines.interfaces import CaptionParts, CheckedAnswer, EngineInfo
from pipeline.pairing.captions import CaptionsConfig

pytestmark = pytest.mark.slow  # each makes a dataset

CONFIG = CaptionsConfig(batch_size=4)


class Watcher:
    """A captioner that looks: it says how bright the frames are that it is shown."""

    info = EngineInfo("watcher/1", "captioning", "none", True, weights_digest="w" * 64)
    looks = True

    def __init__(self, dies_after: int = 10**9) -> None:
        self.asked: list[str] = []
        self.dies_after = dies_after

    def caption(self, facts):
        return [(each.text, each.description) for each in self.outcomes(facts)]

    def outcomes(self, facts):
        if len(self.asked) + len(facts) > self.dies_after:
            raise KeyboardInterrupt
        self.asked += [row.clip.clip_id for row in facts]
        return [self._answer(row) for row in facts]

    def _answer(self, row):
        assert len(row.frames) > 1, "frames come out of the sample"
        parts = CaptionParts(f"A figure at brightness {row.frames[0].mean():.0f}.", "A room.", "")
        return CheckedAnswer(
            f"{parts.action} {parts.scene}", "A drawn figure.", "watcher/1", "", parts
        )


@pytest.fixture
def store(tmp_path):
    return LocalStore(str(write_drawn_dataset(tmp_path / "dataset", 2)))


def table(store, name):
    manifest, _ = current_version(store)
    paths = [file.path for file in manifest.files if file.path.startswith(f"{name}/")]
    return [row for path in paths for row in pq.read_table(store.open(path)).to_pylist()]


def test_every_sample_gets_its_texts_and_the_old_version_is_the_parent(store):
    before, digest = current_version(store)
    samples = {row["sample_id"]: row for row in table(store, "samples")}
    captioner = Watcher()
    done = recaption(store, captioner, CONFIG)
    assert done.changed == done.samples == len(samples) == len(captioner.asked)
    after, _ = current_version(store)
    assert (after.version, after.parent) == (before.version + 1, digest)
    assert "watcher/1" in [engine["id"] for engine in after.engines]
    for row in table(store, "samples"):
        old = samples[row["sample_id"]]
        assert row["caption"] == f"{row['action']} {row['scene']}"
        assert (row["scene"], row["camera"]) == ("A room.", "")
        assert (row["caption_engine"], row["caption_digest"]) == ("watcher/1", "w" * 64)
        written = ("caption", "description", "action", "scene", "camera")
        for name in row.keys() - set(written) - {"caption_engine", "caption_digest"}:
            assert repr(row[name]) == repr(old[name]), name  # NaN is not itself
    by_clip = {row["clip_id"]: row["caption"] for row in table(store, "samples")}
    assert {r["clip_id"]: r["caption"] for r in table(store, "clips")} == by_clip
    with audit(store.url, AuditConfig()) as audited:
        assert audited.findings.by_severity()["error"] == 0


def test_what_was_answered_before_a_kill_is_not_asked_again(store, tmp_path):
    first = Watcher(dies_after=5)
    with pytest.raises(KeyboardInterrupt):
        recaption(store, first, CONFIG)
    assert current_version(store)[0].version == 1
    second = Watcher()
    done = recaption(store, second, CONFIG)
    assert set(first.asked).isdisjoint(second.asked)
    assert len(first.asked) + len(second.asked) == done.samples
    whole = LocalStore(str(write_drawn_dataset(tmp_path / "whole", 2)))
    recaption(whole, Watcher(), CONFIG)
    assert current_version(whole)[1] == current_version(store)[1], "the same bytes"
    assert not store.list("_staging")


def test_same_captions_make_no_version(store):
    recaption(store, Watcher(), CONFIG)
    version = current_version(store)[0].version
    assert recaption(store, Watcher(), CONFIG).changed == 0
    assert current_version(store)[0].version == version


def test_the_users_captions_stay_unless_they_are_to_go(store):
    class User(Watcher):
        def _answer(self, row):
            return replace(super()._answer(row), engine="given", text="Somebody drew this.")

    recaption(store, User(), replace(CONFIG, prefer_given=False))
    recaption(store, Watcher(), CONFIG)
    assert {row["caption"] for row in table(store, "samples")} == {"Somebody drew this."}
    recaption(store, Watcher(), replace(CONFIG, prefer_given=False))
    assert all("brightness" in row["caption"] for row in table(store, "samples"))


def test_the_job_says_what_it_wrote(store, capsys):
    assert run(parse([store.url, "--captions", "attributes"])) == 0
    said = capsys.readouterr().out
    assert "8 by attributes/5" in said
    assert "no model is asked" in said
    assert "is version 2" in said


def test_a_server_or_a_folder_that_is_named_is_used():
    assert configured_captioner(VlmConfig()) == "attributes"
    assert configured_captioner(VlmConfig(folder="Qwen/x")) == "vlm"
    assert configured_captioner(VlmConfig(folder="x", server="http://localhost:1/v1")) == "server"
