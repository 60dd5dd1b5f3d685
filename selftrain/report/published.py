"""What the papers print, for the tables to show beside what was measured.

Each number carries its source and how far it can be trusted: "read" (seen in the paper's own table or the
official repository), "plotted" (read off a figure, +-0.1), "recalled" (not checked against the paper's own
table). They are COCO AP (EfficientNet-B7 RetinaNet at 640 px) and PASCAL VOC 2012 mIoU (NAS-FPN segmenters at
512 px): numbers measured on other data stand beside them to compare the pattern, never the level.  What other
methods of semi-supervised detection print, under protocols of their own, is left out."""

from dataclasses import dataclass

from selftrain.record import RANDOM, Arm, Setting
from selftrain.report.places import BUDGET, place_name

ZOPH = "Zoph et al. 2020, arXiv 2006.06882"
HE = "He et al. 2018, arXiv 1811.08883"
METRICS = {"coco": "AP", "pascal": "mIoU"}
MARKS = ("read", "plotted", "recalled")  # from sure to unsure


@dataclass(frozen=True)
class Number:
    """A published score, or a difference of two."""

    value: float
    source: str
    """paper, and table or figure"""
    mark: str = "read"
    """one of MARKS"""

    def __str__(self) -> str:
        """`39.2`, `≈40.85`, `84.8 (r)`."""
        return self.show()

    def show(self, sign: str = "") -> str:
        """The same; sign: "+" prints the sign of positive numbers too."""
        plotted = self.mark == "plotted" and not sign
        value = f"{self.value:g}" if plotted else f"{round(self.value, 1) + 0.0:{sign}.1f}"
        return {"read": value, "plotted": f"≈{value}", "recalled": f"{value} (r)"}[self.mark]

    def __sub__(self, other: "Number") -> "Number":
        """The difference of two scores, no surer than the less sure of them.

        The paper's own deltas come from unrounded scores and may differ by 0.1.
        """
        return Number(self.value - other.value, self.source, max(self.mark, other.mark, key=MARKS.index))


# (task: coco or pascal, arm, place) -> number; random + self-training of Table 2 is its "Rand Init w/
# ImageNet Self-training"
SCORES: dict[tuple[str, Arm, Setting], Number] = {}


def _row(
    task: str,
    arm: Arm,
    cells: dict[tuple[str, float], float],
    source: str,
    mark: str = "read",
    labels: str = "train",
) -> None:
    for (policy, fraction), value in cells.items():
        place = Setting(policy=policy, fraction=fraction, labels=labels)
        SCORES.setdefault((task, arm, place), Number(value, f"{ZOPH}, {source}", mark))


def _policies(*values: float) -> dict[tuple[str, float], float]:
    return {(policy, 1.0): value for policy, value in zip(("S1", "S2", "S3", "S4"), values)}


def _fractions(*values: float) -> dict[tuple[str, float], float]:
    return {("S4", fraction): value for fraction, value in zip((0.2, 0.5, 1.0), values)}


IMAGENET, NOISY = Arm("imagenet"), Arm("imagenet++")  # imagenet++: Noisy Student weights
RANDOM_STUDENT, IMAGENET_STUDENT, NOISY_STUDENT = (
    Arm(start, ("self-training",)) for start in ("random", "imagenet", "imagenet++")
)

_row("coco", RANDOM, _policies(39.2, 41.5, 43.9, 44.3), "Table 2")
_row("coco", IMAGENET, _policies(39.5, 40.7, 43.2, 43.3), "Table 2")
_row("coco", NOISY, _policies(40.85, 41.35, 43.4), "Figure 1", "plotted")
_row("coco", RANDOM_STUDENT, _policies(40.9, 43.0, 45.4, 45.6), "Table 2")
_row("coco", RANDOM, _fractions(30.7, 39.6, 44.3), "Table 3")
_row("coco", RANDOM_STUDENT, _fractions(34.1, 41.4, 45.6), "Table 3")
_row("coco", IMAGENET, _fractions(33.3, 38.8, 43.3), "Table 3")
_row("coco", IMAGENET_STUDENT, _fractions(36.0, 40.5, 44.6), "Table 3")
_row("coco", NOISY, _fractions(35.9, 39.9, 43.8), "Table 3")
_row("coco", NOISY_STUDENT, _fractions(37.2, 41.5, 44.6), "Table 3")

# Table 6, EfficientNet-B7 NAS-FPN, PASCAL VOC 2012 val; and Table 8 (which of the two ImageNet checkpoints it
# uses is not confirmed)
_row("pascal", NOISY, {("S4", 1.0): 85.2}, "Tables 6 and 8")
_row("pascal", NOISY_STUDENT, {("S4", 1.0): 86.7}, "Tables 6 and 8")
_row("pascal", NOISY, {("S1", 1.0): 83.9}, "Table 8", "recalled")
_row("pascal", NOISY, {("S1", 1.0): 84.7, ("S4", 1.0): 84.8}, "Table 8", "recalled", labels="train_aug")
_row("pascal", NOISY_STUDENT, {("S4", 1.0): 86.7}, "Tables 6 and 8", labels="train+pseudo_aug")
_row(
    "pascal",
    NOISY_STUDENT,
    {("S1", 1.0): 85.6},
    "Table 8",
    "recalled",
    labels="train+pseudo_aug",
)

