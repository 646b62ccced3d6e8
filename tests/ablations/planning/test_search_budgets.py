"""Searches of equal device seconds, whatever a trial costs: how many trials are asked for, from what is on record."""

import pytest

from ablations.planning import tuning
from ablations.planning.call import StudyCall
from ablations.planning.tuning import rounds, search_settings
from lab.store.tables import Results
from tune.settings import SearchSettings


@pytest.fixture
def asked() -> tuple[object, SearchSettings]:
    study, _ = StudyCall(study="league", arms=("rlinear",), tuned=True, search_seconds=100, trials=300).settings()
    return study, search_settings(study, "rlinear", "ETTh1", "budgets")


@pytest.mark.parametrize("cost", [0.7, 9.0, 45.0, 260.0])
@pytest.mark.parametrize("before", [0, 1])
def test_it_ends_within_a_trial_of_its_budget(
    cost: float, before: int, asked: tuple, store: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = [before]
    monkeypatch.setattr(tuning, "_spent", lambda results, name: (done[0], done[0] * cost))
    for count, trials in enumerate(rounds(store, *asked)):
        assert done[0] <= trials <= 300 and count < 20
        done[0] = trials
    assert done[0] * cost >= 100 > (done[0] - 1) * cost
    (again,) = rounds(store, *asked)  # the same command after all is done
    assert again == done[0]


def test_trials_end_it_too_and_what_is_spent_is_read_from_the_records(asked: tuple, store: Results) -> None:
    study, settings = asked
    assert next(rounds(store, study, settings)) == 1, "what a trial costs is not known yet"
    runs = [f"{number:020d}" for number in range(4)]
    store.add("members", [
        {"study": settings.study, "role": "search", "trial": f"t0000{n // 2}", "run": run}
        for n, run in enumerate(runs)
    ])  # fmt: skip
    store.add("runs", [
        {"run": run, "attempt": 1, "status": "complete", "cpu_seconds": 5.0, "gpu_seconds": gpu}
        for run, gpu in zip(runs, (None, None, None, 1.0), strict=True)
    ])  # fmt: skip
    store.add("trials", [
        {"study": settings.study, "trial": f"t0000{n}", "number": n, "event": event, "state": state}
        for n in range(2) for event, state in (("proposed", None), ("outcome", "complete"))
    ])  # fmt: skip
    assert next(rounds(store, study, settings)) == 2 + int(0.7 * (100 - 16) / 8)
