"""Runs the nodes of a study's graph on this machine, one at a time.

Several accelerators: start the same study once for each (CUDA_VISIBLE_DEVICES=0, 1, ...); the calls share the
work by locks.
"""

import contextlib
import signal
import subprocess
import time

import psutil
from rich.console import Console
from rich.live import Live

from selftrain.study.graph import Graph, Node
from selftrain.study.pace import seconds_of
from selftrain.study.process import last_lines, start, stop
from selftrain.study.progress import Progress
from selftrain.system.files import write_atomic
from selftrain.system.progress import LOG_EVERY, duration
from selftrain.system.stop import Stopped

LINES_OF_A_FAILED_LOG = 15


class Runner:
    """Nodes in order, each at most once a call; what failed stops only what hangs on it."""

    def __init__(self, graph: Graph, progress: Progress, console: Console, earlier: float = 0.0):
        """earlier: seconds that this process spent on other graphs."""
        self._earlier = earlier
        self.graph, self.progress, self.console = graph, progress, console
        self.command_seconds: dict[str, float] = {}
        """of the commands of this call, by node"""
        self._waited_seconds = 0.0  # for those of other calls
        self._began = time.time()
        self._signal: int | None = None
        self._signals = 0  # how often it was told to stop

    def run(self) -> int:
        """Exit code: 0 all done, 1 something failed.

        Raises Stopped when told to stop, with everything saved.
        """
        before = {
            number: signal.signal(number, self._remember_signal) for number in (signal.SIGTERM, signal.SIGINT)
        }
        self.progress.write()
        try:
            code = self._run_all()
        finally:
            self.progress.write()
        for number, handler in before.items():
            signal.signal(number, handler)
        return code

    def overhead(self) -> str:
        """What the study itself took of its time, from the start of its process; and what its commands took
        besides what their records count.
        """
        total = time.time() - psutil.Process().create_time() - self._waited_seconds - self._earlier
        commands = sum(self.command_seconds.values())
        recorded = sum(
            min(self.command_seconds[node.id], seconds_of(self.graph, node) or 0.0)
            for node in self.graph.nodes
            if node.id in self.command_seconds
        )
        each = (commands - recorded) / len(self.command_seconds)
        return (
            f"{total - commands:.0f} s of {duration(total)} were the study's own "
            f"({(total - commands) / total:.1%}), the rest its commands': they trained and labelled for "
            f"{recorded / commands:.0%} of it, and spent {duration(each)} each on their start, the data and "
            "the test split"
        )

    def _run_all(self) -> int:
        progress = self.progress
        while True:
            states = ("to do", "running elsewhere")
            ready = [node for node in self.graph.nodes if progress.state(node) in states]
            if not ready:
                return 1 if progress.exit_codes else 0
            began, progress.elsewhere = time.time(), set()
            if not any(self._run_unless_locked(node) for node in ready if progress.state(node) == "to do"):
                progress.at_work = False  # all that can run is run by others
                self._pause(2)
                self._waited_seconds += 2
            elif time.time() - began > 1:
                progress.write()

    def _remember_signal(self, number: int, frame) -> None:
        self._signal, self._signals = number, self._signals + 1

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)
        if self._signal is not None:
            raise Stopped(128 + self._signal)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _run_unless_locked(self, node: Node) -> bool:
        """Run a node unless another call does; False if so."""
        progress = self.progress
        with progress.lock(node) as lock:
            if not lock.take():
                progress.elsewhere.add(node.id)
                return False
            failed = progress.failed_file(node)
            if self.graph.done(node):  # another call may have ended it just now
                self.graph.publish(node)
            elif failed.exists() and failed.stat().st_mtime > self._began:
                # it failed in another call that is at work beside this one
                progress.exit_codes[node.id] = int(failed.read_text())
            else:
                failed.unlink(missing_ok=True)
                self._launch(node)
                if node.id in progress.exit_codes:
                    code = str(progress.exit_codes[node.id]).encode()
                    write_atomic(failed, lambda file: file.write(code))
        return True

    def _launch(self, node: Node) -> None:
        progress = self.progress
        self._say(f"{node.title}\n  {self.graph.printed(node)}")
        progress.running, progress.running_since, progress.at_work = node, time.monotonic(), True
        progress.find_other_calls()
        progress.write()
        process = start(self.graph.command(node), progress.log(node))
        try:
            code = self._watch(process, node)
        except Stopped:
            self._say("  told to stop: the training saves its state; a second signal kills it")
            raise
        finally:
            stop(process, lambda: self._signals > 1)
            progress.running = None
            seconds = self.command_seconds[node.id] = time.monotonic() - progress.running_since
        self.graph.publish(node)
        progress.find_other_calls()
        if code == 0 and self.graph.done(node):
            self._say(f"  done in {duration(seconds)}; {progress.short_line()}")
        else:
            progress.exit_codes[node.id] = code
            why = f"failed with exit code {code}" if code else f"ended, but {self.graph.lacking(node)}"
            lines = last_lines(progress.log(node), LINES_OF_A_FAILED_LOG)
            end = "\n".join(f"  | {line}" for line in lines)
            self._say(f"  {why}; the end of {progress.log(node)}:\n{end}")

    def _watch(self, process: subprocess.Popen, node: Node) -> int:
        progress, terminal = self.progress, self.console.is_terminal
        live = (
            Live(progress.table(), console=self.console, refresh_per_second=1, transient=True)
            if terminal
            else contextlib.nullcontext()
        )
        shown = time.monotonic()
        with live:
            while (code := process.poll()) is None:
                self._pause(0.1)
                if time.monotonic() - shown >= (5 if terminal else 4 * LOG_EVERY):
                    shown = time.monotonic()
                    progress.find_other_calls()
                    progress.write()
                    if terminal:
                        live.update(progress.table())
                    else:
                        self._say(f"  {progress.last_line(node)}")
        return code
