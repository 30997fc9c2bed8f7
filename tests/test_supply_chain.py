"""What a user installs may be used commercially but for one named extra, and calls nobody."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement
from places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Behind `--engines production` alone, whose licence is printed: pipeline/engines/models.yaml.
COPYLEFT = {"ultralytics", "ultralytics-thop", "ultralytics-platform"}


def installed(requirements: list[str]) -> dict[str, Distribution]:
    """Return the distributions that requirements bring along, as far as they are installed."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(line) for line in requirements]
    seen = set()
    while waiting:
        needed = waiting.pop()
        name = re.sub(r"[-_.]+", "-", needed.name).lower()
        key = (name, frozenset(needed.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        for line in found[name].requires or []:
            further = Requirement(line)
            extras = ["", *needed.extras]
            if further.marker is None or any(further.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(further)
    return found


def licence_of(package: Distribution) -> str:
    metadata = package.metadata
    classifiers = [line for line in metadata.get_all("Classifier", []) if "License ::" in line]
    return " ".join([str(metadata.json.get("license_expression", "")), *classifiers])


@pytest.mark.parametrize("extra", ["", *(name for name in EXTRAS if name not in ("dev", "all"))])
def test_no_copyleft_comes_with_what_a_user_installs(extra):
    packages = installed(EXTRAS[extra] if extra else PROJECT["dependencies"])
    strict = {
        name
        for name, package in packages.items()
        if re.search(r"\bA?GPL|Affero|\bGeneral Public", licence_of(package))
        and "Lesser" not in licence_of(package)
    }
    assert strict <= (COPYLEFT if extra == "engines" else set())


@pytest.mark.slow
def test_nothing_is_fetched_while_the_code_is_loaded():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for room in ("schemas", "pipeline", "jobs", "trainer")
        for path in sorted((ROOT / room).rglob("[a-z]*.py"))
        if path.name != "transnet_cuts.py"  # of an extra that `all` leaves out
    ]
    code = f"""
import importlib, socket
def refuse(*address):
    raise AssertionError(f"connects to {{address}}")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
for name in {modules}:
    importlib.import_module(name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_no_command_goes_through_a_shell():
    """A name with a semicolon in it is a name."""
    for room in ("schemas", "pipeline", "jobs", "trainer"):
        for path in (ROOT / room).rglob("*.py"):
            found = re.search(r"shell=True|os\.(system|popen)\(|getoutput\(", path.read_text())
            assert not found, f"{path}: {found}"


def locked(extra: str) -> dict[str, list[Requirement]]:
    """Return what a file of `requirements/` pins, by name; every line has hashes."""
    text = (ROOT / "requirements" / f"{extra}.txt").read_text().replace("\\\n", "")
    found: dict[str, list[Requirement]] = {}
    for line in text.splitlines():
        pinned, *hashes = re.split(r"\s+--hash=sha256:", line)
        assert hashes
        assert all(re.fullmatch("[0-9a-f]{64}", digest.strip()) for digest in hashes), line[:80]
        requirement = Requirement(pinned)
        assert [each.operator for each in requirement.specifier] == ["=="], line[:80]
        found.setdefault(requirement.name, []).append(requirement)
    return found


@pytest.mark.parametrize("extra", ["base", *(n for n in EXTRAS if n not in ("dev", "all"))])
def test_what_a_user_installs_is_locked_by_hash_as_it_was_tested(extra):
    pins = locked("base") | locked(extra)
    direct = EXTRAS[extra] if extra != "base" else PROJECT["dependencies"]
    for needed in map(Requirement, direct):
        if needed.name == PROJECT["name"]:
            continue
        versions = [next(iter(pin.specifier)).version for pin in pins[needed.name]]
        assert all(needed.specifier.contains(version) for version in versions), needed
    tested = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if re.fullmatch(r"[\w.-]+==\S+", line)
    )
    for name, versions in pins.items():
        if name in tested:
            assert tested[name] in [next(iter(pin.specifier)).version for pin in versions]


def test_locks_name_no_place_to_download_from():
    files = sorted(path.stem for path in (ROOT / "requirements").glob("*"))
    assert files == sorted({"base", *EXTRAS} - {"dev", "all"})
    for path in (ROOT / "requirements").glob("*"):
        assert not re.search(r"://|index|find-links", path.read_text()), path.name
