"""Weights: the right file or a clear refusal, fetched whole or not at all, licences obeyed."""

import hashlib
import io
import json
import os
import sys
import threading
import urllib.request
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from subprocess import Popen, run

import pytest
from production import ROOT, weights_root

from pipeline.engines.engines_config import engines_preset
from pipeline.engines.fetch import fetch, open_https
from pipeline.engines.interfaces import EngineInfo
from pipeline.engines.registry import engine_infos, load_engine, missing_weights
from pipeline.engines.weights import (
    LOCK,
    WeightsEntry,
    check_licences,
    digest_of_file,
    entry,
    find,
    find_for,
    pin,
    read_lock,
    registry,
    verified,
)
from pipeline.engines.weights_command import (
    check_engines,
    fetch_weights,
    list_weights,
    trust_weights,
)

BODY = b"weights " * 5000
WEIGHTS = WeightsEntry(
    name="test",
    task="person_detection",
    engine="yolox",
    source="https://example.org",
    file="test.onnx",
    licence="Apache-2.0",
    commercial=True,
    url="https://example.org/test.onnx",
    sha256=hashlib.sha256(BODY).hexdigest(),
    size=len(BODY),
)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """No weights anywhere but in the folder that is returned."""
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "models"


@pytest.fixture
def real(monkeypatch, tmp_path):
    root = weights_root()
    if root is None:
        pytest.skip("test weights absent: set CONTEXTANYONE_MODELS to the folder that has them")
    monkeypatch.setenv("CONTEXTANYONE_MODELS", f"{tmp_path}{os.pathsep}{root}")
    return root


class _Server(BaseHTTPRequestHandler):
    """Answers by path; a loopback stand-in for the hosts of the registry."""

    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/right")
            self.end_headers()
            return
        bodies = {"/right": BODY, "/other": BODY[::-1], "/short": BODY[:-8], "/archive": archive()}
        first = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if first and self.path == "/right":
            self.send_response(206)
            self.send_header("Content-Length", str(len(BODY) - first))
            self.end_headers()
            self.wfile.write(BODY[first:])
            return
        self.send_response(200)
        if self.path == "/endless":
            self.end_headers()
            self._endless()
            return
        body = bodies.get(self.path, BODY)
        stated = {"/broken": len(BODY) + 7, "/lies": 5}.get(self.path, len(body))
        self.send_header("Content-Length", str(stated))
        self.end_headers()
        self.wfile.write(body)

    def _endless(self):
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    def log_message(self, format, *args):
        pass


def archive():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("../../evil.onnx", b"evil")
        file.writestr("inner/test.onnx", BODY)
    return made.getvalue()


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def opener_to(address, path):
    """Open `path` of the loopback server in place of the registry's address."""
    plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def opened(url, first_byte):
        asked = {"Range": f"bytes={first_byte}-"} if first_byte else {}
        return plain.open(urllib.request.Request(address + path, headers=asked), timeout=5)

    return opened


# --- the registry -----------------------------------------------------------------------------


def test_every_entry_is_whole():
    assert len(registry()) >= 15
    files = [each.file for each in registry().values()]
    assert len(files) == len(set(files))
    for each in registry().values():
        assert each.source.startswith("https://")
        assert each.licence
        assert isinstance(each.commercial, bool)
        recognises = each.task.endswith("_recognition")
        assert bool(each.windows) == recognises
        if "AGPL" in each.licence or "non-commercial" in each.licence or "not" in each.licence:
            assert not each.commercial


@pytest.mark.parametrize(
    ("field", "value"),
    [("file", "../x.onnx"), ("file", "/x.onnx"), ("url", "http://x"), ("sha256", "abc")],
)
def test_an_unsafe_entry_is_refused(field, value):
    with pytest.raises(ValueError, match=f"test: {field} must"):
        replace(WEIGHTS, **{field: value})


