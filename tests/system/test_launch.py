"""Several CPU processes that accelerate's launcher would not start are started, or refused with the cure."""

import os
import subprocess
import sys

import pytest

from selftrain.system.launch import _launch_options
from tests.programs import path as program


def test_unlaunchable_cpu_processes_are_refused_not_run_as_one(tmp_path):
    """accelerate's own launcher would start one process and say nothing."""
    env = os.environ | {"ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    done = subprocess.run(
        [sys.executable, program("coco")], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1 and "torchrun" in done.stderr


def test_hosts_and_processes_that_do_not_divide_are_refused(tmp_path):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu"]
    command += ["--num_processes", "3", "--num_machines", "2", "--machine_rank", "0"]
    command += ["--main_process_ip", "127.0.0.1", "--main_process_port", "29572"]
    done = subprocess.run([*command, program("coco"), "demo"], cwd=tmp_path, capture_output=True, text=True)
    assert "does not divide over --num_machines 2" in done.stderr


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--num_processes 4", ("4", "1", "0")),
        ("--num-processes=4 --num_machines 2 --machine-rank 1", ("4", "2", "1")),
        ("--num_machines 2", None),
        ("--num_processes", None),
        ("--num_processes many", None),
    ],
)
def test_the_numbers_of_a_launch_are_read_in_every_spelling(words, expected):
    options = _launch_options(["accelerate", "launch", "--cpu", *words.split()])
    names = ("num_processes", "num_machines", "machine_rank")
    assert (options and tuple(options[name] for name in names)) == expected
