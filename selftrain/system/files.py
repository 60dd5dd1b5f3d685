"""Files that are whole or absent.

A file is written beside its place, flushed to the disk, and then moved to its place in one step.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomic(path: str | Path, write: Callable[[Any], None]) -> None:
    """Write a file so that, whatever happens, `path` has either its old content or the whole new one.

    `write(file)` receives a temporary file in the same folder, open for bytes; that file is flushed to the
    disk (fsync) and then renamed.  Missing folders are created.  Raises OSError when the disk refuses, and
    whatever `write` raises; the temporary file is removed in both cases.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # or the rename itself may be lost when the machine stops
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON with `write_atomic`; a list of numbers stands in one line.

    Raises TypeError for what JSON cannot express.
    """
    text = re.sub(r"\[\n[-+.eE\d,\s]+\]", _in_one_line, json.dumps(value, indent=1))
    write_atomic(path, lambda file: file.write(f"{text}\n".encode()))


def _in_one_line(numbers: re.Match) -> str:
    return "".join(numbers[0].split())


def read_json(path: str | Path) -> Any:
    """The content of a json file, or None where there is no such file."""
    return json.loads(Path(path).read_text()) if Path(path).exists() else None


def file_hash(path: str | Path) -> str:
    """Return the blake2b hash of a file's bytes as 16 hex digits.  Raises OSError for an unreadable file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def file_name(text: str) -> str:
    """Turn `text`, such as a recipe's name, into a part of a path; unsuitable characters become `-`."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-") or "run"
