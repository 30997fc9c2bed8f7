"""`auto`: the best engines at hand, fetched once if they can be, and named whatever happens."""

import hashlib
import socket
import time
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from web_server import WebServer

from pipeline.engines import auto
from pipeline.engines.auto import OFFLINE, settle
from pipeline.engines.engines_config import EnginesConfig, engines_preset
from pipeline.engines.weights import registry

AUTO = EnginesConfig()
FALLBACK = {"people": "opencv", "faces": "opencv", "masks": "matting"}
SELFIE, POSE = "mediapipe_selfie_segmentation", "mediapipe_pose_landmark_lite"
FETCHED = ("yolox_nano", "yunet_2023mar", SELFIE, POSE)


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine without weights, on which all packages but dlib's are installed."""
    monkeypatch.setenv("CONTEXTANYONE_MODELS", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(OFFLINE, raising=False)
    monkeypatch.setattr(auto, "_installed", lambda package: "dlib" not in package)
    return tmp_path / "cache" / "contextanyone" / "models"


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A server that has a small file in place of every network, and the registry that says so."""
    folder = tmp_path / "web"
    folder.mkdir()
    entries = dict(registry())
    for name in (*FETCHED, "sface_2021dec"):
        content = name.encode() * 100
        (folder / name).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        entries[name] = replace(
            entries[name], url=f"https://host/{name}", member="", sha256=sha256, size=len(content)
        )
    for module in ("pipeline.engines.auto", "pipeline.engines.weights"):
        monkeypatch.setattr(f"{module}.registry", lambda: entries)
    with WebServer(folder) as server:
        yield server


def opener_of(server):
    plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return lambda url, first_byte: plain.open(f"{server.url}/{url.rsplit('/')[-1]}", timeout=5)


def names(config):
    return {task: getattr(config, task) for task in ("people", "faces", "recogniser", "masks")}


def test_what_is_missing_is_fetched_once_with_size_and_licence(bare, web, capfd):
    best = {"people": "yolox", "faces": "yunet", "masks": "selfie_pose"}
    found = settle(AUTO, {}, opener=opener_of(web))
    assert names(found) == best | {"recogniser": "sface_appearance"}
    told = capfd.readouterr().err
    assert "MB, Apache-2.0)" in told
    assert str(bare) in told
    assert len(list(bare.iterdir())) == 5
    web.down = True
    assert settle(AUTO, {}, opener=opener_of(web)) == found
    assert capfd.readouterr().err == ""


def test_without_network_one_line_says_what_is_lost(bare, monkeypatch, capfd):
    def refused(url, first_byte):
        raise urllib.error.URLError("no route")

    found = settle(AUTO, {}, opener=refused)
    assert names(found) == FALLBACK | {"recogniser": "appearance"}
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "no route" in lines[1]
    assert "half of the people are not found" in lines[1]


def test_hosts_that_never_answer_cost_all_files_together_one_patience(bare, monkeypatch, capfd):
    monkeypatch.setattr(auto, "PATIENCE_S", 0.3)
    asked = []

    def silent(url, first_byte):
        asked.append(url)
        time.sleep(30)
        raise TimeoutError

    found = settle(AUTO, {}, opener=silent)
    assert len(asked) == 5  # at the same time
    assert found.people == "opencv"
    assert "no answer within 0.3 s" in capfd.readouterr().err


def test_a_wrong_file_is_named_and_only_its_engine_is_done_without(bare, web, tmp_path, capfd):
    (tmp_path / "web" / "yolox_nano").write_bytes(b"something else" * 71 + b"123456")
    found = settle(AUTO, {}, opener=opener_of(web))
    assert (found.people, found.faces) == ("opencv", "yunet")
    assert "yolox_nano gave other bytes" in capfd.readouterr().err
    assert not list(bare.glob("*yolox*"))


def test_without_its_second_opinion_the_first_network_makes_the_masks(bare, web, tmp_path, capfd):
    (tmp_path / "web" / POSE).unlink()
    found = settle(AUTO, {}, opener=opener_of(web))
    assert found.masks == "selfie"
    assert "masks take in more of what stands beside a person" in capfd.readouterr().err


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_offline_opens_no_connection(bare, monkeypatch, how):
    monkeypatch.setattr(socket, "create_connection", None)
    monkeypatch.setenv(OFFLINE, "1" if how == "environment" else "0")
    found = settle(AUTO, {}, offline=how == "flag")
    assert names(found) == FALLBACK | {"recogniser": "appearance"}


def test_dlib_is_taken_where_its_packages_are(bare, monkeypatch):
    monkeypatch.setattr(auto, "_installed", lambda package: True)
    assert settle(AUTO, {}, offline=True).recogniser == "dlib_appearance"


def test_what_is_named_stays_and_a_face_network_gets_its_points(bare, web):
    wished = EnginesConfig(people="ultralytics", faces="opencv")
    found = settle(wished, {}, opener=opener_of(web))
    assert (found.people, found.faces) == ("ultralytics", "opencv")
    assert found.recogniser == "appearance"
    assert settle(engines_preset("embedded").observing, {}) == engines_preset("embedded").observing


def test_a_dataset_keeps_its_engines_or_is_refused_by_name(bare, web, capfd):
    begun = FALLBACK | {"recogniser": "appearance"}
    assert names(settle(AUTO, begun, opener=opener_of(web))) == begun
    assert capfd.readouterr().err == ""
    with pytest.raises(ValueError, match=r"begun with observe\.engines\.people=yolox, which lacks"):
        settle(AUTO, begun | {"people": "yolox"}, offline=True)
    again = settle(AUTO, begun | {"people": "yolox"}, opener=opener_of(web))
    assert again.people == "yolox"
