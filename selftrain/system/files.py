"""Files that are whole or absent: written beside their place, flushed to the disk, then moved there in one step."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomic(path: str | Path, write: Callable[[Any], None]) -> None:
    """`write(file)` into a temporary file, fsync, os.replace.  Whatever happens, `path` holds its old content or the new one."""
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
    write_atomic(path, lambda file: file.write((json.dumps(value, indent=1) + "\n").encode()))


def read_json(path: str | Path) -> Any:
    """The content of a json file, or None where there is no such file."""
    return json.loads(Path(path).read_text()) if Path(path).exists() else None


def file_hash(path: str | Path) -> str:
    """blake2b of a file's bytes, 16 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def file_name(text: str) -> str:
    """`text`, such as a recipe's name, as a part of a path."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-") or "run"
