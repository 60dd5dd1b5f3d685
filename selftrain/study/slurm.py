"""The nodes of a study's graph as Slurm jobs, by submitit: arrays, each of whose tasks waits for its own of
the arrays before.

A preempted or timed-out job tells its training to save, is queued again, and goes on from the checkpoint.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selftrain.study.graph import Graph, Node
from selftrain.study.options import Slurm
from selftrain.study.process import last_lines, start, stop
from selftrain.study.progress import Progress
from selftrain.study.runner import LINES_OF_A_FAILED_LOG
from selftrain.system.errors import UserError
from selftrain.system.files import write_json
from selftrain.system.lock import Lock


@dataclass
class Launch:
    """What a job does: the node's command, on every host of the allocation."""

    command: list[str]
    script: int
    """where in the command the benchmark stands: the launcher's own options end there"""
    log: Path
    lock: Path
    folder: str
    """where it runs"""
    save_seconds: int
    """that the training is given to save"""

    def __post_init__(self):
        self.process: subprocess.Popen | None = None
        self.terminated = False  # by Slurm, without a warning

    def __call__(self) -> None:
        """Run the command to its end.  Raises RuntimeError where it fails."""
        import submitit

        host = submitit.JobEnvironment()
        os.chdir(self.folder)
        signal.signal(signal.SIGTERM, self._remember_signal)
        command, log = self.command, self.log
        if host.num_nodes > 1:
            command = [*command[: self.script], *_rendezvous(host), *command[self.script :]]
            log = log if host.node == 0 else log.with_suffix(f".{host.node}.log")
        with Lock(self.lock) as lock:
            while host.node == 0 and not lock.take():
                time.sleep(5)  # another call runs this very cell: its record is found when it ends
            self.process = start(command, log)
            # no wait(): its lock would be held when the signal comes
            while (code := self.process.poll()) is None:
                time.sleep(0.5)
        # preempted: the training has saved, and Slurm is about to end and requeue this job
        while code and self.terminated:
            time.sleep(1)
        if code:
            raise RuntimeError(f"exit code {code}; see {self.log}")

    def _remember_signal(self, number: int, frame) -> None:
        self.terminated = True

    def checkpoint(self):
        """Called by submitit when the job is preempted or out of time: save, end, queue again."""
        import submitit

        if self.process is not None:
            # past that it hangs: what the last checkpoint has is all that can be had, and Slurm would end
            # this job before it asks for another
            late = time.monotonic() + 0.8 * self.save_seconds
            stop(self.process, lambda: time.monotonic() > late)
        again = Launch(self.command, self.script, self.log, self.lock, self.folder, self.save_seconds)
        return submitit.helpers.DelayedSubmission(again)


def _rendezvous(host) -> list[str]:
    """Options of accelerate's launcher that join the hosts of a job."""
    return [
        *("--num_machines", str(host.num_nodes)),
        *("--machine_rank", str(host.node)),
        *("--main_process_ip", host.hostnames[0]),
        *("--main_process_port", str(20000 + int(host.raw_job_id) % 20000)),
    ]


# ---- what is queued -------------------------------------------------------------------------------------


def submitted_jobs(progress: Progress) -> dict[str, str]:
    """Node -> job that earlier calls submitted for it."""
    file = progress.folder / "jobs.json"
    return json.loads(file.read_text()) if file.exists() else {}


def look_at_jobs(progress: Progress) -> dict[str, str]:
    """Tell `progress` which nodes' jobs are queued or running, or have ended; returns the submitted jobs by
    node.

    Raises UserError where squeue fails.
    """
    submitted = submitted_jobs(progress)
    if submitted and shutil.which("squeue") is not None:
        active = active_jobs()
        progress.job_states = {
            node: "running" if active[job] == "RUNNING" else "queued"
            for node, job in submitted.items()
            if job in active
        }
        progress.jobs_without_result = submitted.keys() - progress.job_states.keys()
    return submitted


