"""The programs of benchmarks/ as modules, for tests in their own process; by themselves they are scripts and
no package.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
ALONE = ("recipes", "classify", "coco", "pascal")  # how the scripts name each other

SHORTENED_DEMO = (
    "--steps 12 --warmup-steps 2 --batch-size 4 --eval-every 4 --shapes.train 20 --shapes.val 10 "
    "--shapes.test 10 --shapes.unlabeled 24"
).split()
"""options that make a demo of either task a matter of seconds"""


def load(name: str) -> ModuleType:
    """`coco`, `study` or `recipes.detection`: what `python benchmarks/coco.py` runs, as a module."""
    for each in ALONE:
        sys.modules.setdefault(each, importlib.import_module(f"benchmarks.{each}"))
    return importlib.import_module(f"benchmarks.{name}")


def path(name: str) -> str:
    """The file of a program: `coco` is benchmarks/coco.py."""
    return str(ROOT / "benchmarks" / f"{name}.py")
