"""The tasks by name: what `prepare` needs to know of each.

A new task is a line here, and a program in benchmarks/.
"""

import importlib
from typing import Any

from selftrain.system.errors import UserError

# name of a recipe's task -> (task, source of its data), as module:class; imported late, since no task needs
# another
TASKS = {
    "classify": (
        "selftrain.tasks.classification.task:Classification",
        "selftrain.data.folders.source:FolderSource",
    ),
    "coco": ("selftrain.tasks.detection.task:Detection", "selftrain.data.coco.source:CocoSource"),
    "pascal": ("selftrain.tasks.segmentation.task:Segmentation", "selftrain.data.voc.source:VocSource"),
}


def task_and_source(name: str) -> tuple[Any, Any]:
    """The classes of a task and of the source of its data.

    Raises UserError for a task that is not registered.
    """
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}; there are: {', '.join(TASKS)}")
    found = (entry.partition(":") for entry in TASKS[name])
    return tuple(getattr(importlib.import_module(module), attribute) for module, _, attribute in found)


def deciding_modules(task: type, source: type | None) -> tuple[str, ...]:
    """The modules that a cell of this task, with data from this source, begins with; see `provenance`."""
    kinds = [task, *([source] if source else [])]
    return ("selftrain.run", "selftrain.splits", *(kind.__module__ for kind in kinds))
