"""`accelerate launch --cpu --num_processes N`, as its help reads: N processes on this machine.

accelerate (1.10 to 1.15) starts several CPU processes only through MPI; without a host file the command quietly runs one, and
a benchmark that was asked for two would report one.  Its environment gives it away: a rendezvous address without a world size.
"""

import os
import re
import sys

import psutil

from selftrain.errors import UserError


def ensure_processes() -> None:
    """Replace this process by torch's launcher with the asked-for number of processes, where accelerate started only one.

    Raises UserError when the number cannot be found out.
    """
    alone = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1") and "MASTER_ADDR" in os.environ
    if not alone or any(name in os.environ for name in ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")):
        return
    command = " ".join(psutil.Process(os.getppid()).cmdline())
    number = re.search(r"--num[_-]processes[ =](\d+)", command)
    if number is None or "--num_machines" in command:
        raise UserError("accelerate launch --cpu starts one process unless it goes through MPI (--mpirun_hostfile). "
                        f"Start several with: ACCELERATE_USE_CPU=true torchrun --nproc_per_node N {' '.join(sys.argv)}")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        del os.environ[name]
    os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", number[1], *sys.argv])
