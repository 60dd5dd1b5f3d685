"""Score against cost, and which arm to choose at every budget.

A point is an arm at one rung of its ladder; its cost is what it saw and took with its teachers.  Choices are
descriptive: they were not registered, and are not corrected for their number."""

from collections.abc import Callable
from dataclasses import dataclass

from selftrain.record import Arm, Setting
from selftrain.report.comparison import SAME_COST, compare
from selftrain.report.effect import Effect
from selftrain.report.matrix import Matrix
from selftrain.report.places import BUDGET, rung_name
from selftrain.report.statistics import rounded


@dataclass(frozen=True)
class Point:
    """An arm at one rung."""

    arm: Arm
    place: Setting
    score: Effect
    images: int
    """seen in training, by its teachers and whatever else it was made from too"""
    seconds: float
    """of the same, and of labelling the pool; the mean over seeds"""

    @property
    def name(self) -> str:
        """`imagenet, 3T`."""
        budget = self.place.get(BUDGET)
        return str(self.arm) if budget is None else f"{self.arm}, {rung_name(budget)}"


def frontier(matrix: Matrix, ladder: Setting) -> list[Point]:
    """Every arm at every rung of a place, the cheapest first; ladder: the place without its budget."""
    points = []
    for place in matrix.rungs(ladder):
        for arm in matrix.arms:
            score = matrix.score(arm, place)
            if score is not None:
                cost = matrix.cost(arm, place)
                points.append(Point(arm, place, score, cost.images, matrix.mean_seconds(arm, place)))
    return sorted(points, key=lambda point: (point.images, point.arm.order))


def choices(matrix: Matrix, ladder: Setting, described: Callable[[Matrix, Effect], str]) -> list[str]:
    """A sentence for each cost at which the best arm, or how sure it is, may be another one.

    described: the numbers of an effect, as the sentences say them.
    """
    points = frontier(matrix, ladder)
    if len({point.arm for point in points}) < 2:
        return []
    said, lines = None, []
    for images in sorted({point.images for point in points}):
        affordable = [point for point in points if point.images <= images]
        best, second = _leaders(affordable)
        if second is None or (best.name, second.name) == said:
            continue
        said = best.name, second.name
        text, effect = _chosen(matrix, best, second, points)
        lines.append(
            f"Up to {images:,} images: {text}" + (f": {described(matrix, effect)}" if effect else "")
        )
    return lines


def _leaders(points: list[Point]) -> tuple[Point, Point | None]:
    """The point with the highest mean, and the highest one of another arm."""
    best = max(points, key=lambda point: point.score.mean)
    others = [point for point in points if point.arm != best.arm]
    return best, max(others, key=lambda point: point.score.mean, default=None)


def _chosen(matrix: Matrix, best: Point, second: Point, points: list[Point]) -> tuple[str, Effect | None]:
    """What is said of the two best, and their difference on the seeds that both have.

    They are ranked over all seeds.  A cheaper arm is beaten only where it was given as much, too.
    """
    effect = compare(matrix, best.arm, second.arm, best.place, second.place)
    shown = f"{best.name} ({rounded(best.score.mean, matrix.digits)} {matrix.metric})"
    if effect is None:
        return f"{shown} is best; no seed has both it and {second.name}", None
    if effect.mean < 0:
        best, second = second, best
        effect = compare(matrix, best.arm, second.arm, best.place, second.place)
        shown = f"{best.name} ({rounded(best.score.mean, matrix.digits)} {matrix.metric})"
    word = effect.word(matrix.margin)
    says = f"open between {shown} and {second.name}"
    if effect.clear and not _given_as_much(best, second, points):
        says = f"{shown} is ahead of {second.name}, which saw {second.images:,} images only"
    elif effect.clear:
        says = f"choose {shown} over {second.name}"
    elif word == "equivalent":
        says = f"{shown} and {second.name} are equivalent"
    return says, effect


def _given_as_much(best: Point, other: Point, points: list[Point]) -> bool:
    """Whether the other arm has a rung that is as dear as the best point."""
    least = (1 - SAME_COST) * best.images
    return any(point.arm == other.arm and point.images >= least for point in points)
