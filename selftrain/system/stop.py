"""Being told to stop: SIGTERM (a cluster's preemption), Ctrl-C, or the death of `accelerate launch`.

A flag alone, polled between steps and between batches of evaluation and pseudo-labelling; a second Ctrl-C kills at once.
"""

import os
import signal

from accelerate import Accelerator


class Stopped(Exception):
    """The run was told to stop and everything it needs to go on is on the disk.  `code`: the exit code that says so."""

    def __init__(self, code: int):
        super().__init__()
        self.code = code


class Stop:
    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.signal: int | None = None
        # Killing the launcher does not reach its child: without this the child would go on with nobody to report to.
        self.launcher = os.getppid() if "ACCELERATE_MIXED_PRECISION" in os.environ else None
        signal.signal(signal.SIGTERM, self._note)
        signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame) -> None:
        if number == signal.SIGINT and self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

    @property
    def exit_code(self) -> int:
        """128 + signal, as a shell reports it: 143 for SIGTERM."""
        return 128 + (self.signal or signal.SIGTERM)

    def poll(self) -> bool:
        """True on every process as soon as one of them was told to stop.  Call it on all processes alike."""
        if self.launcher is not None and os.getppid() != self.launcher:
            self.signal = self.signal or signal.SIGTERM
        if self.accelerator.num_processes == 1:
            return self.signal is not None
        if self.signal is not None:
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()

    def check(self) -> None:
        """Raise Stopped if told to stop; for stages whose state is already on the disk."""
        if self.poll():
            raise Stopped(self.exit_code)
