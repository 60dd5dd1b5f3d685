"""How far a study is: the state of each node, what is left, how long that takes."""

import itertools
import time
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from selftrain.study.graph import Graph, Node
from selftrain.study.pace import Pace, network_of, pace_of, pace_of_others, seconds_of
from selftrain.study.process import last_lines
from selftrain.system.files import write_json
from selftrain.system.lock import Lock
from selftrain.system.progress import duration

ENDED_STATES = ("done", "failed", "stopped by a failure")
"""states of nodes that this call will not run any more"""
STATES = ("done", "to do", "waiting", "running", "running elsewhere", "queued", *ENDED_STATES[1:])


class Progress:
    """The state of a study's nodes, as this call knows it."""

    def __init__(self, graph: Graph, folder: Path):
        """`folder`: of the study's progress file and logs."""
        self.graph, self.folder = graph, folder
        self.exit_codes: dict[str, int] = {}
        """of what failed in this call, by node"""
        self.elsewhere: set[str] = set()
        """nodes that another call runs"""
        self.running: Node | None = None
        """by this call"""
        self.running_since = 0.0
        self.at_work = False
        """whether this call runs nodes, or only waits for others"""
        self.job_states: dict[str, str] = {}
        """of a cluster's jobs, queued or running, by node"""
        self.jobs_without_result: set[str] = set()
        """nodes whose jobs have ended without one"""
        self.pace = Pace()
        self.pace_from: str | None = None
        """whose pace it is, if not this study's own"""
        self._others: tuple[Pace, str | None] | None = None

    # ---- states ----------------------------------------------------------------------------------------

    def state(self, node: Node) -> str:
        """One of STATES."""
        if self.graph.done(node):
            return "done"
        if node is self.running:
            return "running"
        if node.id in self.exit_codes:
            return "failed"
        if node.id in self.elsewhere:
            return "running elsewhere"
        if node.id in self.job_states:
            return self.job_states[node.id]
        before = [self.state(needed) for needed in node.needs]
        if any(state in ("failed", "stopped by a failure") for state in before):
            return "stopped by a failure"
        if any(state != "done" for state in before):
            return "waiting"
        return "failed" if node.id in self.jobs_without_result else "to do"

    def find_other_calls(self) -> None:
        """Find out what other calls run at this moment."""
        self.elsewhere = set()
        for node in self.graph.nodes:
            if self.state(node) == "to do":
                with self.lock(node) as lock:
                    if not lock.take():
                        self.elsewhere.add(node.id)

    def lock(self, node: Node) -> Lock:
        """The lock of the call that runs a node."""
        return Lock(Path(node.recipe.out) / "locks" / f"{node.id}.study")

    def failed_file(self, node: Node) -> Path:
        """A file that is there after a node has failed; it holds the exit code."""
        return self.folder / "failed" / node.id

    def log(self, node: Node) -> Path:
        """The output of a node's commands."""
        return self.folder / "logs" / f"{node.id}.log"

    # ---- time ------------------------------------------------------------------------------------------

    def expected(self, node: Node) -> float | None:
        """Seconds that a node takes, by the images that it sees; None before there is anything to go by."""
        return self.pace.seconds(node)

    def remaining(self, node: Node) -> float | None:
        """The same, less what it has been running for."""
        expected = self.expected(node)
        if expected is None or node is not self.running:
            return expected
        return max(0.0, expected - (time.monotonic() - self.running_since))

    def _measure_pace(self) -> None:
        self.pace, self.pace_from = pace_of(self.graph), None
        unknown = {net for node in self.graph.nodes if not self.pace.knows(net := network_of(node))}
        if unknown:
            self._others = self._others or pace_of_others(self.graph)
            others, whose = self._others
            self.pace_from = whose if any(others.knows(network) for network in unknown) else None
            self.pace = self.pace.completed(others, unknown)

    # ---- what is shown ---------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """The progress file's content; the time left is that of the work left, shared with the other calls at
        work.
        """
        states = [(node, self.state(node)) for node in self.graph.nodes]
        seen = [state for _, state in states]
        counts = {name: seen.count(name) for name in dict.fromkeys(seen)}
        self._measure_pace()
        left = [self.remaining(node) for node, state in states if state not in ENDED_STATES]
        at_work = max(1, counts.get("running elsewhere", 0) + max(self.at_work, counts.get("running", 0)))
        return {
            "commands": len(states),
            **counts,
            "eta_seconds": None if None in left else sum(left) / at_work,
            "pace_from": self.pace_from,
            "updated": time.strftime("%Y-%m-%d %H:%M:%S"),
            "nodes": [self._row(node, state) for node, state in states],
        }

    def _row(self, node: Node, state: str) -> dict[str, Any]:
        waits_for = [needed.title for needed in node.needs if not self.graph.done(needed)]
        return {
            "cell": node.title,
            "kind": node.kind,
            "budget": node.setting["budget"],
            "state": state,
            "waits_for": "; ".join(waits_for) if state == "waiting" else None,
            "expected_seconds": self.expected(node),
            "seconds": seconds_of(self.graph, node) if state == "done" else None,
            "exit_code": self.exit_codes.get(node.id),
            "failed_before": state == "to do" and self.failed_file(node).exists(),
            "stale": any(cell.key in self.graph.unsettled for cell in node.cells),
            "log": str(self.log(node)),
            "command": self.graph.printed(node),
        }

    def write(self) -> None:
        """Write the progress file."""
        write_json(self.folder / "progress.json", self.summary())

    def line(self) -> str:
        """The whole study in one line."""
        summary = self.summary()
        counts = ", ".join(f"{summary[name]} {name}" for name in STATES if summary.get(name))
        cells, commands = len(self.graph.cells), summary["commands"]
        text = f"{self.graph.program} {self.graph.preset}: {cells} cells, {commands} commands: {counts}"
        if sum(summary.get(name, 0) for name in ENDED_STATES) == commands:
            return text
        eta = summary["eta_seconds"]
        if eta is None:
            return f"{text}; expected: unknown before the first has ended"
        return f"{text}; expected: {duration(eta)}{f', going by {self.pace_from}' if self.pace_from else ''}"

    def short_line(self) -> str:
        """How many commands are done, and the time left."""
        summary = self.summary()
        eta = summary["eta_seconds"]
        left = "" if eta is None else f", about {duration(eta)} left"
        return f"{summary.get('done', 0)} of {summary['commands']} commands done{left}"

    def last_line(self, node: Node) -> str:
        """What a running node said last."""
        return next(iter(last_lines(self.log(node), 1)), "starting")

    def table(self) -> Table:
        """What a person looks at meanwhile."""
        summary = self.summary()
        table = Table(box=None, pad_edge=False, show_header=False)
        for name in ("done", *STATES[3:], "waiting", "to do"):
            if summary.get(name):
                table.add_row(name, str(summary[name]))
        eta = summary["eta_seconds"]
        table.add_row("time left", "unknown yet" if eta is None else duration(eta))
        if self.running:
            table.add_row("now", escape(self.last_line(self.running)))
        return table

    def listing(self) -> Table:
        """The dry run: every node, its state, whom it waits for, how long it is expected to take.

        Where the study has several budgets, the nodes stand rung by rung.
        """
        table = Table("cell", "state", "waits for", "expected", box=None, pad_edge=False)
        rows = sorted(self.summary()["nodes"], key=lambda row: row["budget"])
        for budget, rung in itertools.groupby(rows, key=lambda row: row["budget"]):
            if len(self.graph.ladder.budgets) > 1:
                table.add_row(self.graph.ladder.title(budget))
            for row in rung:
                seconds = row["expected_seconds"]
                expected = "unknown" if seconds is None else duration(seconds)
                note = ", failed before" if row["failed_before"] else ", stale" if row["stale"] else ""
                table.add_row(
                    escape(row["cell"]),
                    f"{row['state']}{note}",
                    escape(row["waits_for"] or ""),
                    "" if row["state"] == "done" else expected,
                )
        return table
