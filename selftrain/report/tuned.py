"""Whether the hyper-parameters of a study's starts were tuned, in words."""

from selftrain.record import Arm
from selftrain.report.matrix import Matrix
from selftrain.report.places import percent


def tuning_note(matrix: Matrix) -> str:
    """For the note below a table: tuned with how many trials, or not."""
    tuned = matrix.records[0].tuned
    if tuned is None:
        return "hyper-parameters not tuned"
    return f"hyper-parameters tuned for each start alike: {tuned.trials} trials each"


def tuning_sentence(matrix: Matrix) -> str:
    """For a verdict: the same, with the values of each start and where they come from."""
    tuned = matrix.records[0].tuned
    if tuned is None:
        return "Hyper-parameters are the recipe's, not tuned for each start."
    at = tuned.at
    names = " and ".join(_words(name) for name in tuned.chosen)
    # without a test split the val split is what is reported
    on_reported = any(record.hashes.val == record.hashes.test for record in matrix.records)
    return (
        f"Tuned for each start alike: {names}, {tuned.trials} trials each, by {tuned.metric} on the val "
        f"split ({at['policy']}, {percent(at['fraction'])} of the labels, {at['steps']:,} steps, seed "
        f"{tuned.seed}){', chosen on the images that are reported' if on_reported else ''}; "
        f"{'; '.join(_choices(matrix))}."
    )


def _choices(matrix: Matrix) -> list[str]:
    """Of each start what it was tuned to: `random lr 0.008, weight decay 0.0001`."""
    found = {Arm(r.arm.start, freeze=r.arm.freeze): r.tuned.chosen for r in matrix.records}
    return [
        f"{arm}: {', '.join(f'{_words(name)} {value:g}' for name, value in found[arm].items())}"
        for arm in sorted(found, key=lambda arm: arm.order)
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")
