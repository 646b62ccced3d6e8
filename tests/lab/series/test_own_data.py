"""Files of one's own: what is read as what, and that a run is named by what it saw."""

import gzip

import pandas as pd
import pytest

from dynonet.config import Config
from lab.errors import ConfigError, DataError
from lab.series import Series, load_series
from lab.series.__main__ import main
from lab.settings.data import OWN, DataConfig
from tests.lab.series.own_files import ISO, PLAIN, SECONDS, hours, lines_of, read, values_of


def test_what_a_file_holds(tmp_path, plain):
    assert plain.name == "mine" and plain.channels == ("a", "b")
    assert (plain.train, plain.validation, plain.test) == ((0, 60), (60, 80), (80, 100))
    assert plain.values.tolist() == [[float(a), float(b)] for a, b in values_of()]
    assert plain.timestamps is not None and str(plain.timestamps[25]) == "2020-01-02T01:00:00.000000"
    assert str(plain.step) == "1 hour" and str(plain.next_dates(2)[1]) == "2020-01-05T05:00:00.000000"
    assert str(tmp_path) not in plain.source and plain.notes == ()
    other = read(tmp_path, PLAIN, split=(0.5, 0.25, 0.125))
    assert (other.train, other.validation, other.test, other.values.shape) == ((0, 50), (50, 75), (75, 87), (87, 2))


@pytest.mark.parametrize(
    ("typed", "read_as"),
    [("[?]", ("?",)), ("[#N/A, -9999]", ("#N/A", -9999)), ("?", ("?",)), ('["-1", *]', ("-1", "*")), ("[]", ())],
)
def test_marks_of_no_value_are_taken_as_typed(typed, read_as):
    config = Config.create({"data.path": "mine.csv"}).override([f"data.missing_values={typed}"])
    assert config.data.missing_values == read_as


def test_a_mark_that_no_cell_is_is_said(tmp_path):
    marked = read(tmp_path, PLAIN, missing_values=(-9999, "?"))
    assert marked.notes == ("no cell is -9999.0 or ?, which data.missing_values names",)


def test_a_file_that_may_be_cut_off_is_said_to_be(tmp_path, plain):
    """Of a last number that is cut nothing else tells: 2919 is 29."""
    assert "whole" not in plain.source and "last row: is the file whole?" in read(tmp_path, PLAIN[:-3]).source


def test_what_a_setting_resolves(tmp_path, plain):
    back = read(tmp_path, lines_of(ISO[::-1]), sort=True)
    assert back.timestamps is not None and (back.timestamps == plain.timestamps).all()
    assert back.values.tolist() == plain.values.tolist()[::-1] and back.notes == (
        "the rows were sorted by their dates",
    )
    with pytest.raises(DataError, match="channel 'b', line 100: no value"):  # the line that it stands in, sorted or not
        read(tmp_path, lines_of(ISO[::-1]).replace(values_of()[98][1], "", 1), sort=True)
    gap = read(tmp_path, lines_of([*ISO[:20], *hours("%Y-%m-%d %H:%M", 200)[170:]]), irregular_steps=True)
    assert "unequal steps" in gap.notes[0] and not gap.step.regular
    with pytest.raises(DataError, match="unequal steps, so the dates that come next"):
        gap.next_dates(1)
    marked = PLAIN.replace("10.9450", "-9999", 1).replace("10.7859", "none", 1)
    with pytest.raises(DataError, match=r"channel 'b', line 3: no value; 2 of 100 rows"):
        read(tmp_path, marked, missing_values=(-9999,))
    filled = read(tmp_path, marked, missing_values=(-9999,), fill="previous")
    assert filled.values[:4, 1].tolist() == [11.0, 11.0, 11.0, float(values_of()[3][1])]
    assert filled.notes == ("2 of 200 values are missing; each was filled with its channel's last one before",)
    with pytest.raises(DataError, match="channel 'a', line 2: no value, and none before it"):
        read(tmp_path, PLAIN.replace(",0.0000,", ",,", 1), fill="previous")
    pipes = read(tmp_path, PLAIN.replace(",", "|"), separator="|")
    assert pipes.identity == plain.identity


