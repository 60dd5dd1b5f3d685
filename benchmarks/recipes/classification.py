"""The recipes of classification: what is trained, on what, for how long.

Every field and its meaning stand in `selftrain/recipe.py` and `selftrain/tasks/classification/recipe.py`.
"""

from dataclasses import replace

from selftrain.data.shapes.draw import Shapes
from selftrain.tasks.classification.recipe import ClassificationRecipe


def demo() -> ClassificationRecipe:
    """Random, ImageNet and frozen ImageNet start, each with and without self-training; generated pictures.

    command   accelerate launch benchmarks/classify.py
    hardware  two CPU cores, 4 GB
    hours     0.05
    expected  random 32.8, imagenet 92.7, imagenet, frozen 78.7, and with self-training 32.0, 95.3, 79.8 top-1
              on the test split (seeds 0, 1, 2; two cores)
    """
    return ClassificationRecipe(
        name="classify-demo",
        data="shapes",
        shapes=Shapes(
            image_size=65,
            train=300,
            val=200,
            test=500,
            unlabeled=1000,
            classes=8,
            objects=(1, 1),
            difficulty=0.1,
        ),
        policy="S1",
        freeze=("none", "backbone"),  # the frozen backbone is the linear probe
        backbone="tf_efficientnet_lite0",  # its real ImageNet weights come with a PyPI package
        image_size=65,
        steps=200,
        batch_size=16,
        optimizer="adamw",
        lr=4e-3,  # of 0.001, 0.002, 0.004, 0.008 on the val split, for both starts
        lr_batch=16,
        weight_decay=1e-4,
        warmup_share=0.1,
        clip_norm=10.0,
        ema=0.99,
        pseudo_threshold="auto",
        eval_every=50,
        eval_batch=50,
        save_every=100,
        workers=0,
    )


def small() -> ClassificationRecipe:
    """One's own data on two CPU cores: a small real network, small images, all six arms.

    command   accelerate launch benchmarks/classify.py small --data DIR --unlabeled DIR
    hardware  two CPU cores, 4 GB
    hours     under 1 for 300 photos
    """
    return replace(
        demo(),
        name="classify-small",
        data="DIR",
        image_size=129,  # 32 k + 1, where SAME and symmetric padding are one function
        steps=600,
        eval_every=100,
        eval_batch=32,
    )


def mini() -> ClassificationRecipe:
    """One's own data on an accelerator: a small real network, moderate images, all six arms.

    command   accelerate launch benchmarks/classify.py mini --data DIR --unlabeled DIR
    hardware  one accelerator with 16 GB
    """
    return replace(
        demo(),
        name="classify-mini",
        data="DIR",
        image_size=225,
        steps=6000,
        batch_size=64,
        lr=1e-3,
        lr_batch=64,
        warmup_share=0.05,
        ema=0.999,
        eval_every=500,
        eval_batch=64,
        save_every=200,
        workers=4,
    )


CLASSIFY = {"demo": demo, "small": small, "mini": mini}
