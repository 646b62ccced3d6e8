"""The command: what it writes, says and refuses."""

import json
from pathlib import Path

import pandas as pd
import pytest

import lab
from dynonet.config import Config
from lab.ledger.cache import read as looks
from lab.ledger.looks import looking
from lab.predict import main
from lab.series import load_series
from lab.series.bars import FittedBar, fit_bars
from lab.store.tables import Results
from tests.lab.forecasting.studies import H, study_of


def test_from_a_study_to_a_forecast_and_a_walk_over_test(
    base: Config, store: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = study_of(store, base)
    out, url = tmp_path / "out", store.storage.url
    typed = ["--study", "mine", "--results", url, "--out", str(out)]
    assert main([*typed, "--no-refit", "--save", str(tmp_path / "mine.forecast"), "--plots"]) == 0
    said = capsys.readouterr().out
    assert "the mean of 2 seeds; the weights that were judged" in said and "better than this" in said
    read = pd.read_csv(out / "forecast.csv", parse_dates=["date"])
    expected = lab.load(url, study="mine").predict(str(base.data.path))
    pd.testing.assert_frame_equal(read, expected, check_dtype=False)
    assert (out / "forecast.png").stat().st_size > 10_000 and not looks().looks
    assert "on 57 validation windows with the weights that were judged (validation had a say in the choice)" in said
    assert main([*typed, "--format", "parquet", "--level", "0.8"]) == 0
    said = capsys.readouterr().out
    assert "past errors on 57 test windows with" in said and "the 80% band of the validation windows held" in said
    assert "fitted again on all 300 rows, 2024-01-01 00:00 to 2024-01-13 11:00" in said
    done = json.loads((out / "forecast.json").read_text())
    assert done["runs"] == ids and done["refit"] and done["backtest"]["windows"] == 57
    assert (done["band_split"], done["band_windows"]) == ("test", 57)
    series = load_series(base.data)
    bars = [bar for bar in fit_bars(series, base.data) if isinstance(bar, FittedBar)]
    best = min(bars, key=lambda bar: bar.validation.mse)
    beside = (done["backtest"]["bar"], done["backtest"]["bar_mse"])
    with looking(series, "the test's own"):
        assert beside == (best.bar.title, best.evaluate(series, base.data, "test").mse)
    assert f"the best bar on validation, has an MSE of {beside[1]:.4f} on the same windows: this is" in said
    assert (" below it there" in said) == (done["backtest"]["mse"] < beside[1]) != (" above it there" in said)
    walked = pd.read_parquet(out / "backtest.parquet")
    truth = pd.read_csv(str(base.data.path), parse_dates=["date"]).set_index("date")
    (first,) = walked.iloc[:1].to_dict("records")
    assert first["actual"] == pytest.approx(truth[first["channel"]][first["date"]]) and first["step"] == 1
    assert len(pd.read_parquet(out / "forecast.parquet")) == 2 * H
    kept = [json.loads(store.get_blob(path)) for path in store.storage.list("forecasts/mine")]
    assert done in kept and {each["refit"] for each in kept} == {False, True}, "on record, too"
    look = store.table("looks").to_pylist()
    assert [(row["purpose"], row["split"], row["run_ids"]) for row in look] == [("backtest", "test", ids)]
    assert abs(done["backtest"]["coverage"] - 0.8) < 0.1
    renamed = truth.reset_index().rename(columns={"date": "Tag"})
    renamed.to_csv(tmp_path / "newer.csv", index=False, sep=";", decimal=",")
    saved = ["--from", str(tmp_path / "mine.forecast"), "--data", str(tmp_path / "newer.csv"), "data.date_column=Tag"]
    saved += ["--out", str(tmp_path / "two")]
    assert main(saved) == 0
    assert (tmp_path / "two" / "forecast.csv").read_text() == expected.to_csv(index=False)
    bar = ["--run", ids[0], "--bar", "best", "--no-backtest", "--results", url, "--out", str(out)]
    assert main(bar) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1].endswith("--backtest") and "--no-backtest" not in said
    assert "ridge" in said and len(looks().looks) == 2, "the one walk, and ours"


def test_what_it_refuses(base: Config, store: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study_of(store, base)
    short = str(tmp_path / "short.csv")
    Path(short).write_text("date,load,price\n2024-01-01,1,2\n2024-01-02,1,2\n")
    (tmp_path / "other.yaml").write_text("a: 1\n")
    mine = ["--results", store.storage.url, "--out", str(tmp_path / "out"), "--study"]
    wrong = {
        "nothing is named that forecasts": [],
        "--study and --run each say": [*mine, "mine", "--run", "a"],
        "the settings are those on record": [*mine, "mine", "training.lr=0.1"],
        "is a search: it has no arms": [*mine, "mine", "--arm", "full"],
        "did you mean 'mine'": [*mine, "mime"],
        "whole percentages": [*mine, "mine", "--level", "90"],
        "57 validation windows bear 0.98 at most": [*mine, "mine", "--level", "0.99", "--backtest"],
        f"--save {tmp_path}: cannot be written: it is a folder": [*mine, "mine", "--save", str(tmp_path)],
        "there is no folder": [*mine, "mine", "--export", str(tmp_path / "no" / "mine.pt2")],
        "no folder of lab.train": ["--from", str(tmp_path)],
        "no forecast model": ["--from", str(tmp_path / "other.yaml"), "--data", str(base.data.path)],
        "a row every 1 day, and the model": [*mine, "mine", "--backtest", "--data", short],
        "what was learned stays as it is": [*mine, "mine", "--data", short, "data.seq_len=8"],
        "a period is 24 steps by the calendar": [
            "--bar", "seasonal", f"data.path={base.data.path}", "data.seq_len=16", "data.pred_len=4",
        ],
    }  # fmt: skip
    for said, arguments in wrong.items():
        assert main(arguments) == 2, said
        assert said in capsys.readouterr().err
    assert not looks().looks, "all of it before test is looked at"
