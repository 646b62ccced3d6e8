"""A forecast is what the trained networks say of the last rows, in own units and dates, wherever they come from."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import lab
from dynonet.config import Config
from lab.errors import ConfigError, DataError
from lab.forecasting.chosen import of_study
from lab.forecasting.making import judged, judged_bar
from lab.forecasting.model import ForecastModel
from lab.forecasting.refit import refit
from lab.ledger.cache import read as looks
from lab.registry import forecaster
from lab.series import load_series
from lab.series.calendar import calendar_of
from lab.series.windows import Windows
from lab.store.schema import ResultsError
from lab.store.tables import Results
from lab.train import main as train_main
from lab.training.readings import load_weights
from tests.lab.forecasting.studies import ROWS, H, S, own_file, stack_of, study_of
from tests.tune.searched import SHA, Searched, spread
from tune.findings.collect import findings_of
from tune.settings import Budget

CPU = torch.device("cpu")


@pytest.mark.parametrize("model", ["dynonet", "tests.lab.forecasting.studies:DATED"])
def test_it_is_what_the_networks_say_by_hand(model: str, base: Config, store: Results) -> None:
    if model != "dynonet":  # it asks for the calendar and the number of the row, too
        settings = {"data.dataset": "csv", "data.path": base.data.path, "data.seq_len": S, "data.pred_len": H}
        settings |= {"training.max_epochs": 2, "training.batch_size": 32}
        base = forecaster(model).config.create(settings)  # type: ignore[assignment]
    ids = study_of(store, base)
    assert base.data.path is not None
    frame = pd.read_csv(base.data.path, parse_dates=["date"]).set_index("date")
    part = frame[["price", "load"]].iloc[-40:]  # the columns in another order, and a part of the rows
    found = lab.load(store.storage.url, study="mine").predict(part)
    # By hand: windows of the series with rows behind its end that nothing may read.
    series = load_series(base.data)
    every = (np.concatenate([frame[list(series.channels)], np.full((H, 2), 1e9)]) - series.mean) / series.std
    dates = calendar_of(pd.date_range("2024-01-01", periods=ROWS + H, freq="h").to_numpy())
    windows = Windows(every, S, H, CPU, torch.float32, calendar=dates if model != "dynonet" else None)
    inputs, _ = windows.inputs(torch.tensor([[ROWS - S]]))
    pairs = [load_weights(store, store.runs([run])[run]) for run in ids]
    with torch.no_grad():
        each = [forecaster(model).network([c], [w], 2, CPU).forecast(inputs)[0][0, :, :, 0].numpy() for c, w in pairs]
    expected = np.mean(each, axis=0).T * series.std + series.mean  # (H, C)
    assert np.allclose(found["forecast"], expected.ravel(), rtol=1e-5)
    assert list(found["channel"]) == ["load", "price"] * H and list(found["step"][::2]) == [1, 2, 3, 4]
    assert list(found["date"][::2]) == list(pd.date_range(frame.index[-1], periods=H + 1, freq="h")[1:])
    assert (found["low"] < found["forecast"]).all() and (found["forecast"] < found["high"]).all()
    wide = lab.load(store.storage.url, study="mine").predict(part, level=0.95)
    assert (wide["high"] - wide["low"] >= found["high"] - found["low"]).all()


def test_one_file_holds_it_and_other_places_give_the_same(base: Config, store: Results, tmp_path: Path) -> None:
    ids = study_of(store, base, finals=False)
    model = lab.load(store.storage.url, study="mine")
    assert "no final ones yet" in model.about["text"] and model.about["runs"] == ids
    values = pd.read_csv(str(base.data.path))[["load", "price"]].to_numpy()
    expected = model.predict(str(base.data.path))
    loaded = lab.load(model.save(tmp_path / "mine.forecast"))
    assert isinstance(loaded, ForecastModel)
    pd.testing.assert_frame_equal(loaded.predict(str(base.data.path)), expected, check_exact=True)
    by_array = loaded.predict(values)
    assert "date" not in by_array and np.array_equal(by_array["forecast"], expected["forecast"])
    (tmp_path / "base.yaml").write_text(base.to_yaml())
    typed = ["--model", "dynonet", "--config", str(tmp_path / "base.yaml"), "--seeds", "1,2", "--no-test"]
    assert train_main([*typed, "--out", str(tmp_path / "trained")]) == 0
    trained = lab.load(tmp_path / "trained")
    assert np.allclose(trained.predict(values)["forecast"], expected["forecast"], rtol=1e-4)
    one, same = lab.load(tmp_path / "trained" / "seed-2"), lab.load(store.storage.url, run=ids[1][:12])
    assert one.about["runs"] == same.about["runs"] == ids[1:]
    assert np.allclose(one.predict(values)["forecast"], same.predict(values)["forecast"], rtol=1e-4)
    assert lab.load("mine", out=store.storage.url)["run"].tolist() == ids, "the table of a study, as before"
    figure = model.plot(str(base.data.path))
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["load", "price"]
    assert not looks().looks, "nothing read test"


def test_a_damaged_or_foreign_file_is_no_model(base: Config, tmp_path: Path) -> None:
    """Torch reads parts whose checksums do not hold, and would say other numbers of them."""
    path = judged_bar("linear", base).model.save(tmp_path / "bar.forecast")
    good = path.read_bytes()
    place = good.index(torch.load(path)["mean"].numpy().tobytes())
    path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    with pytest.raises(DataError, match=r"damaged: the checksum of its part .* does not hold"):
        lab.load(path)
    content = torch.load(io.BytesIO(good))
    ran = tmp_path / "ran"

    class Code:
        def __reduce__(self) -> object:
            return Path.touch, (ran,)

    foreign = {
        "no forecast model": {**content, "about": Code()},
        "shapes {'mean'": {**content, "mean": torch.zeros(3)},
        "KeyError: 'std'": {key: value for key, value in content.items() if key != "std"},
        "version 2 of a forecast model; this code reads 1": {**content, "version": 2},
        "though a file of torch's": {"mean": content["mean"]},
    }
    for said, other in foreign.items():
        torch.save(other, path)
        with pytest.raises(DataError, match=said):
            lab.load(path)
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match="no forecast model"):
        lab.load(path)
    assert not ran.exists(), "nothing in a file is executed"


def test_fitted_again_on_the_training_rows_it_is_what_was_judged(base: Config, store: Results) -> None:
    """So it is trained as it was: the same rows, scaling, seeds, schedule and number of epochs."""
    base = base.override({"data.period": 8})
    study_of(store, base)
    before = judged(of_study(store, "mine"), CPU)
    whole = before.whole()
    train = before.series.train[1]
    part = before.model.reading.read(pd.read_csv(str(base.data.path)).iloc[:train])
    closed = base.override({"model.trend_start": "closed_form", "training.max_epochs": 1})
    store.add(
        "members", [{"study": "closed", "arm": "full", "role": "arm", "run": run} for run in stack_of(store, closed)]
    )
    start = judged(of_study(store, "closed"), CPU)
    for one in (before, start, judged_bar("mean_of_ridges", base), judged_bar("smoothed", base)):
        same, other = refit(one, part, CPU), refit(one, whole, CPU)
        expected = one.model.predict_given(whole)
        assert np.allclose(same.predict_given(whole)["forecast"], expected["forecast"], rtol=1e-4)
        assert not np.allclose(other.predict_given(whole)["forecast"], expected["forecast"], rtol=1e-4)
        assert other.about["refit"] and f"all {ROWS} rows" in other.about["weights"]
        assert np.allclose(other.band.at(0.9) * other.std, one.model.band.at(0.9) * one.model.std), "in own units"
    # Who learns from the validation rows gets as many, behind the others'.
    base = base.override({"data.controller_rows": "validation", "training.max_epochs": 1})
    store.add(
        "members", [{"study": "other", "arm": "full", "role": "arm", "run": run} for run in stack_of(store, base)]
    )
    one = judged(of_study(store, "other"), CPU)
    part = before.model.reading.read(pd.read_csv(str(base.data.path)).iloc[: before.series.validation[1]])
    same, expected = refit(one, part, CPU), one.model.predict_given(whole)
    assert np.allclose(same.predict_given(whole)["forecast"], expected["forecast"], rtol=1e-4)
    assert "(the controller on the last 60, the rest on those before)" in same.about["weights"]
    for rows, said in (
        (18, "18 rows are too few to fit again on"),
        (100, "100 rows to fit again on are fewer than the 180"),
    ):
        with pytest.raises(DataError, match=f"{said}.*--no-refit"):
            refit(before, before.model.reading.read(pd.read_csv(str(base.data.path)).iloc[:rows]), CPU)


def test_sealed_rows_are_inputs_on_the_ledger_and_the_file_must_be_as_it_was(base: Config, store: Results) -> None:
    base = base.override({"data.sealed": 60, "training.max_epochs": 1})
    study_of(store, base)
    model = lab.load(store.storage.url, study="mine")
    model.predict(pd.read_csv(str(base.data.path)).iloc[:230])
    assert not looks().looks, "no sealed row was read"
    model.predict(str(base.data.path))
    lab.load(store.storage.url, study="mine", refit=True)
    found = [(look["split"], look["first"], look["end"], look["read_for"]) for look in looks().looks]
    walk = ("test", 192, ROWS - 60, "mine")
    assert found == [("sealed inputs", ROWS - S, ROWS, "mine"), walk, ("sealed inputs", ROWS - 60, ROWS, "mine")]
    assert store.table("looks").num_rows == 3
    lab.load(store.storage.url, study="mine", refit=True, backtest=False)
    assert len(looks().looks) == 4, "its rows alone"
    lines = Path(str(base.data.path)).read_text().splitlines()
    Path(str(base.data.path)).write_text("\n".join([lines[0], lines[1].replace(",", ",1", 1), *lines[2:]]) + "\n")
    with pytest.raises(DataError, match=r"the data is not what the final seeds of t0.*saw.*--data FILE"):
        lab.load(store.storage.url, study="mine")


def test_of_a_search_it_is_the_best_trial_and_its_final_seeds(tiny: Config, store: Results, tmp_path: Path) -> None:
    search = Searched(store, tiny).add(*spread(8))
    assert (
        of_study(store, "mine").text
        == "the seeds of t00001, the best trial of mine, which has no final ones yet (2 seeds)"
    )
    search.finals("t00000", spread(1)[0].params, [0.1])  # of the trial that was the best once
    assert "the seeds of t00001" in of_study(store, "mine").text
    search.finals("t00001", spread(2)[1].params, [0.7, 0.8, 0.9])
    found = of_study(store, "mine")
    assert found.text == "the final seeds of t00001, the best trial of mine (3 seeds)" and len(set(found.runs)) == 3
    assert findings_of(store, "mine").best.trial == "t00001"  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"has no weights on record.*lab\.train of these settings"):
        _ = found.weights
    rolling = Results(tmp_path / "rolling")
    budget = Budget(replicates=2, grace_epochs=2, reduction_factor=2, origins=2)
    places = {"origin 100": "a" * 64, "origin 200": SHA}
    search = Searched(rolling, tiny, budget=budget, origins=places)
    one, two = spread(2)
    search.add(replace(one, losses=(0.5, 0.5, 0.3, 0.3)), replace(two, losses=(0.9, 0.9, 0.1, 0.1)))
    found = of_study(rolling, "mine")
    best = [config.run_id(SHA) for config in found.configs]
    assert "t00001" in found.text and list(found.runs) == best, "by the geometric mean, at the latest origin"


def test_the_file_may_have_got_newer_rows(base: Config, store: Results) -> None:
    study_of(store, base)
    before = lab.load(store.storage.url, study="mine")
    newer = own_file(Path(str(base.data.path)).parent, ROWS + 30)
    after = lab.load(store.storage.url, study="mine")
    pd.testing.assert_frame_equal(after.predict(newer), before.predict(newer), check_exact=True)
    again = lab.load(store.storage.url, study="mine", refit=True)
    assert "all 330 rows, 2024-01-01 00:00 to 2024-01-14 17:00" in again.about["weights"]
    bar = lab.load(store.storage.url, study="mine", bar="linear")
    assert bar.about["series"] == before.about["series"], "on the rows that the runs saw"


def test_rows_that_are_not_the_models_are_refused(base: Config, store: Results, tmp_path: Path) -> None:
    model = judged_bar("best", base).model
    frame = pd.read_csv(str(base.data.path), parse_dates=["date"])
    late = frame.assign(date=pd.date_range("2024-01-01", periods=ROWS, freq="2h"))
    gap = frame.assign(load=frame["load"].where(frame.index != 290))
    wrong = {
        "15 rows, and the model reads the last 16": frame.iloc[:15],
        "no column 'price', a channel that the model has learned; did you mean 'prices'": frame.rename(
            columns={"price": "prices"}
        ),
        "a row every 2 hours, and the model has learned one every 1 hour": late,
        "channel 'load', row 290: no value": gap,
        "dates of UTC, and the model has learned no time zone": frame.assign(date=frame["date"].dt.tz_localize("UTC")),
        "got float64 of shape \\(300, 1\\)": frame[["load"]].to_numpy(),
        "channel 'load', row 290: no finite value": gap[["load", "price"]].to_numpy(),
        "no such file": tmp_path / "none.csv",
        "got list; a DataFrame, an array or a file is needed": [[1.0, 2.0]] * 20,
    }
    for said, rows in wrong.items():
        with pytest.raises(DataError, match=said):
            model.predict(rows)
    with pytest.raises(ConfigError, match="whole percentages"):
        model.predict(frame, level=95)
    with pytest.raises(ConfigError, match="unknown bar 'foldd'; did you mean 'folded'"):
        judged_bar("foldd", base)
    study_of(store, base)
    with pytest.raises(ResultsError, match="mine"):
        lab.load(store.storage.url, study="mime")
    with pytest.raises(ResultsError, match="no such run"):
        lab.load(store.storage.url, run="feed")
    with pytest.raises(DataError, match="no forecast model"):
        lab.load(str(base.data.path))
