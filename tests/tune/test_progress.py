"""The live table: right counts, bounded lines, and no escape codes in a log file."""

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from dynonet.config import Config
from dynonet.space import SPACE
from lab.machines import progress as live
from lab.machines.progress import WIDTH
from lab.machines.trial import TrialSpec
from lab.store.tables import Results
from tune import progress as module
from tune.progress import SHOWN_TRIALS, Progress, params_text
from tune.proposals import Proposals
from tune.space import Space


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def proposals(store: Results, tiny: Config, sha: str) -> Proposals:
    return Proposals(store, "study", Space(SPACE, tiny), seed=0, replicates=1, data_sha256=sha)


@pytest.fixture
def begin(proposals: Proposals) -> Callable[..., tuple[Progress, list[Any]]]:
    """A table of a search for 40 trials, and some trials as Tune has them."""

    def start(stream: io.StringIO, running: int) -> tuple[Progress, list[Any]]:
        table = Progress(proposals, 40, stream)
        trials = []
        for _ in range(running):
            proposal = proposals.propose()
            assert proposal is not None
            trials.append(SimpleNamespace(config=TrialSpec((), "a", trial=proposal.trial).to_dict(), error_file=None))
            table.on_trial_start(0, [], trials[-1])
        return table, trials

    return start


def finish(
    proposals: Proposals, table: Progress, trial: Any, state: str, value: float, error: str | None = None
) -> None:
    """In the order that Tune uses: the result, then the outcome, then the end of the step."""
    table.on_trial_result(0, [], trial, {"epoch": 3, "value": value})
    if state == "failed":
        table.on_trial_error(0, [], trial)
    proposals.finish(trial.config["trial"], state, [value] if state != "failed" else [], [(3, value)], error)
    table.on_step_end(0, [])


def test_counts(proposals: Proposals, begin: Any) -> None:
    table, trials = begin(io.StringIO(), 5)
    assert table.counts() == {"complete": 0, "stopped": 0, "failed": 0, "running": 5, "to come": 35}
    finish(proposals, table, trials[0], "complete", 1.5)
    finish(proposals, table, trials[1], "stopped", 2.5)
    finish(proposals, table, trials[2], "failed", 2.5, "boom")
    assert table.counts() == {"complete": 1, "stopped": 1, "failed": 1, "running": 2, "to come": 35}
    assert "best so far 1.5000  t00000" in table.lines()[1]
    table.close()
    assert table.counts() == {"complete": 1, "stopped": 1, "failed": 1, "running": 0, "to come": 37}
    again = Progress(proposals, 40, io.StringIO())
    assert again.counts() == table.counts() and "left" not in again.lines()[0]


def test_the_table_is_bounded(begin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table, trials = begin(io.StringIO(), 30)
    for number, trial in enumerate(trials):
        table.on_trial_result(0, [], trial, {"epoch": number, **({"value": 1.0} if number else {})})
    lines = table.lines()
    assert len(lines) == 1 + SHOWN_TRIALS + 1 and f"and {30 - SHOWN_TRIALS} more running" in lines[-1]
    assert "epoch   0  val MSE -" in lines[1] and "val MSE 1.0000" in lines[2]
    assert max(map(len, lines)) <= WIDTH
    monkeypatch.setattr(module, "WIDTH", 40)
    assert max(map(len, table.lines())) <= 40


def test_a_log_gets_one_line_per_outcome_and_a_summary_now_and_then(
    proposals: Proposals, begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = io.StringIO()
    table, trials = begin(log, 6)
    clock = [live.time.monotonic()]
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    table.on_step_end(0, [])
    for _ in range(500):  # Tune steps often
        clock[0] += 0.1
        table.on_step_end(0, [])
    assert 2 <= len(log.getvalue().splitlines()) <= 6, "50 seconds, two lines each 20"
    for trial in trials[:5]:
        finish(proposals, table, trial, "complete", 1.25)
    error = "Traceback\n  File x\nRuntimeError: out of memory " + "x" * 300
    finish(proposals, table, trials[5], "failed", 2.0, error)
    table.close()
    lines = log.getvalue().splitlines()
    assert sum(line.startswith("t0000") for line in lines) == 6 and len(lines) <= 14
    assert max(map(len, lines)) <= WIDTH and "\x1b" not in log.getvalue()
    assert any(line.startswith("t00003  complete   val MSE 1.2500  control_hidden=") for line in lines)
    assert any(line.startswith("t00005  failed") and "RuntimeError: out of memory" in line for line in lines), lines


def test_a_terminal_gets_a_live_table_and_whole_lines(proposals: Proposals, begin: Any) -> None:
    screen = Terminal()
    table, trials = begin(screen, 2)
    finish(proposals, table, trials[0], "complete", 1.25)
    table.close()
    assert "\x1b[" in screen.getvalue() and "t00000  complete" in screen.getvalue()
    assert screen.getvalue().rstrip().splitlines()[-1].startswith("best so far 1.2500"), "the last table stays"


def test_short_texts() -> None:
    assert params_text({"model.worker_hidden": 8, "training.lr": 0.0012345, "training.mode": "joint"}, Config) == (
        "worker_hidden=8 lr=0.00123 mode=joint"
    )
