"""The linear baseline: the published figures, agreement with a plain least squares, and the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lab.series.linear
from dynonet.config import Config, DataConfig
from lab.baseline import main
from lab.errors import DataError
from lab.series import load_series, window_starts
from lab.series.linear import PENALTIES, fit_linear

SMALL = ["data.synthetic.rows=400", "data.seq_len=24", "data.pred_len=6"]


def small() -> DataConfig:
    return Config.create(overrides=SMALL).data


def windows(data: DataConfig, role: str) -> tuple[np.ndarray, np.ndarray]:
    """x (B, S, C) and y (B, H, C), the plain way."""
    series = load_series(data)
    cut = [series.scaled[s : s + data.seq_len + data.pred_len] for s in window_starts(series, data, role)]
    return np.array(cut)[:, : data.seq_len], np.array(cut)[:, data.seq_len :]


def test_equals_a_plain_ridge_regression_by_the_stated_formula(monkeypatch):
    monkeypatch.setattr(lab.series.linear, "_CHUNK", 17)  # more than one chunk, the last one short
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


def test_published_figures():
    folder = os.environ.get("DYNONET_DATA_DIR")
    if not folder or not (Path(folder) / "ETTh1.csv").exists():
        pytest.skip("no real data: set DYNONET_DATA_DIR to a folder that holds ETTh1.csv")
    data = Config.create(preset="h96").data
    series = load_series(data)
    baseline = fit_linear(series, data)
    test = baseline.evaluate(series, data, "test")
    assert baseline.penalty == 100 and baseline.num_weights == 49_152 and baseline.train_windows == 8033
    assert (round(baseline.validation.mse, 4), round(baseline.validation.mae, 4)) == (0.6658, 0.5477)
    assert (round(test.mse, 4), round(test.mae, 4)) == (0.3670, 0.3912)
    assert baseline.validation.windows == test.windows == 2785


def test_too_short_for_the_windows():
    data = small().model_copy(update={"seq_len": 300})
    with pytest.raises(DataError, match="'train' has 240 rows"):
        fit_linear(load_series(data), data)


# The command


def test_command(tmp_path):
    command = [sys.executable, "-m", "dynonet.baseline", SMALL[0], "--out", str(tmp_path / "o"), *SMALL[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Linear baseline on synthetic, S=24, H=6" in done.stdout and "\x1b" not in done.stdout
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
    assert f"{test.mse:.4f}" in done.stdout.splitlines()[-3]
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["baseline.json", "baseline.npz"]


def test_command_without_test(tmp_path, capsys, monkeypatch):
    read: list[str] = []

    def watched(series, data, role):
        read.append(role)
        return window_starts(series, data, role)

    monkeypatch.setattr(lab.series.linear, "window_starts", watched)
    assert main([*SMALL, "--no-test", "--out", str(tmp_path)]) == 0
    assert "test" not in capsys.readouterr().out.split("written")[0]
    assert json.loads((tmp_path / "baseline.json").read_text())["test"] is None
    assert set(read) == {"train", "validation"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
    assert error.splitlines()[-1].startswith("python -m lab.baseline: error: ")


def test_out_that_is_a_file(tmp_path, capsys):
    (tmp_path / "f").write_text("")
    assert main([*SMALL, "--out", str(tmp_path / "f")]) == 2
    assert "cannot be used as a folder" in capsys.readouterr().err
