"""What the driver makes of processes that die, machines that come and go, trials that raise."""

import logging
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.search import Searcher

from lab.machines import faults
from lab.machines import session as module
from lab.machines.faults import DEATHS_TO_HALVE, MOST_DEATHS, FaultWatch
from lab.machines.memory import as_tune_knows_it
from lab.machines.nodes import Node, NodeLeaves
from lab.machines.queue import TrialQueue
from lab.machines.session import RECORD_SECONDS, RaySession, Stop
from lab.machines.trial import TrialSpec
from lab.store.events import events_of
from lab.store.objects.storage import Storage
from lab.store.tables import Results

SHARE = 2.0**30  # bytes that a trial may take


class Trial:
    """As much of Tune's trial as the watch touches; it counts failures as Tune does."""

    def __init__(self, folder: Path, name: str, models: int = 4):
        self.trial_id, self.config = f"tune-{name}", TrialSpec(("{}",) * models, "a", trial=name).to_dict()
        self.run_metadata = SimpleNamespace(num_failures=0)
        self.pickled_error_file = str(folder / f"{name}.pkl")

    def fails(self, watch: FaultWatch, error: BaseException, counted: bool = True) -> int:
        Path(self.pickled_error_file).write_bytes(cloudpickle.dumps(error))
        self.run_metadata.num_failures += counted
        watch.on_trial_recover(0, [], self)
        return self.run_metadata.num_failures


def died(text: str) -> RayActorError:
    return RayActorError(None, text)


def raised(error: Exception) -> RayTaskError:
    return RayTaskError("step", "Traceback ...", error)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    nodes = [Node("a", "10.0.0.1", 4, 1, 1e9), Node("b", "10.0.0.2", 4, 1, 1e9)]
    monkeypatch.setattr(faults, "living_nodes", lambda: list(nodes))
    monkeypatch.setattr(faults, "leaving", lambda: frozenset())
    monkeypatch.setattr(faults, "LOOK_SECONDS", 0.0)
    return nodes


@pytest.fixture
def watch(store: Results, cluster: list[Node], lines: list[str]) -> FaultWatch:
    return FaultWatch(store, "study", lines.append, SHARE)


@pytest.fixture
def lines() -> list[str]:
    return []


def test_only_what_a_trial_raises_counts(watch: FaultWatch, store: Results, lines: list[str], tmp_path: Path) -> None:
    trial = Trial(tmp_path, "t0", models=1)
    assert trial.fails(watch, raised(ValueError("red\nblue"))) == 1
    for _ in range(MOST_DEATHS):
        assert trial.fails(watch, died("The actor died because its node has died.")) == 1
    assert trial.fails(watch, died("its node has died")) == 2, "a process that dies for ever is given up"
    watch.on_trial_result(0, [], trial, {})
    assert trial.fails(watch, died("its node has died")) == 1, "an epoch in between, and all is forgiven"
    assert trial.fails(watch, raised(NodeLeaves("notice"))) == 1
    assert trial.fails(watch, raised(ValueError("again"))) == 2
    kinds = [event.kind for event in events_of(store, "study")]
    assert kinds == ["raised", *["process_died"] * (MOST_DEATHS + 2), "moved", "raised"]
    assert lines[0] == "t0 raised and goes on from its checkpoint: blue"
    assert lines[1] == "t0: its process ended with its machine; it goes on from its last epoch"


def test_a_stack_is_halved_after_deaths_that_memory_explains(
    watch: FaultWatch, lines: list[str], tmp_path: Path
) -> None:
    trial = Trial(tmp_path, "t0", models=5)
    trial.fails(watch, died("Task was killed due to the node running low on memory."))
    assert trial.config["most"] == 3 and "for want of memory" in lines[0]
    assert lines[1] == "t0: of 5 models side by side it goes on with 3 at most"
    other = Trial(tmp_path, "t1", models=2)
    for _ in range(DEATHS_TO_HALVE - 1):
        other.fails(watch, died("Its worker process has died; it may be killed by SIGKILL by OOM killer"))
    assert "most" not in other.config
    other.fails(watch, died("The worker process has died."))
    assert other.config["most"] == 1
    other.fails(watch, died("running low on memory"))
    assert other.config["most"] == 1