# from pre-training: least and most, over checkpoints, policies and fractions
SPEED_UP = (Number(1.3, f"{ZOPH}, text"), Number(8.0, f"{ZOPH}, text"))

# pre-trained minus random, each at its best schedule (Mask R-CNN on COCO)
HE_GAINS = {
    net: {
        metric: Number(value, f"{HE}, best schedules")
        for metric, value in zip(("AP", "AP50", "AP75"), values)
    }
    for net, values in {"R50": (-0.2, -0.1, -1.0), "R101": (-0.4, -0.3, -0.8)}.items()
}


# ---- what no table here stands beside, for a reader to compare with: (what, number) ----

OTHERS: list[tuple[str, Number]] = []


def _others(source: str, what: str, mark: str = "read", **values: float) -> None:
    OTHERS.extend(
        (f"{what}, {name.replace('_', ' ')}", Number(value, source, mark)) for name, value in values.items()
    )


_others(
    f"{ZOPH}, Table 4",
    "AP, ResNet-50, S4, all labels",
    random=41.1,
    imagenet=40.4,
    SimCLR=40.4,
    random_with_self_training=41.9,
)
_others(f"{ZOPH}, Table 5", "AP, SpineNet-143", val=50.9, test_dev=51.0)
_others(f"{ZOPH}, official repository", "AP, SpineNet-143 with self-training", val=52.6, test_dev=52.8)
_others(
    f"{ZOPH}, Table 5",
    "AP, SpineNet-143 with self-training (the repository says otherwise)",
    "recalled",
    val=52.4,
    test_dev=52.6,
)
_others(f"{ZOPH}, Table 5", "AP, SpineNet-190", val=52.6, test_dev=52.8)
_others(f"{ZOPH}, Table 5", "AP, SpineNet-190 with self-training", val=54.2, test_dev=54.3)
_others(f"{ZOPH}, Table 6", "mIoU, EfficientNet-L2 NAS-FPN", val=88.7)
_others(f"{ZOPH}, Table 6", "mIoU, EfficientNet-L2 NAS-FPN with self-training", val=90.0, test=90.5)
_others(
    f"{ZOPH}, Table 7",
    "AP, S4, 20 % of the labels, from random",
    supervised=30.7,
    self_training=34.1,
    joint_training=33.6,
    both=35.1,
)
_others(
    f"{ZOPH}, Table 7",
    "AP, S4, 20 % of the labels, from imagenet",
    supervised=33.3,
    self_training=36.0,
    joint_training=34.0,
    both=36.6,
)
for _start, _net, *_schedules in (
    ("random", "R50", 36.8, 39.5, 40.6, 40.7, 41.3),
    ("imagenet", "R50", 40.3, 40.8, 40.9, 40.9, 41.1),
    ("random", "R101", 38.2, 41.0, 41.8, 42.2, 42.7),
    ("imagenet", "R101", 41.8, 42.3, 42.3, 41.9, 42.2),
):
    _others(
        f"{HE}, schedules",
        f"AP, Mask R-CNN {_net}, {_start}",
        **{f"{n}x": value for n, value in enumerate(_schedules, 2)},
    )
for _images, _pretrained, _scratch in (
    ("35,000", 36.3, 36.3),
    ("10,000", 26.0, 25.9),
    ("3,500", 16.0, 9.3),
    ("1,000", 9.9, 3.5),
):
    _others(
        f"{HE}, fewer images",
        f"AP, Mask R-CNN, {_images} images of COCO",
        imagenet=_pretrained,
        random=_scratch,
    )
_others(f"{HE}, fewer images", "AP, Mask R-CNN, 1,000 images of COCO", random_tuned_for_it=5.4)
_others(f"{HE}, PASCAL VOC 2007 and 2012", "mAP, R101-FPN", imagenet=82.7, random=77.6)


def every() -> list[tuple[str, Number]]:
    """(what, number) of all of them, as results/tables/published.md lists them."""
    scores = [
        (f"{METRICS[task]}, EfficientNet-B7, {arm}, {place_name(place, ' of the labels')}", number)
        for (task, arm, place), number in SCORES.items()
    ]
    speed_ups = [(f"speed-up from pre-training, {which}", n) for which, n in zip(("least", "most"), SPEED_UP)]
    gains = [
        (f"Δ{metric} of pre-training, Mask R-CNN {net}, best schedules", number)
        for net, by_metric in HE_GAINS.items()
        for metric, number in by_metric.items()
    ]
    return scores + speed_ups + gains + OTHERS


def published(task: str, arm: Arm, setting: Setting) -> Number | None:
    """What the paper prints for an arm at the place where it stands itself (`Matrix.own`), or None.

    A place with further axes than policy, fraction and labels is none of the paper's, but for the budget: the
    paper trains until nothing is gained, so that its number stands beside every rung of a ladder.
    """
    return SCORES.get((task, arm, setting.without(BUDGET)))
