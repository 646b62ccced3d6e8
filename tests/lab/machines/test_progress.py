"""What every live table shares: times in words, and the errors of trials as text."""

from types import SimpleNamespace
from typing import Any

from lab.machines.progress import duration, trial_error


def test_the_error_of_a_trial_is_text_without_colours(tmp_path: Any) -> None:
    trial = SimpleNamespace(error_file=str(tmp_path / "error.txt"))
    (tmp_path / "error.txt").write_text("\x1b[36mTraceback\x1b[0m\n  File\nValueError: \x1b[31mred\x1b[0m\n")
    assert trial_error(trial) == "Traceback\n  File\nValueError: red"
    for nothing in (str(tmp_path / "gone.txt"), None):
        assert trial_error(SimpleNamespace(error_file=nothing)) == "no message"


def test_times_are_hours_minutes_and_seconds() -> None:
    assert [duration(s) for s in (0, 59.6, 3600, 360000)] == ["0:00:00", "0:01:00", "1:00:00", "100:00:00"]