def test_the_test_weights_are_those_of_the_registry(real):
    here = [each for each in registry().values() if (real / each.file).is_file()]
    assert len(here) >= 7
    for each in here:
        assert find(each.name).sha256 == each.sha256
        assert (real / each.file).stat().st_size == each.size


# --- finding ----------------------------------------------------------------------------------


def test_missing_weights_name_file_source_licence_and_alternative(empty):
    with pytest.raises(ValueError, match="weights are missing") as caught:
        load_engine("faces", "scrfd")
    text = str(caught.value)
    for part in (
        "observe.engines.faces=scrfd",
        str(empty),
        "det_10g.onnx",
        "non-commercial research",
    ):
        assert part in text
    assert "jobs/models.py fetch det_10g" in text
    assert "by hand from https://github.com/ShiqiYu" in text
    assert "observe.engines.faces: opencv" in text


def test_all_missing_files_are_told_at_once(empty):
    wrong = missing_weights(engines_preset("production").chosen)
    assert len(wrong) == 5
    assert "observe.engines.recogniser=arcface_osnet" in wrong[2]
    assert missing_weights(engines_preset("embedded").chosen) == []


def test_the_first_folder_and_the_first_entry_win(tmp_path, monkeypatch):
    folders = [tmp_path / "a", tmp_path / "b"]
    monkeypatch.setenv("CONTEXTANYONE_MODELS", os.pathsep.join(map(str, folders)))
    rows = {name: replace(WEIGHTS, name=name, file=f"{name}.onnx") for name in ("best", "next")}
    monkeypatch.setattr("pipeline.engines.weights.registry", lambda: rows)
    for folder in folders:
        folder.mkdir()
        (folder / "next.onnx").write_bytes(BODY)
    found = find_for("yolox", "person_detection")
    assert (found.weights.name, found.path.parent) == ("next", folders[0])
    (folders[1] / "best.onnx").write_bytes(BODY)
    assert find_for("yolox", "person_detection").path == folders[1] / "best.onnx"


def test_a_file_with_another_hash_is_refused(empty):
    empty.mkdir()
    weights = entry("yolox_nano")
    (empty / weights.file).write_bytes(BODY)
    with pytest.raises(ValueError, match=f"SHA-256 is {WEIGHTS.sha256}, expected c789161e"):
        load_engine("people", "yolox")