def test_formats_that_are_recognised(tmp_path, plain):
    comma = PLAIN.replace(",", ";").replace(".", ",")
    frame = pd.DataFrame(plain.values, columns=["a", "b"], index=pd.DatetimeIndex(plain.timestamps, name="date"))
    index = io_of(frame.reset_index())
    frame.to_parquet(tmp_path / "frame.parquet")
    with pytest.raises(DataError, match="got ';', and a Parquet file has none"):
        load_series(DataConfig(dataset="csv", path=str(tmp_path / "frame.parquet"), separator=";"))
    same = {
        "semicolon, decimal comma": read(tmp_path, comma),
        "tab": read(tmp_path, PLAIN.replace(",", "\t")),
        "windows, byte order mark": read(tmp_path, ("\ufeff" + PLAIN).replace("\n", "\r\n")),
        "utf-16": read(tmp_path, PLAIN.encode("utf-16")),
        "quoted": read(tmp_path, PLAIN.replace("2020-01-01 00:00:00", '"2020-01-01 00:00:00"')),
        "gzip": read(tmp_path, gzip.compress(PLAIN.encode()), "mine.csv.gz"),
        "parquet": load_series(DataConfig(dataset="csv", path=str(tmp_path / "frame.parquet"))),
        "frame": Series.from_frame(frame),
        "frame, an index of another name": Series.from_frame(frame.rename_axis("when")),
        "frame, an index without a name": Series.from_frame(frame.rename_axis(None)),
        "frame, dates in a column": Series.from_frame(frame.reset_index()),
        "an index without a name": read(tmp_path, index),
        "columns chosen": read(tmp_path, PLAIN, channels=("a", "b")),
    }
    assert {name: series.identity for name, series in same.items()} == dict.fromkeys(same, plain.identity)
    assert "separator semicolon, decimal comma" in same["semicolon, decimal comma"].source
    assert same["an index without a name"].notes == ("column 1, without a name, counts the rows and was left out",)
    for order in (slice(None, None, -1), slice(10, None)):  # of a frame that was sorted, or filtered
        rest = read(tmp_path, io_of(frame.reset_index().iloc[order]), sort=True)
        assert rest.channels == ("a", "b") and "numbers the rows" in rest.notes[0]
    unnamed = read(tmp_path, PLAIN.replace("date", "", 1))
    assert unnamed.identity == plain.identity and "no name" in unnamed.notes[0]
    assert read(tmp_path, gzip.compress(PLAIN.encode()), "mine.csv.gz").name == "mine"
    counted = read(tmp_path, lines_of([f"{date},{row}" for row, date in enumerate(ISO, 1)], "date,No,a,b"))
    assert counted.channels == ("No", "a", "b") and "channel No only counts the rows" in counted.notes[0]


def io_of(frame: pd.DataFrame) -> str:
    return frame.to_csv()


def test_the_identity_says_all_that_is_seen(tmp_path, plain):
    """Whatever of the source's settings changes a value, its order, a date or a split changes the identity."""
    marked = PLAIN.replace("10.9450", "-9999", 1)
    both = lines_of([f"{date},{second}" for date, second in zip(ISO, SECONDS, strict=True)], "date,unix,a,b")
    seen = {
        "plain": plain,
        "order of channels": read(tmp_path, PLAIN, channels=("b", "a")),
        "one channel": read(tmp_path, PLAIN, channels=("a",)),
        "split": read(tmp_path, PLAIN, split=(0.7, 0.1, 0.2)),
        "last split": read(tmp_path, PLAIN, split=(0.6, 0.2, 0.1)),
        "a name": read(tmp_path, lines_of(ISO, "date,a,c")),
        "a date": read(tmp_path, lines_of(hours("%Y-%m-%d %H:%M", step=2))),
        "a value": read(tmp_path, PLAIN.replace("10.9450", "10.9451", 1)),
        "a mark": read(tmp_path, marked),
        "a mark that is none": read(tmp_path, marked, missing_values=(-9999,), fill="previous"),
        "backwards": read(tmp_path, lines_of(ISO[::-1]), sort=True),
        "another date column": read(tmp_path, both, date_column="unix", channels=("a", "b")),
    }
    assert len({series.identity for series in seen.values()}) == len(seen)
    ids = {Config.create({"data.path": str(tmp_path / "mine.csv")}).run_id(s.identity) for s in seen.values()}
    assert len(ids) == len(seen)
    with pytest.raises(DataError, match="no column 'c'; columns: a, b"):
        read(tmp_path, PLAIN, channels=("a", "c"))
    with pytest.raises(DataError, match=r"data\.channels names the date column"):
        read(tmp_path, PLAIN, channels=("a", "date"))


