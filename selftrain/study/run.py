"""Runs the nodes of a study's graph on this machine, one at a time, and says how far it is.

Several accelerators: start the same study once for each (CUDA_VISIBLE_DEVICES=0, 1, ...); the calls share the work by locks.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from selftrain import record
from selftrain.study.graph import Graph, Node
from selftrain.system.files import write_atomic, write_json
from selftrain.system.lock import Lock
from selftrain.system.progress import LOG_EVERY, duration
from selftrain.system.stop import Stopped

TAIL = 15  # lines of a failed cell's log that are shown
NETWORK = ("backbone", "neck", "channels", "head_depth", "image_size")  # what the time of an image goes by
OVER = ("done", "failed", "stopped by a failure")  # states of nodes that this call will not run any more
Pace = dict[str, tuple[float, float]]  # seconds and images of finished nodes, by kind


def ignore_signals() -> None:
    """In a launcher before it starts: the training process under it sets its own handlers, saves, and the launcher reports it."""
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
            preexec_fn=ignore_signals,
        )


def stop(process: subprocess.Popen, kill: Callable[[], bool]) -> None:
    """Tell what runs below a launcher to save and end, again until it has: one that still imports does not listen yet.  Kill it all as soon as `kill` says so."""
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
    if not log.exists():
        return []
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 200 * count))
        return [
            line.split("\r")[-1] for line in file.read().decode(errors="replace").splitlines() if line.strip()
        ][-count:]


class Runner:
    """Nodes in order, each at most once a call; what failed stops only what hangs on it."""

    def __init__(self, graph: Graph, folder: Path, console: Console):
        self.graph, self.folder, self.console = graph, folder, console
        self.failed: dict[str, int] = {}  # exit codes of this call, by node
        self.elsewhere: set[str] = set()  # locked by another call
        self.running: Node | None = None
        self.signal: int | None = None
        self.signals = 0  # how often it was told to stop
        self.at_work = False  # this call, not only others
        self.took: dict[str, float] = {}  # seconds of the commands of this call, by node
        self.idle_seconds = 0.0  # waiting for those of other calls
        self.began = time.time()
        self.queued: dict[str, str] = {}  # jobs of a cluster: queued or running, by node
        self.lost: set[str] = set()  # of those that ended without a result
        self.running_since = 0.0
        self.pace: Pace = {}
        self.pace_from: str | None = None  # whose, if not this study's own
        self._others: tuple[Pace, str | None] | None = None

    # ---- what is left -----------------------------------------------------------------------------------------------------

    def state(self, node: Node) -> str:
        if self.graph.done(node):
            return "done"
        if node is self.running:
            return "running"
        if node.id in self.failed:
            return "failed"
        if node.id in self.elsewhere:
            return "running elsewhere"
        if node.id in self.queued:
            return self.queued[node.id]
        if node.needs and (before := self.state(node.needs)) != "done":
            return "stopped by a failure" if before in ("failed", "stopped by a failure") else "waiting"
        return "failed" if node.id in self.lost else "to do"

    def look(self) -> None:
        """Find out what other calls run at this moment."""
        self.elsewhere = set()
        for node in self.graph.nodes:
            if self.state(node) == "to do":
                with self.lock(node) as lock:
                    if not lock.take():
                        self.elsewhere.add(node.id)

    def lock(self, node: Node) -> Lock:
        return Lock(Path(node.recipe.out) / "locks" / f"{node.id}.study")

    def summary(self) -> dict:
        """The progress file's content; the time left is that of the work left, shared with the other calls at work."""
        states = [(node, self.state(node)) for node in self.graph.nodes]
        counts = {
            name: sum(state == name for _, state in states)
            for name in dict.fromkeys(state for _, state in states)
        }
        self.pace, self.pace_from = pace(self.graph), None
        if not self.pace.keys() & {"supervised", "student"}:
            self._others = self._others or pace_of_others(self.graph)
            self.pace, self.pace_from = self._others
        left = [self.left(node) for node, state in states if state not in OVER]
        at_work = max(1, counts.get("running elsewhere", 0) + max(self.at_work, counts.get("running", 0)))
        rows = [
            {
                "cell": node.title,
                "kind": node.kind,
                "state": state,
                "waits_for": node.needs.title if node.needs and state == "waiting" else None,
                "expected_seconds": self.expected(node),
                "seconds": seconds(self.graph, node) if state == "done" else None,
                "exit_code": self.failed.get(node.id),
                "failed_before": state == "to do" and self.failed_file(node).exists(),
                "stale": any(cell.key in self.graph.unsettled for cell in node.cells),
                "log": str(self.log(node)),
                "command": self.graph.printed(node),
            }
            for node, state in states
        ]
        return {
            "commands": len(states),
            **counts,
            "eta_seconds": None if None in left else sum(left) / at_work,
            "pace_from": self.pace_from,
            "updated": time.strftime("%Y-%m-%d %H:%M:%S"),
            "nodes": rows,
        }

    def expected(self, node: Node) -> float | None:
        """Seconds, by the images that it sees and the records of nodes of its kind, else of training at all; None before there is any."""
        for kind in (node.kind, "supervised", "student"):
            if kind in self.pace:
                return node.images * self.pace[kind][0] / self.pace[kind][1]
        return None

    def left(self, node: Node) -> float | None:
        """The same, less what it has been running for."""
        expected = self.expected(node)
        return (
            max(0.0, expected - (time.monotonic() - self.running_since))
            if expected is not None and node is self.running
            else expected
        )

    def failed_file(self, node: Node) -> Path:
        return self.folder / "failed" / node.id

    def log(self, node: Node) -> Path:
        return self.folder / "logs" / f"{node.id}.log"

    def write(self) -> None:
        write_json(self.folder / "progress.json", self.summary())

    def overhead(self) -> str:
        """What the study itself took of its time, from the start of its process; and what its commands took besides what their records count."""
        total, commands = (
            time.time() - psutil.Process().create_time() - self.idle_seconds,
            sum(self.took.values()),
        )
        recorded = sum(
            min(self.took[node.id], seconds(self.graph, node) or 0.0)
            for node in self.graph.nodes
            if node.id in self.took
        )
        return (
            f"{total - commands:.0f} s of {duration(total)} were the study's own ({(total - commands) / total:.1%}), the rest its commands': they trained and labelled for "
            f"{recorded / commands:.0%} of it, and spent {duration((commands - recorded) / len(self.took))} each on their start, the data and the test split"
        )

    # ---- running ----------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Exit code: 0 all done, 1 something failed.  Raises Stopped when told to stop, with everything saved."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)
        self.write()
        try:
            return self._run()
        finally:
            self.write()

    def _run(self) -> int:
        while True:
            ready = [node for node in self.graph.nodes if self.state(node) in ("to do", "running elsewhere")]
            if not ready:
                return 1 if self.failed else 0
            began, self.elsewhere = time.time(), set()
            if not any(self._take(node) for node in ready if self.state(node) == "to do"):
                self.at_work = False  # all that can run is run by others
                self._pause(2)
                self.idle_seconds += 2
            elif time.time() - began > 1:
                self.write()

    def _note(self, number: int, frame) -> None:
        self.signal, self.signals = number, self.signals + 1

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)
        if self.signal is not None:
            raise Stopped(128 + self.signal)

    def _take(self, node: Node) -> bool:
        """Run a node unless another call does; False if so."""
        with self.lock(node) as lock:
            if not lock.take():
                self.elsewhere.add(node.id)
                return False
            failed = self.failed_file(node)
            if self.graph.done(node):  # another call may have ended it just now
                self.graph.publish(node)
            elif failed.exists() and failed.stat().st_mtime > self.began:
                self.failed[node.id] = int(
                    failed.read_text()
                )  # another call, at work beside this one, told of it
            else:
                failed.unlink(missing_ok=True)
                self._launch(node)
                if node.id in self.failed:
                    write_atomic(failed, lambda file: file.write(str(self.failed[node.id]).encode()))
        return True

    def _launch(self, node: Node) -> None:
        self.console.print(
            f"{node.title}\n  {self.graph.printed(node)}", highlight=False, soft_wrap=True, markup=False
        )
        self.running, self.running_since, self.at_work = node, time.monotonic(), True
        self.look()
        self.write()
        process = start(self.graph.command(node), self.log(node))
        try:
            code = self._watch(process, node)
        except Stopped:
            self.console.print(
                "  told to stop: the training saves its state; a second signal kills it", highlight=False
            )
            raise
        finally:
            stop(process, lambda: self.signals > 1)
            self.running = None
            took = self.took[node.id] = time.monotonic() - self.running_since
        self.graph.publish(node)
        self.look()
        if code == 0 and self.graph.done(node):
            self.console.print(f"  done in {duration(took)}; {self._left()}", highlight=False)
        else:
            self.failed[node.id] = code
            why = f"failed with exit code {code}" if code else f"ended, but {self.graph.lacking(node)}"
            self.console.print(
                f"  {why}; the end of {self.log(node)}:", highlight=False, soft_wrap=True, markup=False
            )
            self.console.print(
                "\n".join(f"  | {line}" for line in last_lines(self.log(node), TAIL)),
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def _watch(self, process: subprocess.Popen, node: Node) -> int:
        said = time.monotonic()
        with (
            Live(self.table(), console=self.console, refresh_per_second=1, transient=True)
            if self.console.is_terminal
            else Quiet() as live
        ):
            while (code := process.poll()) is None:
                self._pause(0.1)
                if time.monotonic() - said >= (5 if self.console.is_terminal else 4 * LOG_EVERY):
                    said = time.monotonic()
                    self.look()
                    self.write()
                    live.update(self.table()) if self.console.is_terminal else self.console.print(
                        f"  {self._last(node)}", markup=False, highlight=False, soft_wrap=True
                    )
        return code

    def _last(self, node: Node) -> str:
        return next(iter(last_lines(self.log(node), 1)), "starting")

    def _left(self) -> str:
        found = self.summary()
        eta = "" if found["eta_seconds"] is None else f", about {duration(found['eta_seconds'])} left"
        return f"{found.get('done', 0)} of {found['commands']} commands done{eta}"

    def table(self) -> Table:
        """What a person looks at meanwhile."""
        found = self.summary()
        table = Table(box=None, pad_edge=False, show_header=False)
        for name in (
            "done",
            "running",
            "running elsewhere",
            "queued",
            "failed",
            "stopped by a failure",
            "waiting",
            "to do",
        ):
            if found.get(name):
                table.add_row(name, str(found[name]))
        table.add_row(
            "time left", "unknown yet" if found["eta_seconds"] is None else duration(found["eta_seconds"])
        )
        if self.running:
            table.add_row("now", escape(self._last(self.running)))
        return table


class Quiet:
    """Live without a terminal."""

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(self, *_) -> None:
        pass


def seconds(graph: Graph, node: Node) -> float | None:
    """What a finished node took, by the records: training and evaluation of the curve, or labelling; not the start of its processes."""
    if node.kind == "labels":
        students = [
            found
            for after in graph.followers(node)
            for cell in after.cells[:1]
            if (found := graph.finished(cell))
        ]
        return students[0].measured.label_seconds if students else None
    found = [graph.finished(cell) for cell in node.cells]
    return sum(r.measured.seconds - r.measured.label_seconds for r in found) if all(found) else None


def pace(graph: Graph) -> Pace:
    """(seconds, images) of all finished nodes, by kind."""
    return _sums(
        (node.kind, took, node.images) for node in graph.nodes if (took := seconds(graph, node)) is not None
    )


def pace_of_others(graph: Graph) -> tuple[Pace, str | None]:
    """The same before any has finished, from records with the same network and image size: of the studies beside this one, else of results/; and what they are."""
    recipe = graph.nodes[0].recipe
    for folder in (graph.records.parent, Path(graph.file).resolve().parent.parent / "results" / "records"):
        found = [
            r
            for file in sorted(folder.glob("*/*.json"))
            if (r := record.read(file)).task == graph.program
            and all(r.settings.get(name) == getattr(recipe, name) for name in NETWORK)
        ]
        if found:
            nodes = [
                (
                    "student" if r.arm.rounds else "supervised",
                    r.measured.seconds - r.measured.label_seconds,
                    r.images,
                )
                for r in found
            ]
            nodes += [
                ("labels", r.measured.label_seconds, r.pseudo_labels["pool_images"])
                for r in found
                if r.arm.rounds
            ]
            return (
                _sums(nodes),
                f"records of {folder}, on {', '.join(sorted({r.measured.hardware['device'] for r in found}))}",
            )
    return {}, None


def _sums(nodes: Iterable[tuple[str, float, int]]) -> Pace:
    found: Pace = {}
    for kind, took, images in nodes:
        before = found.get(kind, (0.0, 0.0))
        found[kind] = before[0] + took, before[1] + images
    return found
