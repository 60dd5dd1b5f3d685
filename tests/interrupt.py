"""Runs a benchmark in forked processes that really die, for tests/test_interruption.py.

    python -m tests.interrupt TRIALS.json coco|pascal ARGUMENTS...

TRIALS: a list of {"out": folder, "event": name, "at": n, "signal": 9 or 15} or {"out": folder, "after":
seconds, "signal": 9}. Each trial starts the program, which sends itself the signal at the n-th such event (or
gets it after some seconds), and starts it again to the end.  Events: step (after an optimizer step), save
(inside write_atomic: at a write, fsync or rename), evaluate (a batch of evaluation), label (a batch of
pseudo-labelling).  Importing once and forking keeps twenty kills affordable.  Prints a json list of {"first":
wait status, "second": exit code, "counts": events seen in the first process}.
"""

import importlib
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from selftrain import parts, predict, train
from selftrain.system import files
from tests.programs import load


def count_events(event: str | None, at: int, number: int, log: Path) -> None:
    """Count events in this process, and send the signal at the chosen one."""
    counts = Counter()

    def happened(name: str) -> None:
        counts[name] += 1
        log.write_text(json.dumps(counts))
        if name == event and counts[name] == at:
            os.kill(os.getpid(), number)

    def wrap(owner, attribute: str, name: str, before: bool) -> None:
        real = getattr(owner, attribute)

        def wrapped(*args, **kwargs):
            if before:
                happened(name)
            result = real(*args, **kwargs)
            if not before:
                happened(name)
            return result

        setattr(owner, attribute, wrapped)

    parts.PART = 3  # of ten batches: parts are written while the pool is being labelled
    wrap(train.Trainer, "_step", "step", before=False)
    wrap(files.os, "fsync", "save", before=True)
    wrap(files.os, "replace", "save", before=True)
    real = predict.predict

    def counting(engine, branch, ask, batches, items, done, *, recipe, title):
        name = "label" if "label" in title else "evaluate"

        def counted(item, found):
            done(item, found)
            happened(name)

        real(engine, branch, ask, batches, items, counted, recipe=recipe, title=title)

    predict.predict = counting


def start(arguments: list[str], out: str, event: str | None, at: int, number: int) -> int:
    """Fork and run; the child's process id."""
    sys.stdout.flush()
    Path(f"{out}.counts").write_text("{}")
    child = os.fork()
    if child == 0:
        quiet = os.open(f"{out}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(quiet, 1), os.dup2(quiet, 2)
        code = 1
        try:
            count_events(event, at, number, Path(f"{out}.counts"))
            code = load(arguments[0]).cli([*arguments[1:], "--out", out])
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return child


def main() -> None:
    trials, arguments = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2:]
    # all imports come before the first fork: they take seconds
    program = load(arguments[0]).BENCHMARK
    assert program.task and program.source
    for late in ("run", "feeds", "stale", "report.run_table", "report.figures"):
        importlib.import_module(f"selftrain.{late}")
    results = []
    for trial in trials:
        child = start(
            arguments,
            trial["out"],
            trial.get("event"),
            trial.get("at", 0),
            trial.get("signal", signal.SIGKILL),
        )
        if "after" in trial:
            time.sleep(trial["after"])
            os.kill(child, trial["signal"])
        status = os.waitpid(child, 0)[1]
        result = {
            "first": os.waitstatus_to_exitcode(status),
            "counts": json.loads(Path(f"{trial['out']}.counts").read_text() or "{}"),
            "left": sorted(
                str(p.relative_to(trial["out"])) for p in Path(trial["out"]).rglob("*") if p.is_file()
            ),
        }
        if result["first"] != 0:
            child = start(arguments, trial["out"], None, 0, 0)
            result["second"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        results.append(result)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
