"""The recipe of classification: what it adds to the groups of `selftrain/recipe.py`."""

from dataclasses import dataclass
from typing import Literal, Self

from selftrain.fields import always, never, student
from selftrain.recipe import Data, Model, Optimiser, Recipe, SelfTraining, refuse


@dataclass(frozen=True)
class ClassData(Data):
    """What is learned from, and how images are augmented."""

    data: str = never("shapes")
    """folder of the data set: train/CLASS/*.jpg and val/CLASS/*.jpg, or train.csv and val.csv with columns
    file and class, or index files as MNIST's; or `shapes`: one generated on the spot (--shapes.*)"""
    classes: tuple[str, ...] = never(())
    """not for classification: leave out the folders, or the rows, of other classes"""
    image_ids: str | None = never(None)
    """a list of labelled images instead of --fraction: a file that a run left under fractions/"""


@dataclass(frozen=True)
class ClassModel(Model):
    """The network: a whole backbone and a linear layer."""

    backbone: str = "resnet50"
    """any timm network, transformers too"""
    dropout: float = always(0.0, neutral=0.0)
    """share of the backbone's output that is dropped before the linear layer, in training"""


@dataclass(frozen=True)
class ClassOptimiser(Optimiser):
    """How long and by which steps the network is trained, and its loss."""

    label_smoothing: float = always(0.0, neutral=0.0)
    """share of every label that is spread over all classes (Xie et al. 2020: 0.1)"""


@dataclass(frozen=True)
class PseudoClasses(SelfTraining):
    """The pseudo-labels of the pool, which are classes, and the students that learn from them."""

    pseudo_labels: Literal["hard", "soft"] = student("hard")
    """hard: the teacher's best class; soft: its probabilities of all classes, with as many pictures of each
    class (Xie et al. 2020)"""
    pseudo_threshold: float | Literal["auto"] = student(0.5)
    """least probability of the best class of a pseudo-labelled picture; `auto`: of hard labels each class
    keeps its surest pictures, as many as its share of the human labels, none below 0.3 or twice chance; of
    soft ones 0.3"""


# As in `Recipe`, the last base's fields come first.
@dataclass(frozen=True)
class ClassificationRecipe(PseudoClasses, ClassOptimiser, ClassModel, ClassData, Recipe):
    """Everything that decides a run of classification."""

    task = "classify"

    def check(self) -> Self:
        """Return the recipe.  Raises UserError, which names the options, if they contradict each other."""
        super().check()
        refuse(
            bool(self.classes),
            "--classes: pictures of other classes have no background to become; leave out their folders, or "
            "their "
            "rows of the csv",
        )
        for option in ("dropout", "label_smoothing"):
            value = getattr(self, option)
            refuse(not 0 <= value < 1, f"--{option.replace('_', '-')} {value} is not in [0, 1)")
        refuse(
            self.batch_size // self.accumulate < 2 and self.image_size <= 32,
            f"one image a micro-batch at --image-size {self.image_size}: the coarsest map is 1 x 1, "
            "and batch norm needs two values; raise --batch-size, or lower --accumulate",
        )
        return self
