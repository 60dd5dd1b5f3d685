"""What the papers print, for the tables to show beside what was measured.

Each number carries its source and how far it can be trusted: "read" (seen in the paper's own table or the official repository),
"plotted" (read off a figure, +-0.1), "recalled" (not checked against the paper's own table).
They are COCO AP (EfficientNet-B7 RetinaNet at 640 px) and PASCAL VOC 2012 mIoU (NAS-FPN segmenters at 512 px): numbers measured on other
data stand beside them to compare the pattern, never the level.
"""

from dataclasses import dataclass

ZOPH = "Zoph et al. 2020, arXiv 2006.06882"
HE = "He et al. 2018, arXiv 1811.08883"
MARKS = ("read", "plotted", "recalled")  # from sure to unsure


@dataclass(frozen=True)
class Number:
    value: float
    source: str                      # table or figure
    mark: str = "read"               # of MARKS

    def __str__(self) -> str:
        return self.show()

    def show(self, sign: str = "") -> str:
        value = f"{self.value:g}" if self.mark == "plotted" and not sign else f"{round(self.value, 1) + 0.0:{sign}.1f}"
        return {"read": value, "plotted": f"≈{value}", "recalled": f"{value} (r)"}[self.mark]

    def __sub__(self, other: "Number") -> "Number":
        """The difference of two scores, no surer than the less sure of them.  The paper's own deltas come from unrounded scores and may differ by 0.1."""
        return Number(self.value - other.value, self.source, max(self.mark, other.mark, key=MARKS.index))


# (task: coco or pascal, arm, policy, fraction, labels) -> number; random + self-training of Table 2 is its "Rand Init w/ ImageNet Self-training"
SCORES: dict[tuple[str, str, str, float, str], Number] = {}


def _row(task: str, arm: str, cells: dict[tuple[str, float], float], source: str, mark: str = "read", labels: str = "train") -> None:
    for (policy, fraction), value in cells.items():
        SCORES.setdefault((task, arm, policy, fraction, labels), Number(value, f"{ZOPH}, {source}", mark))


def _policies(*values: float) -> dict[tuple[str, float], float]:
    return {(policy, 1.0): value for policy, value in zip(("S1", "S2", "S3", "S4"), values)}


def _fractions(*values: float) -> dict[tuple[str, float], float]:
    return {("S4", fraction): value for fraction, value in zip((0.2, 0.5, 1.0), values)}


_row("coco", "random", _policies(39.2, 41.5, 43.9, 44.3), "Table 2")
_row("coco", "imagenet", _policies(39.5, 40.7, 43.2, 43.3), "Table 2")
_row("coco", "imagenet++", _policies(40.85, 41.35, 43.4), "Figure 1", "plotted")
_row("coco", "random + self-training", _policies(40.9, 43.0, 45.4, 45.6), "Table 2")
_row("coco", "random", _fractions(30.7, 39.6, 44.3), "Table 3")
_row("coco", "random + self-training", _fractions(34.1, 41.4, 45.6), "Table 3")
_row("coco", "imagenet", _fractions(33.3, 38.8, 43.3), "Table 3")
_row("coco", "imagenet + self-training", _fractions(36.0, 40.5, 44.6), "Table 3")
_row("coco", "imagenet++", _fractions(35.9, 39.9, 43.8), "Table 3")
_row("coco", "imagenet++ + self-training", _fractions(37.2, 41.5, 44.6), "Table 3")

# Table 6, EfficientNet-B7 NAS-FPN, PASCAL VOC 2012 val; and Table 8 (which of the two ImageNet checkpoints it uses is not confirmed)
_row("pascal", "imagenet++", {("S4", 1.0): 85.2}, "Tables 6 and 8")
_row("pascal", "imagenet++ + self-training", {("S4", 1.0): 86.7}, "Tables 6 and 8")
_row("pascal", "imagenet++", {("S1", 1.0): 83.9}, "Table 8", "recalled")
_row("pascal", "imagenet++", {("S1", 1.0): 84.7, ("S4", 1.0): 84.8}, "Table 8", "recalled", labels="train_aug")
_row("pascal", "imagenet++ + self-training", {("S4", 1.0): 86.7}, "Tables 6 and 8", labels="train+pseudo_aug")
_row("pascal", "imagenet++ + self-training", {("S1", 1.0): 85.6}, "Table 8", "recalled", labels="train+pseudo_aug")

SPEED_UP = (1.3, 8.0)                # from pre-training, over checkpoints, policies and fractions: Zoph et al. 2020 (read)

# random minus pre-trained, each at its best schedule: He et al. 2018 (read)
HE_GAINS = {"R50": {"AP": 0.2, "AP50": 0.1, "AP75": 1.0}, "R101": {"AP": 0.4, "AP50": 0.3, "AP75": 0.8}}


def published(task: str, arm: str, policy: str, fraction: float, labels: str = "train") -> Number | None:
    """Of a supervised arm the number for its human labels, whatever the pool."""
    labels = labels if "self-training" in arm else labels.partition("+")[0]
    return SCORES.get((task, arm, policy, fraction, labels))
