"""Rows about studies: tables and figures of 1,000 records, against a limit of one minute."""

import json
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from rivals.measure import Line, Options
from selftrain import record
from selftrain.record import Need, Record

ROOT = Path(__file__).resolve().parent.parent.parent
RECORDS = 1000
LIMIT = 60.0
"""Seconds"""


def tables_and_figures(options: Options) -> list[Line]:
    """`tables.py` and `figures.py` as a person starts them."""
    folder = options.folder / "records" / "many"
    folder.mkdir(parents=True)
    write_records(folder)
    seconds = {}
    for program, out in (("tables.py", "results"), ("figures.py", "results/figures")):
        command = [sys.executable, str(ROOT / "benchmarks" / program), "--studies", str(folder.parent)]
        command += ["--out", str(options.folder / out)]
        seconds[program] = []
        for _ in range(1 if options.quick else options.repeats):
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[program].append(time.perf_counter() - began)
    return [
        Line(f"`{program}` of {RECORDS:,} records", "a minute", "s", 1.0, costs, [LIMIT] * len(costs))
        for program, costs in seconds.items()
    ]


def write_records(folder: Path) -> None:
    """The committed records of the study, again and again under other seeds until they are 1,000 files."""
    files = sorted((ROOT / "results" / "records" / "study").glob("*.json"))
    committed = [record.read(file) for file in files]
    for number in range(RECORDS):
        again, place = divmod(number, len(committed))
        content = record.to_json(_under_another_seed(committed[place], again))
        (folder / f"{number}.json").write_text(json.dumps(content))


def _under_another_seed(one: Record, again: int) -> Record:
    """The record as it would be of the `again`-th repetition, made from cells of the same repetition."""
    return msgspec.structs.replace(
        one,
        key=f"{one.key}-{again}",
        settings=one.settings | {"seed": one.seed + 1000 * again},
        needs={role: Need(f"{need.cell}-{again}", need.final) for role, need in one.needs.items()},
    )
