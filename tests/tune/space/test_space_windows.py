"""A space whose ends leave no windows is refused before the first trial."""

from typing import Any

import pytest

from dynonet.config import Config
from lab.errors import DataError
from lab.series import load_series, window_starts
from tune.space import Space
from tune.space.windows import check_windows, lookbacks


def check(tiny: Config, specs: dict[str, Any]) -> None:
    """Of 300 rows: 180 of training, 36 of them meta; windows of 16 + 4 steps."""
    check_windows(Space(specs, tiny), load_series(tiny.data))


def test_lengths_that_fit_and_settings_that_decide_no_window(tiny: Config) -> None:
    check(tiny, {"data.seq_len": {"int": [4, 32]}, "training.lr": {"float": [1e-3, 1e-2]}})
    check(tiny, {"data.worker_rows": {"choice": ["before_meta", "train"]}})
    alone = {"choice": ["joint"]}  # which learns from no meta rows
    check(tiny.override({"training.mode": "joint"}), {"data.seq_len": {"int": [16, 64]}, "training.mode": alone})
    check(tiny, {"data.seq_len": {"choice": [8, 16, 32]}, "data.meta_fraction": {"float": [0.2, 0.7]}})


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({"data.seq_len": {"choice": [16, 2000]}}, "with data.seq_len=2000: synthetic: '.*' has .*, a window needs S"),
        ({"data.seq_len": {"int": [16, 33]}}, "with data.seq_len=33: synthetic: 'meta' has 36 rows"),
        ({"data.meta_fraction": {"float": [0.05, 0.3]}}, "with data.meta_fraction=0.05: synthetic: 'meta' has 9 rows"),
        (
            {"data.seq_len": {"int": [16, 32]}, "data.meta_fraction": {"float": [0.15, 0.3]}},
            "with data.seq_len=32, data.meta_fraction=0.15: synthetic: 'meta' has 27 rows",
        ),
        (
            {"data.seq_len": {"int": [16, 160], "when": {"training.mode": "joint"}},
             "training.mode": {"choice": ["alternating", "joint"]}},
            "with data.seq_len=160, training.mode=joint|with training.mode=joint, data.seq_len=160",
        ),
    ],
)  # fmt: skip
def test_an_end_without_windows_is_named(tiny: Config, specs: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"^space: ({message})"):
        check(tiny, specs)


def test_what_is_never_drawn_together_needs_no_windows(tiny: Config) -> None:
    base = tiny.override({"training.mode": "joint", "data.controller_rows": "validation"})
    specs = {
        "training.mode": {"choice": ["alternating", "joint"]},
        "data.seq_len": {"choice": [16, 100], "when": {"training.mode": "joint"}},
        "data.joint_rows": {"choice": ["worker", "worker_and_meta"], "when": {"data.seq_len": 16}},
    }
    check_windows(Space(specs, base), load_series(base.data))


def test_bars_look_back_as_far_as_proposals_may(tiny: Config) -> None:
    """A bar that may not is no rival of what won with longer windows."""
    lr = {"training.lr": {"float": [1e-3, 1e-2]}}
    assert lookbacks(Space(lr, tiny)) == [tiny.data.seq_len]
    assert lookbacks(Space({**lr, "data.seq_len": {"choice": [32, 8, 24]}}, tiny)) == [8, 24, 32]
    assert lookbacks(Space({"data.seq_len": {"int": [4, 32], "log": True}}, tiny)) == [4, 32]


@pytest.mark.parametrize("seq_len", [4, 16, 150, 176])
def test_trials_are_judged_on_the_same_windows_whatever_the_lookback(tiny: Config, seq_len: int) -> None:
    base = tiny.override({"data.controller_rows": "validation", "data.worker_rows": "train", "data.seq_len": seq_len})
    series = load_series(base.data)
    check_windows(Space({"data.seq_len": {"choice": [4, 16, 150, 176]}}, base), series)  # 176 + 4: all rows of training
    ends = {role: window_starts(series, base.data, role) + seq_len for role in ("validation", "test")}
    assert {role: (starts[0], len(starts)) for role, starts in ends.items()} == {
        "validation": (180, 57), "test": (240, 57)
    }  # fmt: skip
    with pytest.raises(DataError, match=r"with data.seq_len=177: synthetic: 'train' has 180 rows"):
        check_windows(Space({"data.seq_len": {"int": [4, 177]}}, base), series)
