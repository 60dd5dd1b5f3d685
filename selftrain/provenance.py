"""Which code a result came from, and whether it is still today's.

What counts is the code that a cell runs: the modules that it begins with, and all that they import, as far as
it can decide a result.  Of a module its meaning counts: not its layout, comments, docstrings, import lines,
nor the fields that a recipe declares (their values are part of a cell's key).  So another task, a report, a
new recipe field or a formatter changes nothing.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from selftrain.record import Record

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("augment", "selftrain")
# what can stop a run or describe it, but not change its result
NOT_DECIDING = (
    "selftrain/checks.py",
    "selftrain/class_report.py",
    "selftrain/contrast_file.py",
    "selftrain/curve.py",
    "selftrain/provenance.py",
    "selftrain/record.py",
    "selftrain/registry.py",
    "selftrain/system/errors.py",
    "selftrain/system/files.py",
    "selftrain/system/lock.py",
    "selftrain/system/machine.py",
    "selftrain/system/progress.py",
    "selftrain/system/stop.py",
    "selftrain/workplace.py",
)


def sources(modules: tuple[str, ...]) -> dict[str, str]:
    """File -> hash (8 hex digits) of the code that decides the result of a cell that begins with these
    modules.

    Modules outside of this project, such as a test's, are left out, as are files that cannot change a result.
    """
    names = {file.relative_to(ROOT).as_posix(): file for file in closure(modules)}
    return {name: meaning(names[name]) for name in sorted(names) if name not in NOT_DECIDING}


@functools.cache
def closure(modules: tuple[str, ...]) -> frozenset[Path]:
    """The files of these modules and of all that they import, directly or not, within this project."""
    found: set[Path] = set()
    waiting = [file for module in modules for file in _files(module)]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += [each for module in _imports(file) for each in _files(module)]
    return frozenset(found)


def _files(module: str) -> list[Path]:
    """The files that importing a module runs: its packages' and its own.

    A name that is no module of ours has none of its own.
    """
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return []
    packages = [ROOT.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    own = ROOT.joinpath(*parts[:-1], f"{parts[-1]}.py")
    return [file for file in (*packages, own) if file.is_file()]


@functools.cache
def _imports(file: Path) -> tuple[str, ...]:
    """Names that may be modules: of `from a.b import c` both a.b and a.b.c."""
    names: list[str] = []
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)


@functools.cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def meaning(file: Path) -> str:
    """Hash of what a file's code means: equal for equal code, however it is written down."""
    tree = _tree(file)
    fields_count = file.name != "recipe.py"
    text = "\n".join(_lines(tree, fields_count))
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _lines(node: ast.AST, fields_count: bool) -> Iterator[str]:
    """A node as text, in a form of our own: a Python's own rendering of code differs from one release to the
    next.
    """
    yield type(node).__name__
    for name, value in ast.iter_fields(node):
        if name in ("ctx", "kind", "type_comment", "type_ignores") or value is None or value == []:
            continue
        if name == "body" and isinstance(value, list):
            value = [each for each in value if not _beside_the_point(each, node, fields_count)]
        if isinstance(node, ast.JoinedStr):
            value = _merged(value)
        yield f".{name}"
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                yield from _lines(each, fields_count)
            else:
                yield repr(each)
    yield ";"


def _beside_the_point(node: ast.AST, parent: ast.AST, fields_count: bool) -> bool:
    """Docstrings (and strings below a field), import lines, and in a recipe's module the declarations of
    fields.
    """
    if (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ):
        return True
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    return isinstance(node, ast.AnnAssign) and isinstance(parent, ast.ClassDef) and not fields_count


def _merged(parts: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string with neighbouring pieces of text made one, as one literal would have them."""
    merged: list[ast.expr] = []
    for part in parts:
        if isinstance(part, ast.Constant) and merged and isinstance(merged[-1], ast.Constant):
            merged[-1] = ast.Constant(merged[-1].value + part.value)
        else:
            merged.append(part)
    return merged


def read_sources(path: Path) -> dict[str, str] | None:
    """What `sources` gave when a cell began, from the file that it left; None where there is no such file."""
    return json.loads(path.read_text()) if path.exists() else None


def changed(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """Files of code that are other now, or new, or gone."""
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def stale(record: Record) -> list[str]:
    """Why a finished record is no result of the code as it is today; empty where it is one."""
    if not record.sources:
        return ["its code is older than what can be compared"]
    reasons = []
    if other := changed(record.sources, sources(tuple(record.modules))):
        reasons.append(f"code changed since: {', '.join(other)}")
    if record.sources_changed:
        reasons.append(f"code changed while it ran: {', '.join(record.sources_changed)}")
    return reasons