def killed_for_memory(own: float) -> RayActorError:
    text = f"node running low on memory. (... pid=7, actual memory used={own:.2f}GB, ...)"
    error = as_tune_knows_it(OutOfMemoryError(text))
    assert isinstance(error, RayActorError)
    return error


def test_a_trial_whose_memory_others_took_waits_and_is_never_given_up(
    watch: FaultWatch, store: Results, tmp_path: Path
) -> None:
    trial, again = Trial(tmp_path, "t0", models=4), list[tuple[str, Any]]()
    watch.again = lambda trial_id, changes: again.append((trial_id, dict(changes)))
    for _ in range(3 * MOST_DEATHS):
        assert trial.fails(watch, killed_for_memory(0.25)) == 0
    assert "most" not in trial.config and not watch.gate.is_open()
    assert watch.forgives(trial) and again == [("tune-t0", {})]
    assert trial.fails(watch, killed_for_memory(SHARE / 2**30 + 0.5)) == 0
    assert trial.config["most"] == 2, "it held more than its share"
    assert watch.forgives(trial) and again[-1] == ("tune-t0", {"most": 1})
    assert {event.kind for event in events_of(store, "study")} == {"memory_short", "halved"}
    assert [trial.fails(watch, killed_for_memory(9)) for _ in range(MOST_DEATHS)][-3:] == [0, 1, 2], (
        "too large for ever"
    )


