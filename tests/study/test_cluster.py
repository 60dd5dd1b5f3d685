"""Clusters, for real: a one-node Slurm that these tests start, and two hosts that are two network namespaces.

They need root, and Debian's packages: apt-get install slurm-wlm munge iproute2
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.programs import path

pytestmark = pytest.mark.slow
TINY = [
    *("--warmup-steps", "2", "--batch-size", "4", "--shapes.train", "20", "--shapes.val", "10"),
    *("--shapes.test", "10", "--shapes.unlabeled", "24", "--score-threshold", "0.001"),
    *("--threads", "1", "--starts", "random"),
]
STUDY = ["coco", "study", "--policies", "S1", "--fractions", "1", *TINY, "--budgets", "1"]
STUDY += ["--records", "records", "--on", "slurm"]


def need(*programs: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if missing := [name for name in programs if shutil.which(name) is None]:
        pytest.skip(f"{', '.join(missing)} not installed: apt-get install slurm-wlm munge iproute2")


def wait_for(what, seconds: float, why) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, why()
        time.sleep(0.3)


# ---- Slurm ----------------------------------------------------------------------------------------------

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1
ReturnToService=2
MpiDefault=none
JobRequeue=1
KillWait=20
SlurmctldPort={port}
SlurmdPort={port2}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture
def slurm(tmp_path_factory, monkeypatch):
    """A cluster of this machine alone; `squeue` and `sbatch` find it by SLURM_CONF."""
    need("slurmctld", "slurmd", "sbatch", "munged")
    folder = tmp_path_factory.mktemp("slurm")
    host = platform.node().partition(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(
        CONF.format(
            host=host,
            folder=folder,
            cpus=psutil.cpu_count(),
            port=26817 + os.getpid() % 1000,
            port2=28818 + os.getpid() % 1000,
        )
    )
    (folder / "state").mkdir()
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    monkeypatch.setenv("SLURM_CONF", str(conf))
    quiet = dict(stdout=subprocess.DEVNULL, stderr=open(folder / "stderr.log", "wb"))
    commands = (
        [
            "munged",
            "--foreground",
            "--force",
            f"--key-file={folder}/key",
            f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/munged.seed",
        ],
        ["slurmctld", "-D"],
        ["slurmd", "-D"],
    )
    processes = []
    try:
        for command in commands:
            processes.append(subprocess.Popen(command, **quiet))
            time.sleep(1)
        wait_for(
            lambda: "idle" in subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True).stdout,
            60,
            lambda: "\n".join(file.read_text()[-1000:] for file in folder.glob("*.log")),
        )
        yield folder
    finally:
        subprocess.run(["scancel", "--user", "root"], capture_output=True, timeout=30)
        time.sleep(1)
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


class Submitted:
    """A study that is submitted from a folder, and what can be seen of its jobs."""

    def __init__(self, folder: Path, slurm: Path, *options: str):
        self.folder, self.slurm, self.options = folder, slurm, options
        self.runs = folder / "runs" / "study" / "study"

    def call(self, *more: str) -> str:
        command = [sys.executable, path("study"), *STUDY, *self.options, *more]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def queue(self) -> str:
        command = ["squeue", "--noheader", "--array", "--format", "%i %j %T %R"]
        return subprocess.run(command, capture_output=True, text=True).stdout

    def everything(self) -> str:
        """For the message of a test that fails."""
        outputs = [*self.runs.glob("jobs/*.err"), *self.runs.glob("jobs/*.out")]
        logs = [*self.folder.rglob("*.log"), *outputs, *self.slurm.glob("*.log")]
        return "\n".join([self.queue(), *(f"{log}:\n{log.read_text()[-1500:]}" for log in logs)])

    def jobs(self) -> dict[str, str]:
        return json.loads((self.runs / "jobs.json").read_text())

    def has_begun(self, node: str) -> bool:
        cell = node.removeprefix("supervised-")
        return (self.folder / "runs" / "cells" / cell / "sources.json").exists()


def test_a_study_on_slurm_runs_to_its_end_with_jobs_killed_and_requeued(slurm, tmp_path):
    """One is told before its hours end, and asks for its requeueing; the other is preempted without a
    warning: SIGTERM, and Slurm requeues it.
    """
    budget = ("--steps", "150", "--eval-every", "50", "--save-every", "1000")
    resources = ("--slurm.cpus", "1", "--slurm.hours", "0.5")
    study = Submitted(tmp_path, slurm, "--seeds", "0", "1", *budget, *resources)
    out = study.call()
    assert "6 jobs submitted" in out and out.count("accelerate launch") == 6
    jobs = study.jobs()
    # three arrays of two tasks
    assert sorted(job.partition("_")[2] for job in jobs.values()) == ["0"] * 3 + ["1"] * 3
    warned, preempted = (node for node in jobs if node.startswith("supervised"))
    for node, command in (
        (warned, ["scancel", "--signal=USR2"]),
        (preempted, ["scontrol", "requeue"]),
    ):
        wait_for(lambda: study.has_begun(node), 120, study.everything)
        subprocess.run([*command, jobs[node]], check=True)
    assert "0 jobs submitted, 6 queued" in study.call()  # queued again: nothing is submitted twice
    assert "queued" in study.call("--dry-run")
    wait_for(lambda: not study.queue().strip(), 500, study.everything)
    for node in (warned, preempted):
        log = (study.runs / "logs" / f"{node}.log").read_text()
        assert "stopped as told" in log and "goes on from its checkpoint" in log, study.everything()
    outputs = [file for file in (study.runs / "jobs").iterdir() if file.suffix in (".err", ".out")]
    assert "Requeued job" in "".join(file.read_text() for file in outputs)
    assert "6 done" in study.call("--dry-run")
    assert "0 jobs submitted" in study.call()
    check_records(tmp_path / "records" / "study")


def check_records(folder: Path) -> None:
    records = {file.name: json.loads(file.read_text()) for file in folder.glob("*.json")}
    students = ("", "-self-training")
    assert sorted(records) == [f"random{each}-S1-f1-s{seed}.json" for each in students for seed in (0, 1)]
    for seed in (0, 1):  # each task of an array waited for its own of the one before
        teacher = records[f"random-S1-f1-s{seed}.json"]
        student = records[f"random-self-training-S1-f1-s{seed}.json"]
        assert student["needs"]["teacher"]["final"] == teacher["hashes"]["final"]
    assert [point["step"] for point in records["random-S1-f1-s0.json"]["curve"]] == [50, 100, 150]


def test_without_slurm_the_study_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, path("study"), *STUDY, "--seeds", "0", "--steps", "9"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": "/nowhere"},
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "no sbatch here" in done.stderr or "needs submitit" in done.stderr


# ---- two hosts ------------------------------------------------------------------------------------------


@pytest.fixture
def hosts():
    """Two network namespaces that see nothing but each other: [(name, address), (name, address)]."""
    need("ip")
    tag = f"st{os.getpid() % 10000}"
    names = [f"{tag}a", f"{tag}b"]

    def ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no right to make network namespaces: ip {' '.join(words)}: {done.stderr.strip()}")

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", names[0], "type", "veth", "peer", "name", names[1])
        for n, name in enumerate(names):
            ip("link", "set", name, "netns", name)
            ip("-n", name, "addr", "add", f"10.213.77.{n + 1}/24", "dev", name)
            ip("-n", name, "link", "set", name, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [(name, f"10.213.77.{n + 1}") for n, name in enumerate(names)]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_two_hosts_train_one_cell_and_end_where_two_processes_of_one_host_do(hosts, tmp_path):
    arguments = [path("coco"), "demo", "--no-self-training", "--steps", "4", "--eval-every", "4", *TINY]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    alone = subprocess.run(
        [*launch, *arguments, "--out", "alone"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert alone.returncode == 0, alone.stderr[-3000:]
    processes = []
    for rank, (name, _) in enumerate(hosts):
        more = [
            *("--num_machines", "2", "--machine_rank", str(rank)),
            *("--main_process_ip", hosts[0][1], "--main_process_port", "29571"),
        ]
        processes.append(
            subprocess.Popen(
                ["ip", "netns", "exec", name, *launch, *more, *arguments, "--out", "both"],
                cwd=tmp_path,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=os.environ | {"GLOO_SOCKET_IFNAME": name},
            )
        )
    outs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n\n".join(out[-3000:] for out in outs)
    found = {
        out: json.loads(next((tmp_path / out / "cells").glob("*/record.json")).read_text())
        for out in ("alone", "both")
    }
    assert found["both"]["measured"]["hardware"]["processes"] == 2
    for part in ("key", "metrics", "curve"):
        assert found["both"][part] == found["alone"][part]
    assert found["both"]["hashes"]["final"] == found["alone"]["hashes"]["final"]
