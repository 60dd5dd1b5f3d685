"""Which records may stand in one table: a mean or a difference of others would mean nothing."""

import json
from typing import Any

from selftrain.record import Record
from selftrain.report.places import OF_STEPS, PLACE


def check_run(records: list[Record]) -> None:
    """Raises ValueError where records differ in more than arm and seed, and where two have both alike."""
    _check_same(records, frozenset(), (), "start, self-training and seed")
    arms = [(r.arm, r.seed) for r in records]
    if twice := {each for each in arms if arms.count(each) > 1}:
        shown = ", ".join(sorted(f"{arm}, seed {seed}" for arm, seed in twice))
        raise ValueError(f"two records of one arm and seed: {shown}")


def check_study(records: list[Record], axes: tuple[str, ...]) -> None:
    """Raises ValueError where a study's records differ in more than arm, seed, its axes, and steps.

    What may be a share of the steps, as the warm-up, may go with them.
    """
    further = tuple(axis for axis in axes if axis not in PLACE)
    but = frozenset((*axes, "steps", *OF_STEPS, "human labels"))
    varied = ", ".join(dict.fromkeys(("policy", "fraction", *further, "steps", "start")))
    _check_same(records, but, further, f"{varied}, self-training and seed")


def _check_same(records: list[Record], but: frozenset[str], further: tuple[str, ...], what: str) -> None:
    """Every value of each record that is not in `but` must be that of the first record of its context."""
    first: dict[tuple, str] = {}
    for record in records:
        values, contexts = _values(record), _contexts(record, further)
        for name in values.keys() - but - {"seed"}:
            value = json.dumps(values[name])
            if first.setdefault((name, contexts.get(name)), value) != value:
                raise ValueError(f"these records differ in more than {what}: {name}")


def _values(record: Record) -> dict[str, Any]:
    """What decides a score, by the name that an error message calls it by."""
    return {
        "recipe": record.recipe,
        "split": record.split,
        "val split": record.hashes.val,
        "test split": record.hashes.test,
        "pool": record.hashes.pool,
        "training images": record.hashes.train,
        "human labels": record.labels,
        "number of labelled images": record.labelled_images,
        "first weights": record.hashes.weights,
        "tuning": record.tuned and [record.tuned.trials, record.tuned.seed, record.tuned.at],
        "trials of its tuning": record.tuned and record.tuned.hash,
        **record.settings,
    }


def _contexts(record: Record, further: tuple[str, ...]) -> dict[str, tuple]:
    """Within which of a study's records a value must be the same, where that is not all of them.

    The pool exists for students alone, and may be the rest of a seed's own labels; weights are those of a
    start, and of what a study varies besides policy and labels, such as the backbone.  The values of fields
    that were tuned, and the trials behind them, are those of a start and of what of it is frozen."""
    seed, fraction, rounds = record.seed, record.settings["fraction"], record.arm.rounds
    labels = (record.labels, fraction)
    student = rounds and (rounds, seed, record.settings["policy"], *labels)
    varied = json.dumps([record.settings.get(axis) for axis in further])
    return {
        "pool": (rounds and record.protocol, seed, fraction),
        # a seed may have images of its own, as where each draws a generated set
        "val split": (seed,),
        "test split": (seed,),
        "training images": (*labels, seed),
        "number of labelled images": labels,
        "first weights": (record.arm.start, varied, student),
        **tuned_within(record),
    }


def tuned_within(record: Record) -> dict[str, tuple]:
    """Within which start a tuned field must have one value; none where a record says of no tuning."""
    if record.tuned is None:
        return {}
    start = record.arm.start, record.arm.freeze
    return {name: start for name in (*record.tuned.chosen, "trials of its tuning")}
