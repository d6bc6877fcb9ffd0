"""The arrows between the packages run one way, and no two files import each other."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# from what asks to what is asked; a room may import those that stand after it in a line, and what those may
FLOORS = [
    "cli -> api -> execution",
    "ablations -> figures -> reporting",
    "ablations -> api -> reporting",
    "cli -> tuning -> execution -> audit -> experiment -> awd",
    "cli -> reporting -> analysis -> storage -> experiment -> awd",
    "execution -> storage",
    "audit -> terminal",
    "reporting -> terminal",
]


def files(package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path: Path, known: set[str], *, at_call: bool) -> set[str]:
    """Modules of the project that a file imports when it is loaded, or, ``at_call``, anywhere.

    What stands under ``if TYPE_CHECKING`` is an arrow to the reader, but never a circle to Python.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if at_call else iter(tree.body)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= members & known
            if not members <= known:
                found.add(node.module)
    return found & known


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == "ablations" and len(parts) > 1 else parts[0]


def allowed() -> dict[str, set[str]]:
    """What each room may import, by the floors."""
    after: dict[str, set[str]] = {}
    for line in FLOORS:
        rooms = line.split(" -> ")
        for place, name in enumerate(rooms):
            after.setdefault(name, set()).update(rooms[place + 1 :])
    for name in list(TopologicalSorter(after).static_order()):
        for other in list(after[name]):
            after[name] |= after[other]
    return after


def arrows() -> dict[tuple[str, str], set[str]]:
    """The imports between rooms, anywhere in a file: ``(from, to)`` to the files that make them."""
    modules = dict([*files("ablations"), *files("awd")])
    found: dict[tuple[str, str], set[str]] = {}
    for module, path in modules.items():
        for other in imported(path, set(modules), at_call=True):
            if room(module) != room(other):
                found.setdefault((room(module), room(other)), set()).add(f"{module} -> {other}")
    return found


def test_the_arrows_between_rooms_run_one_way() -> None:
    """Prints them: ``pytest -s tests/test_house.py``."""
    found, may = arrows(), allowed()
    sys.stdout.writelines(f"{start} -> {end}: {len(lines)}\n" for (start, end), lines in sorted(found.items()))
    back = [line for (start, end), lines in found.items() if end not in may.get(start, set()) for line in lines]
    assert not back, "\n".join(sorted(back))


@pytest.mark.parametrize(("package", "at_call"), [("ablations", True), ("awd", False)])
def test_no_two_files_import_each_other(package: str, at_call: bool) -> None:
    """In ``awd`` one class method imports when it is called: ``AWDLSTM.from_pretrained``."""
    modules = dict(files(package))
    graph = {module: imported(path, set(modules), at_call=at_call) - {module} for module, path in modules.items()}
    # a package's own file names what is inside, for those outside
    inside = {name: {other for other in others if not name.startswith(f"{other}.")} for name, others in graph.items()}
    try:
        list(TopologicalSorter(inside).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_library_knows_nothing_of_ablations() -> None:
    for module, path in files("awd"):
        text = path.read_text(encoding="utf-8")
        assert "import ablations" not in text, module
        assert "from ablations" not in text, module
