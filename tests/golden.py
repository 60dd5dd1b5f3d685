"""Runs a program in this process and prints, as one json object, what rearranging code must not move.

    python -m tests.golden coco|pascal FOLDER [options of the program]

losses      of every optimizer step, in the order of the cells, as exact hexadecimal floats
records     of every cell, by the name of its folder without the hash: scores, curve, hashes of first and
            final weights, of data and pool
labels      a hash of every label file and of all masks beside it, by the same name
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from selftrain import record
from selftrain.system.progress import Stage
from tests.programs import load

PINNED = (
    "arm",
    "origin",
    "metric",
    "metrics",
    "curve",
    "steps",
    "images",
    "labelled_images",
    "labels",
    "protocol",
    "scored_images",
)
HASHES = ("train", "val", "test", "pool", "weights", "final")


def main(program: str, folder: str, *options: str) -> dict:
    losses: list[str] = []
    shown = Stage.update

    def update(self, done, images, **numbers):
        losses.extend([numbers["loss"].hex()] if "loss" in numbers else [])
        shown(self, done, images, **numbers)

    Stage.update = update
    os.chdir(folder)
    code = load(program).cli([*options, "--threads", "1", "--workers", "0"])
    assert code == 0, f"exit code {code}"
    cells = sorted(Path("runs/cells").iterdir())
    return {
        "losses": losses,
        "records": {_name(cell): _record(cell) for cell in cells},
        "labels": {_name(cell): _labels(cell) for cell in cells if list(cell.rglob("labels-*"))},
    }


def _name(cell: Path) -> str:
    return cell.name.rpartition("-")[0]


def _record(cell: Path) -> dict:
    r = record.read(cell / "record.json")
    shown = {name: getattr(r, name) for name in PINNED} | {"arm": str(r.arm)}
    shown["origin"] = r.origin.split()[0]  # `teacher KEY`: its key is a matter of how declarations are hashed
    shown["resampled"] = _digest(r.resampled)
    shown["hashes"] = {name: getattr(r.hashes, name) for name in HASHES}
    if r.pseudo_labels:
        left_out = ("examples", "hash")  # the file's own hash stands in `labels`
        shown["pseudo_labels"] = {
            name: value for name, value in r.pseudo_labels.items() if name not in left_out
        } | {"teacher": r.needs["teacher"].final}
        shown["examples"] = _digest(r.pseudo_labels["examples"])
    return json.loads(json.dumps(shown))


def _digest(content) -> str:
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=8).hexdigest()


def _labels(cell: Path) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(
        [
            *cell.rglob("labels-*"),
            *cell.rglob("masks/**/*.png"),
        ],
        key=lambda file: file.name,
    ):
        digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
