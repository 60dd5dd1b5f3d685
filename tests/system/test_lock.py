"""A lock has one holder at a time, and ends with the process that has it."""

import os
import subprocess
import sys

from selftrain.system.lock import Lock
from tests.programs import ROOT

TAKE_AND_STAY = """
import sys
from pathlib import Path
from selftrain.system.lock import Lock

lock = Lock(Path(sys.argv[1]))
print(lock.take(), flush=True)
sys.stdin.read()
"""


def test_a_lock_has_one_holder_and_ends_with_it(tmp_path):
    path = tmp_path / "locks" / "cell"
    other = subprocess.Popen(
        [sys.executable, "-c", TAKE_AND_STAY, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert other.stdout.readline().strip() == "True"
    with Lock(path) as lock:
        assert not lock.take() and f"process {other.pid} on" in lock.holder()
        other.kill()
        other.wait()
        assert lock.take() and f"process {os.getpid()} on" in lock.holder()
        assert not Lock(path).take()  # nor twice in one process
    with Lock(path) as again:
        assert again.take()
