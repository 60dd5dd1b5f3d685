"""Where a run stands in a study's tables, and how that is written: one spelling for commands, tables, figures, verdict and published numbers."""

import re


def kind(r: dict) -> str:
    """Which labels, where a data set has several kinds (PASCAL): train, train_aug; of students also train+pseudo_aug, whose teacher is a train one."""
    return r.get("protocol", r["labels"]) if r["round"] else r["labels"]


def place(r: dict) -> tuple[str, str, float, str]:
    """(arm, policy, fraction, kind of labels) of a record."""
    return r["arm"], r["settings"]["policy"], r["settings"]["fraction"], kind(r)


def is_student(arm: str) -> bool:
    """`imagenet + self-training`, `random + self-training x2`; not `checkpoint:/self-training/final.pt`."""
    return re.search(r" \+ self-training( x\d+)?$", arm) is not None


def of_pool(labels: str) -> bool:
    """Whether a kind of labels is that of a pool (PASCAL's `train+pseudo_aug`): its supervised arms stand, and are asked for, with the human labels alone."""
    return "+" in labels


def percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def place_name(policy: str, fraction: float, labels: str = "train", of: str = "") -> str:
    """`S4, 100 %`, and the kind of labels where it is not the usual one."""
    return f"{policy}, {percent(fraction)}{of}{'' if labels == 'train' else f', {labels}'}"
