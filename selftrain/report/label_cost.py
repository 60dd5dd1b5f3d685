"""What labels cost in minutes, so that labelling and training make one bill."""

import difflib
import math
from dataclasses import dataclass
from typing import Self

from selftrain.report.matrix import Matrix
from selftrain.system.errors import UserError

KINDS = {"classify": "class", "coco": "box", "pascal": "mask"}
"""Of each task what a person labels in an image"""
OPTION = "--label-cost"
EXAMPLE = f"{OPTION} class=.1 box=.4 mask=1.3"


@dataclass(frozen=True)
class ImagePrice:
    """What it costs to label an image of a study."""

    minutes: float
    words: str
    """how it was reckoned: `0.4 minutes a box, 2.9 boxes an image as people labelled here`"""

    def seconds(self, images: float) -> float:
        """Of labelling so many images."""
        return 60 * self.minutes * images


@dataclass(frozen=True)
class LabelCost:
    """Minutes that a label takes, by its kind: class (of an image), box, or mask (of an image)."""

    minutes: dict[str, float]

    @classmethod
    def parse(cls, words: list[str]) -> Self:
        """From words as `box=.4`.  Raises UserError for any other."""
        minutes: dict[str, float] = {}
        for word in words:
            kind, equals, number = word.partition("=")
            if not equals:
                raise UserError(f"{OPTION} {word}: say which kind of label takes how many minutes: {EXAMPLE}")
            _check_kind(kind)
            if kind in minutes:
                raise UserError(f"{OPTION}: {kind} is given twice; give it once")
            minutes[kind] = _positive(kind, number)
        return cls(minutes)

    def of(self, matrix: Matrix) -> ImagePrice | None:
        """The price of an image of a study; None where no price of its kind of label was given.

        A box's price is multiplied by the boxes of an image that people labelled, which a student's record
        knows from its report on pseudo-labels.  Where none does, an image counts as one box, which is said.
        """
        kind = KINDS.get(matrix.task)
        if kind not in self.minutes:
            return None
        price = self.minutes[kind]
        each = f"{price:g} minutes a {kind}"
        if kind != "box":
            return ImagePrice(price, f"{each}, one an image")
        boxes = boxes_an_image(matrix)
        if boxes is None:
            return ImagePrice(
                price, f"{each}, one box an image assumed, as no record knows how many there are"
            )
        return ImagePrice(price * boxes, f"{each}, {boxes:.1f} boxes an image as people labelled here")


def boxes_an_image(matrix: Matrix) -> float | None:
    """How many boxes people labelled in an image, the mean over the students of a study.

    None where no record knows it: supervised arms keep no report on labels.
    """
    known = [
        r.pseudo_labels["human_boxes_per_image"]
        for r in matrix.records
        if "human_boxes_per_image" in (r.pseudo_labels or {})
    ]
    return sum(known) / len(known) if known else None


def _check_kind(kind: str) -> None:
    known = list(KINDS.values())
    if kind not in known:
        near = difflib.get_close_matches(kind, known, n=1, cutoff=0.5)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"{OPTION}: there is no kind of label {kind!r}; {meant}the kinds are: {', '.join(known)}"
        )


def _positive(kind: str, number: str) -> float:
    try:
        minutes = float(number)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise UserError(f"{OPTION} {kind}={number}: give a number of minutes above 0, such as {kind}=.4")
    return minutes
