"""After a change of code that is meant to change no result: which committed records are still results of the
code?

    python -m tests.revalidate

Trains the golden runs of tests/golden.json again.  Where all of a task's runs are equal bit for bit, that
task's records under results/ that were made by the code of the golden runs are stamped with today's code, and
so are the golden runs.  All other records stay stale. Records of an older schema are written in today's, with
today's keys.  Says what it changed; on a machine whose floats round otherwise than those of the golden runs
it changes nothing.
"""

import json
import sys
import tempfile
from pathlib import Path

import msgspec

from selftrain import provenance, record
from selftrain.cells import key_of, pseudo_batch, without_neutral
from selftrain.record import Need, Record
from selftrain.registry import deciding_modules, task_and_source
from selftrain.system.files import write_json
from selftrain.tasks.classification.recipe import ClassificationRecipe
from selftrain.tasks.detection.recipe import DetectionRecipe
from selftrain.tasks.segmentation.recipe import SegmentationRecipe
from tests.programs import ROOT
from tests.test_golden import GOLDEN, machine, measure

RECIPES = {
    "classify": (ClassificationRecipe, "classes"),
    "coco": (DetectionRecipe, "boxes"),
    "pascal": (SegmentationRecipe, "masks"),
}


def modules(task: str) -> list[str]:
    """The modules that a cell of this task begins with, as `Workplace.modules` gives them."""
    return list(deciding_modules(*task_and_source(task)))


def equal_runs(golden: dict) -> set[str]:
    """The tasks whose golden runs, trained again, are equal bit for bit."""
    unequal = set()
    for name, wanted in golden["runs"].items():
        with tempfile.TemporaryDirectory() as folder:
            same = measure(name, Path(folder)) == wanted
        print(f"{name}: {'equal' if same else 'other'}", flush=True)
        unequal |= set() if same else {name.partition("-")[0]}
    return set(RECIPES) - unequal


def today(r: Record, keys: dict[str, str]) -> Record:
    """The record with the key that its cell has today, and those of the cells that it needs (`keys`: theirs,
    by the former ones).
    """
    recipe, objective = RECIPES[r.task]
    start = [r.arm.start.partition(":")[0], r.hashes.weights] if r.arm.start != "random" else ["random"]
    batch = r.settings["batch_size"]
    feeds = [["human", r.hashes.train, ["human"], objective, batch]]
    needs = {role: Need(keys.get(need.cell, need.cell), need.final) for role, need in r.needs.items()}
    if "teacher" in needs:
        teacher = needs["teacher"].cell
        fresh = recipe(batch_size=batch, pseudo_ratio=r.settings["pseudo_ratio"])
        feeds.append(["pseudo", r.hashes.pool, ["pseudo", teacher], objective, pseudo_batch(fresh)])
        first = {"own": start, "random": ["random"], "teacher": ["final", "all", teacher]}
        start = first[r.settings["student_start"]]
    key = key_of(without_neutral(r.settings, recipe), start, feeds, r.hashes.val)
    origin = f"teacher {needs['teacher'].cell}" if r.origin.startswith("teacher ") else r.origin
    return msgspec.structs.replace(r, key=key, needs=needs, origin=origin)


def rewrite(files: list[Path], code: dict[str, dict], equal: set[str]) -> None:
    """Write the records of one study, or of one table, as they should stand today."""
    loaded = {file: record.read_many(file) for file in files}
    keys: dict[str, str] = {}
    for r in sorted((r for several in loaded.values() for r in several), key=lambda r: r.arm.rounds):
        keys[r.key] = today(r, keys).key
    moved = stamped = 0
    for file, several in loaded.items():
        new = []
        for r in several:
            made = today(r, keys)
            moved += made.key != r.key
            if r.task in equal and r.sources == code[r.task]:
                names = modules(r.task)
                made = msgspec.structs.replace(made, modules=names, sources=provenance.sources(tuple(names)))
                stamped += 1
            elif not r.modules:  # of a time when every file counted: nothing of it can be compared with today
                made = msgspec.structs.replace(made, sources={})
            new.append(record.to_json(made))
        several_in_file = isinstance(json.loads(file.read_text()), list)
        write_json(file, new if several_in_file else new[0])
    total = sum(map(len, loaded.values()))
    print(
        f"{files[0].parent.relative_to(ROOT)}: {total} records, {moved} keys changed, {stamped} valid under "
        "today's code"
    )


def main() -> int:
    golden = json.loads(GOLDEN.read_text())
    if golden["machine"] != machine():
        print("this machine's floats are not those of the golden runs: nothing can be shown here")
        return 1
    equal = equal_runs(golden)
    for folder in sorted({file.parent for file in (ROOT / "results").glob("records/*/*.json")}):
        rewrite(sorted(folder.glob("*.json")), golden["code"], equal)
    for file in sorted((ROOT / "results").glob("*/records.json")):
        rewrite([file], golden["code"], equal)
    golden["code"] |= {task: provenance.sources(tuple(modules(task))) for task in equal}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
