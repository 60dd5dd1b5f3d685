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
        best, rivals = _ranked(matrix, [point for point in points if point.images <= images])
        names = [best.name, *(each.point.name for each in rivals)]
        if not rivals or names == said:
            continue
        said = names
        text, meant = _chosen(matrix, best, rivals, points)
        first = meant[0]
        numbers = described(matrix, first.effect) if first.effect else "no seed has both"
        against = f"against {first.point.name}, " if len(meant) > 1 else ""
        lines.append(f"Up to {images:,} images: {text}: {against}{numbers}")
    return lines


@dataclass(frozen=True)
class _Rival:
    """Another arm's best point, and how far the best of all is ahead of it."""

    point: Point
    effect: Effect | None
    """on the seeds that both have; None where there are none"""

    def word(self, margin: float) -> str:
        """behind, equivalent or open."""
        if self.effect is None:
            return "open"
        if "equivalent" in self.effect.word(margin):
            return "equivalent"
        return "behind" if self.effect.clear and self.effect.mean > 0 else "open"


def _ranked(matrix: Matrix, points: list[Point]) -> tuple[Point, list[_Rival]]:
    """The point with the highest mean over all its seeds, and the best one of each other arm, in that order.

    Where the second is ahead on the seeds that both have, these decide.
    """
    of_arms: dict[Arm, Point] = {}
    for point in sorted(points, key=lambda point: -point.score.mean):
        of_arms.setdefault(point.arm, point)
    best, *others = of_arms.values()
    if others:
        ahead = compare(matrix, best.arm, others[0].arm, best.place, others[0].place)
        if ahead is not None and ahead.mean < 0:
            best, others = others[0], [best, *others[1:]]
    return best, [
        _Rival(each, compare(matrix, best.arm, each.arm, best.place, each.place)) for each in others
    ]


def _chosen(
    matrix: Matrix, best: Point, rivals: list[_Rival], points: list[Point]
) -> tuple[str, list[_Rival]]:
    """What is said of the best point, and the rivals of whom it is said.

    It is chosen only where every other arm is behind.  A cheaper arm is beaten only where it was given as
    much, too.
    """
    shown = f"{best.name} ({rounded(best.score.mean, matrix.digits)} {matrix.metric})"
    of: dict[str, list[_Rival]] = {"open": [], "equivalent": [], "behind": []}
    for each in rivals:
        of[each.word(matrix.margin)].append(each)
    if of["open"]:
        return f"open between {shown} and {_names(of['open'])}", of["open"]
    if of["equivalent"]:
        return f"{shown} and {_names(of['equivalent'])} are equivalent", of["equivalent"]
    second = rivals[0].point
    if not _given_as_much(best, second, points):
        return f"{shown} is ahead of {second.name}, which saw {second.images:,} images only", rivals[:1]
    return f"choose {shown} over {_names(rivals)}", rivals


def _names(rivals: list[_Rival]) -> str:
    """`random, T`, or `each of (random, T; imagenet, 3T)`."""
    names = [each.point.name for each in rivals]
    return names[0] if len(names) == 1 else f"each of ({'; '.join(names)})"


def _given_as_much(best: Point, other: Point, points: list[Point]) -> bool:
    """Whether the other arm has a rung that is as dear as the best point."""
    least = (1 - SAME_COST) * best.images
    return any(point.arm == other.arm and point.images >= least for point in points)