def active_jobs() -> dict[str, str]:
    """State, by id, tasks of arrays one by one, of this user's jobs that are queued or running.

    Raises UserError where squeue fails.
    """
    done = subprocess.run(
        ["squeue", "--noheader", "--array", "--format", "%i %T", "--user", str(os.getuid())],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise UserError(f"squeue failed: {done.stderr.strip()}")
    return dict(line.split() for line in done.stdout.splitlines())


# ---- arrays and what they wait for ----------------------------------------------------------------------


@dataclass(frozen=True)
class Array:
    """Nodes that are submitted together, as the tasks of one job array."""

    nodes: list[Node]
    after: tuple[int, ...]
    """positions of the arrays that it waits for: task i for task i of each"""
    after_jobs: tuple[str, ...]
    """jobs of earlier calls that all of its tasks wait for"""

    @property
    def budget(self) -> float:
        """The rung of all of its nodes."""
        return self.nodes[0].setting["budget"]

    def dependency(self, jobs: list[list[str]]) -> str | None:
        """What sbatch is told, `jobs` being the ids of the arrays before, task by task: only what succeeded
        lets others begin.
        """
        if len(self.nodes) == 1:
            needed = [*(jobs[position][0] for position in self.after), *self.after_jobs]
            return ":".join(["afterok", *needed]) if needed else None
        arrays = [jobs[position][0].partition("_")[0] for position in self.after]
        corresponding = [":".join(["aftercorr", *arrays])] if arrays else []
        of_all = [":".join(["afterok", *self.after_jobs])] if self.after_jobs else []
        return ",".join(corresponding + of_all) or None


def arrays_of(graph: Graph, todo: list[Node], known: dict[str, str]) -> list[Array]:
    """Arrays in the order they are submitted.

    Nodes that hang together make a group; groups of one shape make one array of their first nodes, one of
    their second ones, and so on, so that task i of each waits for task i of those before.  Groups of
    different budgets have different shapes: the tasks of an array take about the same time.  `known`: jobs
    that earlier calls submitted, by node.
    """
    alike: dict[tuple, list[list[Node]]] = {}
    for group in _connected(todo):
        position = {node.id: place for place, node in enumerate(group)}
        shape = tuple(
            (
                node.kind,
                node.setting["budget"],
                tuple(position[needed.id] for needed in node.needs if needed.id in position),
                tuple(
                    known[needed.id] for needed in node.needs if needed.id in known and not graph.done(needed)
                ),
            )
            for node in group
        )
        alike.setdefault(shape, []).append(group)
    found: list[Array] = []
    for shape, groups in alike.items():
        first = len(found)
        for (*_, after, jobs), nodes in zip(shape, zip(*groups, strict=True), strict=True):
            found.append(Array(list(nodes), tuple(first + place for place in after), jobs))
    return found


def _connected(nodes: list[Node]) -> list[list[Node]]:
    """These nodes in groups: two that need each other, directly or over others of them, are in one."""
    group_of: dict[str, list[Node]] = {}
    for node in nodes:  # needed ones come first
        merged = [node]
        for group in {id(group_of[n.id]): group_of[n.id] for n in node.needs if n.id in group_of}.values():
            merged = [*group, *merged]
        merged.sort(key=nodes.index)
        group_of.update((member.id, merged) for member in merged)
    return list({id(group): group for group in group_of.values()}.values())


# ---- submitting -----------------------------------------------------------------------------------------


def submit(graph: Graph, progress: Progress, slurm: Slurm, say: Callable[[str], None]) -> int:
    """Submit what is to do and not yet queued; returns at once.

    The same command again shows how far it is, and submits what failed. Raises UserError without submitit or
    sbatch, and where sbatch or squeue fails.
    """
    try:
        import submitit
    except ImportError:
        raise UserError("--on slurm needs submitit: pip install -e '.[slurm]'") from None
    if shutil.which("sbatch") is None:
        raise UserError("--on slurm: there is no sbatch here; run it on a login node of the cluster")
    with Lock(progress.folder / "submit.lock").wait():  # two calls would submit every job twice
        folder = str(progress.folder / "jobs")
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=slurm.requeues)
        return _submit_all(graph, progress, slurm, say, executor)


