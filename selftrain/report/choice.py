"""Which arm to choose at equal cost.

At the cost of a self-trained arm a supervised one counts as beaten only where it was given as many images:
another study, with more --steps, beside this one (`longer.py`)."""

from dataclasses import dataclass

from selftrain.record import Arm, Setting
from selftrain.report.comparison import compare
from selftrain.report.matrix import Matrix


def choice(matrix: Matrix, setting: Setting) -> list[str]:
    """Sentences: at the cost of a supervised run, and at that of each self-trained one with its teachers.

    At the latter a supervised arm was given its chance where another study ran the best start for as many
    images; else nothing is decided."""
    here = _Place(matrix, setting)
    arms = [arm for arm in matrix.arms if matrix.at(arm, setting)]
    starts = here.ranked([arm for arm in arms if not arm.rounds])
    students = [arm for arm in arms if arm.rounds]
    lines = []
    if len(starts) > 1 and matrix.stands(starts[0], setting):
        cost = f"At the cost of a supervised run ({here.images(starts[0]):,} images)"
        lines.append(here.chosen(cost, *starts[:2]))
    for images in sorted({here.images(student) for student in students}):
        lines += here.against_students(images, starts, students)
    return lines


@dataclass(frozen=True)
class _Place:
    """A place of a study, with what is asked of its arms again and again."""

    matrix: Matrix
    setting: Setting

    def images(self, arm: Arm) -> int:
        """Images that an arm saw, its teachers' included."""
        return self.matrix.cost(arm, self.setting).images

    def ranked(self, arms: list[Arm]) -> list[Arm]:
        """Best first, by the mean over all seeds that each has."""
        return sorted(arms, key=lambda arm: -self.matrix.score(arm, self.setting).mean)

    def longer(self, images: int) -> list[Arm]:
        """The supervised arms of other studies for so many images, best first."""
        there = [arm for arm in self.matrix.longer if self.matrix.at(arm, self.setting)]
        return self.ranked([arm for arm in there if self.images(arm) == images])

    def chosen(self, cost: str, best: Arm, other: Arm) -> str:
        """Which of two arms of one cost to choose.

        They are ranked over all the seeds that each has, and compared on those that both have.
        """
        comparison = compare(self.matrix, best, other, self.setting)
        if comparison is None:
            return f"{cost}: undecided: no seed has both {best} and {other}"
        if comparison.effect.mean < 0:
            best, other, comparison = other, best, compare(self.matrix, other, best, self.setting)
        if not comparison.clear:
            words = f"no evidence between {best} and {other}"
        elif comparison.rising:
            words = f"{best} is ahead of {other}"
        else:
            words = f"choose {best} over {other}"
        under_trained = ", under-trained" if comparison.rising else ""
        numbers = comparison.numbers(self.matrix.metric, self.matrix.digits)
        return f"{cost}: {words}{under_trained}: {numbers}"

    def against_students(self, images: int, starts: list[Arm], students: list[Arm]) -> list[str]:
        """The sentences at the cost of the students that saw so many images with their teachers."""
        cost = f"At the cost of a self-trained one ({images:,} images, its teacher's included)"
        students = self.ranked([student for student in students if self.images(student) == images])
        longer, best = self.longer(images), students[0]
        had_its_chance = bool(starts) and any(arm.supervised == starts[0] for arm in longer)
        rival = next(iter(longer if had_its_chance else starts), None)
        lines = []
        if rival and (comparison := compare(self.matrix, best, rival, self.setting)):
            only = f"{rival} was given {self.images(rival):,} images only"
            if had_its_chance:
                lines.append(self.chosen(cost, best, rival))
            elif comparison.effect.mean > 0:
                numbers = comparison.numbers(self.matrix.metric, self.matrix.digits)
                which = f"which was given {self.images(rival):,} images only"
                lines.append(f"{cost}: undecided: {best} is {numbers} against {rival}, {which}")
            else:
                lines.append(f"{self.chosen(cost, best, rival)}; {only}")
        own = [
            (student, arm) for student in students for arm in longer if student.supervised == arm.supervised
        ]
        return lines + [self.chosen(cost, *pair) for pair in own if pair != (best, rival)]
