"""Makes `accelerate launch --cpu --num_processes N [--num_machines M]` do what its help says.

accelerate (1.10 to 1.15) starts several CPU processes only through MPI.  Without a host file for MPI the
command quietly runs one process, and a benchmark that was asked for two would report the result of one.  The
environment of such a process gives the case away: it holds a rendezvous address but no world size.
"""

import os
import re
import sys

import psutil

from selftrain.system.errors import UserError

# Each of the launchers that do start all processes sets one of these.
WORLD_SIZE_VARIABLES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def ensure_processes() -> None:
    """Replace this process by torch's launcher, where accelerate started one of several CPU processes.

    torch's launcher then starts as many processes as the command asked for.  Elsewhere nothing happens.
    Raises UserError when that number cannot be found out, or does not divide over the machines.
    """
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1")
    if not on_cpu or "MASTER_ADDR" not in os.environ:
        return
    if any(name in os.environ for name in WORLD_SIZE_VARIABLES):
        return
    options = _launch_options(psutil.Process(os.getppid()).cmdline())
    if options is None:
        raise UserError(
            "accelerate launch --cpu starts one process unless it goes through MPI (--mpirun_hostfile). "
            f"Start several with: ACCELERATE_USE_CPU=true torchrun --nproc_per_node N {' '.join(sys.argv)}"
        )
    processes, machines = int(options["num_processes"]), int(options["num_machines"])
    if processes % machines:
        raise UserError(
            f"--num_processes {processes} (of all machines together) does not divide "
            f"over --num_machines {machines}"
        )
    address, port = os.environ.pop("MASTER_ADDR"), os.environ.pop("MASTER_PORT")
    rendezvous = ["--standalone"]
    if machines > 1:
        rendezvous = ["--nnodes", str(machines), "--node_rank", options["machine_rank"]]
        rendezvous += ["--master_addr", address, "--master_port", port]
    launcher = [sys.executable, "-m", "torch.distributed.run", *rendezvous]
    os.execv(sys.executable, [*launcher, "--nproc_per_node", str(processes // machines), *sys.argv])


def _launch_options(command: list[str]) -> dict[str, str] | None:
    """The processes and machines that `accelerate launch` was asked for, or None where it names no number."""
    options = {"num_machines": "1", "machine_rank": "0"}
    for place, word in enumerate(command):
        if match := re.fullmatch(r"--(num[_-]processes|num[_-]machines|machine[_-]rank)(?:=(\d+))?", word):
            value = match[2] or (command[place + 1] if place + 1 < len(command) else "")
            if value.isdigit():
                options[match[1].replace("-", "_")] = value
    return options if "num_processes" in options else None