def test_a_hash_is_computed_once_while_the_file_stays(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(b"one")
    first = digest_of_file(path)
    assert first == hashlib.sha256(b"one").hexdigest() == digest_of_file(path)
    path.write_bytes(b"two!")
    assert digest_of_file(path) == hashlib.sha256(b"two!").hexdigest()


def test_pickled_weights_without_a_hash_need_their_users_word(empty):
    empty.mkdir()
    (empty / "yolo11n-seg.pt").write_bytes(BODY)
    with pytest.raises(ValueError, match=r"can run code.*check --trust yolo11n-seg"):
        find("yolo11n-seg")
    assert trust_weights("yolo11n-seg") == 0
    assert find("yolo11n-seg").sha256 == WEIGHTS.sha256
    (empty / "yolo11n-seg.pt").write_bytes(BODY[::-1])
    with pytest.raises(ValueError, match="is not yolo11n-seg"):
        find("yolo11n-seg")


def test_a_damaged_lock_file_is_named(tmp_path):
    (tmp_path / LOCK).write_text("[1]")
    with pytest.raises(ValueError, match=r"models\.lock\.json is damaged"):
        read_lock(tmp_path)


# --- fetching ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/right", "/redirect"])
def test_weights_are_fetched_whole(tmp_path, address, path):
    target, sha256 = fetch(WEIGHTS, tmp_path / "new", opener_to(address, path))
    assert target.read_bytes() == BODY
    assert sha256 == WEIGHTS.sha256
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["test.onnx"]
    again = fetch(WEIGHTS, tmp_path / "new", opener_to(address, "/missing"))
    assert again == (target, sha256)  # nothing is fetched twice


@pytest.mark.parametrize(
    ("path", "changes", "message"),
    [
        ("/other", {}, "gave other bytes"),
        ("/endless", {}, f"more than the {len(BODY)} bytes"),
        ("/endless", {"size": 0}, "more than the 1000000 bytes"),
        ("/short", {}, f"offers {len(BODY) - 8} bytes"),
        ("/short", {"size": 0}, "gave other bytes"),
        ("/broken", {"size": 0, "sha256": ""}, "broke off|cannot be reached"),
        ("/lies", {"size": 0}, "gave other bytes|broke off"),
        ("/missing", {}, "cannot be reached"),
        ("/archive", {"member": "inner/other.onnx"}, "holds no inner/other.onnx"),
        ("/right", {"member": "inner/test.onnx"}, "holds no inner/test.onnx"),
        ("/archive", {"member": "inner/test.onnx", "size": 9}, "more than the 9 bytes"),
    ],
)
def test_a_bad_download_leaves_nothing(tmp_path, address, monkeypatch, path, changes, message):
    monkeypatch.setattr("pipeline.engines.fetch.MAX_BYTES", 1_000_000)
    with pytest.raises(ValueError, match=message):
        fetch(replace(WEIGHTS, **changes), tmp_path, opener_to(address, path))
    assert list(tmp_path.iterdir()) == []


def test_one_member_of_an_archive_is_taken_and_no_other(tmp_path, address):
    weights = replace(WEIGHTS, member="inner/test.onnx")
    fetch(weights, tmp_path / "a" / "b", opener_to(address, "/archive"))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written == [tmp_path / "a" / "b" / "test.onnx"]
    assert written[0].read_bytes() == BODY


def test_a_download_that_broke_off_goes_on_where_it_ended(tmp_path, address):
    (tmp_path / ".test.onnx.part").write_bytes(BODY[:1000])
    sizes = []
    target, _ = fetch(WEIGHTS, tmp_path, opener_to(address, "/right"), received=sizes.append)
    assert target.read_bytes() == BODY
    assert sizes == [1000, len(BODY) - 1000]
    assert list(tmp_path.iterdir()) == [target]


def test_what_arrived_is_kept_for_the_next_time_and_no_wrong_byte_survives_it(tmp_path, address):
    with pytest.raises(ValueError, match="broke off"):
        fetch(replace(WEIGHTS, size=0), tmp_path, opener_to(address, "/broken"))
    assert [path.name for path in tmp_path.iterdir()] == [".test.onnx.part"]
    (tmp_path / ".test.onnx.part").write_bytes(b"another beginning")
    with pytest.raises(ValueError, match="gave other bytes"):
        fetch(WEIGHTS, tmp_path, opener_to(address, "/right"))
    assert list(tmp_path.iterdir()) == []


def test_of_four_processes_one_fetches_and_all_have_it(tmp_path, address):
    code = (
        "import sys, urllib.request; from dataclasses import replace; from pathlib import Path;"
        "sys.path.insert(0, 'tests/pipeline/engines'); import test_models_job as job;"
        "print(job.fetch(job.WEIGHTS, Path(sys.argv[2]), job.opener_to(sys.argv[1], '/right')))"
    )
    command = [sys.executable, "-c", code, address, str(tmp_path)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
    environment = {**os.environ, "PYTHONPATH": path}
    running = [Popen(command, cwd=ROOT, env=environment) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["test.onnx"]


def test_an_unknown_hash_is_pinned_on_the_first_fetch(tmp_path, address):
    weights = replace(WEIGHTS, sha256="")
    target, sha256 = fetch(weights, tmp_path, opener_to(address, "/right"))
    assert json.loads((tmp_path / LOCK).read_text())["test.onnx"]["sha256"] == sha256
    assert verified(weights, target) == sha256
    target.write_bytes(BODY[::-1])
    with pytest.raises(ValueError, match="is not test"):
        verified(weights, target)


def test_pickled_weights_without_a_hash_are_not_fetched_unasked(tmp_path, address):
    weights = replace(WEIGHTS, sha256="", file="test.pt")
    with pytest.raises(ValueError, match="--trust"):
        fetch(weights, tmp_path, opener_to(address, "/right"))
    target, sha256 = fetch(weights, tmp_path, opener_to(address, "/right"), trust=True)
    assert verified(weights, target) == sha256


def test_plain_http_is_never_opened(address):
    with pytest.raises(ValueError, match="by https only"):
        open_https(f"{address}/right")


def test_without_network_the_message_says_what_to_do(tmp_path):
    weights = replace(WEIGHTS, url="https://weights.invalid/test.onnx")
    with pytest.raises(ValueError, match=r"cannot be reached.*copy test.onnx by hand"):
        fetch(weights, tmp_path)


def test_two_pins_stand_beside_each_other(tmp_path):
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(name.encode())
        pin(tmp_path / name)
    assert sorted(read_lock(tmp_path)) == ["a.onnx", "b.onnx"]


# --- licences ---------------------------------------------------------------------------------


def test_the_commercial_policy_refuses_and_names_what_to_use():
    own = EngineInfo("a/1", "face_detection", "research only", commercial=False)
    free = EngineInfo("b/1", "segmentation", "Apache-2.0", commercial=True)
    check_licences([own, free], "research")
    check_licences([free], "commercial")
    with pytest.raises(ValueError, match=r"face_detection by a/1 .*yunet \(MIT\)"):
        check_licences([own, free], "commercial")
    with pytest.raises(ValueError, match="must be one of commercial, research"):
        check_licences([], "free")


def test_embedded_engines_may_be_used_commercially():
    check_licences(engine_infos(engines_preset("embedded").chosen), "commercial")


def test_production_engines_are_refused_commercially_with_permissive_ones_named(real):
    infos = engine_infos(engines_preset("production").chosen)
    with pytest.raises(ValueError, match="4 engines may not") as caught:
        check_licences(infos, "commercial")
    for name in ("yolox", "yunet", "sface", "grabcut"):
        assert name in str(caught.value)
    check_licences([load_engine("people", "yolox").info], "commercial")
    check_licences([load_engine("faces", "yunet").info], "commercial")


# --- the job ----------------------------------------------------------------------------------


def test_the_list_shows_what_is_here(real, capsys):
    assert list_weights() == 0
    lines = capsys.readouterr().out.splitlines()
    [nano] = [line for line in lines if line.startswith("yolox_nano")]
    assert nano.split()[2:5] == ["3.7", "yes", "yes"]
    assert len(lines) == len(registry()) + 2


def test_check_says_what_is_missing_and_what_is_here(real, empty, monkeypatch, capsys):
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(empty))
    assert check_engines(engines_preset("production"), "research") == 1
    assert "jobs/models.py fetch yolo11m" in capsys.readouterr().out
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(real))
    assert check_engines(engines_preset("production"), "research") == 0
    assert "ultralytics-yolov8n_int8_320/1" in capsys.readouterr().out


def test_fetching_by_name_prints_the_licence_first(empty, address, monkeypatch, capsys):
    monkeypatch.setattr("pipeline.engines.weights_command.entry", lambda name: WEIGHTS)
    assert fetch_weights(["test"], None, False, opener_to(address, "/right")) == 0
    out = capsys.readouterr().out
    assert out.index("Apache-2.0") < out.index(WEIGHTS.sha256)
    assert (empty / "test.onnx").is_file()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["list"], 0), (["fetch", "nonsense"], 2), (["check", "--engines", "production"], 1)],
)
def test_exit_codes_tell_scripts(tmp_path, arguments, code):
    environment = {**os.environ, "CONTEXTANYONE_MODELS": "", "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, str(ROOT / "jobs" / "models.py"), *arguments]
    done = run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
