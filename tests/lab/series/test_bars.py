"""The bars: the published figures, known answers where a bar is exact, a plain least squares, and the command."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import lab.series.bars.windows
from dynonet.config import Config, DataConfig
from dynonet.network.layers import moving_average_matrix
from lab.baseline import main
from lab.errors import DataError
from lab.series import Series, load_series, window_starts
from lab.series.bars import BARS, FittedBar, Unavailable, fit_bar, fit_bars, fit_linear
from lab.series.bars.ridge import PENALTIES
from lab.series.bars.smoothed import KERNELS, moving_average
from lab.series.bars.windows import Moments, map_errors

SMALL = ["data.synthetic.rows=400", "data.seq_len=24", "data.pred_len=6"]


def small() -> DataConfig:
    return Config.create(overrides=SMALL).data


def windows(data: DataConfig, role: str) -> tuple[np.ndarray, np.ndarray]:
    """x (B, S, C) and y (B, H, C), the plain way."""
    series = load_series(data)
    cut = [series.scaled[s : s + data.seq_len + data.pred_len] for s in window_starts(series, data, role)]
    return np.array(cut)[:, : data.seq_len], np.array(cut)[:, data.seq_len :]


def test_equals_a_plain_ridge_regression_by_the_stated_formula(monkeypatch):
    monkeypatch.setattr(lab.series.bars.windows, "_CHUNK", 17)  # more than one chunk, the last one short
    data = small()
    x, y = windows(data, "train")
    mean = x.mean(axis=1, keepdims=True)
    deviation = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    a = ((x - mean) / deviation).transpose(0, 2, 1).reshape(-1, data.seq_len)
    t = ((y - mean) / deviation).transpose(0, 2, 1).reshape(-1, data.pred_len)
    s = deviation.transpose(0, 2, 1).reshape(-1, 1)
    fits = {}
    for penalty in PENALTIES:
        padded = np.vstack([s * a, np.sqrt(penalty) * np.eye(data.seq_len)])
        targets = np.vstack([s * t, np.zeros((data.seq_len, data.pred_len))])
        weight = np.linalg.lstsq(padded, targets, rcond=None)[0]
        vx, vy = windows(data, "validation")
        vm, vs = vx.mean(axis=1, keepdims=True), np.sqrt(vx.var(axis=1, keepdims=True) + 1e-5)
        forecast = np.einsum("bsc,sh->bhc", (vx - vm) / vs, weight) * vs + vm
        fits[penalty] = (np.mean((forecast - vy) ** 2), weight, np.abs(forecast - vy).mean(axis=(0, 1)))
    baseline = fit_linear(load_series(data), data)
    assert baseline.penalties == pytest.approx({penalty: fit[0] for penalty, fit in fits.items()}, rel=1e-9)
    assert baseline.penalty == min(fits, key=lambda penalty: fits[penalty][0])
    np.testing.assert_allclose(baseline.weight, fits[baseline.penalty][1], atol=1e-9)
    np.testing.assert_allclose(baseline.validation.mae_channels, fits[baseline.penalty][2], rtol=1e-9)
    assert baseline.validation.mse == pytest.approx(fits[baseline.penalty][0], rel=1e-9)


def test_forecast_has_the_errors_that_evaluate_says():
    data = small()
    series = load_series(data)
    baseline = fit_linear(series, data, "before_meta")
    x, y = windows(data, "test")
    error = baseline.forecast(x) - y
    metrics = baseline.evaluate(series, data, "test")
    assert metrics.windows == len(x) == 80 - 6 + 1
    assert metrics.mse == pytest.approx(np.mean(error**2))
    np.testing.assert_allclose(metrics.mse_channels, np.mean(error**2, axis=(0, 1)))
    np.testing.assert_allclose(metrics.mae_channels, np.abs(error).mean(axis=(0, 1)))


def test_fit_reads_no_test_row():
    data = small()
    series = load_series(data)
    poisoned = series.values.copy()
    poisoned[series.test[0] :] = np.nan
    fields = {name: getattr(series, name) for name in series.__dataclass_fields__} | {"values": poisoned}
    baseline = fit_linear(type(series)(**fields), data)
    assert np.array_equal(baseline.weight, fit_linear(series, data).weight)


def test_moments_are_those_of_the_windows():
    data = small()
    x, y = windows(data, "validation")
    weight = np.random.default_rng(0).normal(size=(data.seq_len, data.pred_len))
    for centred in (True, False):
        mean = x.mean(axis=1, keepdims=True) if centred else 0.0
        a, t = ((part - mean).transpose(0, 2, 1).reshape(-1, part.shape[1]) for part in (x, y))
        moments = Moments.of(load_series(data), data, "validation", centred)
        np.testing.assert_allclose(moments.past, a.T @ a, atol=1e-9)
        np.testing.assert_allclose(moments.cross, a.T @ t, atol=1e-9)
        said = map_errors(weight, load_series(data), data, "validation", centred).mse
        assert moments.mse(weight) == pytest.approx(said, rel=1e-10)


# Known answers


def made(values: np.ndarray, step: str = "h", **settings: object) -> tuple[Series, DataConfig]:
    data = DataConfig(dataset="frame", **settings)  # type: ignore[arg-type]
    dates = pd.date_range("2020-01-01", periods=len(values), freq=step)
    return Series.from_frame(pd.DataFrame(values, dates, [f"c{i}" for i in range(values.shape[1])]), data), data


def test_each_bar_is_exact_where_it_should_be():
    rng = np.random.default_rng(1)
    hours = np.arange(24 * 60)
    day = np.tile(rng.normal(size=(24, 2)), (60, 1))
    # A day that comes back.
    series, data = made(day, seq_len=72, pred_len=30)
    errors = {f.bar.name: f.evaluate(series, data, "test").mse for f in fit_bars(series, data)}
    assert errors["seasonal"] == pytest.approx(0, abs=1e-20) and errors["folded"] < 1e-8 and errors["last_value"] > 0.5
    # Each day a mix of the two before it, the same mix at every hour: the folded map has 3 days x 2 weights, all found.
    days = [rng.normal(size=(24, 2)), rng.normal(size=(24, 2))]
    while len(days) < 60:
        days.append(1.2 * days[-1] - 1.0 * days[-2])  # roots on the unit circle: no end to it
    series, data = made(np.concatenate(days), seq_len=72, pred_len=30)
    folded = fit_bar(series, data, BARS["folded"])
    assert folded.evaluate(series, data, "test").mse < 1e-6 and folded.num_weights == 3 * 2
    assert fit_bar(series, data, BARS["seasonal"]).evaluate(series, data, "test").mse > 0.1
    # A random walk of steps that no window foresees: nothing fitted is better than the last value by more than chance.
    series, data = made(rng.normal(size=(len(hours), 2)).cumsum(axis=0), seq_len=48, pred_len=12)
    walk = {f.bar.name: f.evaluate(series, data, "test").mse for f in fit_bars(series, data)}
    assert walk["last_value"] < min(walk["seasonal"], walk["folded"]) and walk["last_value"] < 1.02 * walk["linear"]


def test_the_mean_is_that_of_its_members_forecasts():
    data = small()
    series = load_series(data)
    fitted = {f.bar.name: f for f in fit_bars(series, data) if isinstance(f, FittedBar)}
    x, _ = windows(data, "test")
    mean = (fitted["linear"].forecast(x) + fitted["folded"].forecast(x)) / 2
    np.testing.assert_allclose(fitted["mean_of_ridges"].forecast(x), mean, atol=1e-12)


def test_smoothed_is_the_ridge_of_the_decompositions_trend():
    matrix = moving_average_matrix(24, 13, torch.empty(0, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(moving_average(24, 13), matrix, atol=1e-12)
    data = small()
    smoothed = fit_bar(load_series(data), data, BARS["smoothed"])
    assert smoothed.solution.choices["kernel"] in KERNELS and len(smoothed.solution.tried) == 3 * len(PENALTIES)
    best = min(tried["validation_mse"] for tried in smoothed.solution.tried)
    assert smoothed.validation.mse == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize(
    ("step", "season"), [("h", 24), ("15min", 96), ("D", 7), ("7D", 52), ("MS", 12), ("QS", 4), ("7h", None)]
)
def test_the_calendar_gives_the_period(step, season):
    values = np.random.default_rng(0).normal(size=(400, 1))
    series, data = made(values, step, seq_len=100, pred_len=5)
    assert series.step.season == season
    if season is None:
        with pytest.raises(Unavailable, match=r"every 7 hours\) gives no period; data.period sets one"):
            fit_bar(series, data, BARS["seasonal"])
    own = data.model_copy(update={"period": 9})
    assert fit_bar(series, own, BARS["seasonal"]).solution.choices == {"period": 9}


def test_a_period_that_no_window_holds():
    data = small().model_copy(update={"seq_len": 20})
    found = list(fit_bars(load_series(data), data))
    lacking = [bar.name for bar, fitted in zip(BARS.values(), found, strict=True) if isinstance(fitted, Unavailable)]
    assert lacking == ["seasonal", "folded", "mean_of_ridges"]
    assert "a period is 24 steps by the calendar (a row every 1 hour)" in str(found[1])


def test_the_period_is_in_no_networks_id():
    config = Config.create(overrides=SMALL)
    assert config.override({"data.period": 12}).run_id("a") == config.run_id("a")


def test_bars_of_unlike_lookbacks_forecast_the_same_rows_and_validation_chooses():
    data = small().model_copy(update={"period": 6})
    series = load_series(data)
    lookbacks = {"linear": (12, 48, 30), "folded": (18,)}
    found = {f.bar.name: f for f in fit_bars(series, data, lookbacks=lookbacks) if isinstance(f, FittedBar)}
    alone = {s: fit_linear(series, data.model_copy(update={"seq_len": s})) for s in lookbacks["linear"]}
    best = min(alone, key=lambda s: alone[s].validation.mse)
    linear, folded, mean = found["linear"], found["folded"], found["mean_of_ridges"]
    assert linear.solution.choices["lookback"] == best and np.allclose(linear.weight, alone[best].weight)
    assert linear.train_windows == alone[best].train_windows and ("lookback" in linear.solution.edges) == (best != 30)
    assert {each["lookback"] for each in linear.solution.tried} == {12, 30, 48}
    longest = max(best, 18)
    windows = np.random.default_rng(0).normal(size=(5, longest, 3))
    each = [bar.forecast(windows[:, -len(bar.weight) :]) for bar in (linear, folded)]
    np.testing.assert_allclose(mean.forecast(windows), np.mean(each, axis=0))
    tests = [bar.evaluate(series, data, "test") for bar in found.values()]
    assert len({test.windows for test in tests}) == 1 and len({len(bar.weight) for bar in found.values()}) > 2


# Published figures


def real(name: str, **settings: object) -> tuple[Series, DataConfig]:
    folder = os.environ.get("DYNONET_DATA_DIR")
    if not folder or not (Path(folder) / f"{name}.csv").exists():
        pytest.skip(f"no real data: set DYNONET_DATA_DIR to a folder that holds {name}.csv")
    data = DataConfig(dataset=name, **settings)  # type: ignore[arg-type]
    return load_series(data), data


def figures(fitted: FittedBar, series: Series, data: DataConfig) -> tuple[float, float]:
    test = fitted.evaluate(series, data, "test")
    return round(test.mse, 4), round(test.mae, 4)


def test_published_figures_of_the_ridge():
    series, data = real("ETTh1", seq_len=512, pred_len=96)
    baseline = fit_linear(series, data)
    assert baseline.penalty == 100 and baseline.num_weights == 49_152 and baseline.train_windows == 8033
    assert (round(baseline.validation.mse, 4), round(baseline.validation.mae, 4)) == (0.6658, 0.5477)
    assert figures(baseline, series, data) == (0.3670, 0.3912)
    assert baseline.validation.windows == baseline.evaluate(series, data, "test").windows == 2785


def test_published_figures_of_the_folded_ridge_and_its_mean_with_the_ridge():
    series, data = real("ETTh1", seq_len=336, pred_len=96)
    folded = fit_bar(series, data, BARS["folded"])
    assert folded.num_weights == 56 and figures(folded, series, data) == (0.3661, 0.3845)
    mean = fit_bar(series, data, BARS["mean_of_ridges"], lookbacks={"linear": [512]})
    assert mean.num_weights == 49_208 and figures(mean, series, data) == (0.3588, 0.3823)


def test_published_figures_where_the_last_value_is_the_bar_and_where_it_is_none():
    series, data = real("exchange_rate", seq_len=96, pred_len=96)
    assert figures(fit_bar(series, data, BARS["last_value"]), series, data) == (0.0811, 0.1964)
    assert figures(fit_linear(series, data), series, data) == (0.0814, 0.1969)
    series, data = real("national_illness", seq_len=36, pred_len=24)
    assert figures(fit_linear(series, data), series, data) == (2.5785, 1.0292)
    assert figures(fit_bar(series, data, BARS["last_value"]), series, data) == (6.2133, 1.6222)


def test_too_short_for_the_windows():
    data = small().model_copy(update={"seq_len": 300})
    with pytest.raises(DataError, match="'train' has 240 rows"):
        fit_linear(load_series(data), data)


# The command


def test_command(tmp_path):
    command = [sys.executable, "-m", "dynonet.baseline", SMALL[0], "--out", str(tmp_path / "o"), *SMALL[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Bars on synthetic, S=24, H=6" in done.stdout and "\x1b" not in done.stdout
    content = json.loads((tmp_path / "o" / "baseline.json").read_text())
    weight = np.load(tmp_path / "o" / "baseline.npz")["weight"]
    config = Config.create(content["config"])
    assert config == Config.create(overrides=SMALL)
    series = load_series(config.data)
    assert content["data"]["sha256"] == series.identity
    test = fit_linear(series, config.data).evaluate(series, config.data, "test")
    assert content["test"]["mse"] == pytest.approx(test.mse)
    assert list(content["test"]["mae_channels"]) == list(series.channels)
    assert weight.shape == (24, 6) and content["weights"] == 144
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("linear baseline")]
    assert f"{test.mse:.4f}" in row
    assert [bar["model"] for bar in content["bars"]] == list(BARS) and content["model"] == "linear"
    folded = fit_bar(series, config.data, BARS["folded"])
    assert np.array_equal(np.load(tmp_path / "o" / "baseline.npz")["weight_folded"], folded.weight)
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["baseline.json", "baseline.npz"]


def test_of_rows_that_are_all_fitted_what_was_chosen_on_others_stays():
    """Without any left to choose on, the last horizon of what is fitted would choose."""
    data = Config.create(overrides=["data.synthetic.rows=600", "data.seq_len=48", "data.pred_len=12"]).data
    series = load_series(data)
    rows, lookbacks = len(series.values), {"linear": (24, 48), "folded": (24, 48)}
    alone = replace(series, train=(0, rows), validation=(rows - 12, rows), test=(rows - 12, rows))
    whole = replace(alone, chosen_on=series)
    for bar in BARS.values():
        judged, after, other = (fit_bar(each, data, bar, lookbacks=lookbacks) for each in (series, whole, alone))
        assert dict(after.solution.choices) == dict(judged.solution.choices)
        if bar.name in ("linear", "smoothed", "folded"):
            assert dict(other.solution.choices) != dict(judged.solution.choices)
    moments = Moments.of(alone, data, "train")
    chosen = fit_bar(series, data, BARS["linear"]).penalty
    by_hand = np.linalg.solve(moments.past + chosen * np.eye(48), moments.cross)
    assert np.allclose(fit_bar(whole, data, BARS["linear"]).weight, by_hand)


def test_command_with_lookbacks(tmp_path, capsys):
    assert main([*SMALL, "--lookback", "folded=36", "--lookback", "linear=12,48", "--out", str(tmp_path)]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("folded ridge")]
    bars = {bar["model"]: bar for bar in json.loads((tmp_path / "baseline.json").read_text())["bars"]}
    assert "lookback 36" in row and bars["folded"]["lookback"] == 36 and bars["linear"]["lookback"] in (12, 48)
    assert np.load(tmp_path / "baseline.npz")["weight_folded"].shape == (36, 6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fold=36"], "unknown lookback 'fold'; did you mean 'folded'?"),
        (["last_value=36"], "changes nothing of that bar; allowed: linear, smoothed, folded"),
        (["folded=36,x"], "got 'folded=36,x'; expected rows, 2 or more"),
        (["36", "--lookback", "linear=36"], "got rows of 'linear' twice"),
        (["folded=36", "--bar", "linear"], "changes nothing of bar linear; allowed: linear"),
    ],
)
def test_a_lookback_that_is_none(arguments, said, capsys):
    assert main([*SMALL, "--lookback", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_command_without_test(tmp_path, capsys, monkeypatch):
    read: list[str] = []

    def watched(series, data, role):
        read.append(role)
        return window_starts(series, data, role)

    monkeypatch.setattr(lab.series.bars.windows, "window_starts", watched)
    assert main([*SMALL, "--no-test", "--out", str(tmp_path)]) == 0
    assert "test" not in capsys.readouterr().out.split("written")[0]
    assert json.loads((tmp_path / "baseline.json").read_text())["test"] is None
    assert set(read) == {"train", "validation"}


def test_command_of_one_bar(tmp_path, capsys):
    assert main([*SMALL, "--bar", "folded", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("Folded ridge on synthetic, S=24, H=6\n1 weights, period 24, penalty ")
    content = json.loads((tmp_path / "baseline.json").read_text())
    assert content["model"] == "folded" and content["period"] == 24 and "bars" not in content


def test_command_shows_the_network_before_its_first_step(capsys):
    start = ["model.trend_start=closed_form", "model.decomposition=false", "training.mode=joint"]
    assert main([*SMALL, *start, "data.joint_rows=worker_and_meta"]) == 0
    rows = {line.split("  ")[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    # Of the whole window it is the ridge itself.
    assert rows["before the first step"][4:8] == rows["linear baseline"][2:6]
    assert main([*SMALL, "--bar", "start"]) == 2
    assert "does not start from a closed form" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bar", "foldd"], "unknown bar 'foldd'; did you mean 'folded'?"),
        ([*SMALL, "data.seq_len=20", "--bar", "seasonal"], "a period is 24 steps"),
        (["--preset", "h97"], "unknown preset 'h97'; did you mean 'h96'?"),
        (["data.datset=ETTh1"], "unknown key 'data.datset'; did you mean 'data.dataset'?"),
        (["data.dataset=ETTh3"], "data.dataset: got 'ETTh3'"),
        (["data.seq_len=4000"], "'train' has 2400 rows"),
        (["data.dataset=csv", "data.path=gone.csv"], "gone.csv: no such file"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
def test_bad_arguments_give_one_line_and_exit_status_2(capsys, arguments, message):
    try:
        status = main(arguments)
    except SystemExit as exit_:  # argparse's own
        status = exit_.code
    error = capsys.readouterr().err
    assert status == 2
    assert message in error and len([line for line in error.splitlines() if "error: " in line]) == 1
    assert error.splitlines()[-1].startswith(("error: ", "what there is: python -m lab.baseline"))


def test_out_that_is_a_file(tmp_path, capsys):
    (tmp_path / "f").write_text("")
    assert main([*SMALL, "--out", str(tmp_path / "f")]) == 2
    assert "cannot be used as a folder" in capsys.readouterr().err
