"""Which rows each role may read, the published counts on the real files, and every refusal by its message."""

import hashlib
import os
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lab.series.sources
from dynonet.config import Config, DataConfig
from lab.errors import ConfigError, DataError
from lab.series import ETT_CHANNELS, SOURCES, Series, load_series, role_rows, window_starts
from lab.settings.sources import Source


def ett_or_skip(name: str, **settings: object) -> Series:
    folder = os.environ.get("DYNONET_DATA_DIR")
    if not folder or not (Path(folder) / f"{name}.csv").exists():
        pytest.skip(f"no real data: set DYNONET_DATA_DIR to a folder that holds {name}.csv")
    return load_series(DataConfig(dataset=name, **settings))


def series_of(train: int, validation: int, test: int, channels: int = 2) -> Series:
    rows = train + validation + test
    values = np.random.default_rng(0).normal(size=(rows, channels))
    names = tuple(f"c{index}" for index in range(channels))
    ends = (train, train + validation)
    return Series("made", values, names, (0, ends[0]), ends, (ends[1], rows), "", "")


def write_csv(path: Path, rows: int = 100, **columns: object) -> DataConfig:
    generator = np.random.default_rng(1)
    frame = {"date": pd.date_range("2020", periods=rows, freq="h"), "a": generator.normal(size=rows)}
    pd.DataFrame(frame | {"b": generator.normal(size=rows)} | columns).to_csv(path, index=False)
    return DataConfig(dataset="csv", path=str(path), seq_len=8, pred_len=4)


# Splits and windows


@given(
    sizes=st.tuples(st.integers(2, 200), st.integers(1, 60), st.integers(1, 60)),
    seq_len=st.integers(2, 40),
    pred_len=st.integers(1, 20),
    fraction=st.floats(0.05, 0.95),
)
def test_roles_share_no_rows_that_they_must_not(sizes, seq_len, pred_len, fraction):
    series = series_of(*sizes)
    data = DataConfig(seq_len=seq_len, pred_len=pred_len, meta_fraction=fraction)
    rows, targets = {}, {}
    for role in ("train", "before_meta", "meta", "validation", "test"):
        try:
            starts = window_starts(series, data, role)
        except DataError:
            continue
        assert starts.dtype == np.int64 and (np.diff(starts) == 1).all() and starts[0] >= 0
        rows[role] = set(range(starts[0], starts[-1] + seq_len + pred_len))
        targets[role] = set(range(starts[0] + seq_len, starts[-1] + seq_len + pred_len))
    assume(rows)
    train = set(range(*series.train))
    for role in rows.keys() & {"train", "before_meta", "meta"}:
        assert rows[role] <= train
    for role in rows.keys() & {"validation", "test"}:
        assert targets[role] <= set(range(*getattr(series, role)))
    if rows.keys() >= {"before_meta", "meta"}:
        assert not rows["before_meta"] & rows["meta"]
        assert max(rows["before_meta"]) < min(rows["meta"])
    for role in rows:  # every window that fits is there
        first, end = role_rows(series, data, role)
        reach = seq_len if role in ("validation", "test") else 0
        assert len(window_starts(series, data, role)) == end - max(first - reach, 0) - seq_len - pred_len + 1


PUBLISHED = {  # train, before_meta, meta, validation and test
    "h96": (8033, 6305, 1121, 2785),
    "h336": (7793, 6065, 881, 2545),
    "h720": (7201, 5473, 289, 2161),
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_published_window_counts(preset):
    series = ett_or_skip("ETTh1")
    data = Config.create(preset=preset).data
    counts = tuple(len(window_starts(series, data, role)) for role in DataConfig.ROLES[:5])
    assert counts == (*PUBLISHED[preset], PUBLISHED[preset][3])
    meta = window_starts(series, data, "meta")
    assert (meta[0], meta[-1] + data.seq_len + data.pred_len) == (6912, 8640)


def test_roles_that_the_settings_choose():
    series = series_of(100, 30, 30)
    data = DataConfig(seq_len=8, pred_len=4)

    def same(role: str, other: str, **settings: object) -> bool:
        changed = data.model_copy(update=settings)
        return np.array_equal(window_starts(series, changed, role), window_starts(series, data, other))

    assert same("worker", "before_meta")
    assert same("worker", "train", worker_rows="train")
    assert same("controller", "meta")
    assert same("controller", "validation", controller_rows="validation")
    assert same("joint", "before_meta")
    assert same("joint", "train", worker_rows="train")
    assert same("joint", "train", joint_rows="worker_and_meta")


def test_a_share_of_rows_is_not_lost_to_rounding():
    data = DataConfig(seq_len=2, pred_len=1, meta_fraction=0.29)  # 0.29 * 100 is 28.999999999999996
    assert role_rows(series_of(100, 30, 30), data, "meta") == (71, 100)


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("train", r"made: 'train' has 50 rows, a window needs S \+ H = 60 \+ 4 = 64; take a smaller"),
        ("meta", r"'meta' has 10 rows, .*; take a smaller data.seq_len or data.pred_len\Z"),  # no share would do
        ("before_meta", r"'before_meta' has 40 rows, .*; take a smaller data.seq_len or data.pred_len\Z"),
        ("validation", r"'validation' has 60 rows up to its end, a window needs S \+ H = 60 \+ 4"),
    ],
)
def test_a_split_without_a_window_is_refused(role, message):
    with pytest.raises(DataError, match=message):
        window_starts(series_of(50, 10, 10), DataConfig(seq_len=60, pred_len=4), role)