def test_machines_that_join_leave_and_are_lost(
    watch: FaultWatch, cluster: list[Node], store: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Node("c", "10.0.0.3", 8, 2, 1e9)
    for change in (lambda: cluster.append(new), lambda: cluster.pop(0), lambda: None):
        change()
        watch.on_step_end(0, [])
    monkeypatch.setattr(faults, "leaving", lambda: frozenset({"b"}))
    cluster.pop(0)
    watch.on_step_end(0, [])
    found: list[Any] = [(event.kind, event.text) for event in events_of(store, "study")]
    assert found == [
        ("node_joined", "machine 10.0.0.3 has joined, with 8 CPUs, 2 GPUs"),
        ("node_lost", "machine 10.0.0.1 is lost; its trials go on elsewhere"),
        ("node_leaving", "machine 10.0.0.2 was given notice; its trials go on elsewhere"),
    ]


class Numbers(Searcher):
    """Suggests 0, 1, 2, ... and keeps what it is told of them."""

    def __init__(self, most: int = 100):
        super().__init__()
        self.given: dict[str, int] = {}
        self.most, self.told = most, []  # type: ignore[var-annotated]

    def suggest(self, trial_id: str) -> Any:
        if len(self.given) == self.most:
            return Searcher.FINISHED
        self.given[trial_id] = len(self.given)
        return {"number": self.given[trial_id]}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.told.append((self.given[trial_id], error))


@pytest.mark.parametrize(("samples", "most"), [(3, 100), (100, 3)])
def test_a_trial_that_tune_gave_up_is_begun_again_and_is_one_to_the_searcher(samples: int, most: int) -> None:
    limit = [2]
    searcher = Numbers(most)
    queue = TrialQueue(searcher, samples, lambda: limit[0], seconds=0.0)
    assert [queue.suggest("a"), queue.suggest("b"), queue.suggest("c")] == [{"number": 0}, {"number": 1}, None]
    queue.on_trial_complete("a", error=True)
    queue.again("a")
    assert queue.suggest("c") == {"number": 0}, "before anything new"
    limit[0] = 3
    assert queue.suggest("d") == {"number": 2}, "the limit is followed"
    queue.on_trial_complete("b")
    queue.on_trial_complete("d")
    assert queue.suggest("e") is None, "what lives may yet have to be begun again"
    queue.on_trial_complete("c", error=True)
    queue.again("c", {"most": 2})
    assert queue.suggest("e") == {"number": 0, "most": 2}
    queue.on_trial_complete("e")
    assert queue.suggest("f") == Searcher.FINISHED
    assert searcher.told == [(0, True), (1, False), (2, False), (0, True), (0, False)]


def test_a_process_that_dies_as_it_starts_is_forgiven_but_not_for_ever(
    watch: FaultWatch, store: Results, tmp_path: Path
) -> None:
    trial, again = Trial(tmp_path, "t0"), list[str]()
    watch.again = lambda trial_id, changes: again.append(trial_id)
    Path(trial.pickled_error_file).write_bytes(cloudpickle.dumps(raised(ValueError("its own"))))
    assert not watch.forgives(trial)
    Path(trial.pickled_error_file).write_bytes(cloudpickle.dumps(died("its node has died")))
    assert [watch.forgives(trial) for _ in range(MOST_DEATHS + 2)] == [True] * (MOST_DEATHS + 1) + [False]
    assert again == ["tune-t0"] * (MOST_DEATHS + 1)
    watch.on_trial_result(0, [], trial, {})
    watch.forgiving = False
    assert not watch.forgives(trial), "--max-failures 0"
    assert {event.text for event in events_of(store, "study")} == {
        "t0: its process ended as it started; it is begun again"
    }


def test_a_fraction_of_a_gpu_is_one_of_a_single_gpu() -> None:
    machine = Node("a", "10.0.0.1", 100, 8, 1e12)
    assert [machine.fits(1, gpus) for gpus in (0, 0.15, 0.5, 0.34, 1, 2, 3, 8, 9)] == [100, 48, 16, 16, 8, 4, 2, 1, 0]
    assert machine.fits(4, 0.15) == 25, "the CPUs decide"


def test_the_loop_waits_for_no_record_on_an_object_store(
    cluster: list[Node], lines: list[str], s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    base, _, options = s3_url.partition("?")
    store, gate, put = Results(f"{base}/{tmp_path.name}?{options}"), threading.Event(), Storage.put

    def late(*arguments: Any, **named: Any) -> None:
        assert gate.wait(30)
        put(*arguments, **named)

    monkeypatch.setattr(Storage, "put", late)
    watch = FaultWatch(store, "study", lines.append, SHARE)
    del cluster[0]
    watch.on_step_end(0, [])
    assert len(lines) == 1 and not events_of(store, "study")
    gate.set()
    watch.wait(None)
    assert [event.kind for event in events_of(store, "study")] == ["node_lost"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    gate.clear()
    watch = FaultWatch(store, "study", lines.append, SHARE)
    for _ in range(3):
        Trial(tmp_path, "t0").fails(watch, raised(ValueError("red")))
    watch.wait(0.0)
    assert "not all that happened is on record" in caplog.text, "nothing waits longer than it may"
    gate.set()
    watch.wait(None)
    kinds = [event.kind for event in events_of(store, "study")]
    assert sorted(kinds) == ["node_lost", "raised"], "only what was on its way is written then"


@pytest.mark.parametrize(
    ("error", "waited"),
    [(None, [None]), (RuntimeError("of Tune"), [RECORD_SECONDS]), (KeyboardInterrupt(), [])],
    ids=["at its end", "after an error", "never after a second Ctrl-C"],
)
def test_a_session_waits_until_what_happened_is_on_record(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException | None, waited: list[float | None]
) -> None:
    tune = MagicMock()
    tune.Tuner.return_value.fit.side_effect = error
    monkeypatch.setattr(module, "ray_tune", tune)
    session: Any = object.__new__(RaySession)
    session.cpus_per_trial, session.gpus, session.series, session._local, session._ahead = 1, 0, {}, True, None
    session.nodes, session._asked, session.concurrent = [], 1, 1
    asked: list[float | None] = []
    watch: Any = SimpleNamespace(wait=asked.append)
    with nullcontext() if error is None else pytest.raises(type(error)):
        session.run_trials(
            "study", tmp_path, searcher=Searcher(), samples=1, stop=Stop(None, SimpleNamespace(lost=False)),  # type: ignore[arg-type]
            callbacks=[], max_failures=0, watch=watch,
        )  # fmt: skip
    assert asked == waited
