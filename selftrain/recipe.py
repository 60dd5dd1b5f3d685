"""A recipe: everything that decides a run, one field a line with its meaning below it.

Here stands what every task has, in groups: data, start, model, optimiser, self-training, evaluation, this
run.  What one task adds stands in the `recipe.py` of its folder in `selftrain/tasks/` (`DetectionRecipe`,
`SegmentationRecipe`).  Presets stand in `benchmarks/recipes/`, and `selftrain/options.py` makes command-line
options of the fields.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from selftrain.checks import check_recipe, refuse
from selftrain.data.shapes.draw import Shapes
from selftrain.fields import Group, always, identity_fields, neutral_fields, never, student

__all__ = ["Policy", "Recipe", "digest", "first_arms", "identity", "neutral_fields", "refuse"]

Policy = Literal["S1", "S2", "S3", "S4"]


@dataclass(frozen=True)
class Data(Group, title="data"):
    """What is learned from, and how images are augmented."""

    data: str = never("shapes")
    """folder of the data set (detection: COCO layout; segmentation: VOCdevkit), or `shapes`: one generated on
    the spot (--shapes.*)"""
    unlabeled: tuple[str, ...] = never(())
    """the pool: folders of photos, or `rest`: the training images outside --fraction, their labels hidden"""
    classes: tuple[str, ...] = never(())  # the labels enter a cell's identity by their hash
    """some of the data set's classes, by name: the others are neither trained nor scored, and images without
    these stay, as background; in masks the pixels of the others are background if there is a class of that
    name, which then stays, else ignored.  Default: all classes"""
    shapes: Shapes = never(Shapes())
    """parameters of the generated data set (only with --data shapes)"""
    fraction: float = 1.0
    """share of the labelled images that is used, in (0, 1]; nested: the 5 % set lies inside the 10 % set of
    the same seed"""
    image_ids: str | None = never(None)
    """a list of labelled images instead of --fraction: a file that a run left under fractions/; detection:
    one fold of Unbiased Teacher's lists as COCO_supervision.txt:PERCENT:FOLD; segmentation: a published text
    file of 1/2 to 1/16 of the photos"""
    policy: Policy = "S1"
    """augmentation policy, for teacher and student alike (Zoph et al. 2020: S1 flip and jitter .. S4
    RandAugment and large jitter)"""
    jitter: tuple[float, float] | None = always(None, neutral=None)
    """range of the policy's scale jitter, as shares of the image size; default: the policy's own (S1, S2: 0.8
    1.2; S3, S4: 0.5 2.0)"""
    magnitude: float = 10.0
    """RandAugment magnitude, 0 to 10 (paper: 10 for all models); only S4 uses it"""
    randaugment_ops: int = 2
    """RandAugment operations an image, N (not stated in the paper; the official default)"""


@dataclass(frozen=True)
class Start(Group, title="start"):
    """Where training starts from."""

    starts: tuple[str, ...] = never(("random", "imagenet"))
    """starting points: random, imagenet (supervised on ImageNet-1k alone), imagenet++ (Noisy Student
    weights), timm:MODEL.TAG (these weights of timm's hub; MODEL is the backbone), checkpoint:FILE"""
    freeze: tuple[str, ...] = never(("none",))
    """what of pre-trained weights stays as it is, an arm each: none; stages:N, what makes the N-th
    of the network's maps (a ResNet's first is its stem); backbone, all of it (of a classifier: the linear
    probe).  Batch norm stays too; random weights always move
    """
    weights: str | None = never(None)
    """file with the ImageNet weights of the backbone (.pth or .safetensors); default: an installed package or
    timm's hub"""
    seed: int = 0
    """fixes the fraction, the initial weights, the order of images and every augmentation"""


@dataclass(frozen=True)
class Model(Group, title="model"):
    """The network."""

    backbone: str = "resnet50"
    """any timm convolutional network with feature maps at the strides of the pyramid"""
    image_size: int = 640
    """side of the square input in pixels"""
    drop_path: float = always(0.0, neutral=0.0)
    """stochastic depth rate of the backbone"""
    bn_momentum: float = 0.1
    """share of the new batch in batch norm's running statistics (official: 0.003, for long schedules)"""


@dataclass(frozen=True)
class PyramidModel(Model):
    """The network: a feature pyramid on the maps of a backbone, with a head for each task."""

    neck: Literal["fpn", "nasfpn"] = "fpn"
    """feature pyramid: fpn, or nasfpn (levels 3 to 7; the paper's for segmentation)"""
    neck_repeats: int = 7
    """how often NAS-FPN's cell is stacked"""
    neck_separable: bool = always(False, neutral=False)
    """depthwise separable convolutions in NAS-FPN"""
    channels: int = 256
    """channels of the pyramid and of the heads"""
    head_depth: int = 4
    """3x3 convolutions before each predictor"""

    # a task's recipe has `Recipe` behind its groups, so that `super()` is that one here
    def unused(self) -> set[str]:
        """Names of the fields that the values of other fields make idle: only NAS-FPN has a cell."""
        return super().unused() | (set() if self.neck == "nasfpn" else {"neck_repeats", "neck_separable"})

    def counts(self) -> tuple[str, ...]:
        """Names of the fields that must be at least 1."""
        return *super().counts(), "channels", "neck_repeats"


@dataclass(frozen=True)
class Optimiser(Group, title="optimiser"):
    """How long and by which steps the network is trained."""

    steps: int = 45_000
    """optimizer steps of every cell, whatever the fraction: fractions share one budget"""
    batch_size: int = 256
    """labelled images a step, over all processes; a student adds pseudo_ratio times as many"""
    accumulate: int = always(1, neutral=1)
    """micro-batches a step (gradient accumulation); batch norm and the loss normaliser see one micro-batch"""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd with momentum (the paper) or adamw"""
    lr: float = 0.32
    """peak learning rate at a batch of lr_batch images; scaled linearly with batch_size"""
    lr_batch: int = 256
    """the batch size that lr is meant for"""
    momentum: float = always(0.9, neutral=0.0)
    """of sgd"""
    weight_decay: float = always(1e-4, neutral=0.0)
    """on convolution weights only, not on batch norm or biases"""
    warmup_steps: int | None = always(None, neutral=0)
    """steps of the linear warm-up from 1 % of the peak, after which a cosine leads to zero; default: the
    share of --steps that --warmup-share names"""
    warmup_share: float = never(1 / 45)  # a cell's identity holds the number of steps that it gives
    """share of the steps that the warm-up takes unless --warmup-steps names a number, in [0, 1)"""
    clip_norm: float = always(10.0, neutral=0.0)
    """largest gradient norm; 0 turns clipping off"""
    ema: float = always(0.9998, neutral=0.0)
    """decay of the averaged weights, which are what is evaluated and what teaches"""
    precision: Literal["no", "bf16", "fp16"] | None = always(None, neutral="no")
    """mixed precision; default: as `accelerate launch --mixed_precision` says"""


@dataclass(frozen=True)
class SelfTraining(Group, title="self-training"):
    """The pseudo-labels of the pool, and the students that learn from them."""

    self_training: bool = never(True)
    """also train a student of every start on the pool that its supervised run labels"""
    pseudo_threshold: float = student(0.5)
    """least score of a pseudo-label (the paper: 0.5)"""
    pseudo_ratio: float = student(1.0)
    """pseudo-labelled images per labelled image in a student's batch (paper: 1)"""
    alpha: float = student(1.0)
    """weight of the pseudo-labels in the normalised loss (paper App. B)"""
    loss_momentum: float = student(0.99)
    """of the moving averages in the normalised loss (not stated in the paper)"""
    student_start: Literal["own", "random", "teacher"] = student("own")
    """a student's first weights: those its teacher started from, fresh random ones, or the teacher's final
    ones"""
    rounds: int = never(1)
    """Noisy Student rounds: the student of one is the teacher of the next"""


@dataclass(frozen=True)
class Evaluation(Group, title="evaluation"):
    """When and how a network is scored."""

    eval_every: int = 2500
    """steps between evaluations of the averaged weights on the val split (the learning curve)"""
    eval_batch: int = 16
    """images a forward pass in evaluation and pseudo-labelling, a process"""


@dataclass(frozen=True)
class ThisRun(Group, title="this run"):
    """Where things lie and how they are run: nothing here changes a result."""

    name: str = never("recipe")
    """what the records call this recipe"""
    out: str = never("runs")
    """folder of the results; finished cells found there are not run again, interrupted ones go on where they
    were"""
    workers: int = never(2)
    """loader processes, a training process; 0 loads in the training process"""
    threads: int = never(0)
    """CPU threads of a training process; 0: the cores it may use over the processes of this host (`accelerate
    launch` alone sets 1)"""
    save_every: int = never(500)
    """steps between checkpoints (one is also written before every evaluation and when the run is told to
    stop)"""
    until: Literal["supervised", "labels", "students"] = never("students")
    """end with the supervised runs, or when each of them has labelled the pool, so that its students can
    start at once"""
    stale: Literal["refuse", "keep", "rerun"] = never("refuse")
    """what to do with finished or interrupted cells of other code than this: refuse to go on, keep them as
    they are, or run them again (the old ones are moved to OUT/stale)"""
    track: tuple[str, ...] = never(())
    """accelerate trackers, e.g. tensorboard (pip install selftrain[track])"""
    contrasts: str | None = never(None)
    """a study's file of registered contrasts (TOML); its hash goes into the record"""


# A dataclass takes the fields of its last base first, so the groups stand here from the last to the first.
@dataclass(frozen=True)
class Recipe(ThisRun, Evaluation, SelfTraining, Optimiser, Model, Start, Data):
    """What every task's recipe has; its fields are flat: `recipe.steps`."""

    task: ClassVar[str] = "task"
    """name of its task in `registry.py`; the program is called so too, and the cells' folders begin with it
    """

    def peak_lr(self) -> float:
        """The highest learning rate of the schedule, at this batch size (linear scaling rule)."""
        return self.lr * self.batch_size / self.lr_batch

    def warmup(self) -> int:
        """Steps of the warm-up: those of --warmup-steps, or else the recipe's share of all its steps."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        return min(round(self.warmup_share * self.steps), self.steps - 1)

    @property
    def label_source(self) -> str:
        """Which human labels are used, where a data set has several kinds."""
        return "train"

    @property
    def protocol_name(self) -> str:
        """Which labels and which pool are used, where a data set has several kinds."""
        return self.label_source

    @property
    def brings_pool(self) -> bool:
        """Whether the data set holds a pool of its own."""
        return self.data == "shapes"

    def unused(self) -> set[str]:
        """Names of the fields that the values of other fields make idle."""
        return set() if self.policy == "S4" else {"magnitude", "randaugment_ops"}

    def counts(self) -> tuple[str, ...]:
        """Names of the fields that must be at least 1."""
        return "batch_size", "accumulate", "eval_every", "eval_batch", "save_every", "image_size"

    def check(self) -> Self:
        """Return the recipe.  Raises UserError, which names the options, if they contradict each other."""
        check_recipe(self)
        return self


def first_arms(recipe: Recipe) -> list[tuple[str, str]]:
    """(start, freeze) of the supervised arms of a recipe, in the order they run.

    Random weights are always trained whole: a frozen part of them would learn nothing.
    """
    return [
        (start, freeze)
        for start in recipe.starts
        for freeze in (recipe.freeze if start != "random" else ("none",))
    ]


def identity(recipe: Recipe, *, student: bool) -> dict[str, Any]:
    """The fields that decide a cell's result, with their values, as plain json.

    Data, weights and labels enter a cell by their own hashes.
    student: whether the cell learns from pseudo-labels.
    """
    values, unused = dataclasses.asdict(recipe) | {"warmup_steps": recipe.warmup()}, recipe.unused()
    names = identity_fields(type(recipe), student=student)
    return {name: values[name] for name in names if name not in unused}


def digest(value: Any) -> str:
    """Hash of anything that json can hold: 12 hexadecimal digits."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=6).hexdigest()
