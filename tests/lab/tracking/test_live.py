"""Runs that are shown while they train: each epoch once, whoever is killed on the way, in every tracker."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb

from dynonet.config import Config
from lab.errors import ConfigError
from lab.machines.trial import TrialSpec
from lab.series import Series, load_series
from lab.store.tables import Results
from lab.tracking import tracker as tracking
from lab.tracking.epochs import TOLD, Telling
from lab.tracking.live import LiveRuns
from lab.tracking.options import TRACKERS, Tracking
from lab.tracking.runs import Member, members_of
from lab.tracking.tensorboard import records, steps_in
from lab.tracking.tracker import Tracker
from lab.training.stack_run import StackRun
from tests.lab.tracking.sent import ONLINE, TINY, check_server
from tests.mlflow_server import MlflowServer
from tests.wandb_server import WandbServer

WAIT = 120.0


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Trial:
    """A trial of two seeds, as Ray Tune would tell a driver's callbacks of it; each instance is a new process's."""

    def __init__(self, results: Results, options: Tracking):
        base = Config.create(TINY)
        configs = [base.override({"training.seed": seed}) for seed in (1, 2)]
        self.series: Series = load_series(base.data)
        spec = TrialSpec(tuple(c.to_json() for c in configs), self.series.identity, trial="t0", tells=True)
        self.ids, self.results = spec.ids(), results
        self.places = [Member("live", "search", run, trial="t0") for run in self.ids]
        self.tracker = Tracker(options, results)
        self.callbacks = self.tracker.callbacks("live", lambda _, ids: self.places)
        self._trial = SimpleNamespace(config=spec.to_dict())
        self.tracker.follow("live")
        self._tell("on_trial_start")
        self.stack = StackRun(results, configs, series=self.series)
        self._telling = Telling(self.ids)

    def _tell(self, hook: str, **more: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(iteration=0, trials=[], trial=self._trial, **more)

    def step(self, epochs: int, told: bool = True) -> None:
        for _ in range(epochs):
            self.stack.step()
            news = self._telling.news(self.stack.runs)
            if told:
                self._tell("on_trial_result", result={"training_iteration": 1, TOLD: news})

    def complete(self) -> None:
        self.results.add("members", [vars(place) for place in self.places])
        self._tell("on_trial_complete")
        for callback in self.callbacks:
            callback.on_step_end(0, [])
        self.tracker.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns as soon as there is news; shares are of a process that has done nothing else."""
    monkeypatch.setattr(tracking, "TURN_SECONDS", 0.05)
    monkeypatch.setattr(tracking, "SHARE", 1.0)
    monkeypatch.setenv("WANDB__FILE_STREAM_TRANSMIT_INTERVAL", "1")


