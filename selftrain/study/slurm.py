"""The nodes of a study's graph as Slurm jobs, by submitit: an array for each stage, each task of a later one waiting for its own of the stage before.

A preempted or timed-out job tells its training to save, is queued again, and goes on from the checkpoint.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selftrain.study.graph import Graph, Node
from selftrain.study.run import TAIL, Runner, last_lines, start, stop
from selftrain.system.errors import UserError
from selftrain.system.files import write_json
from selftrain.system.lock import Lock


@dataclass(frozen=True)
class Slurm:
    partition: str | None = None
    """where the jobs go; default: the cluster's"""
    hours: float = 24.0
    """of one job; a cell that needs more is queued again and goes on"""
    requeues: int = 10
    """how often a cell may run out of its hours"""
    nodes: int = 1
    """hosts of a cell; more than one are joined by accelerate's own launcher: give --launch the processes of all of them together"""
    gpus: int = 0
    """accelerators of a host"""
    cpus: int = 8
    """cores of a host"""
    memory: float | None = None
    """GB of a host"""
    parallel: int = 64
    """jobs of one array at once"""
    save_seconds: int = 120
    """before its end a job is told to save"""
    extra: tuple[str, ...] = ()
    """further options of sbatch, as NAME=VALUE or NAME: account=vision exclusive"""


class Launch:
    """What a job does: the node's command, on every host of the allocation."""

    def __init__(
        self, command: list[str], options: int, log: Path, lock: Path, folder: str, save_seconds: int
    ):
        self.command, self.options, self.log, self.lock, self.folder, self.save_seconds = (
            command,
            options,
            log,
            lock,
            folder,
            save_seconds,
        )
        self.process: subprocess.Popen | None = None
        self.told = False

    def __call__(self) -> None:
        import submitit

        host = submitit.JobEnvironment()
        os.chdir(self.folder)
        signal.signal(signal.SIGTERM, self._note)
        command = list(self.command)
        if host.num_nodes > 1:
            port = 20000 + int(host.raw_job_id) % 20000
            command[self.options : self.options] = [
                "--num_machines",
                str(host.num_nodes),
                "--machine_rank",
                str(host.node),
                "--main_process_ip",
                host.hostnames[0],
                "--main_process_port",
                str(port),
            ]
        with Lock(self.lock) as lock:
            while host.node == 0 and not lock.take():
                time.sleep(5)  # another call runs this very cell: its record is found when it ends
            self.process = start(
                command, self.log if host.node == 0 else self.log.with_suffix(f".{host.node}.log")
            )
            while (
                code := self.process.poll()
            ) is None:  # no wait(): its lock would be held when the signal comes
                time.sleep(0.5)
        while (
            code and self.told
        ):  # preempted without a warning: the training has saved, and Slurm is about to end and requeue this job
            time.sleep(1)
        if code:
            raise RuntimeError(f"exit code {code}; see {self.log}")

    def _note(self, number: int, frame) -> None:
        self.told = True

    def checkpoint(self):
        """Called by submitit when the job is preempted or out of time: save, end, queue again."""
        import submitit

        if self.process is not None:
            late = (
                time.monotonic() + 0.8 * self.save_seconds
            )  # then it hangs: what the last checkpoint has is all that can be had, and Slurm would end this job before it asks for another
            stop(self.process, lambda: time.monotonic() > late)
        return submitit.helpers.DelayedSubmission(
            Launch(self.command, self.options, self.log, self.lock, self.folder, self.save_seconds)
        )


def submit(graph: Graph, runner: Runner, slurm: Slurm, say: Callable[[str], None]) -> int:
    """Submit what is to do and not yet queued; returns at once.  The same command again shows how far it is, and submits what failed.

    Raises UserError without submitit or sbatch, and where sbatch or squeue fails.
    """
    try:
        import submitit
    except ImportError:
        raise UserError("--on slurm needs submitit: pip install -e '.[slurm]'") from None
    if shutil.which("sbatch") is None:
        raise UserError("--on slurm: there is no sbatch here; run it on a login node of the cluster")
    with Lock(runner.folder / "submit.lock").wait():  # two calls would submit every job twice
        return _submit(graph, runner, slurm, say, submitit)


def jobs(runner: Runner) -> dict[str, str]:
    """Node -> job that earlier calls submitted for it."""
    file = runner.folder / "jobs.json"
    return json.loads(file.read_text()) if file.exists() else {}


def queued(runner: Runner) -> tuple[dict[str, str], set[str]]:
    """(queued or running, by node; nodes whose jobs ended).  Raises UserError where squeue fails."""
    submitted = jobs(runner)
    if not submitted or shutil.which("squeue") is None:
        return {}, set()
    active = active_jobs()
    return (
        {
            node: "running" if active[job] == "RUNNING" else "queued"
            for node, job in submitted.items()
            if job in active
        },
        {node for node, job in submitted.items() if job not in active},
    )


