"""What an ablation shows while it trains: right counts in bounded lines."""

import io
from types import SimpleNamespace
from typing import Any

from ablations.planning.progress import StudyProgress
from lab.machines.progress import WIDTH
from lab.machines.trial import TrialSpec


def trial(stack: int) -> Any:
    return SimpleNamespace(config=TrialSpec((), "a", stack=stack).to_dict(), error_file=None)


def test_runs_and_stacks_are_counted() -> None:
    progress = StudyProgress("parts", {1: 10, 2: 6, 3: 6}, io.StringIO())
    assert progress.lines()[0].startswith("parts: 0 of 22 runs done, 0 of 3 stacks  |")
    progress.on_trial_result(0, [], trial(2), {"epoch": 7, "ended": 1})
    progress.on_trial_result(0, [], trial(1), {"epoch": 3, "ended": 0})
    assert "1 of 22 runs done, 0 of 3 stacks, training at epoch 3, 7" in progress.lines()[0]
    progress.on_trial_result(0, [], trial(2), {"epoch": 9, "ended": 6})
    progress.on_trial_complete(0, [], trial(2))
    assert "6 of 22 runs done, 1 of 3 stacks, training at epoch 3" in progress.lines()[0]
    progress.on_trial_complete(0, [], trial(1))  # stopped by Ctrl-C: it is not done
    assert "6 of 22 runs done, 1 of 3 stacks  |" in progress.lines()[0]
    progress.on_trial_error(0, [], trial(3))
    assert "6 of 22 runs done, 1 of 3 stacks  |" in progress.lines()[0]


def test_a_log_gets_bounded_lines() -> None:
    stream = io.StringIO()
    progress = StudyProgress("x" * 200, {1: 10}, stream)
    progress.say("stack 1 raised: " + "y" * 300)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2 and all(len(line) <= WIDTH for line in lines)
    assert lines[0].startswith("stack 1 raised: yyy")