def test_w_and_b_has_a_run_from_its_beginning_and_each_epoch_once(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(tmp_path / "out")
    first = Trial(results, ONLINE)
    until(lambda: len(server.runs) == 2)
    assert all(run.exit_code is None and not run.received for run in server.runs.values()), "it has begun"
    first.step(2)
    until(lambda: all(len(run.received) == 2 for run in server.runs.values()))
    assert all(run.exit_code is None for run in server.runs.values()) and not results.table("runs").num_rows
    summaries = [run.summary for run in server.runs.values()]
    assert all(summary["status"] == "running" and summary["epochs"] == 2 for summary in summaries)
    best = [min(row["val_mse"] for row in run.received) for run in server.runs.values()]
    assert [summary["val_mse"] for summary in summaries] == best, "so far, for panels over a search"
    # W&B's process is killed, as it is with its driver; an epoch more is on its way, and one is never told of.
    first.tracker._stop = True
    wandb.setup().ensure_service()._proc._process.kill()
    first.step(1)
    first.step(1, told=False)
    first.tracker.close()
    assert [len(run.received) for run in server.runs.values()] == [2, 2]

    second = Trial(results, ONLINE)  # goes on from its checkpoint
    second.step(1)
    until(lambda: all(len(run.received) == 5 for run in server.runs.values()))
    assert not results.table("runs").num_rows, "before it is on record"
    second.step(1)
    second.complete()
    assert sorted(server.runs) == sorted(member.id for member in members_of(results, "live"))
    check_server(results, "live", server)
    assert [run.summary["status"] for run in server.runs.values()] == ["complete"] * 2


def test_an_interrupted_run_goes_on(tmp_path: Path, server: WandbServer) -> None:
    """After a Ctrl-C W&B has every epoch that was told, as of a run that was ended from outside."""
    results = Results(tmp_path / "out")
    with Trial(results, ONLINE).tracker as tracker:
        until(lambda: len(server.runs) == 2)
        tracker.hurry()
    until(lambda: all(run.exit_code == 255 for run in server.runs.values()))
    second = Trial(results, ONLINE)
    second.step(6)
    second.complete()
    check_server(results, "live", server)


def test_what_w_and_b_is_told_of_the_machine_says_w_and_b(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for off in (False, True):
        monkeypatch.setenv("WANDB_SAVE_CODE", str(not off).lower())
        monkeypatch.setenv("WANDB__DISABLE_STATS", str(off).lower())
        monkeypatch.setenv("WANDB_PROGRAM", "train.py")
        monkeypatch.chdir(tmp_path)
        Path("train.py").write_text("print()\n")
        server.runs.clear()
        server.uploads.clear()
        trial = Trial(Results(tmp_path / f"out{off}"), ONLINE)
        until(lambda: len(server.runs) == 2)
        if not off:
            until(lambda: all(run.lines.get("wandb-events.jsonl") for run in server.runs.values()))
        trial.step(6)
        trial.complete()
        assert any(path.endswith("code/train.py") for path in server.uploads) != off
        assert any(run.lines.get("wandb-events.jsonl") for run in server.runs.values()) != off
        assert not any("metadata" in path or "requirements" in path for path in server.uploads)


# The other trackers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    with MlflowServer() as found:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", found.url)
        yield found


def goes_on(results: Results, tracker: str, steps: Callable[[], list[list[int]]]) -> dict[int, dict[str, float]]:
    """A trial whose driver ends in its middle and goes on: `steps` of its runs, and what is on record of one."""
    options = Tracking(TRACKERS[tracker].mode, tracker=tracker)
    first = Trial(results, options)
    until(lambda: steps() == [[], []])
    first.step(3)
    until(lambda: steps() == [[1, 2, 3]] * 2)
    assert not results.table("runs").num_rows, "before it is on record"
    first.tracker._stop = True  # nothing more is sent, and nothing is put in order
    first.step(1)
    second = Trial(results, options)
    second.step(2)
    second.complete()
    assert steps() == [[1, 2, 3, 4, 5, 6]] * 2
    epochs: dict[int, dict[str, float]] = {}
    for row in results.of_runs("history", second.ids[:1]).to_pylist():
        epochs.setdefault(row["step"], {})[row["metric"]] = row["value"]
    with Tracker(options, results) as again:
        again.follow("live")
    assert steps() == [[1, 2, 3, 4, 5, 6]] * 2, "twice adds nothing"
    return epochs


def test_tensorboard_has_each_epoch_once(tmp_path: Path, capsys: Any) -> None:
    from tensorboardX.proto.event_pb2 import Event

    results = Results(tmp_path / "out")
    folder = tmp_path / "out/tensorboard/live"
    epochs = goes_on(results, "tensorboard", lambda: [steps_in(run) for run in sorted(folder.glob("*"))])
    one, other = sorted(folder.glob("*"))
    assert one.name.startswith("t0-seed-1-") and other.name.startswith("t0-seed-2-")
    found = [Event.FromString(each) for path in sorted(one.glob("events.*")) for each in records(path)]
    curves = {e.step: {v.tag: v.simple_value for v in e.summary.value} for e in found if e.step}
    assert curves[6].keys() == epochs[6].keys() and curves[6]["val_mse"] == pytest.approx(epochs[6]["val_mse"])
    tags = {value.tag for event in found for value in event.summary.value}
    assert {"_hparams_/session_start_info", "end/val_mse"} <= tags
    assert f"TensorBoard: 2 runs written; to see them: tensorboard --logdir {folder.parent}" in capsys.readouterr().out


def test_mlflow_has_each_epoch_once(tmp_path: Path, mlflow: MlflowServer, capsys: Any) -> None:
    def steps() -> list[list[int]]:
        return [[m["step"] for m in run["metrics"] if m["key"] == "epoch"] for run in mlflow.runs.values()]

    epochs = goes_on(Results(tmp_path / "out"), "mlflow", steps)
    one = next(run for run in mlflow.runs.values() if run["name"] == "t0 seed 1")
    curve = {m["step"]: m["value"] for m in one["metrics"] if m["key"] == "val_mse"}
    assert curve == {step: values["val_mse"] for step, values in epochs.items()}, "to the last digit"
    assert one["status"] == "FINISHED" and one["tags"]["study"] == "live" and one["tags"]["status"] == "complete"
    assert one["params"]["training.max_epochs"] == "6" and one["params"]["model.worker_hidden"] == "2"
    assert "MLflow: 2 runs sent to experiment dynonet" in capsys.readouterr().out


def test_mlflow_without_a_server_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    options = Tracking("online", tracker="mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert not Tracker(options, Results(tmp_path / "out")).on
    assert "MLFLOW_TRACKING_URI: it is not set" in capsys.readouterr().err
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with Tracker(options, Results(tmp_path / "out")) as tracker:
        tracker.follow("live")
    said = capsys.readouterr().err
    assert said.count("warning") == 1 and "127.0.0.1:9 does not answer as MLflow's API does" in said
    assert "python -m tune.results track --tracker mlflow live" in said


# What is told and asked for -------------------------------------------------------------------------------------------


def test_no_more_than_so_many_are_shown_at_once() -> None:
    """What has come to its end before is not begun again: its record says how it went."""
    base = Config.create(TINY)
    texts = [base.override({"training.seed": seed}).to_json() for seed in range(4)]
    spec = TrialSpec(tuple(texts), "a" * 64, stack=1)
    ids, live = spec.ids(), LiveRuns(most=3)
    places = [Member("s", "arm", run, arm=arm) for run in ids for arm in ("full", "other")]
    live.begin(spec, places, over=ids[:1])
    assert [member.run for member in live.news] == [ids[1], ids[1], ids[2]]
    live.take([(run, {"epoch": 1, "val_mse": 2.0, "best_val_mse": 2.0}) for run in ids])
    assert live.run(places[2]).history == [(1, {"val_mse": 2.0, "best_val_mse": 2.0})]
    live.end(places[2:3])
    assert [member.run for member in live.news] == [ids[2]], "all places of a run end together"
    telling = Telling(ids, most=2)
    runs = [SimpleNamespace(run=run, history=[{"epoch": 1}, {"epoch": 2}]) for run in ids]
    assert len(telling.news(runs)) == 4 and not telling.news(runs)
    runs[0].history.pop()
    telling.news(runs)
    runs[0].history.append({"epoch": 2})
    assert telling.news(runs) == [(ids[0], {"epoch": 2})], "trained again, told again"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--tracker", "tensorbord"), "unknown tracker 'tensorbord'; did you mean 'tensorboard'?"),
        (("--tracker", "foo"), "unknown tracker 'foo'; allowed: mlflow, tensorboard, wandb"),
        (("--tracker", "mlflow", "--wandb", "offline"), "--wandb offline and --tracker mlflow"),
    ],
)
def test_a_tracker_that_is_none(given: tuple[str, ...], said: str) -> None:
    import argparse

    from lab.tracking.options import add_tracking_arguments

    parser = argparse.ArgumentParser()
    add_tracking_arguments(parser)
    with pytest.raises(ConfigError) as error:
        Tracking.of(parser.parse_args(given))
    assert said in str(error.value)
    assert Tracking.of(parser.parse_args(["--tracker", "wandb"])) == Tracking("online")
    assert Tracking.of(parser.parse_args(["--tracker", "wandb", "--wandb", "offline"])) == Tracking("offline")
