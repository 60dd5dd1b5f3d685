"""The journal of a study's trials: an optuna study for each start, in a file that two calls share.

    out/study/NAME/tuning.journal

Every trial is asked for once, all of a start before the first one runs, and told once, when its cell has
ended.  Between the two stands that cell: its folder, its lock and its checkpoint say what of the trial is
done, so an interrupted trial goes on and no trial runs twice.  Callers hold a lock around every use.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selftrain.study.search_space import Values, load_optuna, quiet


@dataclass(frozen=True)
class Trial:
    """What the journal holds of one trial."""

    number: int
    values: Values
    diverged: bool
    """whether it was told that the loss did"""


class Journal:
    """The file.  Raises UserError without optuna."""

    def __init__(self, file: Path):
        self._optuna = load_optuna()
        self._file = file

    def ask(self, name: str, values: list[Values], within: dict[str, tuple[float, float]]) -> list[Trial]:
        """The trials of the optuna study `name`, as many as there are `values`; trial k has the values k.

        within: the range of each field, for optuna's own tools.
        """
        space = {
            field: self._optuna.distributions.FloatDistribution(*ends, log=True)
            for field, ends in within.items()
        }
        with quiet(self._optuna):
            study = self._study(name)
            for each in values[len(study.get_trials(deepcopy=False)) :]:
                study.enqueue_trial(each)
            waiting = (self._optuna.trial.TrialState.WAITING,)
            while study.get_trials(deepcopy=False, states=waiting):
                study.ask(space)  # in the order of their numbers
            found = study.get_trials(deepcopy=False)[: len(values)]
        failed = self._optuna.trial.TrialState.FAIL
        return [Trial(each.number, dict(each.params), each.state == failed) for each in found]

    def tell(self, name: str, number: int, score: float | None) -> None:
        """The score of a trial, or None where its loss diverged; what is told again changes nothing."""
        with quiet(self._optuna):
            states = self._optuna.trial.TrialState
            told: dict[str, Any] = {"state": states.FAIL} if score is None else {"values": score}
            self._study(name).tell(number, **told, skip_if_finished=True)

    def _study(self, name: str) -> Any:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        backend = self._optuna.storages.journal.JournalFileBackend(str(self._file))
        return self._optuna.create_study(
            study_name=name,
            storage=self._optuna.storages.JournalStorage(backend),
            direction="maximize",
            load_if_exists=True,
        )
