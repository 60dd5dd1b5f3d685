"""Which layout a folder of classified pictures is in, and its parts."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from selftrain.data.folders.dataset import HELD_OUT, ClassDataset, hold_out
from selftrain.data.folders.idx import is_idx, read_idx
from selftrain.data.folders.table import is_table, read_table
from selftrain.data.folders.tree import is_tree, read_tree
from selftrain.system.errors import UserError

_EXPECTED = """\
  {root}/train/CLASS/*.jpg  {root}/val/CLASS/*.jpg        folders of classes; test/CLASS/*.jpg: optional
or
  {root}/train.csv  {root}/val.csv                        with columns file and class; test.csv: optional
or
  {root}/train-images-idx3-ubyte  {root}/train-labels-idx1-ubyte    index files, as MNIST's; plain or .gz"""


class Kind(NamedTuple):
    """One of the layouts."""

    about: str
    fits: Callable[[Path], bool]
    read: Callable[[Path], dict[str, ClassDataset]]


KINDS = (
    Kind("folders of classes (train/CLASS)", is_tree, read_tree),
    Kind("a csv (train.csv or labels.csv)", is_table, read_table),
    Kind("index files (train-images-idx3-ubyte)", is_idx, read_idx),
)


def find_kind(root: Path) -> Kind:
    """The layout that a folder is in.

    Raises UserError where it is in none, with what is expected and what is there, or in more than one.
    """
    fitting = [kind for kind in KINDS if kind.fits(root)]
    if len(fitting) > 1:
        raise UserError(
            f"{root}: holds {' and '.join(kind.about for kind in fitting)}; move one of them elsewhere"
        )
    if not fitting:
        if not root.is_dir():
            raise UserError(f"{root}: no such folder. Expected:\n{_EXPECTED.format(root=root)}")
        there = "\n".join(f"  {entry.name}{'/' * entry.is_dir()}" for entry in sorted(root.iterdir())[:12])
        raise UserError(
            f"{root}: no classified pictures. Expected:\n{_EXPECTED.format(root=root)}\n"
            f"Found in {root}:\n{there or '  (nothing)'}"
        )
    return fitting[0]


def read_parts(
    root: Path, warn: Callable[[str], None] = lambda text: None
) -> tuple[ClassDataset, ClassDataset, ClassDataset]:
    """(train, val, test) of a folder; without a val part a tenth of train is val, without test val is.

    `warn` is called with a note in the former case.  Raises UserError for anything wrong with the data.
    """
    parts = find_kind(root).read(root)
    train, val = parts["train"], parts.get("val")
    if len(train.class_names) < 2:
        raise UserError(f"{root}: there is one class, {train.class_names[0]}; classification needs two")
    if val is None:
        train, val = hold_out(train)
        warn(
            f"there is no val part: {HELD_OUT:.0%} of each class's training pictures are val, {len(val)} in "
            "all"
        )
    return train, val, parts.get("test", val)
