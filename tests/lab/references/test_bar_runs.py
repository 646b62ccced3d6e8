"""Bars and starts on record, how trained runs stand against them, and what is said of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dynonet.config import Config
from lab.errors import DataError
from lab.references.runs import bar_run, record_bars, record_starts, start_run
from lab.references.standing import Added, BarErrors, Standing, standing_of
from lab.references.titles import TITLES
from lab.references.wording import added, over_cells
from lab.series import load_series
from lab.series.bars import BARS, FittedBar, fit_bars
from lab.store.frames import bars, load
from lab.store.schema import BARS as MODELS
from lab.store.tables import Results
from lab.training.over_time import time_interval
from lab.training.readings import read_test
from lab.training.stack_run import StackRun
from lab.training.window_errors import keep_window_errors, window_errors

FLAGSHIP = Path(__file__).parents[3] / "results" / "flagship"
START = ("model.trend_start=closed_form", "training.mode=joint", "data.period=8", "training.max_epochs=1")


def test_the_ridge_on_record_of_before_is_found_by_its_id() -> None:
    recorded = bars("tuned-etth1-h96", FLAGSHIP).set_index("model")
    config, series = Config.create(preset="tuned-etth1-h96"), recorded.loc["linear", "data_sha256"]
    assert {name: bar_run(bar, config, series) for name, bar in BARS.items()} == {
        name: recorded.loc[name, "run"] for name in BARS
    }
    assert recorded.loc["linear", "run"] == "e5f82f00a3b7594d5c40", "as in records of before there were others"
    assert set(recorded.index) == set(MODELS) and len(set(recorded["run"])) == len(BARS) + 10
    assert set(MODELS) == {*BARS, "start"} == set(TITLES)


def test_a_store_of_before_has_the_ridge_alone_and_says_so(store: Results) -> None:
    kept, name = Results(FLAGSHIP, create=False), "tuned-etth1-h96"
    frame = load(name, FLAGSHIP)
    finals = frame.loc[frame["role"].str.contains("final"), "run"].tolist()
    assert len(standing_of(kept, name, finals, 608).rows) == len(BARS) + 1
    (ridge,) = bars(name, FLAGSHIP).query("model == 'linear'")["run"]
    store.add("members", [row for row in kept.table("members", name).to_pylist() if row["run"] in (*finals, ridge)])
    for table in ("runs", "evaluations"):
        store.add(table, kept.of_runs(table, [*finals, ridge]).to_pylist())
    for run in (*finals, ridge):
        errors = window_errors(kept, run)
        assert errors is not None
        keep_window_errors(store, run, errors)
    found = standing_of(store, name, finals, 608)
    assert [bar.title for bar in found.bars] == ["linear baseline"] and found.start is None
    assert found.over_best is not None and found.over_best.mean == pytest.approx(-0.0025, abs=5e-5)
    said = added(found)
    assert "other test rows could turn it round" in said[0] and said[1].startswith("Not on record: last value, season")


def test_every_bar_and_the_start_on_record(tiny: Config, store: Results) -> None:
    base = tiny.override(START)
    series, configs = load_series(base.data), [base.with_seed(seed) for seed in (1, 2, 3)]
    stack = StackRun(store, configs, series=series)
    while stack.step().state == "running":
        pass
    read_test(store, stack.ids, "final", series=series)
    for _ in range(2):  # the second adds nothing
        assert record_bars(store, "mine", base, series, "main") == []
        starts = record_starts(store, "mine", configs, series, "main")
    assert len(store.table("members", "mine")) == len(BARS) + 3 == len(bars("mine", store.storage.root))
    assert starts == [start_run(run) for run in stack.ids] and record_starts(store, "mine", [tiny], series) == []
    fitted = {f.bar.name: f for f in fit_bars(series, base.data) if isinstance(f, FittedBar)}
    found = standing_of(store, "mine", stack.ids, 20, "main")
    for bar in found.bars:
        test = fitted[bar.name].evaluate(series, base.data, "test")
        assert bar.errors["test_mse"] == pytest.approx(test.mse) and bar.errors["test_mae"] == pytest.approx(test.mae)
        kept = window_errors(store, bar.runs[0])
        assert kept is not None and kept == pytest.approx(test.mse_windows, rel=1e-5)
    assert found.missing == () and found.start is not None and found.start.runs == tuple(starts)
    assert found.best is not None and found.best.errors["val_mse"] == min(f.validation.mse for f in fitted.values())
    trained = store.of_runs("evaluations", stack.ids).to_pylist()
    losses = {r["run"]: r["value"] for r in trained if r["metric"] == "mse" and r["channel"] is None}
    mean = float(np.mean([losses[run] for run in stack.ids]))
    assert found.over_start is not None and found.over_start.seeds == 3
    _check_intervals(found.over_start, losses, store, stack.ids)
    assert found.over_start.mean == pytest.approx(mean - found.start.errors["test_mse"], abs=1e-9)
    assert found.over_best is not None
    assert found.over_best.mean == pytest.approx(mean - found.best.errors["test_mse"], abs=1e-9)
    assert [text.split()[0] for text in added(found)] == ["Before", "The"]


def _check_intervals(found: Added, losses: Mapping[str, float], store: Results, ids: Sequence[str]) -> None:
    """Over seeds by scipy, over windows by hand, and both crossed."""
    starts, trained = ([window_errors(store, run) for run in runs] for runs in (map(start_run, ids), ids))
    gaps = [losses[run] - float(np.mean(before, dtype=float)) for run, before in zip(ids, starts, strict=True)]
    assert found.over_seeds == pytest.approx(tuple(stats.ttest_1samp(gaps, 0).confidence_interval(0.95)), abs=1e-6)
    by_window = np.mean(np.subtract(trained, starts), axis=0)
    assert found.over_windows == pytest.approx(time_interval(by_window, 20))
    assert found.over_both is not None and found.over_windows is not None and found.over_seeds is not None
    for end, sign in ((0, -1), (1, 1)):
        reach = np.hypot(found.over_seeds[end] - found.mean, (found.over_windows[1] - found.over_windows[0]) / 2)
        assert found.over_both[end] == pytest.approx(found.mean + sign * reach)


def test_what_cannot_be_had_is_said_and_the_rest_recorded(tiny: Config, store: Results) -> None:
    series = load_series(tiny.data)  # S=16, a day is 24
    lines = record_bars(store, "mine", tiny, series)
    assert len(lines) == 3 and lines[0].startswith("no bar 'seasonal' here: a period is 24 steps by the calendar")
    assert standing_of(store, "mine", [], 20).missing == ("seasonal", "folded ridge", "mean of ridges")
    with pytest.raises(DataError, match="a window needs"):
        record_bars(store, "other", tiny.override({"data.seq_len": 2000}), series)
    assert not len(store.table("members", "other"))


@pytest.mark.parametrize(
    ("start", "best", "said"),
    [
        (
            Added(-0.0001, 10, (-0.0004, 0.0002), (-0.01, 0.01)),
            None,
            "training added nothing to it that can be told from 0: −0.0001 (95% over 10 seeds, −0.0004 to 0.0002; over",
        ),
        (
            Added(-0.02, 10, (-0.03, -0.01), (-0.03, -0.01)),
            None,
            "training lowered it by 0.0200 (95% over 10 seeds, −0.0300 to −0.0100; over seeds and test windows, "
            "−0.0341 to −0.0059).",
        ),
        (
            Added(-0.02, 10, (-0.03, -0.01), (-0.05, 0.01)),
            None,
            "training lowered it by 0.0200 on these rows only (95% over 10 seeds, −0.0300 to −0.0100; over seeds and "
            "test windows, −0.0516 to 0.0116, so other test rows could turn it round).",
        ),
        (
            Added(0.02, 10, (0.01, 0.03)),
            None,
            "training raised it by 0.0200 on these rows only (95% over 10 seeds, 0.0100 to 0.0300; over other rows",
        ),
        (
            Added(0.02, 1, None, (-0.01, 0.05)),
            None,
            "training changed it by +0.0200, as far as one seed can say (95% over test windows, −0.0100 to 0.0500)",
        ),
        (
            None,
            Added(-0.0025, 10, (-0.003, -0.002), (-0.012, 0.007)),
            "0.0025 below it (mean of 10 seeds): 95% over test windows, −0.0120 to 0.0070, so other test rows could",
        ),
        (
            None,
            Added(-0.01, 3, (-0.04, 0.02), (-0.015, -0.005)),
            "−0.0150 to −0.0050; over seeds and test windows, −0.0404 to 0.0204, so other seeds and rows could turn",
        ),
        (None, Added(0.0025, 1), "0.0025 above it (one seed), and how much of that other test rows could"),
        (None, None, "no test error on record to hold against it"),
    ],
)
def test_sentences(start: Added | None, best: Added | None, said: str) -> None:
    errors = {"val_mse": 0.5, "val_mae": 0.5, "test_mse": 0.4, "test_mae": 0.5}
    bar = BarErrors("smoothed", errors, 84, ("a",))
    standing = Standing((bar,), BarErrors("start", errors, 84, ("b",)), bar, start, best)
    text = " ".join(added(standing))
    assert said in text and "The best bar on validation is the smoothed ridge (0.5000)" in text


def test_cells_are_counted_by_what_training_added() -> None:
    """Below and above, and how many of these other seeds and rows would not turn round."""
    errors = {"val_mse": 0.5, "val_mae": 0.5, "test_mse": 0.4, "test_mae": 0.5}
    bar = BarErrors("smoothed", errors, 84, ("a",))
    sure, narrow, unknown = (-0.03, -0.01), (-0.021, -0.019), None
    gaps = [
        Added(-0.02, 9, sure, sure), Added(-0.02, 9, narrow, (-0.05, 0.01)), Added(-0.02, 9, narrow, unknown),
        Added(0.02, 9, (0.019, 0.021), (0.01, 0.03)),
    ]  # fmt: skip
    cells = [Standing((bar,), bar, bar, gap, gap) for gap in gaps]
    start, best = over_cells(cells, "the whole network")
    assert start == (
        "Training lowered the test MSE of the whole network's closed-form start in 3 of 4 cells and raised it in 1; "
        "95% over seeds and test windows exclude 0 in 1 and 1 of these."
    )
    assert best.startswith("The whole network is below the best bar on validation, by test MSE, in 3 of 4 cells and is")
    assert over_cells([Standing()]) == []


def test_validation_chooses_a_bars_lookback(tiny: Config, store: Results) -> None:
    """Proposals of a search read windows of several lengths: a bar that may not is no rival."""
    series = load_series(tiny.data)
    lines = record_bars(store, "mine", tiny, series, lookbacks=[16, 36])
    assert lines == [], "a period of 24 fits into 36"
    found = standing_of(store, "mine", [], 20)
    rows = store.runs([row["run"] for row in store.table("members", "mine").to_pylist()])
    by_bar: dict[str, dict[int, float]] = {}
    for row in rows.values():
        by_bar.setdefault(row["model"], {})[row["params.data.seq_len"]] = row["val_mse"]
    assert {len(errors) for errors in by_bar.values()} == {1, 2} and found.lookbacks == (16, 36)
    for bar in found.bars:
        errors = by_bar[bar.name]
        assert bar.errors["val_mse"] == min(errors.values()) == errors[bar.lookback or 0]
    assert {bar.name for bar in found.bars} == set(BARS) and found.missing == ()
    last = by_bar["last_value"]
    assert last[16] == pytest.approx(last[36])
    linear = next(bar for bar in found.bars if bar.name == "linear")
    assert any(f"linear baseline {linear.lookback}" in line for line in added(found))