def test_the_share_of_the_controller_is_named_where_another_would_do():
    def refused(fraction: float, role: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            window_starts(series_of(150, 60, 60), DataConfig(seq_len=60, pred_len=4, meta_fraction=fraction), role)

    refused(0.2, "meta", "'meta' has 30 rows, .* or a larger data.meta_fraction")
    refused(0.8, "before_meta", "'before_meta' has 30 rows, .* or a smaller data.meta_fraction")


def test_a_split_shorter_than_the_horizon_is_refused():
    with pytest.raises(DataError, match=r"'test' has 10 rows, a window needs H = 11"):
        window_starts(series_of(50, 10, 10), DataConfig(seq_len=5, pred_len=11), "test")


def test_unknown_role():
    with pytest.raises(ConfigError, match="unknown role 'metta'; did you mean 'meta'"):
        window_starts(series_of(50, 10, 10), DataConfig(seq_len=5, pred_len=2), "metta")


# Scaling


def test_scaling_uses_training_rows_alone():
    series = series_of(50, 10, 10)
    train = series.values[:50]
    assert np.allclose(series.scaled * train.std(axis=0) + train.mean(axis=0), series.values)
    assert np.allclose(series.scaled[:50].mean(axis=0), 0)
    assert np.allclose(series.scaled[:50].std(axis=0, ddof=0), 1)
    with pytest.raises(ValueError, match="read-only"):
        series.scaled[0, 0] = 1


@pytest.mark.parametrize("number", [0.1, 0.0, 1e9])
def test_constant_channel_is_refused(tmp_path, number):
    column = np.full(100, number)
    column[60:] += 1  # constant in training, alive later
    with pytest.raises(DataError, match=r"channel 'flat' is constant over the training rows 0\.\.60"):
        load_series(write_csv(tmp_path / "x.csv", flat=column))


# ETT files


@pytest.mark.parametrize("name", ["ETTh1", "ETTh2"])
def test_real_ett(name):
    series = ett_or_skip(name)
    assert (series.train, series.validation, series.test) == ((0, 8640), (8640, 11520), (11520, 14400))
    assert series.values.shape == (14400, 7) and series.channels == ETT_CHANNELS
    assert series.identity == SOURCES[name].sha256
    assert "CC BY-ND 4.0" in series.source and "Zhou" in series.source
    assert load_series(DataConfig(dataset=name, seq_len=99)) is series  # read once, whatever the windows


# Training and validation rows, windows of the test split and the error of the last value over them, z-scored, as known.
FIELD = {
    "exchange_rate": (96, 96, 5311, 760, 1422, 0.0811, 0.1964),
    "national_illness": (36, 24, 676, 97, 170, 6.2133, 1.6222),
}


@pytest.mark.parametrize("name", FIELD)
def test_named_series_are_split_and_scaled_as_in_the_field(name):
    seq_len, pred_len, train, validation, windows, mse, mae = FIELD[name]
    series = ett_or_skip(name, seq_len=seq_len, pred_len=pred_len)
    assert (series.train, series.validation) == ((0, train), (train, train + validation))
    starts = window_starts(series, DataConfig(seq_len=seq_len, pred_len=pred_len), "test")
    assert len(starts) == windows and series.identity == SOURCES[name].sha256
    ends = starts + seq_len
    errors = np.stack([series.scaled[end : end + pred_len] - series.scaled[end - 1] for end in ends])
    assert (np.mean(errors**2), np.abs(errors).mean()) == (pytest.approx(mse, abs=5e-5), pytest.approx(mae, abs=5e-5))


def test_a_series_without_an_address_says_where_to_put_its_file(nowhere):
    with pytest.raises(DataError, match=r"(?s)no exchange_rate.csv, and no address.*sha256 d55e.*set DYNONET_DATA_DIR"):
        load_series(DataConfig(dataset="exchange_rate"))


def test_a_named_series_is_one_row(nowhere, monkeypatch):
    """Of lab.settings.sources alone: no setting, no code that reads it."""
    mine = Source(("a", "b"), (0.5, 0.25), "1 hour", "nobody")
    write_csv(nowhere / "hand" / "mine.csv", 101)
    monkeypatch.setitem(SOURCES, "mine", mine)
    series = load_series(Config.create({"data.dataset": "mine"}).data)
    assert (series.train, series.validation, series.test) == ((0, 50), (50, 76), (76, 101))
    with pytest.raises(ConfigError, match=r"data\.dataset: got 'mime'; allowed: .*; did you mean 'mine'"):
        Config.create({"data.dataset": "mime"})
    monkeypatch.setitem(SOURCES, "mine", replace(mine, frequency="1 day"))
    lab.series.sources._named.cache_clear()
    with pytest.raises(DataError, match="a row every 1 hour, but mine has one every 1 day; own data"):
        load_series(DataConfig(dataset="mine"))


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Empty data and cache folders, and nothing to download from."""
    for variable, folder in (("DYNONET_DATA_DIR", "hand"), ("DYNONET_CACHE_DIR", "cache")):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / folder))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served_at(monkeypatch, 9)
    return tmp_path


def served_at(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Every named file is downloaded from this machine, if from anywhere."""
    for name, source in list(SOURCES.items()):
        if source.url is not None:
            monkeypatch.setitem(SOURCES, name, replace(source, url=f"http://127.0.0.1:{port}/{name}.csv"))


@pytest.mark.parametrize("folder", ["hand", "cache"])
def test_wrong_checksum_is_refused(nowhere, folder):
    path = nowhere / folder / "ETTh1.csv"
    path.write_text("date,HUFL\n1,2\n")
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    message = f"ETTh1.csv: the checksum is off: expected sha256 f18de3ad.*, got {got}"
    with pytest.raises(DataError, match=message):
        load_series(DataConfig(dataset="ETTh1"))


def test_a_data_folder_that_is_none_is_refused(nowhere, monkeypatch):
    """Not passed over for the cache or a download."""
    for wrong in ("gone", "hand/file"):
        (nowhere / "hand" / "file").touch()
        monkeypatch.setenv("DYNONET_DATA_DIR", str(nowhere / wrong))
        with pytest.raises(DataError, match=f"DYNONET_DATA_DIR: got '.*{wrong}', which is no folder"):
            load_series(DataConfig(dataset="ETTh1"))


def test_failed_download_says_where_to_put_the_file(nowhere):
    with pytest.raises(DataError, match=r"(?s)could not download http.*by hand and set DYNONET_DATA_DIR"):
        load_series(DataConfig(dataset="ETTh2"))


def ettm_csv(path: Path, rows: int = 57600) -> None:
    values = np.random.default_rng(0).integers(0, 9, size=(rows, 7))
    frame = pd.DataFrame(values, columns=list(ETT_CHANNELS))
    frame.insert(0, "date", 900 * np.arange(rows))  # seconds, a quarter of an hour apart
    frame.to_csv(path, index=False)


@pytest.fixture
def server(nowhere, monkeypatch):
    """A folder that is served as the place of the downloads."""
    (nowhere / "served").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(nowhere / "served"))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        served_at(monkeypatch, http.server_port)
        yield nowhere / "served"
        http.shutdown()


