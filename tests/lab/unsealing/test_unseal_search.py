"""A search's sealed rows: read with its final replicates and the bars beside them, once these are read on test."""

from typing import Any

from dynonet.config import Config
from lab.pages.blocks import section
from lab.pages.page import Page
from lab.references.runs import record_bars
from lab.references.standing import standing_of
from lab.results import main
from lab.series import load_series
from lab.store.tables import Results
from lab.training.readings import read_test
from lab.training.stack_run import StackRun
from lab.unsealing.settled import unsettled
from tests.tune.searched import Searched, spread
from tune.findings.collect import findings_of
from tune.reporting.sections import _sealed


def test_the_final_replicates_and_the_bars(tiny: Config, store: Results, capsys: Any) -> None:
    base = tiny.override({"data.sealed": 60, "training.max_epochs": 1})
    series, study = load_series(base.data), Searched(store, base).add(*spread(4))
    assert "the final replicates of its best trial, t00001, are not trained" in unsettled(store, "mine")
    record_bars(store, "mine", base, series, lookbacks=[16, 36])
    stack = StackRun(store, [base.with_seed(seed) for seed in (7, 8)])
    finals = [{"study": "mine", "trial": "t00001", "role": "final", "run": run} for run in stack.ids]
    store.add("members", finals)
    while stack.step().state == "running":
        pass
    assert main(["unseal", "mine", "--results", store.storage.url]) == 2
    assert "test is not read for 2 final replicates" in capsys.readouterr().err
    read_test(store, stack.ids, "final")
    study.finals("t00000", spread(1)[0].params, [0.7])  # of the trial that was the best once: it was not chosen
    assert main(["unseal", "mine", "--results", store.storage.url]) == 0
    said = capsys.readouterr().out
    assert "synthetic, sealed rows 240..300 (2000-01-11 00:00 to" in said and "57 windows of sealed rows" in said
    found = findings_of(store, "mine").sealed
    first, *bars = found.groups
    assert (first.title, set(first.runs)) == ("final replicates", set(stack.ids)) and len(bars) >= 3
    kept = {bar.name: bar.runs for bar in standing_of(store, "mine", [], 20).bars}
    assert {bar.name: bar.runs for bar in bars} == kept, "of each bar the lookback that validation chose, and no other"
    assert all(value > 0 for group in found.groups for values in group.errors.values() for value in values)
    page = Page.of("mine", "", [section("On sealed rows", "sealed", _sealed(findings_of(store, "mine")))]).markdown()
    assert "final replicates" in page and "linear baseline" in page and "rows 240..300 of synthetic" in page
