"""Where a recipe's parts come from: what `splits.load` asks of each layout of data sets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from selftrain.data.dataset import Labelled
from selftrain.data.pool import Pool
from selftrain.data.shapes.files import Progress
from selftrain.data.shapes.generate import Layout, generate
from selftrain.system.errors import UserError

Warn = Callable[[str], None]


class Source(Protocol):
    """One layout of data sets; it alone knows which options of a recipe belong to it."""

    def generated(self, recipe: Any, progress: Progress | None) -> Path:
        """The folder of the generated set of the recipe, in this layout; drawn first where it is not there.

        `progress` is called with how many images are done, and how many there are in all.  Raises UserError
        where the folder holds anything else.
        """

    def read(self, recipe: Any, root: Path, warn: Warn) -> tuple[Labelled, Labelled, Labelled]:
        """(train, val, test) of the folder `root`; test is val where there is no labelled test part.

        Raises UserError for anything wrong with the data.
        """

    def import_ids(self, recipe: Any, train: Labelled) -> np.ndarray | None:
        """The labelled images that a published list names; None where --image-ids is no such list."""

    def own_pool(self, recipe: Any, root: Path, train: Labelled) -> Pool:
        """The pool that comes with the data set, such as a generated one's."""

    def hidden_labels(self, recipe: Any, pool: Pool, class_names: tuple[str, ...]) -> Labelled | None:
        """What is known of the images of a pool of folders, in its order, to measure pseudo-labels by.

        `class_names` are those of the human labels.  None where nothing is known.  Raises UserError for
        labels that are broken.
        """


def generated_shapes(recipe: Any, layout: Layout, progress: Progress | None) -> Path:
    """The folder of a recipe's generated set in a layout that `generate` knows; see `Source.generated`."""
    name = "shapes" if layout == "coco" else f"shapes-{layout}"
    folder = Path(recipe.out) / f"{name}-{recipe.shapes.digest()}"
    try:
        return generate(folder, recipe.shapes, progress=progress, layout=layout)
    except FileExistsError as error:
        raise UserError(str(error)) from error
