"""What a recipe of detection adds to every recipe."""

from dataclasses import dataclass
from typing import Literal

from selftrain.recipe import Recipe, refuse


@dataclass(frozen=True)
class DetectionRecipe(Recipe):
    task = "coco"
    NOT_IDENTITY = Recipe.NOT_IDENTITY | {
        "train_json",
        "val_json",
        "test_json",
        "train_images",
        "val_images",
        "test_images",
    }
    STUDENT_ONLY = Recipe.STUDENT_ONLY | {"pseudo_ignore", "pseudo_empty"}

    # ---- where the parts of the data set lie, if not in the usual places ------------------------------
    train_json: str | None = None
    """annotation file for training, relative to --data; default annotations/instances_train*.json"""
    val_json: str | None = None
    """annotation file for the learning curve and for tuning; default annotations/instances_val*.json"""
    test_json: str | None = None
    """annotation file for the reported score; default annotations/instances_test*.json if there is one, else
    the val file
    """
    train_images: str | None = None
    """folder of the training images, relative to --data; default train*"""
    val_images: str | None = None
    """folder of the validation images, relative to --data; default val*"""
    test_images: str | None = None
    """folder of the test images, relative to --data; default test*"""

    # ---- RetinaNet ------------------------------------------------------------------------------------
    min_level: int = 3
    """finest pyramid level (stride 2**level)"""
    max_level: int = 7
    """coarsest pyramid level; above 5 by stride-2 convolutions"""
    anchor_scale: float = 4.0
    """anchor side over stride (official: 4)"""

    # ---- losses (official constants) ------------------------------------------------------------------
    focal_alpha: float = 0.25
    """focal loss: weight of objects against background"""
    focal_gamma: float = 1.5
    """focal loss: focus on hard anchors"""
    huber_delta: float = 0.1
    """Huber loss on encoded box offsets: quadratic below"""
    box_weight: float = 50.0
    """weight of the box loss"""

    # ---- pseudo-boxes and evaluation ------------------------------------------------------------------
    pseudo_threshold: float | Literal["auto"] = 0.5
    """keep detections with at least this score; `auto`: the score at which boxes an image match the human
    labels'
    """
    pseudo_ignore: float | None = None
    """detections between this score and the threshold are neither object nor background; default: they are
    background
    """
    pseudo_empty: Literal["drop", "keep"] = "drop"
    """pool images in which the teacher finds nothing: left out, or used as background"""
    score_threshold: float = 0.05
    """least score of a detection in evaluation"""
    nms: float = 0.5
    """IoU above which the weaker of two boxes of a class is dropped, in evaluation and pseudo-labelling"""
    evaluator: Literal["fast", "pycocotools"] = "fast"
    """faster-coco-eval, or the reference it is tested against"""

    @property
    def levels(self) -> tuple[int, ...]:
        return tuple(range(self.min_level, self.max_level + 1))

    def check(self) -> "DetectionRecipe":
        super().check()
        refuse(
            not 2 <= self.min_level <= 5 or not self.min_level <= self.max_level <= 8,
            f"--min-level {self.min_level} --max-level {self.max_level}: the finest level lies in 2..5, the "
            "coarsest between it and 8",
        )
        refuse(not 0 < self.score_threshold < 1, f"--score-threshold {self.score_threshold} is not in (0, 1)")
        if self.pseudo_ignore is not None and self.pseudo_threshold != "auto":
            refuse(
                not 0 < self.pseudo_ignore < self.pseudo_threshold,
                f"--pseudo-ignore {self.pseudo_ignore} must lie between 0 and --pseudo-threshold "
                f"{self.pseudo_threshold}",
            )
        for option in ("pseudo_threshold", "pseudo_ignore"):
            value = getattr(self, option)
            refuse(
                isinstance(value, float) and self.self_training and value < self.score_threshold,
                f"--{option.replace('_', '-')} {value} lies below --score-threshold {self.score_threshold}, "
                "under which nothing is detected; lower that as well",
            )
        refuse(
            self.data == "shapes"
            and any(
                (
                    self.train_json,
                    self.val_json,
                    self.test_json,
                    self.train_images,
                    self.val_images,
                    self.test_images,
                )
            ),
            "--train-json and its like name files under --data DIR, but --data is the generated set; give "
            "--data DIR",
        )
        return self
