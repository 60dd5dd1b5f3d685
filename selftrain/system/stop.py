"""Being told to stop: by SIGTERM (a cluster's preemption), by Ctrl-C, or by the death of `accelerate launch`.

The signal only sets a flag, which is polled between steps and between batches of evaluation and
pseudo-labelling.  A second Ctrl-C ends the program at once.
"""

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator


class Stopped(Exception):
    """The run was told to stop, and everything that it needs to go on later is on the disk.

    `code` is the exit code that says so to a shell.
    """

    def __init__(self, code: int):
        super().__init__()
        self.code = code


class Stop:
    """Notes that this run was told to stop.  It takes over the handlers of SIGTERM and SIGINT (Ctrl-C)."""

    def __init__(self, accelerator: "Accelerator"):
        self.accelerator = accelerator
        self.received_signal: int | None = None
        # Killing the launcher does not reach its child, which would go on with nobody to report to.
        self.launcher_id = os.getppid() if "ACCELERATE_MIXED_PRECISION" in os.environ else None
        signal.signal(signal.SIGTERM, self._receive)
        signal.signal(signal.SIGINT, self._receive)

    def _receive(self, number: int, frame) -> None:
        if number == signal.SIGINT and self.received_signal is not None:
            raise KeyboardInterrupt
        self.received_signal = number

    @property
    def exit_code(self) -> int:
        """The exit code as a shell reports it, 128 + the signal's number: 143 for SIGTERM, 130 for Ctrl-C."""
        return 128 + (self.received_signal or signal.SIGTERM)

    def poll(self) -> bool:
        """Return True on every process as soon as one of them was told to stop.

        All processes must call it equally often, since they wait for each other here.
        """
        if self.launcher_id is not None and os.getppid() != self.launcher_id:
            self.received_signal = self.received_signal or signal.SIGTERM
        if self.accelerator.num_processes == 1:
            return self.received_signal is not None
        if self.received_signal is not None:
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()

    def check(self) -> None:
        """Raise Stopped if the run was told to stop.  It is for stages whose state is already on the disk."""
        if self.poll():
            raise Stopped(self.exit_code)
