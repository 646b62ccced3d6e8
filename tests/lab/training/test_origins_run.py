"""A trial's stacks at several origins: the same reports and numbers wherever a kill comes between them."""

from pathlib import Path

import pytest

from dynonet.config import Config
from lab.series import load_series
from lab.series.origins import rolling
from lab.store.outcomes import over_origins
from lab.store.tables import Results
from lab.training.origins_run import OriginsRun, Stack
from lab.training.stack_run import Report, StackRun
from tests.lab.training.stacks import HUGE, attempts, checkpoints, numbers, seeds


def stacks_of(tiny: Config) -> list[Stack]:
    """Two seeds at each of two origins."""
    found: list[Stack] = []
    for data in rolling(tiny.data, 2):
        configs = seeds(tiny.override({"data.origins_back": data.origins_back}), 1, 2, **{"training.max_epochs": 3})
        found.append((configs, load_series(data)))
    return found


def to_the_end(trial: OriginsRun) -> list[Report]:
    reports = [trial.step()]
    while reports[-1].state == "running":
        reports.append(trial.step())
    return reports


def test_a_kill_between_the_stacks_changes_nothing(store: Results, tiny: Config, tmp_path: Path) -> None:
    stacks = stacks_of(tiny)
    reports = to_the_end(OriginsRun(store, stacks))
    assert [report.epoch for report in reports] == [1, 2, 3] and reports[-1].state == "complete"
    rows, ids = store.runs(), [[c.run_id(series.identity) for c in configs] for configs, series in stacks]
    assert len(rows) == 4 == len({run for group in ids for run in group}), "a run of its own at each origin"
    means = [sum(rows[run]["val_mse"] for run in group) / 2 for group in ids]
    assert reports[-1].value == pytest.approx(over_origins(means)) and checkpoints(store) == []

    cut = Results(tmp_path / "cut")
    assert OriginsRun(cut, stacks).step() == reports[0]
    configs, series = stacks[0]
    StackRun(cut, configs, series=series).advance()  # killed when one stack had its second epoch, and not the other
    resumed = OriginsRun(cut, stacks)
    assert resumed.report() == reports[0], "what all origins have come to"
    assert to_the_end(resumed) == reports[1:]
    assert numbers(cut) == numbers(store) and set(attempts(cut).values()) == {"complete"} and checkpoints(cut) == []


def test_a_run_that_diverges_at_one_origin_ends_the_trial(store: Results, tiny: Config) -> None:
    good, (configs, series) = stacks_of(tiny)
    bad = [config.override({"training.lr": HUGE}) for config in configs]
    report = to_the_end(OriginsRun(store, [good, (bad, series)]))[-1]
    statuses = {row["data_sha256"]: row["status"] for row in store.runs().values()}
    assert report.state == "diverged" and statuses == {good[1].identity: "stopped", series.identity: "diverged"}
