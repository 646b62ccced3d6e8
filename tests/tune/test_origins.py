"""A search over several origins: what it trains, what its report makes of rankings that do not travel."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynonet.config import Config
from lab.pages.formats import counted
from lab.results import show_lines
from lab.series import load_series
from lab.store.pruning import prune
from lab.store.tables import Results
from tests.processes import Driver, drivers, gone
from tests.tune.running import check_complete, outcomes, rows
from tests.tune.searched import SHA, Made, Searched
from tune.conclusion import origins_text
from tune.findings.agreement import agreements, correlation_interval
from tune.findings.collect import findings_of
from tune.report import render
from tune.search import main
from tune.settings import Budget

# By hand: at the first origin a < b < c < d, at the second c < b < d < a.
LOSSES = {"d": (8.0, 3.0), "c": (4.0, 1.0), "b": (2.0, 2.0), "a": (1.0, 4.0)}


def test_the_agreement_of_two_rankings_by_known_numbers() -> None:
    losses = {trial: {"row1": one, "row2": two} for trial, (one, two) in LOSSES.items()}
    (found,) = agreements(losses)
    assert (found.chosen_by, found.following, found.trials) == (("row1",), "row2", ("d", "c", "b", "a"))
    assert found.correlation == pytest.approx(1 - 6 * (9 + 0 + 4 + 1) / (4 * 15)), "squared differences of ranks"
    assert found.interval is None, "of four trials"
    assert found.trials[found.chosen] == "a" and found.rank == 4
    assert found.regret == pytest.approx(300) and found.by_chance == pytest.approx(150)
    assert found.overtuning == pytest.approx(300), "c was the best so far once, and is the lowest at row2"
    (early,) = agreements(dict(reversed(losses.items())))
    assert early.overtuning == 0 and early.incumbents == (0, 0, 0, 0), "no other was ever chosen"
    # Of three origins the mean of the earlier ones, too: c there has a geometric mean of 2, as b; a has 2.
    third = {trial: at | {"row3": loss} for (trial, at), loss in zip(losses.items(), (1, 5, 2, 4), strict=True)}
    pairs = agreements(third)
    assert [(pair.chosen_by, pair.following) for pair in pairs] == [
        (("row1",), "row2"), (("row2",), "row3"), (("row1", "row2"), "row3"),
    ]  # fmt: skip
    assert pairs[2].here == pytest.approx((24**0.5, 2, 2, 2)) and pairs[2].rank == 4
    assert correlation_interval(0.5, 23) == pytest.approx((0.08425, 0.76755), abs=1e-4)
    assert agreements({"a": {"row1": 1.0, "row2": 2.0}}) == () == agreements({"a": {}, "b": {}})
    (equal,) = agreements({trial: {"row1": 1.0, "row2": 2.0} for trial in "abc"})
    assert math.isnan(equal.correlation) and equal.rank == 1 and equal.regret == 0


ORIGINS = {"row100": "1" * 64, "row200": SHA}


@pytest.fixture
def study(store: Results) -> Searched:
    """Four trials as LOSSES has them, of two seeds each, and bars at both origins."""
    base = Config.create({"data.dataset": "ETTh1", "data.pred_len": 96, "training.max_epochs": 6})
    budget = Budget(replicates=2, grace_epochs=2, reduction_factor=2, origins=2)
    study = Searched(store, base, specs={"model.worker_hidden": {"int": [2, 64]}}, budget=budget, origins=ORIGINS)
    for width, (one, two) in enumerate(LOSSES.values(), 2):
        study.add(Made({"model.worker_hidden": width}, (one, one, two - 0.1, two + 0.1)))
    study.add(Made({"model.worker_hidden": 9}, (0.1, 0.1, 0.1, 0.1), "stopped", 2))
    study.linear(1.5, 9.0, "row100").linear(1.6, 2.4)
    return study.finals("t00002", {"model.worker_hidden": 4}, (2.5, 2.6))


def test_the_page_says_what_holds_at_each_origin_and_whether_it_travels(study: Searched) -> None:
    found = findings_of(study.results, "mine")
    best = found.best
    assert best is not None and best.trial == "t00001", "the first of three with a geometric mean of 2"
    assert best.loss == pytest.approx(2) and best.at == pytest.approx({"row100": 4, "row200": 1})
    assert best.losses == pytest.approx(((4 * 0.9) ** 0.5, (4 * 1.1) ** 0.5)), "a seed, over its origins"
    first, last = found.origins
    assert (first.loss, first.rank, first.trials, first.lowest, first.lowest_trial) == (4, 3, 4, 1, "t00003")
    assert (last.rank, last.trains_on, last.validates) == (1, 200, "year 2")
    assert first.standing.best is not None and first.standing.best.errors["val_mse"] == 1.5
    assert found.linear_loss == pytest.approx((1.5 * 1.6) ** 0.5), "a bar is held against a trial as that is valued"
    (agreement,) = found.agreements
    assert len(agreement.trials) == 4, "what was stopped early is not ranked"
    page = render(found)["report.md"]
    for part in (
        "| row100 | 100 rows | year 1 | 4.0000 | 3 of 4 | 1.0000 (t00003) | 1.5000 (linear baseline) | – |",
        "| row100 | row200 | −0.40 | – | 4 of 4 | +300.0% | +150.0% | +300.0% |",
        "The trial that is best by row100 is number 4 of 4 at row200, 300.0% above the lowest there: no better than "
        "one drawn by chance (150.0% at the median); searching on cost 300.0% there",
        "Final replicates are trained at row200, the latest, alone.",
        "| best trial, t00001 | 1.0000 |",
        "validation, over 2 origins**: the best trial (2.0000) is worse than the linear baseline (1.5492)",
        "at row200, the latest origin",
    ):
        assert part in page, page
    assert "travel-" in render(found)["report.html"]
    said = "\n".join(origins_text(found))
    assert "row200  200 rows" in said and "one drawn\nby chance (150.0% at the median)" in said
    assert "t00001  4     4 complete  2        4       1" in "\n".join(show_lines(study.results, "mine"))


def test_one_origin_has_no_such_section(study: Searched, tmp_path: Path) -> None:
    alone = Searched(Results(tmp_path / "one"), study.base, specs={"model.worker_hidden": {"int": [2, 64]}})
    alone.add(*(Made({"model.worker_hidden": width}, (width, width)) for width in (2, 3, 4)))
    found = findings_of(alone.results, "mine")
    assert found.origins == () and found.agreements == () and origins_text(found) == []
    assert "origin" not in render(found)["report.md"]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Starts searches over two origins in `tmp_path`; none of their processes outlives the test."""
    with drivers("tune.search", tmp_path, "--preset", "smoke", "--origins", "2", "--results", "out") as start:
        yield start


