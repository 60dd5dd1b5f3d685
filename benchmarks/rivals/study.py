"""The row of `speed.py` about studies: tables and figures of 1,000 records."""

import subprocess
import sys
import time
from pathlib import Path

import msgspec

from rivals.measure import Line, Setting
from selftrain.record import Record, read, write

ROOT = Path(__file__).resolve().parent.parent.parent
RECORDS, LIMIT = 1000, 60.0


def _with_another_seed(record: Record, again: int) -> Record:
    """A copy of a record, made from copies of the same round."""
    needs = {
        role: msgspec.structs.replace(need, cell=f"{need.cell}-{again}")
        for role, need in record.needs.items()
    }
    settings = record.settings | {"seed": record.seed + 1000 * again}
    return msgspec.structs.replace(record, key=f"{record.key}-{again}", settings=settings, needs=needs)


def tables_and_figures(s: Setting) -> list[Line]:
    """`tables.py` and `figures.py` as a person starts them.

    They read the committed records, copied under as many seeds as make 1,000.
    """
    folder, made = s.folder / "records" / "many", 0
    folder.mkdir(parents=True)
    committed = [read(file) for file in sorted((ROOT / "results" / "records" / "study").glob("*.json"))]
    for again in range(-(-RECORDS // len(committed))):
        for record in committed[: RECORDS - made]:
            write(folder / f"{made}.json", _with_another_seed(record, again))
            made += 1
    seconds = {}
    for program, out in (("tables.py", "results"), ("figures.py", "results/figures")):
        seconds[program] = []
        for _ in range(1 if s.quick else s.repeats):
            began = time.perf_counter()
            subprocess.run(
                [
                    sys.executable,
                    str(ROOT / "benchmarks" / program),
                    "--studies",
                    str(folder.parent),
                    "--out",
                    str(s.folder / out),
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            seconds[program].append(time.perf_counter() - began)
    return [
        Line(f"`{program}` of {RECORDS:,} records", "a minute", "s", 1.0, found, [LIMIT] * len(found))
        for program, found in seconds.items()
    ]
