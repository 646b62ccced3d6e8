"""Of very many trials a sampler is shown the best and the latest; of an ordinary search's all, to the bit."""

from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from dynonet.config import Config
from dynonet.space import SPACE
from lab.store.tables import Results
from tune.methods import window as module
from tune.methods.journal import JournalCopy
from tune.methods.table import SHOWN
from tune.methods.window import Window
from tune.proposals import Proposals
from tune.space import Space


def study(path: Path, most: int, objectives: int = 1) -> optuna.Study:
    return optuna.create_study(
        storage=Window(JournalCopy(path), most), sampler=optuna.samplers.RandomSampler(seed=0), study_name="s",
        directions=["minimize"] * objectives,
    )  # fmt: skip


def told(found: optuna.Study, *outcomes: object) -> None:
    """A trial for each: its values where it is complete, or how it ended, or None where it goes on."""
    for outcome in outcomes:
        trial = found.ask({"x": FloatDistribution(0, 1)})
        if isinstance(outcome, TrialState):
            found.tell(trial, state=outcome)
        elif outcome is not None:
            found.tell(trial, outcome)  # type: ignore[arg-type]


def shown(found: optuna.Study) -> list[int]:
    return [trial.number for trial in found.get_trials(deepcopy=False)]


def test_the_best_the_latest_and_what_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEST", 2)
    found, pruned = study(tmp_path / "journal", most=3), TrialState.PRUNED
    told(found, 3.0, None, 1.0, TrialState.FAIL, 5.0)
    assert shown(found) == [0, 1, 2, 3, 4], "no more than three have ended well: all"
    told(found, 2.0, pruned, 4.0, TrialState.FAIL, pruned, 6.0)
    assert shown(found) == [1, 2, 5, 7, 9, 10]  # one that goes on, the two best, the last three
    assert [t.number for t in found.get_trials(states=[TrialState.COMPLETE])] == [2, 5, 7, 10]
    found.enqueue_trial({"x": 0.5})
    assert found.ask({"x": FloatDistribution(0, 1)}).params == {"x": 0.5}
    found.tell(1, 9.0)
    assert shown(found) == [2, 5, 7, 9, 10, 11], "the latest are those proposed last, not those told last"
    whole = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(tmp_path / "journal"))))
    assert len(whole.trials) == 12, "Optuna's own tools see every trial"
    again = study(tmp_path / "again", most=3)
    for trial in whole.trials:
        again.add_trial(trial)
    assert shown(again) == [*shown(found)]


def test_of_several_objectives_what_no_trial_is_better_than(tmp_path: Path) -> None:
    found = study(tmp_path / "journal", 2, objectives=2)
    told(found, [3.0, 5.0], [1.0, 9.0], [2.0, 4.0], [2.0, 4.0], [9.0, 9.0], [2.0, 5.0], [8.0, 8.0])
    assert shown(found) == [1, 2, 3, 5, 6]  # the third of an equal pair is as good; of the others the latest two


@pytest.mark.parametrize("most", [40, 15])
def test_an_ordinary_search_proposes_what_it_did(
    store: Results, tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    def proposed(name: str) -> list[str]:
        proposals = Proposals(
            store, name, Space(SPACE, tiny), seed=0, replicates=1, data_sha256="", journal=tmp_path / name
        )
        found = []
        for number in range(42):
            proposal = proposals.propose()
            assert proposal is not None
            found.append(str(proposal.params))
            if number < 40:
                proposals.finish(proposal.trial, "complete", [-float(number)], [(1, 1.0)])
        return found

    monkeypatch.setattr(module, "BEST", 2)
    monkeypatch.setitem(SHOWN, "tpe", most)
    windowed = proposed("windowed")
    monkeypatch.delitem(SHOWN, "tpe")
    whole = proposed("whole")
    assert windowed[:15] == whole[:15]
    assert (windowed == whole) == (most == 40), "40 are not more than 40; of 15 others are modelled"
