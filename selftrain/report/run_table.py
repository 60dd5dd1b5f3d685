"""The table of one run, or of several seeds of it: its arms at one place."""

from pathlib import Path

import numpy as np

from selftrain.record import RANDOM, Arm, Record, arms, read_many, to_json
from selftrain.report.comparable import check_run
from selftrain.report.cost import cost
from selftrain.report.effect import effect_of
from selftrain.report.label_tables import run_labels
from selftrain.report.reach import steps_range, steps_to_final
from selftrain.report.statistics import decimals
from selftrain.report.table import NOT_THERE, Table, tabulate
from selftrain.system.files import write_json
from selftrain.system.progress import duration


def arms_table(records: list[Record]) -> Table:
    """A row for each arm.  Images and time of a self-trained arm include its teachers'.

    Raises ValueError where records differ in more than arm and seed, and says in what.
    """
    check_run(records)
    metric, digits = records[0].metric, decimals(records)
    by_key = {r.key: r for r in records}
    by_arm = {arm: [r for r in records if r.arm == arm] for arm in arms(records)}
    random = {r.seed: r for r in by_arm.get(RANDOM, [])}

    def _score(name: str, arm: Arm) -> str:
        return effect_of([r.metrics[name] for r in by_arm[arm]]).show(digits)

    def _gain(arm: Arm) -> str:
        gains = [r.score - random[r.seed].score for r in by_arm[arm] if r.seed in random]
        return effect_of(gains).show(digits, "+") if gains and arm != RANDOM else NOT_THERE

    def _reached(arm: Arm) -> str:
        steps = [steps_to_final(r, random[r.seed]) for r in by_arm[arm] if r.seed in random]
        text = steps_range(steps, by_arm[arm][0].curve[0]["step"])
        some = f"; {steps.count(None)} of {len(steps)} not" if None in steps and any(steps) else ""
        return text + some if steps else NOT_THERE

    def _seconds(arm: Arm) -> str:
        return duration(float(np.mean([cost(r, by_key).seconds for r in by_arm[arm]])))

    scores = [name for name in records[0].curve[-1] if name != "step"]
    gain, reached, images = f"Δ{metric} to random", f"steps to random's {metric}", "images seen"
    columns = [
        ("arm", str),
        *((name, lambda arm, name=name: _score(name, arm)) for name in scores),
        (gain, _gain),
        (reached, _reached),
        (images, lambda arm: f"{cost(by_arm[arm][0], by_key).images:,}"),
        ("time", _seconds),
    ]
    # the main score and what it cost in time stay last of all: they are the answer
    expendable = (*reversed(scores[2:]), reached, *scores[1:2], images, gain, "time")
    return tabulate("table", title(records), by_arm, columns, expendable=expendable)


def title(records: list[Record]) -> str:
    """Recipe, kind of labels where it is not the usual one, split and seeds."""
    first, seeds = records[0], sorted({r.seed for r in records})
    labels = "" if first.labels == "train" else f", {first.labels} labels"
    word = "seed" if len(seeds) == 1 else "seeds"
    return f"{first.recipe}{labels}, {first.split} split, {word} {', '.join(map(str, seeds))}"


def grid(records: list[Record]) -> str:
    """The table as markdown, without its title."""
    return "\n".join(arms_table(records).grid()) + "\n"


def write_report(records: list[Record], folder: Path) -> None:
    """table.md, records.json and curves.png of the arms in `records`; labels.md where students among them
    know their labels by class.
    """
    from selftrain.report.figures import draw_curves  # matplotlib: a second that only who draws has to wait

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(grid(records))
    if labels := run_labels(records):
        (folder / "labels.md").write_text(labels)
    write_json(folder / "records.json", [to_json(r) for r in records])
    draw_curves(records, title(records), folder / "curves.png")


def load_records(paths: list[Path]) -> list[Record]:
    """Records of json files (one record or a list) and of folders of cells."""
    files = [
        file for path in paths for file in (sorted(path.rglob("record.json")) if path.is_dir() else [path])
    ]
    return [record for file in files for record in read_many(file)]
