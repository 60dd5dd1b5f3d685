"""Which figures a study's records allow; drawing is not imported here."""

from selftrain.record import RANDOM, Arm
from selftrain.report.equivalents import find_series
from selftrain.report.examples import teachers
from selftrain.report.matrix import Matrix

NAMES = (
    "frontier",
    "policies",
    "fractions",
    "curves",
    "labels",
    "equivalents",
    "freezing",
    "quality",
    "gallery",
)


def freezing_depths(arms: list[Arm]) -> dict[Arm, list[Arm]]:
    """Of each arm that also ran frozen, by its name trained whole: its arms from whole to frozen."""
    found: dict[Arm, list[Arm]] = {}
    for arm in arms:
        found.setdefault(arm.unfrozen, []).append(arm)
    return {whole: depths for whole, depths in found.items() if len(depths) > 1}


def figure_names(matrix: Matrix) -> list[str]:
    """The names of the figures that this study's records allow, in the order they are shown."""
    strongest, most = matrix.policies[-1], matrix.fractions[-1]
    by_policy = [
        place for policy in matrix.policies for place in matrix.columns(policy=policy, fraction=most)
    ]
    by_fraction = {place["fraction"] for place in matrix.columns(policy=strongest)}
    compared = len(matrix.arms) > 1 and RANDOM in matrix.arms
    of_random = {place["fraction"] for place in matrix.columns(policy=strongest) if matrix.at(RANDOM, place)}
    allowed = {
        "frontier": len({matrix.cost_of(r).images for r in matrix.records}) > 1,
        "policies": compared
        and len(matrix.policies) > 1
        and any(matrix.at(RANDOM, place) for place in by_policy),
        "fractions": compared and len(of_random) > 1,
        "labels": len(by_fraction) > 1,
        "equivalents": bool(find_series(matrix)),
        "freezing": any(len(depths) > 2 for depths in freezing_depths(matrix.arms).values()),
        "quality": any("by_threshold" in (r.pseudo_labels or {}) for r in matrix.records),
        "gallery": bool(teachers(matrix)),
    }
    return [name for name in NAMES if allowed.get(name, True)]
