"""A race through real Ray, killed as a trial waits for its second seed."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.store.objects.checksums import plain
from lab.store.tables import Results
from tests.processes import Driver, drivers, gone
from tests.tune.running import outcomes, rows


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Starts searches in `tmp_path`; none of their processes outlives the test."""
    with drivers("tune.search", tmp_path, "--preset", "smoke", "--race") as start:
        yield start


@pytest.mark.slow
def test_a_race_that_is_killed_and_gone_on_with(begin: Callable[..., Driver], tmp_path: Path) -> None:
    arguments = ("--results", "out", "--trials", "6", "--final-replicates", "1", "--grace-epochs", "3")
    results = Results(tmp_path / "out")
    driver = begin(*arguments)
    driver.until(lambda: any(row["event"] == "raced" for row in rows(results, "trials")))
    driver.kill()
    assert gone(driver.mark)
    before = {row["trial"]: row for row in rows(results, "trials") if row["event"] == "raced"}
    driver = begin(*arguments)
    assert driver.wait() == 0, driver.said()
    ended = outcomes(results)
    events = Counter((row["trial"], row["event"]) for row in rows(results, "trials"))
    assert len(ended) == 6 and set(events.values()) == {1}, "each verdict is given once"
    raced = {row["trial"]: row for row in rows(results, "trials") if row["event"] == "raced"}
    assert before.items() <= raced.items()
    latest, members = results.runs(), rows(results, "members")
    for trial, row in ended.items():
        runs = [latest[m["run"]] for m in members if m["trial"] == trial and m["role"] == "search"]
        assert len(runs) == row["seeds"] == (2 if trial in raced else 1)
        assert row["state"] == "complete" if row["seeds"] == 2 else row["state"] == "stopped"
        assert {run["status"] for run in runs} == ({"complete"} if row["losses"] else {"stopped"})
        if row["losses"]:
            assert row["losses"] == [run["val_mse"] for run in sorted(runs, key=lambda run: run["seed"])]
            assert row["values"] == [pytest.approx(sum(row["losses"]) / len(row["losses"]))]
    assert {row["attempt"] for row in rows(results, "runs")} == {1}, "what was trained is not trained again"
    stopped = {f"checkpoints/runs/{run}/state.pt" for run, row in latest.items() if row["status"] == "stopped"}
    assert set(map(plain, results.storage.list("checkpoints"))) == stopped
    best = min((row for row in ended.values() if row["state"] == "complete"), key=lambda row: row["values"][0])
    assert f"best: {best['trial']}, validation MSE {best['values'][0]:.4f}" in driver.said()
