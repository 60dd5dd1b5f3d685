"""One holder of a piece of work at a time, over all processes and hosts that share a file system.

A lock is the kernel's (flock): it ends with the process that holds it, however that ends.  The file stays where it is, since a
lock file that is deleted while another process has it open is two locks.
"""

import fcntl
import os
import platform
import time
from pathlib import Path


class Lock:
    def __init__(self, path: Path):
        self.path = path
        self.file: int | None = None

    def take(self) -> bool:
        """Without waiting; False where another process, or another Lock of this one, holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        os.truncate(file, 0)
        os.pwrite(
            file,
            f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode(),
            0,
        )
        self.file = file
        return True

    def wait(self) -> "Lock":
        """Take it as soon as nobody else holds it."""
        while not self.take():
            time.sleep(0.2)
        return self

    def holder(self) -> str:
        """Who took it last, for a person to find."""
        try:
            return self.path.read_text().strip() or "another process"
        except OSError:
            return "another process"

    def release(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_) -> None:
        self.release()
