"""The recipe of segmentation: what it adds to the groups of `selftrain/recipe.py`."""

from dataclasses import dataclass
from typing import Literal, Self

from selftrain.fields import always, never, student
from selftrain.recipe import Data, Evaluation, Optimiser, PyramidModel, Recipe, SelfTraining, refuse


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

    pseudo_threshold: float | Literal["auto"] = student(0.5)
    """least probability of a pseudo-label (the paper: 0.5); `auto`: for each class the probability that its
    surest pixels reach, a share of --pseudo-share (class-balanced self-training, Zou et al. 2018)"""
    pseudo_share: float = student(0.5)  # no part of a key but with `auto`: see `unused`
    """with --pseudo-threshold auto: share of each class's pixels that is kept, the surest first (Zou et al.:
    from 0.2 in the first round to 0.5)"""
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
class SegmentationRecipe(MaskEvaluation, PseudoMasks, MaskOptimiser, PyramidModel, VocData, Recipe):
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
        """Names of the fields that the values of other fields make idle.

        Soft labels have no threshold, and only the threshold `auto` asks for a share.
        """
        idle = {"pseudo_threshold"} if self.soft else set()
        return super().unused() | idle | (set() if self.pseudo_threshold == "auto" else {"pseudo_share"})

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
        refuse(
            not 0 < self.pseudo_share <= 1,
            f"--pseudo-share {self.pseudo_share} is not in (0, 1]; half of each class is 0.5",
        )
        refuse(
            self.soft and self.pseudo_threshold == "auto",
            "--soft keeps every pixel with its shares and has no threshold, so --pseudo-threshold auto has "
            "nothing to choose; drop one of the two",
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
