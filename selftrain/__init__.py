"""Random init, ImageNet pre-training or self-training: the loop that answers which, on anyone's data.

The names below are what a script needs (README.md, "From Python"); each is imported when it is first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "ClassificationRecipe": "selftrain.tasks.classification.recipe",
    "DetectionRecipe": "selftrain.tasks.detection.recipe",
    "SegmentationRecipe": "selftrain.tasks.segmentation.recipe",
    "Shapes": "selftrain.data.shapes.draw",
    "prepare": "selftrain.program",
    "run_cell": "selftrain.run",
}
__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'selftrain' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)
