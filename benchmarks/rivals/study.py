"""The row of `speed.py` about studies: tables and figures of 1,000 records."""

import json
import subprocess
import sys
import time
from pathlib import Path

from rivals.measure import Line, Setting

ROOT = Path(__file__).resolve().parent.parent.parent
RECORDS, LIMIT = 1000, 60.0


def tables_and_figures(s: Setting) -> list[Line]:
    """`tables.py` and `figures.py` as a person starts them, on the committed records under as many seeds as make 1,000."""
    folder, made = s.folder / "records" / "many", 0
    folder.mkdir(parents=True)
    committed = [
        json.loads(file.read_text())
        for file in sorted((ROOT / "results" / "records" / "study").glob("*.json"))
    ]
    for again in range(-(-RECORDS // len(committed))):
        for record in committed[: RECORDS - made]:
            labels = record["pseudo_labels"]
            copy = record | {
                "key": f"{record['key']}-{again}",
                "settings": record["settings"] | {"seed": record["settings"]["seed"] + 1000 * again},
                "pseudo_labels": labels and labels | {"teacher_cell": f"{labels['teacher_cell']}-{again}"},
            }
            (folder / f"{made}.json").write_text(json.dumps(copy))
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
