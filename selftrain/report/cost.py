"""What a cell cost, with all the cells that it was made from."""

from collections.abc import Mapping
from dataclasses import dataclass

from selftrain.record import Record


@dataclass(frozen=True)
class Cost:
    """Images seen in training, and seconds of training, evaluation of the curve and labelling."""

    images: int
    seconds: float


def chain(record: Record, by_key: Mapping[str, Record]) -> list[Record]:
    """A cell's record and those of the cells that it was made from, each once, its own first.

    Raises ValueError where one is not in `by_key`: the cost would look too low.
    """
    records = {record.key: record}
    for role, need in record.needs.items():
        if need.cell not in by_key:
            policy, fraction = record.settings["policy"], record.settings["fraction"]
            raise ValueError(
                f"{record.arm}, {policy}, {fraction:g}, seed {record.seed}: "
                f"the record of its {role} (cell {need.cell}) is missing"
            )
        records |= {each.key: each for each in chain(by_key[need.cell], by_key)}
    return list(records.values())


def cost(record: Record, by_key: Mapping[str, Record]) -> Cost:
    """The cost of a cell and of those that it was made from.  Raises ValueError as `chain` does."""
    records = chain(record, by_key)
    return Cost(sum(r.images for r in records), sum(r.measured.seconds for r in records))
