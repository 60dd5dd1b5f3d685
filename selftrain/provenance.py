"""Which code a result came from: hashes of the files that decide it.

They tell which records are no result of the code as it is now.
"""

import ast
import functools
import hashlib
import io
import tokenize
from pathlib import Path

from selftrain.record import Record

ROOT = Path(__file__).resolve().parent.parent
# of augment/ and selftrain/, what can stop a run or describe it but not change its result
NOT_DECIDING = (
    "augment/show.py",
    "selftrain/curve.py",
    "selftrain/program.py",
    "selftrain/provenance.py",
    "selftrain/record.py",
    "selftrain/system/errors",
    "selftrain/system/files",
    "selftrain/system/launch",
    "selftrain/system/lock",
    "selftrain/system/machine",
    "selftrain/system/progress",
    "selftrain/system/stop",
    "selftrain/study/",
    "selftrain/report/",
    "selftrain/data/check/",
)


@functools.cache
def sources() -> dict[str, str]:
    """File -> hash (8 hex digits) of the code that decides a result.

    Comments and docstrings are left out: those may be improved at any time.
    """
    hashes = {}
    for path in sorted([*(ROOT / "augment").rglob("*.py"), *(ROOT / "selftrain").rglob("*.py")]):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(NOT_DECIDING):
            hashes[name] = hashlib.blake2b(_bare(path.read_text()).encode(), digest_size=4).hexdigest()
    return hashes


def _bare(code: str) -> str:
    """The lines of code, cut out of the text itself.

    A parser's own rendering differs from one Python to the next.
    """
    lines = code.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = lines[token.start[0] - 1][: token.start[1]]
    for node in ast.walk(ast.parse(code)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            first, last = node.lineno - 1, node.end_lineno
            if not lines[first][: node.col_offset].strip():  # a line of its own
                lines[first:last] = [""] * (last - first)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def changed(then: dict[str, str], now: dict[str, str] | None = None) -> list[str]:
    """Files of code that are other now, or new, or gone."""
    now = sources() if now is None else now
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def stale(record: Record) -> list[str]:
    """Why a finished record is no result of the code as it is today; empty where it is one."""
    reasons = []
    if other := changed(record.sources):
        reasons.append(f"code changed since: {', '.join(other)}")
    if record.sources_changed:
        reasons.append(f"code changed while it ran: {', '.join(record.sources_changed)}")
    return reasons
