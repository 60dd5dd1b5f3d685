"""A recipe: everything that decides a run, one field a line.  Presets stand in `benchmarks/recipes.py`."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from selftrain.data.shapes import Shapes
from selftrain.errors import UserError

Policy = Literal["S1", "S2", "S3", "S4"]


@dataclass(frozen=True)
class Recipe:
    name: str = "recipe"
    """what the records call this recipe"""

    # ---- data -----------------------------------------------------------------------------------------------------------------
    data: str = "shapes"
    """a folder in COCO layout, or `shapes`: a data set generated on the spot (its parameters: --shapes.*)"""
    unlabeled: tuple[str, ...] = ()
    """the pool: folders of photos, or `rest`: the training images outside --fraction, their labels hidden"""
    train_json: str | None = None
    """annotation file for training, relative to --data; default annotations/instances_train*.json"""
    val_json: str | None = None
    """annotation file for the learning curve and for tuning; default annotations/instances_val*.json"""
    test_json: str | None = None
    """annotation file for the reported score; default annotations/instances_test*.json if there is one, else the val file"""
    train_images: str | None = None
    """folder of the training images, relative to --data; default train*"""
    val_images: str | None = None
    """folder of the validation images, relative to --data; default val*"""
    test_images: str | None = None
    """folder of the test images, relative to --data; default test*"""
    shapes: Shapes = Shapes()
    """parameters of the generated data set (only with --data shapes)"""
    fraction: float = 1.0
    """share of the labelled images that is used, in (0, 1]; nested: the 5 % set lies inside the 10 % set of the same seed"""
    image_ids: str | None = None
    """a list of labelled images instead of --fraction: a file that a run left under fractions/, or one fold of Unbiased Teacher's
    lists as COCO_supervision.txt:PERCENT:FOLD"""

    # ---- arms -----------------------------------------------------------------------------------------------------------------
    starts: tuple[str, ...] = ("random", "imagenet")
    """starting points: random, imagenet, imagenet++ (Noisy Student weights), checkpoint:FILE"""
    self_training: bool = True
    """also train a student of every start on the pool that its supervised run labels"""
    weights: str | None = None
    """file with the ImageNet weights of the backbone (.pth or .safetensors); default: an installed package or timm's hub"""
    policy: Policy = "S1"
    """augmentation policy, for teacher and student alike (paper.md 1.9: S1 flip and jitter .. S4 RandAugment and large jitter)"""
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
    min_level: int = 3
    """finest pyramid level (stride 2**level)"""
    max_level: int = 7
    """coarsest pyramid level; above 5 by stride-2 convolutions"""
    channels: int = 256
    """channels of the pyramid and of the heads"""
    head_depth: int = 4
    """3x3 convolutions before each predictor"""
    anchor_scale: float = 4.0
    """anchor side over stride (official: 4)"""
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

    # ---- losses (official constants, paper.md 2.2) -----------------------------------------------------------------------------
    focal_alpha: float = 0.25
    """focal loss: weight of objects against background"""
    focal_gamma: float = 1.5
    """focal loss: focus on hard anchors"""
    huber_delta: float = 0.1
    """Huber loss on encoded box offsets: quadratic below"""
    box_weight: float = 50.0
    """weight of the box loss"""

    # ---- self-training --------------------------------------------------------------------------------------------------------
    pseudo_threshold: float | Literal["auto"] = 0.5
    """keep detections with at least this score; `auto`: the score at which boxes an image match the human labels'"""
    pseudo_ignore: float | None = None
    """detections between this score and the threshold are neither object nor background; default: they are background"""
    pseudo_empty: Literal["drop", "keep"] = "drop"
    """pool images in which the teacher finds nothing: left out, or used as background"""
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
    score_threshold: float = 0.05
    """least score of a detection in evaluation"""
    nms: float = 0.5
    """IoU above which the weaker of two boxes of a class is dropped, in evaluation and pseudo-labelling"""
    evaluator: Literal["fast", "pycocotools"] = "fast"
    """faster-coco-eval, or the reference it is tested against"""

    # ---- this run: nothing below changes a result ---------------------------------------------------------------------------------
    out: str = "runs"
    """folder of the results; finished cells found there are not run again, interrupted ones go on where they were"""
    workers: int = 2
    """loader processes, a training process; 0 loads in the training process"""
    threads: int = 0
    """CPU threads of a training process; 0: the cores it may use over the processes of this host (`accelerate launch` alone sets 1)"""
    save_every: int = 500
    """steps between checkpoints (one is also written before every evaluation and when the run is told to stop)"""
    track: tuple[str, ...] = ()
    """accelerate trackers, e.g. tensorboard (pip install selftrain[track])"""

    @property
    def levels(self) -> tuple[int, ...]:
        return tuple(range(self.min_level, self.max_level + 1))

    def peak_lr(self) -> float:
        return self.lr * self.batch_size / self.lr_batch

    def check(self) -> "Recipe":
        """Refuse contradictions before anything is loaded; the message names the options."""
        def refuse(when: bool, why: str) -> None:
            if when:
                raise UserError(why)

        refuse(not 0 < self.fraction <= 1, f"--fraction {self.fraction} is not in (0, 1]; 10 % is 0.1")
        refuse(self.image_ids is not None and self.fraction != 1, "--image-ids and --fraction both say which images are labelled; give one of them")
        refuse(self.steps < 1, f"--steps {self.steps} trains nothing; give at least 1")
        refuse(not self.starts, "--starts names no starting point; give one or more of random, imagenet, imagenet++, checkpoint:FILE")
        refuse(len(set(self.starts)) < len(self.starts), f"--starts names one starting point twice: {' '.join(self.starts)}")
        for start in self.starts:
            refuse(start not in ("random", "imagenet", "imagenet++") and not start.startswith("checkpoint:"),
                   f"--starts {start} is unknown; the starting points are random, imagenet, imagenet++, checkpoint:FILE")
        refuse(self.weights is not None and {"imagenet", "imagenet++"} <= set(self.starts),
               "--weights is one file, but --starts names both imagenet and imagenet++: the two arms would be one; name one of them")
        refuse(not 0 < self.score_threshold < 1, f"--score-threshold {self.score_threshold} is not in (0, 1)")
        refuse(not 0 <= self.magnitude <= 30, f"--magnitude {self.magnitude} is not in 0..30 (the paper: 10)")
        refuse(self.self_training and not self.unlabeled and self.data != "shapes",
               "self-training needs a pool: give --unlabeled DIR (folders of photos) or --unlabeled rest, or say --no-self-training")
        refuse("rest" in self.unlabeled and len(self.unlabeled) > 1, "--unlabeled rest does not mix with folders; give one or the other")
        refuse("rest" in self.unlabeled and self.fraction == 1 and self.image_ids is None and self.self_training,
               "--unlabeled rest with --fraction 1 leaves no unlabelled image; give a smaller --fraction or folders of photos")
        refuse(not 2 <= self.min_level <= 5 or not self.min_level <= self.max_level <= 8,
               f"--min-level {self.min_level} --max-level {self.max_level}: the finest level lies in 2..5, the coarsest between it and 8")
        if self.pseudo_ignore is not None and self.pseudo_threshold != "auto":
            refuse(not 0 < self.pseudo_ignore < self.pseudo_threshold,
                   f"--pseudo-ignore {self.pseudo_ignore} must lie between 0 and --pseudo-threshold {self.pseudo_threshold}")
        for option in ("pseudo_threshold", "pseudo_ignore"):
            value = getattr(self, option)
            refuse(isinstance(value, float) and self.self_training and value < self.score_threshold,
                   f"--{option.replace('_', '-')} {value} lies below --score-threshold {self.score_threshold}, under which nothing is detected; lower that as well")
        if self.pseudo_threshold != "auto":
            refuse(not 0 < self.pseudo_threshold < 1, f"--pseudo-threshold {self.pseudo_threshold} is not a score in (0, 1), nor auto")
        refuse(self.rounds < 1, f"--rounds {self.rounds}: at least 1; to train no student say --no-self-training")
        refuse(self.rounds > 1 and not self.self_training, "--rounds counts self-training rounds, but --no-self-training was given; drop one of the two")
        refuse(self.warmup_steps >= self.steps, f"--warmup-steps {self.warmup_steps} leaves nothing of --steps {self.steps}")
        refuse(self.pseudo_ratio <= 0, f"--pseudo-ratio {self.pseudo_ratio} must be positive; to train without the pool say --no-self-training")
        refuse(self.data == "shapes" and any((self.train_json, self.val_json, self.test_json, self.train_images, self.val_images, self.test_images)),
               "--train-json and its like name files under --data DIR, but --data is the generated set; give --data DIR")
        for option in ("batch_size", "accumulate", "eval_every", "eval_batch", "save_every", "image_size", "channels"):
            refuse(getattr(self, option) < 1, f"--{option.replace('_', '-')} {getattr(self, option)}: at least 1")
        return self


# What a cell's identity leaves out: where things lie and how they are run, and the lists that span several cells.
NOT_IDENTITY = {"name", "data", "unlabeled", "train_json", "val_json", "test_json", "train_images", "val_images", "test_images", "shapes", "image_ids",
                "starts", "self_training", "rounds", "weights", "out", "workers", "threads", "save_every", "track"}
STUDENT_ONLY = {"pseudo_threshold", "pseudo_ignore", "pseudo_empty", "pseudo_ratio", "alpha", "loss_momentum", "student_start"}


def identity(recipe: Recipe, *, student: bool) -> dict:
    """The fields that decide a cell's result, as plain json.  Data, weights and labels enter a cell by their own hashes."""
    left_out = NOT_IDENTITY | (set() if student else STUDENT_ONLY) | (set() if recipe.policy == "S4" else {"magnitude", "randaugment_ops"})
    return {name: value for name, value in dataclasses.asdict(recipe).items() if name not in left_out}


def digest(value) -> str:
    """Hash of anything json can hold: 12 hex digits."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=6).hexdigest()
