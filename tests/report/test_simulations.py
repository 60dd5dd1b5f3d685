"""What the statistics promise, on simulated studies whose truth is known."""

from pathlib import Path

import pytest

from selftrain.report.simulate import STUDIES, binomial_error, simulate, text
from selftrain.report.simulated import (
    HEAVY,
    IMAGES_DECIDE,
    MOSTLY_SEEDS,
    REGIMES,
    coverage,
    exact_coverage,
    studies,
)

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def simulated():
    return simulate(STUDIES)


@pytest.mark.slow
def test_95_percent_intervals_cover_93_to_97_percent(simulated):
    """Within two standard errors of the simulation, as the file states them."""
    error = 2 * binomial_error(0.95, STUDIES)
    cases = [each for each in simulated[0] if each.truth.tails == "normal"]
    outside = {
        (each.truth.name, each.seeds): each.here
        for each in cases
        if not 0.93 - error <= each.here <= 0.97 + error
    }
    assert len(cases) == 15 and outside == {}
    # and the usual degrees of freedom do not
    [mostly] = [each for each in cases if each.truth == MOSTLY_SEEDS and each.seeds == 3]
    assert mostly.satterthwaite < 0.93 < mostly.here


def test_by_integration_they_do_in_every_case_that_is_simulated():
    for truth, seeds in ((truth, seeds) for truth in REGIMES for seeds in (3, 5)):
        of_seeds = (truth.seed + truth.own) / seeds
        here, _ = exact_coverage(seeds, truth.shared / (truth.shared + of_seeds))
        assert 0.93 <= here <= 0.97, (truth.name, seeds)


@pytest.mark.slow
def test_simulated_intervals_cover_what_integration_says(simulated):
    for each in simulated[0]:
        truth = each.truth
        if truth.tails != "normal" or truth.nested or each.seeds == 1:
            continue
        of_seeds = (truth.seed + truth.own) / each.seeds
        here, satterthwaite = exact_coverage(each.seeds, truth.shared / (truth.shared + of_seeds))
        error = 3 * binomial_error(0.95, STUDIES)
        assert each.here == pytest.approx(here, abs=error)
        assert each.satterthwaite == pytest.approx(satterthwaite, abs=error)


def test_by_integration_the_usual_degrees_of_freedom_cover_too_little_with_three_seeds():
    """And what is used instead is careful, by two points at most."""
    here, satterthwaite = zip(*(exact_coverage(3, share / 20) for share in range(1, 20)))
    assert min(satterthwaite) < 0.925 and max(satterthwaite) < 0.951
    assert 0.949 < min(here) and max(here) < 0.972


@pytest.mark.slow
def test_heavy_tails_are_reported(simulated):
    heavy = [each for each in simulated[0] if each.truth.tails != "normal"]
    assert len(heavy) == 2 * len(HEAVY) and min(each.here for each in heavy) > 0.8


@pytest.mark.slow
def test_wrong_findings_among_six_contrasts_are_at_most_5_percent(simulated):
    bound = 0.05 + 2 * binomial_error(0.05, STUDIES // 2)
    assert len(simulated[1]) == 8
    assert {
        (each.truth.name, each.seeds, each.others): each.holm for each in simulated[1] if each.holm > bound
    } == {}
    assert (
        min(each.uncorrected for each in simulated[1] if not each.others) > 0.1
    )  # else nothing is corrected


@pytest.mark.slow
def test_planned_effects_are_those_that_studies_show(simulated):
    assert len(simulated[2]) == 24
    wrong = {
        (each.truth.name, each.seeds, each.images): each.ratio
        for each in simulated[2]
        if not 0.8 <= each.ratio <= 1.2
    }
    assert wrong == {}


@pytest.mark.slow
def test_the_committed_file_is_what_is_simulated(simulated):
    command = "python -m selftrain.report.simulate --out results/simulations.md"
    assert (ROOT / "results" / "simulations.md").read_text() == text(simulated, STUDIES, command)


def test_a_simulated_study_has_the_variances_that_its_case_names():
    """The model itself, by far fewer studies."""
    found = [scores[1] - scores[0] for scores, _ in studies(IMAGES_DECIDE, 3, 600, 1)]
    total = IMAGES_DECIDE.seed + IMAGES_DECIDE.shared + IMAGES_DECIDE.own
    values = [value for study in found for value in study]
    assert sum(value**2 for value in values) / len(values) == pytest.approx(total, rel=0.15)
    between = sum(((study - study.mean()) ** 2).sum() / 2 for study in found) / len(found)
    assert between == pytest.approx(IMAGES_DECIDE.seed + IMAGES_DECIDE.own, rel=0.15)
    alone = coverage(IMAGES_DECIDE, 3, 300, 2)
    assert alone.seeds_alone < 0.8 < alone.here  # seeds alone know nothing of test images
