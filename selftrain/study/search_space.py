"""What is tuned, in which range, and which values are tried.

The ranges stand here and not in a recipe's file: they decide which recipes are tried, and no cell's result.
"""

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from types import ModuleType

from selftrain.recipe import Recipe, refuse
from selftrain.system.errors import UserError

Values = dict[str, float]
"""field of a recipe -> its value"""

LR_FACTOR = 8.0
DECAY = {"adamw": (1e-4, 1e-1), "sgd": (1e-5, 1e-3)}
TUNED = ("lr", "weight_decay")
"""the fields that are tuned"""


def own_values(recipe: Recipe) -> Values:
    """The recipe's own values of the tuned fields."""
    return {name: getattr(recipe, name) for name in TUNED}


def ranges(recipe: Recipe) -> dict[str, tuple[float, float]]:
    """Field -> (lowest, highest value), both to be read on a logarithmic scale.

    The learning rate is the first thing that a start may want otherwise: a rate that random weights need
    can spoil pre-trained ones, and a frozen trunk bears more.  Its range is an eighth to eight times the
    recipe's.  Weight decay is the second, as few labels and random weights may need more of it.  Its range
    belongs to the optimiser: AdamW decays weights apart from its normalised step (Loshchilov and Hutter
    2019), where usual values are 0.01 to 0.1; SGD adds the decay to the gradient, where 0.0001 is usual.
    The recipe's own values always lie within.

    Raises UserError for a weight decay of 0, which no logarithmic scale has.
    """
    lr, decay = recipe.lr, recipe.weight_decay
    low, high = DECAY[recipe.optimizer]
    refuse(
        decay <= 0,
        f"--weight-decay {decay:g}: --tune tries weight decays on a logarithmic scale, which has no such "
        f"value; give one above 0, such as {low:g}, or leave --tune out",
    )
    return {
        "lr": (_short(lr / LR_FACTOR), _short(lr * LR_FACTOR)),
        "weight_decay": (min(low, decay), max(high, decay)),
    }


def candidates(own: Values, within: dict[str, tuple[float, float]], seed: int, count: int) -> list[Values]:
    """The values of each trial: the recipe's own first, then a scrambled Halton sequence over the ranges.

    Trial k is a function of the seed and k.  A sampler that learns from earlier scores, such as TPE, would
    show each start other candidates, and other ones again where a call is interrupted or two calls share the
    work.  A quasi-random design spreads few trials evenly over the ranges (Bergstra and Bengio 2012 compare
    such designs), and all starts get the same candidates.  The recipe's own values are the first one, so that
    tuning never does worse than the recipe on the val split.  Values have three digits, as a person would
    type them.

    Raises UserError without optuna.
    """
    optuna = load_optuna()
    space = {name: optuna.distributions.FloatDistribution(*ends, log=True) for name, ends in within.items()}
    found = [own]
    with quiet(optuna):
        sampler = optuna.samplers.QMCSampler(qmc_type="halton", scramble=True, seed=seed)
        study = optuna.create_study(sampler=sampler)  # in memory
        study.enqueue_trial(own)
        for number in range(count):
            trial = study.ask(space)
            if number:
                found.append({name: _short(value) for name, value in trial.params.items()})
            study.tell(trial, 0.0)  # the sampler takes its space from a trial that has ended
    return found


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def load_optuna() -> ModuleType:
    """The library; only tuning needs it.  Raises UserError where it is not installed."""
    try:
        return importlib.import_module("optuna")
    except ImportError:
        raise UserError(
            "--tune needs optuna: pip install -e '.[tune]' (or pip install 'optuna>=4.0')"
        ) from None


@contextlib.contextmanager
def quiet(optuna: ModuleType) -> Iterator[None]:
    """Without optuna's log and its warnings, of experimental parts and of values outside a range."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="optuna")
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
