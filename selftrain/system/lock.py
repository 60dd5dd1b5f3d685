"""One holder of a piece of work at a time, over all processes and hosts that share a file system.

A lock is the kernel's (flock): it ends with the process that holds it, however that process ends.  The file
itself is never deleted: if it were deleted while another process has it open, there would be two locks.
"""

import fcntl
import os
import platform
import time
from pathlib import Path


class Lock:
    """A lock on the file `path`.  It is free at first; as a context manager it is released at the end."""

    def __init__(self, path: Path):
        self.path = path
        self.descriptor: int | None = None  # of the open file, while this object has the lock

    def take(self) -> bool:
        """Take the lock without waiting.

        Returns False where another process, or another Lock of this process, has it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.truncate(descriptor, 0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()} since {since}\n".encode(), 0)
        self.descriptor = descriptor
        return True

    def wait(self) -> "Lock":
        """Take the lock as soon as nobody else has it, and return this object."""
        while not self.take():
            time.sleep(0.2)
        return self

    def holder(self) -> str:
        """Say which process took the lock last, on which host and when, so that a person can find it."""
        try:
            return self.path.read_text().strip() or "another process"
        except OSError:
            return "another process"

    def release(self) -> None:
        """Give the lock back.  Nothing happens where this object does not have it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_) -> None:
        self.release()
