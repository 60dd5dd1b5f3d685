"""The recipes of detection: what is trained, on what, for how long.

Every field and its meaning stand in `selftrain/recipe.py` and `selftrain/tasks/detection/recipe.py`.
"""

from dataclasses import replace

from selftrain.data.shapes.draw import Shapes
from selftrain.tasks.detection.recipe import DetectionRecipe


def demo() -> DetectionRecipe:
    """Random and ImageNet start, each with and without self-training, on a generated data set.

    command   accelerate launch benchmarks/coco.py
    hardware  two CPU cores, 4 GB
    hours     0.05
    expected  random 16.2, imagenet 66.0, random + self-training 17.4, imagenet + self-training 68.5 AP
              on the test split (seeds 0, 1, 2; two cores)
    """
    return DetectionRecipe(
        name="demo",
        data="shapes",
        shapes=Shapes(image_size=65, train=300, val=200, test=500, unlabeled=2000, classes=5, difficulty=0.1),
        policy="S1",  # the mildest; stronger policies need longer schedules
        backbone="tf_efficientnet_lite0",  # its real ImageNet weights come with a PyPI package
        image_size=65,  # 32 k + 1, where SAME and symmetric padding are one function
        min_level=3,  # 9 x 9 cells
        max_level=4,  # 5 x 5 cells: objects are 14 to 50 px
        channels=64,
        head_depth=2,
        anchor_scale=2.0,  # anchors from 16 px
        steps=500,
        batch_size=16,
        optimizer="adamw",  # with this rate and decay it beat SGD for both starts at this size
        lr=4e-3,
        lr_batch=16,
        weight_decay=1e-4,
        warmup_share=0.1,
        clip_norm=10.0,
        ema=0.99,
        pseudo_threshold="auto",  # a teacher of minutes is unsure: at 0.5 it would starve its student
        eval_every=100,
        eval_batch=50,
        save_every=100,
        workers=0,  # two cores, and 0.4 ms of loading an image against 6 ms of training
    )


def study() -> DetectionRecipe:
    """The paper's matrix at the size that two CPU cores bear.

    The generated set is easier than the demo's, and the schedule longer.

    command   python benchmarks/study.py coco study --budgets 1 --threads 1, given twice, one for each core
    hardware  two CPU cores, 4 GB
    hours     3.5 for the 72 cells of the paper's matrix; 7 with the 36 of --budgets 1 3
    expected  S1: random 60.4, imagenet 76.1, random + self-training 64.5, imagenet + self-training 77.8 AP
              on the test split (seeds 0, 1, 2); others in results/README.md
    """
    # Learned fastest from scratch.
    shapes = Shapes(image_size=65, train=300, val=200, test=500, unlabeled=1000, classes=3, difficulty=0.0)
    return replace(
        demo(),
        name="study",
        shapes=shapes,
        steps=2000,  # T: three times as many bring random weights 24 AP more at S4
        batch_size=8,  # smaller batches got further than fewer steps of 16 on as many images
        lr_batch=8,
        # Of 0.004, 0.008, 0.016 on the val split with S1, two threads: 54.9, 61.3, 61.5 AP from random
        # weights, 74.9, 75.7, 75.2 from ImageNet's.
        lr=8e-3,
        warmup_share=0.05,
        eval_every=250,
        save_every=250,
    )


def small() -> DetectionRecipe:
    """One's own data on two CPU cores: a small network and small images, all four arms.

    command   accelerate launch benchmarks/coco.py small --data DIR --unlabeled DIR
    hardware  two CPU cores, 4 GB
    hours     under 1 for 300 labelled photos, 100 to score and a pool of 1,000: 72,000 images are trained on,
              25 a second of one core's time (an Intel Xeon with AVX-512), and 6,000 predictions come on top
    """
    return DetectionRecipe(
        name="small",
        data="coco",
        policy="S1",  # the mildest; stronger policies need longer schedules
        backbone="tf_efficientnet_lite0",
        image_size=161,  # 32 k + 1; a step at 193 px takes one and a half times as long
        min_level=3,  # 21 x 21 cells
        max_level=6,
        channels=64,
        head_depth=2,
        anchor_scale=2.0,  # anchors from 16 to 203 px
        steps=1500,  # 40 times each of 300 photos
        batch_size=8,
        optimizer="adamw",
        lr=2e-3,
        lr_batch=8,
        weight_decay=1e-4,
        warmup_share=0.05,
        ema=0.99,
        pseudo_threshold="auto",
        eval_every=300,
        eval_batch=32,
        save_every=150,
        workers=0,  # two cores, and 1 ms of augmenting an image against 40 ms of training on it
    )


def mini() -> DetectionRecipe:
    """One's own data: a small real network, moderate images, all four arms.

    command   accelerate launch benchmarks/coco.py mini --data DIR --unlabeled DIR
    hardware  one accelerator with 16 GB; `small` is for a CPU
    """
    return DetectionRecipe(
        name="mini",
        data="coco",
        policy="S1",
        backbone="tf_efficientnet_lite0",
        image_size=321,  # 32 k + 1
        channels=64,
        head_depth=3,
        steps=6000,
        batch_size=32,
        optimizer="adamw",
        lr=1e-3,
        lr_batch=32,
        weight_decay=1e-4,
        warmup_share=0.05,
        ema=0.999,
        pseudo_threshold="auto",
        eval_every=500,
        eval_batch=32,
        save_every=200,
        workers=4,
    )


def paper() -> DetectionRecipe:
    """Zoph et al. 2020: EfficientNet-B7 + FPN RetinaNet at 640 px, Augment-S4, trained until convergence.

    command   accelerate launch --multi_gpu --num_processes 64 benchmarks/coco.py paper
              --data COCO --unlabeled IMAGENET
    hardware  64 accelerators with 80 GB
    expected  random 44.3, imagenet 43.3, random + self-training 45.6, imagenet + self-training 44.6 AP
              (Tables 2 and 3, 100 %, S4)

    Where the paper and the authors' released settings (tensorflow/tpu, self_training) differ, a comment says
    which one is taken, why, and the option that gives the other.
    """
    return DetectionRecipe(
        name="paper",
        data="coco",
        # Large jitter: 0.5 to 2.0 in the paper, 0.1 to 1.9 in SpineNet's released yaml (--jitter 0.1 1.9).
        # Taken: the paper's, by which its S3 and S4 are defined.
        policy="S4",
        backbone="tf_efficientnet_b7",
        image_size=640,
        min_level=3,
        max_level=7,
        channels=256,
        head_depth=4,
        # The paper trains until convergence: 120,000 steps (260 epochs) for S4, 45,000 for S1.  The released
        # yaml of SpineNet-143 has 231,500 for its larger network (--steps 231500); taken: this network's.
        steps=120_000,
        batch_size=256,
        optimizer="sgd",
        lr=0.32,
        lr_batch=256,
        momentum=0.9,
        weight_decay=1e-4,
        warmup_share=1000 / 120_000,
        # The paper names no clipping (--clip-norm 0); the released yamls clip at 10.  Taken: 10, as
        # the authors ran it.
        clip_norm=10.0,
        bn_momentum=0.003,  # TensorFlow's 0.997
        ema=0.9998,  # EfficientDet's; the paper does not say
        pseudo_threshold=0.5,
        student_start="teacher",  # "to save time", says the paper
        eval_every=5000,
        eval_batch=8,
        save_every=1000,
        workers=8,
    )


COCO = {"demo": demo, "study": study, "small": small, "mini": mini, "paper": paper}
