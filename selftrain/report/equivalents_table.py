"""The table of what each arm is worth in labels, with what that costs in training and would in labelling."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from selftrain.report.effect import Effect
from selftrain.report.equivalents import Equivalent, Series, find_series
from selftrain.report.label_cost import ImagePrice, LabelCost
from selftrain.report.label_curves import Reading
from selftrain.report.matrix import Matrix
from selftrain.report.places import place_name
from selftrain.report.statistics import rounded
from selftrain.report.table import NOT_THERE, Table, tabulate


@dataclass(frozen=True)
class Row:
    """An arm with so many labels."""

    series: Series
    equivalent: Equivalent
    price: ImagePrice | None
    """of labelling an image, where the person has said it"""

    @property
    def matrix(self) -> Matrix:
        """The study."""
        return self.series.matrix

    @property
    def score(self) -> Effect:
        """Of the arm, over its seeds."""
        return self.matrix.score(self.equivalent.arm, self.equivalent.setting)

    @cached_property
    def seconds(self) -> float | None:
        """Of training and pseudo-labelling beyond the base arm's, the mean over the seeds that both have."""
        at = self.equivalent.setting
        ours, of_base = (self.matrix.at(arm, at) for arm in (self.equivalent.arm, self.equivalent.base))
        both = sorted(ours.keys() & of_base.keys())
        more = [
            self.matrix.cost_of(ours[seed]).seconds - self.matrix.cost_of(of_base[seed]).seconds
            for seed in both
        ]
        return sum(more) / len(more) if more else None

    def training(self) -> str:
        """`+6 min`"""
        if self.seconds is None:
            return NOT_THERE
        return f"{'+' if self.seconds >= 0 else ''}{rough_duration(self.seconds)}"

    def labelling(self) -> str:
        """What labelling would take for the same gain: `56 min (24 min to 2.8 h)`."""
        if self.equivalent.needed is None or self.price is None:
            return NOT_THERE
        return self.equivalent.words(self._time)

    def _time(self, labels: Reading) -> str:
        words = {1: "more than ", 0: "", -1: "less than "}[labels.beyond]
        return words + rough_duration(self.price.seconds(labels.labels))

    def sentence(self) -> str:
        """What the arm is worth, in words.

        `S1: with 300 labels random + self-training scores what random would with 440: 140 (60 to 420) more,
        for 6 min more training; labelling these would take 56 min (24 min to 2.8 h).`
        """
        of = self.equivalent
        place = place_name(of.setting.without("fraction"))
        begin = f"{place}: with {of.labels:,} labels {of.arm}"
        if of.needed is None:
            return f"{begin} cannot be read in labels of {of.base}: {of.reason}."
        more = " more" if of.value.labels >= 0 else ""
        needs = of.needed.value
        total = {1: "more than ", 0: "", -1: "fewer than "}[needs.beyond] + f"{needs.labels:,.0f}"
        text = f"{begin} scores what {of.base} would with {total}: {of.show()}{more}"
        if self.seconds is not None:
            less = "less" if self.seconds < 0 else "more"
            text += f", for {rough_duration(abs(self.seconds))} {less} training"
        if self.price is not None and more:
            text += f"; labelling these would take {self.labelling()}"
        return text + "."

    def numbers(self) -> dict[str, Any]:
        """A row of the csv file."""
        of = self.equivalent
        row = {"arm": str(of.arm), "base": str(of.base), **of.setting, "labelled_images": of.labels}
        row |= self.score.csv()
        ends = {"": of.value, "low_": of.low, "high_": of.high} if of.needed else {}
        for name in ("", "low_", "high_"):
            end = ends.get(name)
            row[f"{name}worth"] = round(end.labels, 1) if end else ""
            row[f"{name}beyond"] = end.beyond if end else ""
        row["reason"] = of.reason or ""
        row["more_seconds"] = "" if self.seconds is None else round(self.seconds, 1)
        if self.price is not None:
            row["labelling_minutes_an_image"] = self.price.minutes
        return row


def rough_duration(seconds: float) -> str:
    """A time that may be below 0, with few digits: `-12 s`, `56 min`, `2.8 h`, `31 h`."""
    size = abs(seconds)
    if size < 59.5:
        return rounded(seconds, 0) + " s"
    if size < 119.5 * 60:
        return rounded(seconds / 60, 0) + " min"
    return rounded(seconds / 3600, 1 if size < 9.95 * 3600 else 0) + " h"


def equivalents_table(matrix: Matrix, cost: LabelCost | None = None) -> Table | None:
    """A row for each arm but the random one and each number of labels; None without enough of them.

    cost: of labels, for a column of what labelling would take.
    """
    price = cost.of(matrix) if cost else None
    rows = [Row(each, of, price) for each in find_series(matrix) for of in each.equivalents]
    if not rows:
        return None
    columns = [
        ("arm", lambda row: f"{place_name(row.equivalent.setting)}: {row.equivalent.arm}"),
        ("labels", lambda row: f"{row.equivalent.labels:,}"),
        (matrix.metric, lambda row: row.score.show(matrix.digits)),
        ("worth in labels", lambda row: row.equivalent.show()),
        ("of", lambda row: str(row.equivalent.base)),
        ("training", Row.training),
        *([("labelling instead", Row.labelling)] if price else []),
    ]
    reasons = dict.fromkeys(f"{row.equivalent.arm}: {row.equivalent.reason}" for row in rows)
    unknown = "; ".join(each for each in reasons if not each.endswith(": None"))
    covers = "; or ".join(dict.fromkeys(of.covers for of in find_series(matrix)))
    return tabulate(
        "equivalents",
        "What an arm is worth in labels",
        rows,
        columns,
        "how many labelled images more the arm in the column `of` needs for the same score, with the 95 % "
        f"interval ({covers}), read off error curves a + b n^-g (Hoiem et al. 2021), never beyond four times "
        "the most labels; below 0: it needs fewer; training: what the arm takes beyond that other one, its "
        "teachers included"
        + (f"; labelling: {price.words}" if price else "")
        + (f"; unknown: {unknown}" if unknown else ""),
        lambda row: [row.numbers()],
    )


def worth_sentences(matrix: Matrix, cost: LabelCost | None = None) -> list[str]:
    """A sentence for each arm and its base arm, with one of the numbers of labels.

    cost: of labels, for what labelling would take.
    """
    price = cost.of(matrix) if cost else None
    return [Row(each, of, price).sentence() for each in find_series(matrix) for of in each.examples]
