"""One folder for each task; `protocol.py` says what a task is.  A new task is registered here."""

from typing import Any


def known(recipe: Any) -> tuple[type, type]:
    """(task, source of data) of a recipe, by the name of its task.  Imported late: one task needs nothing of another."""
    if recipe.task == "coco":
        from selftrain.data.coco.source import CocoSource
        from selftrain.tasks.detection.task import Detection

        return Detection, CocoSource
    from selftrain.data.voc.source import VocSource
    from selftrain.tasks.segmentation.task import Segmentation

    return Segmentation, VocSource
