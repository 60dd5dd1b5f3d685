"""What a tuning tries, and the journal that remembers it."""

import importlib
import math

import pytest

from selftrain.study.journal import Journal
from selftrain.study.search_space import candidates, own_values, ranges
from selftrain.system.errors import UserError
from tests.study.tiny import BENCHMARKS


@pytest.mark.parametrize("program, preset", [("coco", "study"), ("pascal", "paper"), ("classify", "demo")])
def test_candidates_are_the_recipes_own_values_and_then_a_function_of_seed_and_number(program, preset):
    recipe = BENCHMARKS[program].read([preset])
    within, own = ranges(recipe), own_values(recipe)
    many = candidates(own, within, 1000, 8)
    assert many[0] == own == {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    assert candidates(own, within, 1000, 3) == many[:3]
    assert candidates(own, within, 1001, 3)[1:] != many[1:3]
    assert within["lr"] == pytest.approx((recipe.lr / 8, recipe.lr * 8), rel=0.01)
    for each in many:
        assert all(low <= each[name] <= high for name, (low, high) in within.items())
        assert all(float(f"{value:.3g}") == value for value in each.values())
    for name, (low, high) in within.items():  # each half of a range, on its scale, is tried
        halves = [2 * math.log(each[name] / low) > math.log(high / low) for each in many[1:]]
        assert 2 <= sum(halves) <= 5


def test_own_values_outside_of_the_usual_range_widen_it():
    recipe = BENCHMARKS["coco"].read(["study", "--weight-decay", "0.5"])
    assert ranges(recipe)["weight_decay"] == (1e-4, 0.5)


def test_a_weight_decay_of_zero_has_no_place_on_the_scale_of_the_trials():
    for program, preset, low in (("coco", "study", "0.0001"), ("pascal", "paper", "1e-05")):
        without = BENCHMARKS[program].read([preset, "--weight-decay", "0"])
        with pytest.raises(
            UserError, match=f"--weight-decay 0: .* above 0, such as {low}, or leave --tune out"
        ):
            ranges(without)


def test_the_journal_asks_for_no_trial_twice(tmp_path):
    file = tmp_path / "out" / "tuning.journal"
    within, values = {"lr": (0.001, 0.1)}, [{"lr": 0.008}, {"lr": 0.02}, {"lr": 0.05}]
    first = Journal(file).ask("a", values[:2], within)
    assert [each.values for each in first] == values[:2]
    assert Journal(file).ask("a", values, within)[:2] == first
    journal = Journal(file)
    journal.tell("a", 0, 41.5)
    journal.tell("a", 0, 40.0)  # told once
    journal.tell("a", 1, None)
    assert [each.diverged for each in Journal(file).ask("a", values, within)] == [False, True, False]
    optuna = importlib.import_module("optuna")
    backend = optuna.storages.journal.JournalFileBackend(str(file))
    study = optuna.load_study(study_name="a", storage=optuna.storages.JournalStorage(backend))
    assert (study.best_value, study.best_params, len(study.trials)) == (41.5, {"lr": 0.008}, 3)
