"""What a sampler is shown of very many trials: the best and the latest."""

import copy
from bisect import insort
from collections.abc import Container, Sequence

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

BEST = 25  # trials that TPE takes for the good ones where it knows many


class Window(JournalStorage):
    """A storage that shows a sampler the best and the latest trials of very many; the file has all.

    What a proposal takes grows with the trials that the sampler is shown. Of more than `most` that have ended it is
    shown the `most` proposed last, the BEST complete ones of all (with several objectives those that no other is better
    than in all), and every one without an outcome. Up to `most` it is shown all.
    """

    def __init__(self, backend: BaseJournalBackend, most: int):
        super().__init__(backend)
        self.most = most
        self._open: set[int] = set()  # ids, which grow with the trials' numbers
        self._ended: list[int] = []  # complete or stopped, in the order in which they were proposed
        self._best: list[tuple[list[float], int]] = []  # values and ids

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial = super().create_new_trial(study_id, template_trial)
        self._note(trial, TrialState.RUNNING if template_trial is None else template_trial.state)
        return trial

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        done = super().set_trial_state_values(trial_id, state, values)
        self._note(trial_id, state)
        return done

    def _note(self, trial: int, state: TrialState) -> None:
        if not state.is_finished():
            self._open.add(trial)
            return
        self._open.discard(trial)
        if state != TrialState.FAIL:
            insort(self._ended, trial)
        if state == TrialState.COMPLETE:
            self._keep(list(self._replay_result.get_trial(trial).values), trial)

    def _keep(self, values: list[float], trial: int) -> None:
        if len(values) == 1:
            insort(self._best, (values, trial))
            del self._best[BEST:]
        elif not any(_dominates(other, values) for other, _ in self._best):
            self._best = [*((v, t) for v, t in self._best if not _dominates(values, v)), (values, trial)]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if len(self._ended) <= self.most:
            return super().get_all_trials(study_id, deepcopy, states)
        with self._thread_lock:
            self._sync_with_backend()
            shown = sorted({*self._ended[-self.most :], *(trial for _, trial in self._best), *self._open})
            trials = map(self._replay_result.get_trial, shown)
            found = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found


def _dominates(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))