def _submit_all(
    graph: Graph, progress: Progress, slurm: Slurm, say: Callable[[str], None], executor: Any
) -> int:
    before = look_at_jobs(progress)
    known = {node: job for node, job in before.items() if node in progress.job_states}
    todo = [node for node in graph.nodes if not graph.done(node) and node.id not in known]
    for node in todo:
        if node.id in before and (end := last_lines(progress.log(node), LINES_OF_A_FAILED_LOG)):
            ended = (
                f"{node.title}: job {before[node.id]} ended without a result, and is submitted again; the "
                f"end of {progress.log(node)}:"
            )
            say("\n".join([ended, *(f"  | {line}" for line in end)]))
    jobs: list[list[str]] = []
    for array in arrays_of(graph, todo, known):
        # a run of three times the steps may run out of its hours three times as often
        executor.max_num_timeout = math.ceil(slurm.requeues * max(1.0, array.budget))
        executor.update_parameters(**_parameters(graph, array, slurm, array.dependency(jobs)))
        jobs.append(_submit_array(graph, progress, slurm, array, executor))
        for node, job in zip(array.nodes, jobs[-1], strict=True):
            known[node.id] = job
            say(f"{job}  {node.title}\n  {graph.printed(node)}")
        # now, or an interruption would submit these twice
        write_json(progress.folder / "jobs.json", before | known)
    look_at_jobs(progress)
    progress.write()
    say(
        f"{len(todo)} jobs submitted, {len(known)} queued or running in all; squeue --me shows them, the "
        "same command with --dry-run how far the study is"
    )
    return 0


def _submit_array(graph: Graph, progress: Progress, slurm: Slurm, array: Array, executor: Any) -> list[str]:
    """The ids of its jobs.  Raises UserError where sbatch refuses them."""
    launches = []
    for node in array.nodes:
        command = graph.command(node)
        script = next(i for i, word in enumerate(command) if word.endswith(f"{graph.program}.py"))
        log, lock = progress.log(node).absolute(), progress.lock(node).path.absolute()
        launches.append(Launch(command, script, log, lock, os.getcwd(), slurm.save_seconds))
    try:
        with executor.batch():
            submitted = [executor.submit(launch) for launch in launches]
    except (RuntimeError, subprocess.CalledProcessError) as error:  # submitit's own errors are RuntimeErrors
        raise UserError(
            f"sbatch refused {len(launches)} {array.nodes[0].kind} jobs: {error}. Those before are queued; "
            "the same command submits the rest"
        ) from error
    return [job.job_id for job in submitted]


def _parameters(graph: Graph, array: Array, slurm: Slurm, dependency: str | None) -> dict[str, Any]:
    """Options of sbatch, as submitit names them."""
    additional: dict[str, Any] = {"requeue": True, "kill-on-invalid-dep": "yes"}
    additional |= dict(word.split("=", 1) if "=" in word else (word, True) for word in slurm.extra)
    if dependency is not None:
        additional["dependency"] = dependency
    rung = "" if array.budget == 1 else f"-{array.budget:g}x"
    parameters = dict(
        job_name=f"{graph.program}-{array.nodes[0].kind}{rung}",
        partition=slurm.partition,
        time=round(slurm.hours * 60),
        nodes=slurm.nodes,
        ntasks_per_node=1,
        cpus_per_task=slurm.cpus,
        gpus_per_node=slurm.gpus or None,
        mem=None if slurm.memory is None else f"{round(slurm.memory * 1024)}MB",
        array_parallelism=slurm.parallel,
        signal_delay_s=slurm.save_seconds,
        additional_parameters=additional,
    )
    return {name: value for name, value in parameters.items() if value is not None}
