"""The recipe of segmentation: what it adds to the groups of `selftrain/recipe.py`."""

from dataclasses import dataclass
from typing import Literal, Self

from selftrain.fields import always, never, student
from selftrain.recipe import Data, Evaluation, Optimiser, Recipe, SelfTraining, refuse


@dataclass(frozen=True)
class VocData(Data):
    """What is learned from, and how images are augmented."""

    # The labels themselves enter a cell's identity by their hash.
    protocol: Literal["train", "train_aug", "train+pseudo_aug"] = never("train")
    """which human labels, by their quality: `train` (PASCAL: 1,464 fine masks), `train_aug` (with the coarse
    SegmentationClassAug masks: 10,582), `train+pseudo_aug` (fine masks; the photos that have only coarse ones
    are the pool, their masks hidden)"""


@dataclass(frozen=True)
class MaskOptimiser(Optimiser):
    """How long and by which steps the network is trained, and where the loss is taken."""

    loss_at: Literal["image", "logits"] = always("image", neutral="image")
    """`image`: the logits are enlarged to the size of the labels; `logits`: of the labels those at the
    centres of the logits' cells count, one in 16 (the paper's released configuration; it trains faster)"""


@dataclass(frozen=True)
class PseudoMasks(SelfTraining):
    """The pseudo-labels of the pool, which are masks, and the students that learn from them."""

    teacher_scales: tuple[float, ...] = student((0.5, 0.75, 1.0, 1.25, 1.5, 1.75), neutral=(1.0,))
    """sizes of the input, as multiples of image_size, whose probabilities a teacher averages"""
    teacher_flip: bool = student(True, neutral=False)
    """a teacher averages over the mirrored photo as well"""
    soft: bool = student(False, neutral=False)
    """pseudo-labels are the two best classes and the better one's share of their sum, at a quarter of the
    photo's side; no threshold"""


@dataclass(frozen=True)
class MaskEvaluation(Evaluation):
    """When and how a network is scored."""

    eval_scales: tuple[float, ...] = always((1.0,), neutral=(1.0,))
    """the same as --teacher-scales for evaluation; one scale is the usual protocol of ablations"""
    eval_flip: bool = always(False, neutral=False)
    """evaluate on the mirrored photo as well"""


# As in `Recipe`, the last base's fields come first.
@dataclass(frozen=True)
class SegmentationRecipe(MaskEvaluation, PseudoMasks, MaskOptimiser, VocData, Recipe):
    """Everything that decides a run of segmentation."""

    task = "pascal"

    @property
    def label_source(self) -> str:
        """Which human labels are used; with `train+pseudo_aug` the coarse masks are hidden."""
        return self.protocol.partition("+")[0]

    @property
    def protocol_name(self) -> str:
        """Which labels and which pool are used: the value of --protocol."""
        return self.protocol

    @property
    def brings_pool(self) -> bool:
        """Whether the data set holds its own pool: the generated set, or the photos with coarse masks."""
        return super().brings_pool or self.protocol == "train+pseudo_aug"

    def unused(self) -> set[str]:
        """Names of the fields that the values of other fields make idle: soft labels have no threshold."""
        return super().unused() | ({"pseudo_threshold"} if self.soft else set())

    def check(self) -> Self:
        """Return the recipe.  Raises UserError, which names the options, if they contradict each other."""
        super().check()
        for option in ("teacher_scales", "eval_scales"):
            scales = getattr(self, option)
            refuse(
                not scales or not all(0.1 <= scale <= 4 for scale in scales),
                f"--{option.replace('_', '-')} {' '.join(map(str, scales))}: give one or more from 0.1 to 4",
            )
        refuse(
            self.batch_size // self.accumulate < 2 and self.image_size <= 128,
            f"one image a micro-batch at --image-size {self.image_size}: the coarsest map is 1 x 1, "
            "and batch norm needs two values; raise --batch-size, or lower --accumulate",
        )
        self._check_protocol()
        return self

    def _check_protocol(self) -> None:
        refuse(
            self.data == "shapes" and self.protocol != "train",
            f"--protocol {self.protocol} needs PASCAL's coarse masks; the generated set has one kind",
        )
        refuse(
            self.protocol == "train+pseudo_aug" and (bool(self.unlabeled) or not self.self_training),
            "--protocol train+pseudo_aug makes the photos with coarse masks the pool; "
            "drop --unlabeled and --no-self-training",
        )
