"""The recipe of detection: what it adds to the groups of `selftrain/recipe.py`."""

from dataclasses import dataclass
from typing import Literal, Self

from selftrain.fields import never, student
from selftrain.recipe import Data, Evaluation, Optimiser, PyramidModel, Recipe, SelfTraining, refuse

FILES = ("train_json", "val_json", "test_json", "train_images", "val_images", "test_images")


@dataclass(frozen=True)
class CocoData(Data):
    """What is learned from, where its parts lie if not in the usual places, and how images are augmented."""

    train_json: str | None = never(None)
    """annotation file for training, relative to --data; default annotations/instances_train*.json"""
    val_json: str | None = never(None)
    """annotation file for the learning curve and for tuning; default annotations/instances_val*.json"""
    test_json: str | None = never(None)
    """annotation file for the reported score; default annotations/instances_test*.json if there is one, else
    the val file"""
    train_images: str | None = never(None)
    """folder of the training images, relative to --data; default train*"""
    val_images: str | None = never(None)
    """folder of the validation images, relative to --data; default val*"""
    test_images: str | None = never(None)
    """folder of the test images, relative to --data; default test*"""


@dataclass(frozen=True)
class RetinaNetModel(PyramidModel):
    """The network: RetinaNet."""

    min_level: int = 3
    """finest pyramid level (stride 2**level)"""
    max_level: int = 7
    """coarsest pyramid level; above 5 by stride-2 convolutions"""
    anchor_scale: float = 4.0
    """anchor side over stride (official: 4)"""


@dataclass(frozen=True)
class BoxOptimiser(Optimiser):
    """How long and by which steps the network is trained, and the loss with its official constants."""

    focal_alpha: float = 0.25
    """focal loss: weight of objects against background"""
    focal_gamma: float = 1.5
    """focal loss: focus on hard anchors"""
    huber_delta: float = 0.1
    """Huber loss on encoded box offsets: quadratic below"""
    box_weight: float = 50.0
    """weight of the box loss"""


@dataclass(frozen=True)
class PseudoBoxes(SelfTraining):
    """The pseudo-labels of the pool, which are boxes, and the students that learn from them."""

    pseudo_threshold: float | Literal["auto", "auto-global"] = student(0.5)
    """keep detections with at least this score; `auto`: for each class the score at which
    its boxes an image match the human labels'; `auto-global`: one such score for all classes together, at
    which a class that the teacher is less sure of may vanish"""
    pseudo_ignore: float | None = student(None, neutral=None)
    """detections between this score and the threshold are neither object nor background; default: they are
    background"""
    pseudo_empty: Literal["drop", "keep"] = student("drop")
    """pool images in which the teacher finds nothing: left out, or used as background"""


@dataclass(frozen=True)
class BoxEvaluation(Evaluation):
    """When and how a network is scored, and which detections count."""

    score_threshold: float = 0.05
    """least score of a detection in evaluation and of a raw box that a teacher leaves for pseudo-labels"""
    nms: float = 0.5
    """IoU above which the weaker of two boxes of a class is dropped, in evaluation and pseudo-labelling"""
    evaluator: Literal["fast", "pycocotools"] = "fast"
    """hotcoco, or the reference that it equals bit for bit"""


# As in `Recipe`, the last base's fields come first.
@dataclass(frozen=True)
class DetectionRecipe(BoxEvaluation, PseudoBoxes, BoxOptimiser, RetinaNetModel, CocoData, Recipe):
    """Everything that decides a run of detection."""

    task = "coco"

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels of the pyramid, finest first; the stride of a level is 2**level pixels."""
        return tuple(range(self.min_level, self.max_level + 1))

    def check(self) -> Self:
        """Return the recipe.  Raises UserError, which names the options, if they contradict each other."""
        super().check()
        refuse(
            not 2 <= self.min_level <= 5 or not self.min_level <= self.max_level <= 8,
            f"--min-level {self.min_level} --max-level {self.max_level}: the finest level lies in 2..5, "
            "the coarsest between it and 8",
        )
        self._check_scores()
        refuse(
            self.data == "shapes" and any(getattr(self, name) for name in FILES),
            "--train-json and its like name files under --data DIR, but --data is the generated set; "
            "give --data DIR",
        )
        return self

    def _check_scores(self) -> None:
        refuse(not 0 < self.score_threshold < 1, f"--score-threshold {self.score_threshold} is not in (0, 1)")
        if self.pseudo_ignore is not None and not isinstance(self.pseudo_threshold, str):
            refuse(
                not 0 < self.pseudo_ignore < self.pseudo_threshold,
                f"--pseudo-ignore {self.pseudo_ignore} must lie between 0 "
                f"and --pseudo-threshold {self.pseudo_threshold}",
            )
        for option in ("pseudo_threshold", "pseudo_ignore"):
            value = getattr(self, option)
            refuse(
                isinstance(value, float) and self.self_training and value < self.score_threshold,
                f"--{option.replace('_', '-')} {value} lies below --score-threshold {self.score_threshold}, "
                "under which nothing is detected; lower that as well",
            )
