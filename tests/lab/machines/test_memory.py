"""Want of memory: what Ray says of it, whose doing it was, and searches and studies beside a program that takes it."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ray import cloudpickle
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError

from lab.machines import memory
from lab.machines.memory import MemoryGate, as_tune_knows_it, shortage
from lab.store.events import incidents
from lab.store.tables import Results
from tests.greedy import greedy, watchful
from tests.processes import Driver, drivers

# As Ray 2.60 says it.
SAID = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2, ID: 13a9) was "
    "22.90GB used / 23.54GB limit (0.972)\nOOM kill reason: Memory usage 24588000000B exceeded threshold of ...\n"
    "Selected to kill: (Actor: class name=StackTrainable, pid=41, actual memory used=1.50GB, worker ID=b2f7)\n"
    "(Actor: class name=StackTrainable, pid=42, actual memory used=0.25GB, worker ID=b2f8)\n"
)
GB = 2**30


def test_what_ray_says_of_memory() -> None:
    for error in (OutOfMemoryError(SAID), RayActorError(None, SAID), RayTaskError("step", "", OutOfMemoryError(SAID))):
        found = shortage(error, 42)
        assert found is not None and found.own == 0.25 * GB
        assert found.text() == " (22.90 of 23.54 GB in use, 0.25 GB its own)"
        assert not found.was_its_own(GB) and found.was_its_own(0.2 * GB)
        assert (unnamed := shortage(error)) is not None and unnamed.own == 1.5 * GB
    bare = shortage(RayTaskError("step", "", MemoryError()))
    assert bare is not None and bare.text() == "" and bare.was_its_own(GB), "who knows"
    for other in (ActorDiedError(), WorkerCrashedError(), ValueError("low on memory"), None):
        assert shortage(other) is None


def test_tune_is_given_nothing_that_it_does_not_know() -> None:
    for known in (RayActorError(None, "gone"), RayTaskError("step", "", ValueError("red"))):
        assert as_tune_knows_it(known) is known
    for other in (OutOfMemoryError(SAID), WorkerCrashedError()):
        again = cloudpickle.loads(cloudpickle.dumps(as_tune_knows_it(other)))
        assert isinstance(again, RayActorError) and str(again) == str(other)


def test_the_gate_stays_shut_longer_each_time_and_while_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    now, used = [0.0], [0.5]
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(memory, "memory_in_use", lambda: used[0])
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.9")
    gate = MemoryGate(here=True)
    assert gate.is_open()
    assert [gate.shut("t0") for _ in range(7)] == [2, 4, 8, 16, 32, 60, 60] and not gate.is_open()
    now[0], used[0] = 60.0, 0.95
    assert not gate.is_open(), "the time is up, and the memory is still taken"
    now[0], used[0] = 62.0, 0.85
    assert gate.is_open()
    gate.went_on("t0")
    assert gate.shut("t0") == 2


def kinds(results: Results, study: str) -> Counter[str]:
    return Counter(row["kind"] for row in results.table("events", study).to_pylist())


def check_waits(begin: Callable[..., Driver], results: Results, study: str, under_way: Callable[[], bool]) -> None:
    """A command beside a greedy program at its start, and again in its middle: it waits each time, and goes on."""
    environment = watchful()
    with greedy():
        driver = begin(**environment)
        driver.until(lambda: "want of memory" in driver.said())
        time.sleep(3)
    driver.until(under_way)
    before = kinds(results, study)["memory_short"]
    with driver.held(), greedy():  # a machine that allots memory slowly must not find the runs at their end
        driver.until(lambda: kinds(results, study)["memory_short"] > before)
        time.sleep(3)
    assert driver.wait() == 0, driver.said()
    assert "Traceback" not in driver.said()
    assert not {"raised", "halved"} & set(kinds(results, study)), "nobody was too large"
    rows = results.table("runs", study).to_pylist()
    assert {(row["status"], row["attempt"]) for row in rows} == {("complete", 1)}, "nothing failed or began again"


@pytest.mark.slow
def test_a_search_waits_for_memory(tmp_path: Path) -> None:
    results = Results(tmp_path / "out")
    arguments = (
        "--preset", "smoke", "--results", "out", "--trials", "2", "--max-epochs", "100", "--grace-epochs", "100",
        "training.patience=100", "--final-replicates", "1",
    )  # fmt: skip
    with drivers("tune.search", tmp_path, *arguments) as begin:
        check_waits(begin, results, "smoke", lambda: bool(results.storage.list("checkpoints")))
    assert {row["state"] for row in results.table("trials", "smoke").to_pylist()} == {None, "complete"}
    assert any("memory short" in line for line in incidents(results, "smoke")), "it is on the page"


@pytest.mark.slow
def test_a_study_waits_for_memory(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    study = {
        "name": "small", "question": "Does it go on?", "arms": ["no_film"], "seeds": 6,
        "baseline": {
            "data.seq_len": 24, "data.pred_len": 6, "data.synthetic.rows": 600, "model.control_hidden": 5,
            "model.worker_hidden": 3, "model.worker_seq_len": 12, "model.moving_average": 5, "training.batch_size": 64,
            "training.max_epochs": 80, "training.patience": 80,
        },
    }  # fmt: skip
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study))
    with drivers("ablations.run", tmp_path, "small.yaml") as begin:
        check_waits(
            begin, results, "small", lambda: any(p.endswith(".pt") for p in results.storage.list("checkpoints"))
        )
