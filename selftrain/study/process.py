"""A launcher and the training below it, as one process group: started, told to save, killed."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def _ignore_signals() -> None:
    """In a launcher before it starts: the training process under it sets its own handlers, saves, and the
    launcher reports it.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def start(command: list[str], log: Path) -> subprocess.Popen:
    """A launcher in a process group of its own, writing to `log` after what earlier calls wrote there."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_ignore_signals,
        )


def stop(process: subprocess.Popen, kill: Callable[[], bool]) -> None:
    """Tell what runs below a launcher to save and end, again until it has: one that still imports does not
    listen yet.  Kill it all as soon as `kill` says so.
    """
    while process.poll() is None:
        try:
            launcher = psutil.Process(process.pid)
            for each in [*launcher.children(recursive=True), *([launcher] if kill() else [])]:
                each.send_signal(signal.SIGKILL if kill() else signal.SIGTERM)
        except psutil.NoSuchProcess:
            pass
        for _ in range(20):
            if process.poll() is not None:
                return
            time.sleep(0.1)


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log that are not empty; of a progress bar its last state."""
    if not log.exists():
        return []
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 200 * count))
        lines = file.read().decode(errors="replace").splitlines()
    return [line.split("\r")[-1] for line in lines if line.strip()][-count:]
