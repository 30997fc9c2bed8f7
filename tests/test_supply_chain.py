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