def _submit(graph: Graph, runner: Runner, slurm: Slurm, say: Callable[[str], None], submitit) -> int:
    before, (active, _) = jobs(runner), queued(runner)
    known = {node: job for node, job in before.items() if node in active}
    todo = [node for node in graph.nodes if not graph.done(node) and node.id not in known]
    for node in todo:
        if node.id in before and (end := last_lines(runner.log(node), TAIL)):
            say(
                "\n".join(
                    [
                        f"{node.title}: job {before[node.id]} ended without a result, and is submitted again; the end of {runner.log(node)}:",
                        *(f"  | {line}" for line in end),
                    ]
                )
            )
    executor = submitit.SlurmExecutor(folder=str(runner.folder / "jobs"), max_num_timeout=slurm.requeues)
    for nodes in stages(graph, todo, known):
        parameters = dict(
            job_name=f"{graph.program}-{nodes[0].kind}",
            partition=slurm.partition,
            time=round(slurm.hours * 60),
            nodes=slurm.nodes,
            ntasks_per_node=1,
            cpus_per_task=slurm.cpus,
            gpus_per_node=slurm.gpus or None,
            mem=None if slurm.memory is None else f"{round(slurm.memory * 1024)}MB",
            array_parallelism=slurm.parallel,
            signal_delay_s=slurm.save_seconds,
            additional_parameters={
                "requeue": True,
                "kill-on-invalid-dep": "yes",
                **dict(word.split("=", 1) if "=" in word else (word, True) for word in slurm.extra),
            },
        )
        if dependency := after(
            [
                known[node.needs.id]
                for node in nodes
                if node.needs and node.needs.id in known and not graph.done(node.needs)
            ]
        ):
            parameters["additional_parameters"]["dependency"] = dependency
        executor.update_parameters(**{name: value for name, value in parameters.items() if value is not None})
        launches = [_launch(graph, runner, node, slurm.save_seconds) for node in nodes]
        try:
            with executor.batch():
                submitted = [executor.submit(launch) for launch in launches]
        except (
            RuntimeError,
            subprocess.CalledProcessError,
        ) as error:  # submitit's own errors are RuntimeErrors
            raise UserError(
                f"sbatch refused {len(launches)} {nodes[0].kind} jobs: {error}. Those before are queued; the same command submits the rest"
            ) from error
        for node, job in zip(nodes, submitted, strict=True):
            known[node.id] = job.job_id
            say(f"{job.job_id}  {node.title}\n  {graph.printed(node)}")
        write_json(
            runner.folder / "jobs.json", before | known
        )  # now, or an interruption would submit these twice
    runner.queued, runner.lost = queued(runner)
    runner.write()
    say(
        f"{len(todo)} jobs submitted, {len(known)} queued or running in all; squeue --me shows them, the same command with --dry-run how far the study is"
    )
    return 0


def _launch(graph: Graph, runner: Runner, node: Node, save_seconds: int) -> Launch:
    command = graph.command(node)
    script = next(i for i, word in enumerate(command) if word.endswith(f"{graph.program}.py"))
    return Launch(
        command,
        script,
        runner.log(node).absolute(),
        runner.lock(node).path.absolute(),
        os.getcwd(),
        save_seconds,
    )


def stages(graph: Graph, todo: list[Node], known: dict[str, str]) -> list[list[Node]]:
    """Arrays in the order they are submitted.  Cells of which the same kinds are left make one array a kind, in one order, so that task i of
    each waits for task i of the one before; a cell that waits for a job of an earlier call goes alone."""
    chains: dict[str, list[Node]] = {}
    for node in todo:
        chains.setdefault(node.teacher.key, []).append(node)
    alike: dict[tuple, list[list[Node]]] = {}
    for chain in chains.values():
        before = chain[0].needs
        queued = known.get(before.id) if before is not None and not graph.done(before) else None
        alike.setdefault((*(node.kind for node in chain), queued), []).append(chain)
    return [list(nodes) for group in alike.values() for nodes in zip(*group, strict=True)]


def after(jobs: list[str]) -> str | None:
    """The dependency of an array on the jobs of the stage before, in the same order: each task on its own, and only if that one succeeded."""
    if not jobs:
        return None
    return f"afterok:{jobs[0]}" if len(jobs) == 1 else f"aftercorr:{jobs[0].partition('_')[0]}"


def active_jobs() -> dict[str, str]:
    """State, by id, tasks of arrays one by one, of this user's jobs that are queued or running.  Raises UserError where squeue fails."""
    done = subprocess.run(
        ["squeue", "--noheader", "--array", "--format", "%i %T", "--user", str(os.getuid())],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise UserError(f"squeue failed: {done.stderr.strip()}")
    return dict(line.split() for line in done.stdout.splitlines())
