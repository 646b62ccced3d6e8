"""Results are kept in few files while a study goes."""

import logging
from typing import Any

import pytest

from lab.store import tables as results_module
from lab.store.beside.upkeep import EVERY, Upkeep
from lab.store.files import is_segment
from lab.store.tables import Results, StorageError


def ended(upkeep: Upkeep, trials: int) -> None:
    for number in range(trials):
        (upkeep.on_trial_error if number % 7 == 6 else upkeep.on_trial_complete)(0, [], None)
    if upkeep._thread is not None:
        upkeep._thread.join()


def test_files_are_merged_as_trials_end(store: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_module, "COMPACT_ABOVE", 10)
    upkeep = Upkeep(store)
    rows = [{"run": f"r{n}", "attempt": 1, "status": "complete"} for n in range(30)]
    store.add("runs", rows[:15])
    ended(upkeep, EVERY - 1)
    assert len(store.storage.list("runs")) == 15, "nobody looks at each trial's end"
    ended(upkeep, 1)
    assert list(map(is_segment, store.storage.list("runs"))) == [True] and len(store.runs()) == 15
    store.add("runs", rows[15:20])
    ended(upkeep, EVERY)
    assert len(store.storage.list("runs")) == 6, "few files are left alone"
    store.add("runs", rows[20:])
    ended(upkeep, EVERY)
    assert len(store.storage.list("runs")) == 1 and set(store.runs()) == {row["run"] for row in rows}


def test_a_store_out_of_reach_costs_the_study_nothing(
    store: Results, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*_: Any) -> None:
        raise StorageError(5, "cannot list runs: gone")

    monkeypatch.setattr(Results, "compact_many", gone)
    with caplog.at_level(logging.WARNING):
        ended(Upkeep(store), EVERY)
    assert "the results were not compacted: " in caplog.text and "gone" in caplog.text