def test_download_by_several_at_once_leaves_one_whole_file(nowhere, server):
    ettm_csv(server / "ETTm1.csv")
    results: list[Series] = []
    threads = [
        threading.Thread(target=lambda: results.append(load_series(DataConfig(dataset="ETTm1")))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = (server / "ETTm1.csv").read_bytes()
    assert [path.name for path in (nowhere / "cache").iterdir()] == ["ETTm1.csv"]
    assert (nowhere / "cache" / "ETTm1.csv").read_bytes() == expected
    assert [series.identity for series in results] == [hashlib.sha256(expected).hexdigest()] * 3
    assert results[0].train == (0, 34560) and results[0].test == (46080, 57600)


def test_a_download_with_a_wrong_checksum_is_not_kept(nowhere, server):
    (server / "ETTh1.csv").write_text("<html>not the file</html>")
    with pytest.raises(DataError, match=r"expected sha256:f18de3ad.* but got"):
        load_series(DataConfig(dataset="ETTh1"))
    assert not list((nowhere / "cache").iterdir())


def test_a_file_put_by_hand_comes_first(nowhere):
    ettm_csv(nowhere / "cache" / "ETTm2.csv", rows=57601)
    ettm_csv(nowhere / "hand" / "ETTm2.csv")
    by_hand = hashlib.sha256((nowhere / "hand" / "ETTm2.csv").read_bytes()).hexdigest()
    assert load_series(DataConfig(dataset="ETTm2")).identity == by_hand


def test_ett_with_other_columns_or_too_few_rows_is_refused(nowhere):
    path = nowhere / "hand" / "ETTm1.csv"
    ettm_csv(path, rows=1000)
    with pytest.raises(DataError, match="ETTm1: 1000 rows, but it has at least 57600"):
        load_series(DataConfig(dataset="ETTm1"))
    text = path.read_text()
    path.write_text(text.replace("LUFL", "LUFFL", 1))
    with pytest.raises(DataError, match="no column 'LUFL'; did you mean 'LUFFL'"):
        load_series(DataConfig(dataset="ETTm1"))
    path.write_text("\n".join(line + ",1" if row else line + ",XY" for row, line in enumerate(text.split())))
    with pytest.raises(DataError, match="column 'XY' is not one of ETTm1"):
        load_series(DataConfig(dataset="ETTm1"))
