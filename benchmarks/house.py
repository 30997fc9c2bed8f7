"""The rooms of the house, counted from the code's own imports: arrows, floors, circles.

    python benchmarks/house.py              # figures, and the rooms from the top floor down
    python benchmarks/house.py --draw       # as a Mermaid diagram, for docs/architecture.md

A room is a package of `pipeline/`, or one of the other top-level folders; an arrow stands between
two rooms when a file of one imports a file of the other. A room's floor is one above the highest
room that it imports. An arrow runs up when it leads from a room to one that stands later in ORDER.
"""

import argparse
import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What a room may import: the rooms before its own group. Rooms of one group know nothing of
# each other.
ORDER = (
    ("schemas",),
    ("pipeline/execution", "trainer"),
    ("pipeline/media", "pipeline/dataset"),
    ("pipeline/pictures",),
    ("pipeline/engines",),
    ("pipeline/observing",),
    ("pipeline/pairing",),
    ("pipeline/curation",),
    (
        "pipeline/audit",
        "pipeline/browse",
        "pipeline/forget",
        "pipeline/export",
        "pipeline/evaluate",
    ),
    ("jobs", "benchmarks"),
)


@dataclass(frozen=True)
class House:
    """The rooms and what ties them; every arrow is (who imports, what is imported)."""

    lines: Mapping[str, int]  # by room
    arrows: Mapping[tuple[str, str], tuple[str, ...]]  # rooms -> the imports behind the arrow
    circles: tuple[tuple[str, ...], ...]  # files that import each other in a loop

    @property
    def floors(self) -> dict[str, int]:
        """The floor of every room; rooms that only know `schemas` stand on the second."""
        floors: dict[str, int] = {}

        def floor(room: str, above: tuple[str, ...] = ()) -> int:
            if room not in floors and room not in above:
                under = [b for a, b in self.arrows if a == room]
                floors[room] = 1 + max((floor(b, (*above, room)) for b in under), default=0)
            return floors.get(room, 0)

        for room in self.lines:
            floor(room)
        return floors

    @property
    def upward(self) -> list[tuple[str, str]]:
        """Arrows that ORDER does not allow."""
        height = {room: level for level, group in enumerate(ORDER) for room in group}
        return sorted(
            (a, b) for a, b in self.arrows if height.get(a, -1) <= height.get(b, len(ORDER))
        )


def measure(root: Path = ROOT) -> House:
    """Read every source file of the tree, tests aside."""
    files = {
        _module(path.relative_to(root)): path
        for folder in ("schemas", "pipeline", "trainer", "jobs", "benchmarks")
        for path in sorted((root / folder).rglob("*.py"))
    }
    lines: dict[str, int] = {}
    arrows: dict[tuple[str, str], list[str]] = {}
    imports: dict[str, set[str]] = {}
    for module, path in files.items():
        source = path.read_text()
        room = _room(path.relative_to(root))
        if room:
            lines[room] = lines.get(room, 0) + source.count("\n")
        imports[module] = set(_imported(ast.parse(source), files))
        for other in sorted(imports[module]):
            target = _room(files[other].relative_to(root))
            if room and target and target != room:
                arrows.setdefault((room, target), []).append(f"{module} imports {other}")
    kept = {pair: tuple(reasons) for pair, reasons in sorted(arrows.items())}
    return House(dict(sorted(lines.items())), kept, _circles(imports))


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _room(path: Path) -> str:
    """Return the room of a file; '' for the docstring of `pipeline` itself."""
    if path.parts[0] != "pipeline":
        return path.parts[0]
    return "/".join(path.parts[:2]) if len(path.parts) > 2 else ""


def _imported(tree: ast.AST, modules: Mapping[str, Path]) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in modules or node.module in modules:
                    yield name if name in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)


def _circles(imports: Mapping[str, set[str]]) -> tuple[tuple[str, ...], ...]:
    """Return the strongly connected components of more than one file (Tarjan 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[str, ...]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for other in imports[module]:
            if other not in number:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], number[other])
        if low[module] == number[module]:
            start = stack.index(module)
            circle = stack[start:]
            del stack[start:]
            if len(circle) > 1:
                found.append(tuple(sorted(circle)))

    for module in imports:
        if module not in number:
            visit(module)
    return tuple(sorted(found))


def describe(house: House) -> str:
    """Return the figures, then the rooms from the top floor down, then what is not allowed."""
    floors = house.floors
    text = [
        f"{len(house.lines)} rooms, {max(floors.values())} floors, {len(house.arrows)} arrows, "
        f"{len(house.upward)} of them up, {len(house.circles)} circles"
    ]
    for room in sorted(floors, key=lambda room: (-floors[room], room)):
        under = ", ".join(b.removeprefix("pipeline/") for a, b in house.arrows if a == room)
        text.append(f"{floors[room]:3}  {room:20}{house.lines[room]:7} lines  > {under or '-'}")
    for pair in house.upward:
        text.append(f"up: {pair[0]} -> {pair[1]}")
        text += [f"    {reason}" for reason in house.arrows[pair]]
    text += [f"circle: {', '.join(circle)}" for circle in house.circles]
    return "\n".join(text)


def draw(house: House) -> str:
    """Return a Mermaid diagram; an arrow that a longer way implies is left out."""
    names = {room: room.rsplit("/", 1)[-1] for room in house.lines}
    text = ["flowchart TD"]
    for group in reversed(ORDER):
        text += [f'    {names[room]}["{room}"]' for room in group if room in names]
    reach = {room: {b for a, b in house.arrows if a == room} for room in house.lines}

    def reachable(room: str) -> set[str]:
        return reach[room] | {far for near in reach[room] for far in reachable(near)}

    for a, b in house.arrows:
        if not any(b in reachable(near) for near in reach[a] - {b}):
            text.append(f"    {names[a]} --> {names[b]}")
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--draw", action="store_true", help="print a Mermaid diagram instead")
    house = measure()
    print(draw(house) if parser.parse_args().draw else describe(house))


if __name__ == "__main__":
    main()
