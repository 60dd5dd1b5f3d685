"""Where a recipe's parts come from: what `splits.load` asks of each layout of data sets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from selftrain.data.dataset import Labelled
from selftrain.data.pool import Pool

Warn = Callable[[str], None]


class Source(Protocol):
    """One layout of data sets; it alone knows which options of a recipe belong to it."""

    layout: str
    """name of the layout: coco or voc"""

    def read(self, recipe: Any, root: Path, warn: Warn) -> tuple[Labelled, Labelled, Labelled]:
        """(train, val, test) of the folder `root`; test is val where there is no labelled test part.

        Raises UserError for anything wrong with the data.
        """

    def import_ids(self, recipe: Any, train: Labelled) -> np.ndarray | None:
        """The labelled images that a published list names; None where --image-ids is no such list."""

    def own_pool(self, recipe: Any, root: Path, train: Labelled) -> Pool:
        """The pool that comes with the data set, such as a generated one's."""
