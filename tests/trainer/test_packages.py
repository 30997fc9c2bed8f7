"""The trainer's packages import what their docstrings say, and stand in an order."""

import ast
import re
from pathlib import Path

import pytest

TRAINER = Path(__file__).parents[2] / "trainer"
PACKAGES = sorted(path.parent.name for path in TRAINER.glob("*/__init__.py"))


def imported(package: str) -> set[str]:
    """Return what a package imports of the trainer: its other packages, or files of the root."""
    names = set()
    for path in (TRAINER / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
    inner = {name.split(".")[1] for name in names if name.startswith("trainer.")}
    return inner - {package}


def stated(package: str) -> set[str]:
    """Return the packages that a docstring names after "Imports"."""
    docstring = ast.get_docstring(ast.parse((TRAINER / package / "__init__.py").read_text())) or ""
    assert "In: " in docstring, f"trainer/{package} must say what comes in"
    assert "Out: " in docstring, f"trainer/{package} must say what goes out"
    return set(re.findall(r"`(\w+)`", " ".join(docstring.split()).partition("Imports ")[2]))


@pytest.mark.parametrize("package", PACKAGES)
def test_package_imports_what_its_docstring_says(package: str) -> None:
    assert imported(package) == stated(package)


def test_packages_stand_in_an_order() -> None:
    above = {package: stated(package) for package in PACKAGES}
    while above:
        ready = [package for package, needed in above.items() if not needed & above.keys()]
        assert ready, f"these import each other in a circle: {', '.join(above)}"
        above = {package: needed for package, needed in above.items() if package not in ready}
