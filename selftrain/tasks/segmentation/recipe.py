"""What a recipe of segmentation adds to every recipe."""

from dataclasses import dataclass
from typing import Literal

from selftrain.recipe import Recipe, refuse


@dataclass(frozen=True)
class SegmentationRecipe(Recipe):
    task = "pascal"
    NOT_IDENTITY = Recipe.NOT_IDENTITY | {"protocol"}  # the labels themselves enter by their hash
    STUDENT_ONLY = Recipe.STUDENT_ONLY | {"soft", "teacher_scales", "teacher_flip"}

    # ---- labels and pseudo-labels ---------------------------------------------------------------------
    protocol: Literal["train", "train_aug", "train+pseudo_aug"] = "train"
    """which human labels, by their quality: `train` (PASCAL: 1,464 fine masks), `train_aug` (with the coarse
    SegmentationClassAug masks: 10,582), `train+pseudo_aug` (fine masks; the photos that have only coarse ones
    are the pool, their masks hidden)
    """
    teacher_scales: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    """sizes of the input, as multiples of image_size, whose probabilities a teacher averages"""
    teacher_flip: bool = True
    """a teacher averages over the mirrored photo as well"""
    soft: bool = False
    """pseudo-labels are the two best classes and the better one's share of their sum, at a quarter of the
    photo's side; no threshold
    """
    eval_scales: tuple[float, ...] = (1.0,)
    """the same for evaluation; one scale is the usual protocol of ablations"""
    eval_flip: bool = False
    """evaluate on the mirrored photo as well"""

    def unused(self) -> set[str]:
        return super().unused() | ({"pseudo_threshold"} if self.soft else set())

    def check(self) -> "SegmentationRecipe":
        super().check()
        for option in ("teacher_scales", "eval_scales"):
            scales = getattr(self, option)
            refuse(
                not scales or not all(0.1 <= scale <= 4 for scale in scales),
                f"--{option.replace('_', '-')} {' '.join(map(str, scales))}: give one or more from 0.1 to 4",
            )
        refuse(
            self.batch_size // self.accumulate < 2 and self.image_size <= 128,
            f"one image a micro-batch at --image-size {self.image_size}: the coarsest map is 1 x 1, and "
            "batch norm needs two values; raise --batch-size, or lower --accumulate",
        )
        refuse(
            self.data == "shapes" and self.protocol != "train",
            f"--protocol {self.protocol} needs PASCAL's coarse masks; the generated set has one kind",
        )
        refuse(
            self.protocol == "train+pseudo_aug" and (bool(self.unlabeled) or not self.self_training),
            "--protocol train+pseudo_aug makes the photos with coarse masks the pool; drop --unlabeled and "
            "--no-self-training",
        )
        return self

    @property
    def label_source(self) -> str:
        return self.protocol.partition("+")[0]  # of train+pseudo_aug the coarse masks are hidden

    @property
    def protocol_name(self) -> str:
        return self.protocol

    @property
    def brings_pool(self) -> bool:
        return super().brings_pool or self.protocol == "train+pseudo_aug"
