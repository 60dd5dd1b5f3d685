"""The house: imports point one way, there is no circle, and no room is too big."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

from selftrain import provenance
from tests.programs import ROOT

# a file may import from its own line and from those above it
FLOORS = [
    ("selftrain", "selftrain.system"),
    (
        "augment",
        "selftrain.checks",
        "selftrain.class_report",
        "selftrain.record",
        "selftrain.curve",
        "selftrain.checkpoint",
        "selftrain.parts",
        "selftrain.fields",
    ),
    ("selftrain.provenance", "selftrain.mix", "selftrain.engine"),
    ("selftrain.data", "selftrain.models"),
    ("selftrain.recipe", "selftrain.starts"),
    ("selftrain.splits", "selftrain.tasks", "selftrain.options", "selftrain.contrast_file"),
    (
        "selftrain.cells",
        "selftrain.train",
        "selftrain.predict",
        "selftrain.registry",
        "selftrain.resample",
    ),
    ("selftrain.networks", "selftrain.label", "selftrain.workplace"),
    ("selftrain.feeds",),
    ("selftrain.run",),
    ("selftrain.stale", "selftrain.report"),
    ("selftrain.program",),
    ("selftrain.study",),
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(file for package in provenance.PACKAGES for file in (ROOT / package).rglob("*.py"))


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(name: str) -> str:
    """The longest line of FLOORS that a module belongs to."""
    parts = name.split(".")
    return next(".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in FLOOR)


def imports(file: Path) -> set[str]:
    """Modules of this project that a file imports, wherever in it."""
    known, found = {module(each) for each in FILES}, set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= below & known or {node.module}
    return found & known


def test_imports_point_one_way():
    wrong = [
        f"{module(file)} imports {other}"
        for file in FILES
        for other in imports(file)
        if room(module(file)) != room(other) and FLOOR[room(other)] >= FLOOR[room(module(file))]
    ]
    assert wrong == []


def test_there_is_no_circle():
    graph = {module(file): imports(file) - {module(file)} for file in FILES}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert len(order) == len(FILES) > 90


def test_a_report_knows_records_and_nothing_that_trains():
    reached, waiting = set(), [file for file in FILES if "report" in file.parts]
    by_name = {module(file): file for file in FILES}
    while waiting:
        for name in imports(waiting.pop()) - reached:
            reached.add(name)
            waiting.append(by_name[name])
    assert not {
        name for name in reached if room(name) in ("selftrain.tasks", "selftrain.train", "selftrain.models")
    }
    assert "selftrain.record" in reached


def test_no_room_holds_more_than_a_quarter_of_the_code():
    """A folder within a room counts as a room of its own."""
    lines = Counter()
    for folder in ("augment", "selftrain", "benchmarks"):
        for file in (ROOT / folder).rglob("*.py"):
            lines[file.parent] += len(file.read_text().splitlines())
    biggest, most = lines.most_common(1)[0]
    assert most <= sum(lines.values()) / 4, biggest


def test_files_functions_and_lines_are_short_and_public_functions_say_what_they_do():
    wrong = []
    for file in sorted(
        file
        for folder in ("augment", "selftrain", "benchmarks", "tests")
        for file in (ROOT / folder).rglob("*.py")
    ):
        name, lines = file.relative_to(ROOT), file.read_text().splitlines()
        wrong += [f"{name}: {len(lines)} lines"] if len(lines) > 400 else []
        wrong += [f"{name}:{number}: too wide" for number, line in enumerate(lines, 1) if len(line) > 110]
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if node.end_lineno - node.lineno >= 60:
                    wrong.append(f"{name}: {node.name} is too long")
                public = not node.name.startswith("_") and name.parts[0] != "tests"
                if public and not ast.get_docstring(node):
                    wrong.append(f"{name}: {node.name} has no docstring")
    assert wrong == []
