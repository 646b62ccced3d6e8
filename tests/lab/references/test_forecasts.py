"""The few forecasts that pages show: of windows that the rule names, beside the truth, and copied with a study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dynonet.config import Config
from lab.references.forecasts import _parsed, chosen, encoded, forecasts_of_run, forecasts_path, record_forecasts
from lab.references.windows import in_a_row
from lab.series import load_series, window_starts
from lab.store.studies.copying import copy_studies
from lab.store.tables import Results
from lab.training.readings import load_weights
from lab.training.stack_run import StackRun
from lab.training.trainer import evaluate_weights


def test_windows_by_rule_with_their_errors_and_copied_once(tiny: Config, store: Results, tmp_path: Path) -> None:
    assert chosen(600) == [100, 300, 500] and chosen(2) == [0, 1] and chosen(1) == [0]
    config = tiny.override({"training.max_epochs": 1, "data.channels": ["OT"]})
    series = load_series(config.data)
    stack = StackRun(store, [config], series=series)
    stack.step()
    (run,) = stack.ids
    store.add("members", [{"study": "league", "role": "arm", "arm": "full", "cell": "main", "run": run}])
    store.add("studies", [{"study": "league", "settings": "{}"}])
    assert record_forecasts(store, "league", store.runs([run]), series) == {}
    found = forecasts_of_run(store, run)
    assert found is not None and found.channel == series.channels[-1] and found.steps == stack.trainers[0].steps

    starts = window_starts(series, config.data, "test")
    at, horizon = chosen(len(starts)), config.data.pred_len
    assert found.rows == tuple(starts[at] + config.data.seq_len)
    for place, row in enumerate(found.rows):
        assert np.allclose(found.truth[place], series.scaled[row : row + horizon, -1])
        assert np.allclose(found.past[place], series.scaled[row - horizon : row, -1])
    errors = evaluate_weights(*load_weights(store, store.runs([run])[run]), series, "test").mse_windows[0, at]
    assert np.mean((found.forecast - found.truth) ** 2, axis=1) == pytest.approx(errors.numpy(), rel=1e-4)

    looks = store.table("looks").num_rows
    record_forecasts(store, "league", store.runs([run]), series)
    assert store.table("looks").num_rows == looks, "what is there costs no further look"
    there = Results(tmp_path / "copy")
    assert [copy_studies(store, ["league"], there).forecasts for _ in range(2)] == [1, 0]
    copied = forecasts_of_run(there, run)
    assert copied is not None and np.array_equal(copied.forecast, found.forecast) and copied.rows == found.rows

    # In the data's own units and by its own clock, which a figure shows; of records from before, neither.
    assert copied.times is not None and series.timestamps is not None
    for place, row in enumerate(copied.rows):
        assert np.allclose(copied.own(copied.truth[place]), series.values[row : row + horizon, -1], atol=1e-4)
        assert np.array_equal(copied.times[place], series.timestamps[row - horizon : row + horizon])
    old = _parsed(encoded(replace(found, scale=None, times=None)))
    assert old.scale is None and old.times is None and np.array_equal(old.own(old.truth), old.truth)
    assert "OT, own units</text>" in in_a_row(copied, "x") and "OT (z-scored)</text>" in in_a_row(old, "x")


def test_what_cannot_be_had_or_read_is_said(tiny: Config, store: Results) -> None:
    series = load_series(tiny.data)
    without = record_forecasts(store, "league", {"a" * 20: {"run": "a" * 20, "status": "failed"}}, series)
    assert "no weights on record" in without["a" * 20] and not store.table("looks").num_rows
    store.put_blob(forecasts_path("b" * 20), b"nothing of ours")
    assert forecasts_of_run(store, "b" * 20) is None and len(store.skipped) == 1
