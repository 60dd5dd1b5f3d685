"""Every row of the table "a cell says what it is made of", trained for three steps on the toy.

    python -m tests.rows OUT straight           each row once
    python -m tests.rows OUT killed             each row in a process that is killed in every one of its
    cells, and started again torchrun --nproc_per_node 2 -m tests.rows OUT straight

Prints one json object: of each row, of each of its cells, the arm, the hash of the final weights and the
record but for what was measured.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from selftrain import checkpoint, record
from selftrain.cells import (
    Acquired,
    Cell,
    Feed,
    Final,
    Human,
    Pretrained,
    Pseudo,
    Random,
    Unlabelled,
    in_order,
)
from selftrain.engine import Engine
from selftrain.networks import first_network
from selftrain.run import run_cell
from selftrain.splits import Splits
from selftrain.system import files
from selftrain.system.files import file_hash
from selftrain.system.stop import Stop
from selftrain.train import Trainer
from selftrain.workplace import Workplace
from tests.toy import Greys, Toy, network, recipe

OLD, NEW, VAL, TEST, LATER = (
    Greys(range(0, 250, 10)),
    Greys(range(3, 240, 9)),
    Greys([0, 90, 250]),
    Greys([20, 130]),
    Greys([5, 77]),
)
POOL, CLASSES, GENERATED = Greys(range(1, 250, 7)), Greys(range(2, 250, 11), size=6), Greys(range(4, 250, 13))


def rows() -> dict[str, Cell]:
    """The last cell of each row of the table, by what it answers."""
    settings = recipe(
        steps=3, warmup_steps=1, eval_every=3, save_every=1, optimizer="sgd", ema=0.5, alpha=1.0
    )

    def human(data=OLD, name="human", batch=4):
        return Feed(name, data.hash, Human(), "brightness", batch)

    def cell(weights, *feeds, **more):
        return Cell(settings, weights, feeds, VAL.hash, **more)

    file = Path("given.pt")
    if not file.exists():  # weights made elsewhere
        files.write_atomic(file, lambda handle: torch.save(network().state_dict(), handle))
    given = Pretrained(f"checkpoint:{file}", file_hash(file))
    views = Feed("views", POOL.hash, Unlabelled(), "agreement", 8)
    joint = Feed("classes", CLASSES.hash, Human(), "dark", 4)
    pretraining = Cell(settings, Random(), (views,), VAL.hash, scored_on=())
    teacher = cell(given, human())
    student = cell(given, human(), Feed("pseudo", POOL.hash, Pseudo(teacher), "brightness", 8))
    together = cell(Random(), human(), joint)
    old = cell(Random(), human())
    return {
        "random": old,
        "a file": teacher,
        "frozen": cell(Final(pretraining, "trunk"), human(), freeze="backbone"),
        "self-training": student,
        "its second round": cell(
            Final(student), human(), Feed("pseudo", POOL.hash, Pseudo(student), "brightness", 4)
        ),
        "joint training": together,
        "joint and self-training": cell(
            Random(), human(), joint, Feed("pseudo", POOL.hash, Pseudo(together), "brightness", 4)
        ),
        "pre-training on the own pool": cell(Final(pretraining, "trunk"), human()),
        "in tandem": cell(Random(), human(), views),
        "bought labels": cell(
            Random(), human(), Feed("bought", POOL.hash, Acquired(old, "darkest", 6), "brightness", 4)
        ),
        "generated beside real": cell(Random(), human(), human(GENERATED, "generated")),
        "new after old, with rehearsal": cell(
            Final(old), human(NEW), human(OLD, "rehearsal"), scored_on=("test", "later")
        ),
    }


def main(out: Path, how: str) -> dict:
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(out)
    torch.set_num_threads(1)  # processes are forked: they must not share threads
    accelerator = Accelerator(cpu=True)
    engine = Engine(accelerator, Stop(accelerator))
    others = {data.hash: data for data in (NEW, CLASSES, GENERATED)} | {"later": LATER}
    splits = Splits(OLD, VAL, TEST, "test", POOL, "data", others)
    place = Workplace(engine, Toy(), splits, lambda text: None)
    with accelerator.main_process_first():
        answers = rows()
    found = {}
    for name, last in answers.items():
        cells = in_order([last])
        for cell in cells:
            if how == "killed" and not cell.finished:
                in_a_process_that_dies(place, cell)
            run_cell(place, cell, f"{name}: {cell.arm}")
        found[name] = {cell.key: product(cell) for cell in cells}
    return found


def in_a_process_that_dies(place: Workplace, cell: Cell) -> None:
    """Train in a forked process that kills itself at a step or inside a write, both drawn from the cell's
    key.
    """
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == -signal.SIGKILL, status
        return
    draw = random.Random(cell.key)
    owner, name, at = draw.choice(
        [(Trainer, "_step", draw.randint(1, 3)), (files.os, "replace", draw.randint(1, 5))]
    )
    real, calls = getattr(owner, name), 0

    def counted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(owner, name, counted)
    try:
        run_cell(place, cell, "dies")
    finally:
        os._exit(1)  # it should not have lived


def product(cell: Cell) -> dict:
    """What must not depend on interruptions."""
    written = record.to_json(record.read(cell.folder / "record.json"))
    state = checkpoint.load(cell.folder / "final.pt")["model"]
    weights = {name: tensor.double().flatten().tolist() for name, tensor in state.items()}
    first = first_network(Toy(), cell)[0].state_dict()
    moved = sum((state[name].double() - first[name].double()).square().sum().item() for name in state) ** 0.5
    written.pop("measured")
    return {"arm": str(cell.arm), "record": written, "weights": weights, "moved": moved}


if __name__ == "__main__":
    result = main(Path(sys.argv[1]), sys.argv[2])
    if int(os.environ.get("RANK", 0)) == 0:
        print(json.dumps(result))
