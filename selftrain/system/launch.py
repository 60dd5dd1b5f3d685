"""`accelerate launch --cpu --num_processes N [--num_machines M]`, as its help reads: N processes over M machines.

accelerate (1.10 to 1.15) starts several CPU processes only through MPI; without a host file the command quietly runs one, and
a benchmark that was asked for two would report one.  Its environment gives it away: a rendezvous address without a world size.
"""

import os
import re
import sys

import psutil

from selftrain.system.errors import UserError


def ensure_processes() -> None:
    """Replace this process by torch's launcher with the asked-for number of processes, where accelerate started only one.

    Raises UserError when the number cannot be found out.
    """
    alone = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1") and "MASTER_ADDR" in os.environ
    if not alone or any(
        name in os.environ
        for name in ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    ):
        return
    asked = _asked(psutil.Process(os.getppid()).cmdline())
    if asked is None:
        raise UserError(
            "accelerate launch --cpu starts one process unless it goes through MPI (--mpirun_hostfile). "
            f"Start several with: ACCELERATE_USE_CPU=true torchrun --nproc_per_node N {' '.join(sys.argv)}"
        )
    processes, machines = int(asked["num_processes"]), int(asked["num_machines"])
    if processes % machines:
        raise UserError(
            f"--num_processes {processes} (of all machines together) does not divide over --num_machines {machines}"
        )
    address, port = os.environ.pop("MASTER_ADDR"), os.environ.pop("MASTER_PORT")
    where = (
        ["--standalone"]
        if machines == 1
        else [
            "--nnodes",
            str(machines),
            "--node_rank",
            asked["machine_rank"],
            "--master_addr",
            address,
            "--master_port",
            port,
        ]
    )
    os.execv(
        sys.executable,
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            *where,
            "--nproc_per_node",
            str(processes // machines),
            *sys.argv,
        ],
    )


def _asked(command: list[str]) -> dict[str, str] | None:
    """What `accelerate launch` was told of processes and machines; None where it does not say."""
    found = {"num_machines": "1", "machine_rank": "0"}
    for place, word in enumerate(command):
        if match := re.fullmatch(r"--(num[_-]processes|num[_-]machines|machine[_-]rank)(?:=(\d+))?", word):
            value = match[2] or (command[place + 1] if place + 1 < len(command) else "")
            if value.isdigit():
                found[match[1].replace("-", "_")] = value
    return found if "num_processes" in found else None