def test_channels_of_a_named_series():
    whole = load_series(DataConfig())
    some = load_series(DataConfig(channels=("OT", "HUFL")))
    assert some.values.tolist() == whole.values[:, [6, 0]].tolist() and some.identity != whole.identity
    assert load_series(DataConfig(channels=whole.channels)) is whole
    with pytest.raises(DataError, match="no channel 'HUFFL'; did you mean 'HUFL'"):
        load_series(DataConfig(channels=("HUFFL",)))


@pytest.mark.parametrize("name", OWN)
def test_settings_of_own_data_are_refused_with_a_named_series(name):
    other = {"split": [0.5, 0.3, 0.2], "missing_values": [1], "fill": "previous", "decimal": ","}.get(name)
    other = other if other is not None else True if name in ("sort", "irregular_steps") else "x"
    with pytest.raises(ConfigError, match=f"{name} is a setting of one's own data"):
        Config.create({"data.dataset": "ETTh1", f"data.{name}": other})
    Config.create({"data.path": "mine.csv", f"data.{name}": other})


def test_a_file_that_changed_is_read_again(tmp_path, plain):
    assert read(tmp_path, lines_of(hours("%Y-%m-%d", 50, 24))).values.shape == (50, 2)


def test_a_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        load_series(DataConfig(dataset="csv", path=str(tmp_path / ("x" * 5000))))
    with open(tmp_path / "sparse.csv", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="1,024 GiB, at most 4 GiB are read"):
        load_series(DataConfig(dataset="csv", path=str(tmp_path / "sparse.csv")))
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        load_series(DataConfig(dataset="csv", path=str(tmp_path / "gone.csv")))
    with pytest.raises(DataError, match="not a file"):
        load_series(DataConfig(dataset="csv", path=str(tmp_path)))


def test_a_path_is_taken_from_the_file_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "best.yaml").write_text("data: {dataset: csv, path: ../mine.csv}\n")
    monkeypatch.chdir(tmp_path)
    config = Config.from_yaml("deep/best.yaml")
    assert config.data.path == str(tmp_path / "mine.csv") and config.data.name == "mine"
    assert Config.create({"data.path": "mine.csv"}).data.path == str(tmp_path / "mine.csv")
    (tmp_path / "again.yaml").write_text(config.to_yaml())
    monkeypatch.chdir("/")
    assert Config.from_yaml(tmp_path / "again.yaml") == config
    assert config.shown()["data.path"] == "mine.csv"


def test_check_says_what_was_understood(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text(PLAIN)
    windows = ["data.seq_len=8", "data.pred_len=4"]
    assert main(["check", str(path), *windows]) == 0
    out = capsys.readouterr().out
    for text in (
        "mine: 100 rows", "2020-01-01 00:00 to 2020-01-05 03:00, one row every 1 hour", "rows  80..100",
        "workers 37, controller 1, validation 17, test 17", "nothing is in the way",
    ):  # fmt: skip
        assert text in out
    assert main(["check", str(path)]) == 2  # S and H of the defaults are too long
    assert "takes a smaller" in capsys.readouterr().err.replace("take a smaller", "takes a smaller")
    path.write_text(lines_of(ISO[::-1]))
    assert main(["check", str(path), *windows]) == 2
    shown = capsys.readouterr()
    assert "data.sort=true would make of it" in shown.out and "newest first" in shown.err
    still = [f"{line},{0 if row < 65 else 7}" for row, line in enumerate(PLAIN.splitlines()[1:])]
    path.write_text("\n".join(["date,a,b,c", *still]))
    assert main(["check", str(path), *windows]) == 2  # constant in training
    assert "channel 'c' is constant over the training rows 0..60" in capsys.readouterr().err
    still = [f"{line},{-9999 if row % 9 == 8 else min(row, 65)}" for row, line in enumerate(PLAIN.splitlines()[1:])]
    path.write_text("\n".join(["date,a,b,c", *still]))
    assert main(["check", str(path), *windows]) == 0
    assert "channel c has -9999 11 times, far from all else" in capsys.readouterr().out
    still = [f"{line},{min(row, 65)}" for row, line in enumerate(PLAIN.splitlines()[1:])]
    path.write_text("\n".join(["date,a,b,c", *still]))
    assert main(["check", str(path), *windows]) == 0
    out = capsys.readouterr().out
    assert "channel c is constant over the test rows" in out and "channel c stands still at 65 for 35 rows" in out
