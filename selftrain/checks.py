"""What a recipe is refused for: options that contradict each other, and values that make no sense.

A check can stop a run and never changes one, so this file is no part of what made a result.
"""

import re
from typing import Any

from selftrain.system.errors import UserError

_STARTS = "random, imagenet, imagenet++, timm:MODEL.TAG, checkpoint:FILE"


def refuse(when: bool, why: str) -> None:
    """Raise UserError with the message `why` if the condition holds."""
    if when:
        raise UserError(why)


def check_recipe(recipe: Any) -> None:
    """Raise UserError, which names the options, if the fields that every recipe has contradict each other."""
    _check_labels_and_steps(recipe)
    _check_starts_and_policy(recipe)
    _check_pool(recipe)
    _check_self_training(recipe)
    _check_numbers(recipe)


def _check_labels_and_steps(recipe: Any) -> None:
    refuse(not 0 < recipe.fraction <= 1, f"--fraction {recipe.fraction} is not in (0, 1]; 10 % is 0.1")
    refuse(
        recipe.image_ids is not None and recipe.fraction != 1,
        "--image-ids and --fraction both say which images are labelled; give one of them",
    )
    refuse(
        len(set(recipe.classes)) < len(recipe.classes),
        f"--classes names one class twice: {' '.join(recipe.classes)}",
    )
    refuse(recipe.steps < 1, f"--steps {recipe.steps} trains nothing; give at least 1")


def _check_starts_and_policy(recipe: Any) -> None:
    refuse(
        not recipe.starts,
        f"--starts names no starting point; give one or more of {_STARTS}",
    )
    refuse(
        len(set(recipe.starts)) < len(recipe.starts),
        f"--starts names one starting point twice: {' '.join(recipe.starts)}",
    )
    for start in recipe.starts:
        refuse(
            start not in ("random", "imagenet", "imagenet++")
            and not start.startswith(("timm:", "checkpoint:")),
            f"--starts {start} is unknown; the starting points are {_STARTS}",
        )
        model, _, tag = start.removeprefix("timm:").partition(".")
        refuse(
            start.startswith("timm:") and not (model and tag),
            f"--starts {start} names no weights; give timm:MODEL.TAG, such as timm:{recipe.backbone}.TAG",
        )
        backbone = recipe.backbone.partition(".")[0]
        refuse(
            start.startswith("timm:") and model != backbone,
            f"--starts {start} names weights of another network than --backbone {recipe.backbone}; "
            f"give --backbone {model}, or weights of {backbone}",
        )
    _check_freeze(recipe)
    from_file = [start for start in recipe.starts if start != "random" and "checkpoint:" not in start]
    refuse(
        recipe.weights is not None and len(from_file) > 1,
        f"--weights is one file, but --starts names {' and '.join(from_file)}: "
        f"the {'two ' if len(from_file) == 2 else ''}arms would be one; name one of them",
    )
    refuse(
        recipe.jitter is not None and not 0 < recipe.jitter[0] <= recipe.jitter[1],
        f"--jitter {' '.join(map(str, recipe.jitter or ()))}: give two shares of the image size above 0, "
        "the smaller one first",
    )
    refuse(not 0 <= recipe.magnitude <= 30, f"--magnitude {recipe.magnitude} is not in 0..30 (the paper: 10)")


def _check_freeze(recipe: Any) -> None:
    for word in recipe.freeze:
        known = re.fullmatch(r"none|backbone|stages:[1-9]\d*", word)
        refuse(not known, f"--freeze {word} is unknown; give none, backbone, or stages:N with N from 1")
    refuse(not recipe.freeze, "--freeze names nothing; give one or more of none, stages:N, backbone")
    refuse(
        len(set(recipe.freeze)) < len(recipe.freeze), f"--freeze names one twice: {' '.join(recipe.freeze)}"
    )
    refuse(
        "none" not in recipe.freeze and set(recipe.starts) == {"random"},
        f"--freeze {' '.join(recipe.freeze)} freezes pre-trained weights, but --starts names random ones "
        "alone",
    )


def _check_pool(recipe: Any) -> None:
    refuse(
        recipe.self_training and not recipe.unlabeled and not recipe.brings_pool,
        "self-training needs a pool: give --unlabeled DIR (folders of photos) or --unlabeled rest, "
        "or say --no-self-training",
    )
    refuse(
        "rest" in recipe.unlabeled and len(recipe.unlabeled) > 1,
        "--unlabeled rest does not mix with folders; give one or the other",
    )
    refuse(
        "rest" in recipe.unlabeled
        and recipe.fraction == 1
        and recipe.image_ids is None
        and recipe.self_training,
        "--unlabeled rest with --fraction 1 leaves no unlabelled image; give a smaller --fraction "
        "or folders of photos",
    )


def _check_self_training(recipe: Any) -> None:
    refuse(
        isinstance(recipe.pseudo_threshold, float) and not 0 < recipe.pseudo_threshold < 1,
        f"--pseudo-threshold {recipe.pseudo_threshold} is not a score in (0, 1)",
    )
    refuse(
        recipe.rounds < 1, f"--rounds {recipe.rounds}: at least 1; to train no student say --no-self-training"
    )
    refuse(
        recipe.until != "students" and not recipe.self_training,
        f"--until {recipe.until} leaves the rest for later, but --no-self-training was given; "
        "drop one of the two",
    )
    refuse(
        recipe.rounds > 1 and not recipe.self_training,
        "--rounds counts self-training rounds, but --no-self-training was given; drop one of the two",
    )


def _check_numbers(recipe: Any) -> None:
    refuse(not 0 <= recipe.warmup_share < 1, f"--warmup-share {recipe.warmup_share} is not in [0, 1)")
    refuse(
        recipe.warmup_steps is not None and not 0 <= recipe.warmup_steps < recipe.steps,
        f"--warmup-steps {recipe.warmup_steps} is not in 0 to {recipe.steps - 1}: it leaves nothing of "
        f"--steps {recipe.steps}; leave it out, and the warm-up is a share of the steps",
    )
    refuse(
        recipe.pseudo_ratio <= 0,
        f"--pseudo-ratio {recipe.pseudo_ratio} must be positive; to train without the pool "
        "say --no-self-training",
    )
    for option in recipe.counts():
        refuse(
            getattr(recipe, option) < 1, f"--{option.replace('_', '-')} {getattr(recipe, option)}: at least 1"
        )