@pytest.mark.slow
def test_a_killed_search_over_origins_goes_on_with_every_run_once(begin: Callable[..., Driver], tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("data.seq_len: {choice: [16, 24]}\nmodel.worker_hidden: {int: [2, 4]}\n")
    arguments = (
        "--trials", "2", "--max-epochs", "8", "--grace-epochs", "8", "--final-replicates", "1", "--space", "space.yaml",
    )  # fmt: skip
    results = Results(tmp_path / "out")
    driver = begin(*arguments)
    driver.until(lambda: [path for path in results.storage.list("checkpoints") if "/runs/" not in path])
    with driver.held():
        driver.kill()
    assert gone(driver.mark), "Ray's processes outlive the driver"
    ended = len(outcomes(results))
    resumed = len(rows(results, "trials")) - 2 * ended

    driver = begin(*arguments)
    assert driver.wait() == 0, driver.said()
    assert f"going on: {counted(ended, 'trial')} on record, {resumed} resumed" in driver.said()
    check_complete(results, 2, 2, 8, 1, origins=2)
    assert {row["attempt"] for row in rows(results, "runs")} == {1}, "a killed run goes on, it does not begin again"
    members, latest = rows(results, "members"), results.runs()
    there = {m["cell"]: latest[m["run"]] for m in members if m["role"] == "search"}
    assert sorted(there) == ["row240", "row360"] and [m["cell"] for m in members if m["role"] == "final"] == [None]
    own = Config.from_json(there["row360"]["config"])
    assert own.data.origins_back == 0 and own.run_id(load_series(own.data).identity) == there["row360"]["run"], (
        "the run that a search of one origin would train"
    )
    bars = {(m["cell"], latest[m["run"]]["model"]) for m in members if m["role"] == "baseline"}
    assert {("row240", "linear"), (None, "linear")} <= bars
    linear = [run for m in members if (run := latest[m["run"]])["model"] == "linear"]
    assert sorted(run["params.data.seq_len"] for run in linear) == [16, 16, 24, 24], "as far back as proposals look"
    assert "with 1 fresh seed at row360, the latest origin" in driver.said()
    assert "had one chosen by earlier rows" in driver.said()
    page = render(findings_of(results, "smoke"))
    assert prune(results, ["smoke"]).freed and render(findings_of(results, "smoke")) == page


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        (["--origins", "6"], ["origins: got 6, and at data.origins_back=5", "ask for fewer origins"]),
        (["--origins", "0"], ["origins: got 0"]),
        (["--origins", "2", "data.origin=400"], ["origins: got 2 with data.origin=400", "leave data.origin out"]),
    ],
)
def test_origins_that_cannot_be_are_refused_before_anything_is_computed(
    asked: list[str], parts: list[str], tmp_path: Path, capsys: Any
) -> None:
    assert main(["--preset", "smoke", "--results", str(tmp_path / "out"), *asked]) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in parts), error
    assert not (tmp_path / "out").exists()
