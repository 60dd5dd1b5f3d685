"""A recipe: everything that decides a run, one field a line.

Here what every task has; what one task adds stands beside it (`DetectionRecipe`, `SegmentationRecipe` in `selftrain/tasks/`).
Presets stand in `benchmarks/recipes/`.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import ClassVar, Literal

from selftrain.data.shapes.generate import Shapes
from selftrain.system.errors import UserError

Policy = Literal["S1", "S2", "S3", "S4"]


def refuse(when: bool, why: str) -> None:
    if when:
        raise UserError(why)


@dataclass(frozen=True)
class Recipe:
    task: ClassVar[str] = "task"  # begins the names of cells' folders
    # What a cell's identity leaves out: where things lie and how they are run, and the lists that span several cells.
    NOT_IDENTITY: ClassVar[frozenset[str]] = frozenset(
        {
            "name",
            "data",
            "unlabeled",
            "shapes",
            "image_ids",
            "starts",
            "self_training",
            "rounds",
            "weights",
            "out",
            "workers",
            "threads",
            "save_every",
            "track",
            "until",
            "stale",
        }
    )
    STUDENT_ONLY: ClassVar[frozenset[str]] = frozenset(
        {"pseudo_threshold", "pseudo_ratio", "alpha", "loss_momentum", "student_start"}
    )

    name: str = "recipe"
    """what the records call this recipe"""

    # ---- data -----------------------------------------------------------------------------------------------------------------
    data: str = "shapes"
    """folder of the data set (detection: COCO layout; segmentation: VOCdevkit), or `shapes`: one generated on the spot (--shapes.*)"""
    unlabeled: tuple[str, ...] = ()
    """the pool: folders of photos, or `rest`: the training images outside --fraction, their labels hidden"""
    shapes: Shapes = Shapes()
    """parameters of the generated data set (only with --data shapes)"""
    fraction: float = 1.0
    """share of the labelled images that is used, in (0, 1]; nested: the 5 % set lies inside the 10 % set of the same seed"""
    image_ids: str | None = None
    """a list of labelled images instead of --fraction: a file that a run left under fractions/; detection: one fold of Unbiased
    Teacher's lists as COCO_supervision.txt:PERCENT:FOLD; segmentation: a published text file of 1/2 to 1/16 of the photos"""

    # ---- arms -----------------------------------------------------------------------------------------------------------------
    starts: tuple[str, ...] = ("random", "imagenet")
    """starting points: random, imagenet, imagenet++ (Noisy Student weights), checkpoint:FILE"""
    self_training: bool = True
    """also train a student of every start on the pool that its supervised run labels"""
    weights: str | None = None
    """file with the ImageNet weights of the backbone (.pth or .safetensors); default: an installed package or timm's hub"""
    policy: Policy = "S1"
    """augmentation policy, for teacher and student alike (Zoph et al. 2020: S1 flip and jitter .. S4 RandAugment and large jitter)"""
    magnitude: float = 10.0
    """RandAugment magnitude, 0 to 10 (paper: 10 for all models); only S4 uses it"""
    randaugment_ops: int = 2
    """RandAugment operations an image, N (not stated in the paper; the official default)"""
    seed: int = 0
    """fixes the fraction, the initial weights, the order of images and every augmentation"""

    # ---- model ----------------------------------------------------------------------------------------------------------------
    backbone: str = "resnet50"
    """any timm convolutional network with feature maps at the strides of the pyramid"""
    image_size: int = 640
    """side of the square input in pixels"""
    neck: Literal["fpn", "nasfpn"] = "fpn"
    """feature pyramid: fpn, or nasfpn (levels 3 to 7; the paper's for segmentation)"""
    neck_repeats: int = 7
    """how often NAS-FPN's cell is stacked"""
    neck_separable: bool = False
    """depthwise separable convolutions in NAS-FPN"""
    channels: int = 256
    """channels of the pyramid and of the heads"""
    head_depth: int = 4
    """3x3 convolutions before each predictor"""
    drop_path: float = 0.0
    """stochastic depth rate of the backbone"""
    bn_momentum: float = 0.1
    """share of the new batch in batch norm's running statistics (official: 0.003, for long schedules)"""

    # ---- optimisation ---------------------------------------------------------------------------------------------------------
    steps: int = 45_000
    """optimizer steps of every cell, whatever the fraction: fractions share one budget"""
    batch_size: int = 256
    """labelled images a step, over all processes; a student adds pseudo_ratio times as many"""
    accumulate: int = 1
    """micro-batches a step (gradient accumulation); batch norm and the loss normaliser see one micro-batch"""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd with momentum (the paper) or adamw"""
    lr: float = 0.32
    """peak learning rate at a batch of lr_batch images; scaled linearly with batch_size"""
    lr_batch: int = 256
    """the batch size that lr is meant for"""
    momentum: float = 0.9
    """of sgd"""
    weight_decay: float = 1e-4
    """on convolution weights only, not on batch norm or biases"""
    warmup_steps: int = 1000
    """linear warm-up from 1 % of the peak, then cosine to zero"""
    clip_norm: float = 10.0
    """largest gradient norm; 0 turns clipping off"""
    ema: float = 0.9998
    """decay of the averaged weights, which are what is evaluated and what teaches"""
    precision: Literal["no", "bf16", "fp16"] | None = None
    """mixed precision; default: as `accelerate launch --mixed_precision` says"""

    # ---- self-training --------------------------------------------------------------------------------------------------------
    pseudo_threshold: float = 0.5
    """least score of a pseudo-label (the paper: 0.5)"""
    pseudo_ratio: float = 1.0
    """pseudo-labelled images per labelled image in a student's batch (paper: 1)"""
    alpha: float = 1.0
    """weight of the pseudo-labels in the normalised loss (paper App. B)"""
    loss_momentum: float = 0.99
    """of the moving averages in the normalised loss (not stated in the paper)"""
    student_start: Literal["own", "random", "teacher"] = "own"
    """a student's first weights: those its teacher started from, fresh random ones, or the teacher's final ones"""
    rounds: int = 1
    """Noisy Student rounds: the student of one is the teacher of the next"""

    # ---- evaluation -----------------------------------------------------------------------------------------------------------
    eval_every: int = 2500
    """steps between evaluations of the averaged weights on the val split (the learning curve)"""
    eval_batch: int = 16
    """images a forward pass in evaluation and pseudo-labelling, a process"""

    # ---- this run: nothing below changes a result ---------------------------------------------------------------------------------
    out: str = "runs"
    """folder of the results; finished cells found there are not run again, interrupted ones go on where they were"""
    workers: int = 2
    """loader processes, a training process; 0 loads in the training process"""
    threads: int = 0
    """CPU threads of a training process; 0: the cores it may use over the processes of this host (`accelerate launch` alone sets 1)"""
    save_every: int = 500
    """steps between checkpoints (one is also written before every evaluation and when the run is told to stop)"""
    until: Literal["supervised", "labels", "students"] = "students"
    """end with the supervised runs, or when each of them has labelled the pool, so that its students can start at once"""
    stale: Literal["refuse", "keep", "rerun"] = "refuse"
    """what to do with finished or interrupted cells of other code than this: refuse to go on, keep them as they are, or run them
    again (the old ones are moved to OUT/stale)"""
    track: tuple[str, ...] = ()
    """accelerate trackers, e.g. tensorboard (pip install selftrain[track])"""

    def peak_lr(self) -> float:
        return self.lr * self.batch_size / self.lr_batch

    @property
    def label_source(self) -> str:
        """Which human labels, where a data set has several kinds."""
        return "train"

    @property
    def protocol_name(self) -> str:
        """Which labels and which pool, where a data set has several kinds."""
        return self.label_source

    @property
    def brings_pool(self) -> bool:
        """Whether the data set holds a pool of its own."""
        return self.data == "shapes"

    def unused(self) -> set[str]:
        """Fields that the values of others make idle."""
        return (set() if self.policy == "S4" else {"magnitude", "randaugment_ops"}) | (
            set() if self.neck == "nasfpn" else {"neck_repeats", "neck_separable"}
        )

    def check(self) -> "Recipe":
        """Refuse contradictions before anything is loaded; the message names the options."""
        refuse(not 0 < self.fraction <= 1, f"--fraction {self.fraction} is not in (0, 1]; 10 % is 0.1")
        refuse(
            self.image_ids is not None and self.fraction != 1,
            "--image-ids and --fraction both say which images are labelled; give one of them",
        )
        refuse(self.steps < 1, f"--steps {self.steps} trains nothing; give at least 1")
        refuse(
            not self.starts,
            "--starts names no starting point; give one or more of random, imagenet, imagenet++, checkpoint:FILE",
        )
        refuse(
            len(set(self.starts)) < len(self.starts),
            f"--starts names one starting point twice: {' '.join(self.starts)}",
        )
        for start in self.starts:
            refuse(
                start not in ("random", "imagenet", "imagenet++") and not start.startswith("checkpoint:"),
                f"--starts {start} is unknown; the starting points are random, imagenet, imagenet++, checkpoint:FILE",
            )
        refuse(
            self.weights is not None and {"imagenet", "imagenet++"} <= set(self.starts),
            "--weights is one file, but --starts names both imagenet and imagenet++: the two arms would be one; name one of them",
        )
        refuse(not 0 <= self.magnitude <= 30, f"--magnitude {self.magnitude} is not in 0..30 (the paper: 10)")
        refuse(
            self.self_training and not self.unlabeled and not self.brings_pool,
            "self-training needs a pool: give --unlabeled DIR (folders of photos) or --unlabeled rest, or say --no-self-training",
        )
        refuse(
            "rest" in self.unlabeled and len(self.unlabeled) > 1,
            "--unlabeled rest does not mix with folders; give one or the other",
        )
        refuse(
            "rest" in self.unlabeled and self.fraction == 1 and self.image_ids is None and self.self_training,
            "--unlabeled rest with --fraction 1 leaves no unlabelled image; give a smaller --fraction or folders of photos",
        )
        refuse(
            isinstance(self.pseudo_threshold, float) and not 0 < self.pseudo_threshold < 1,
            f"--pseudo-threshold {self.pseudo_threshold} is not a score in (0, 1)",
        )
        refuse(
            self.rounds < 1, f"--rounds {self.rounds}: at least 1; to train no student say --no-self-training"
        )
        refuse(
            self.until != "students" and not self.self_training,
            f"--until {self.until} leaves the rest for later, but --no-self-training was given; drop one of the two",
        )
        refuse(
            self.rounds > 1 and not self.self_training,
            "--rounds counts self-training rounds, but --no-self-training was given; drop one of the two",
        )
        refuse(
            self.warmup_steps >= self.steps,
            f"--warmup-steps {self.warmup_steps} leaves nothing of --steps {self.steps}",
        )
        refuse(
            self.pseudo_ratio <= 0,
            f"--pseudo-ratio {self.pseudo_ratio} must be positive; to train without the pool say --no-self-training",
        )
        for option in (
            "batch_size",
            "accumulate",
            "eval_every",
            "eval_batch",
            "save_every",
            "image_size",
            "channels",
            "neck_repeats",
        ):
            refuse(
                getattr(self, option) < 1, f"--{option.replace('_', '-')} {getattr(self, option)}: at least 1"
            )
        return self


def identity(recipe: Recipe, *, student: bool) -> dict:
    """The fields that decide a cell's result, as plain json.  Data, weights and labels enter a cell by their own hashes."""
    left_out = recipe.NOT_IDENTITY | (set() if student else recipe.STUDENT_ONLY)
    left_out |= recipe.unused()
    return {name: value for name, value in dataclasses.asdict(recipe).items() if name not in left_out}


def digest(value) -> str:
    """Hash of anything json can hold: 12 hex digits."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=6).hexdigest()
