"""Records written beside a loop: in order by key, on record when waited for, and never hiding an error."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from lab.store.beside import writer as module
from lab.store.beside.writer import Writer
from lab.store.objects.storage import Storage, StorageError
from lab.store.tables import Results, ResultsError


class Gate:
    """Holds up, or refuses, what is put under some keys."""

    def __init__(self) -> None:
        self.open = {"slow": threading.Event()}
        self.error: StorageError | None = None
        self.begun: list[str] = []
        self._put = Storage.put

    def put(self, storage: Storage, path: str, data: bytes, durable: bool = True) -> None:
        key = path.split("/")[-1].split("-")[0]
        self.begun.append(key)
        if key in self.open:
            assert self.open[key].wait(30)
        if self.error is not None:
            raise self.error
        self._put(storage, path, data, durable)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(Storage, "put", lambda self, *a, **k: gate.put(self, *a, **k))
    yield gate
    gate.open["slow"].set()


@pytest.fixture
def remote(s3_url: str, tmp_path: Any) -> Results:
    base, _, options = s3_url.partition("?")
    return Results(f"{base}/{tmp_path.name}?{options}")


def outcome(trial: str, state: str) -> list[dict[str, Any]]:
    return [{"study": "s", "trial": trial, "event": "outcome", "state": state, "values": [1.0]}]


def on_record(results: Results) -> list[tuple[str, str]]:
    rows = results.table("trials", "s").to_pylist()
    return sorted((row["trial"], row["state"]) for row in rows)


def test_on_a_disk_it_is_on_record_at_once(store: Results) -> None:
    Writer(store).add("trials", outcome("t", "failed"), "t")
    assert on_record(store) == [("t", "failed")]


def test_keys_do_not_wait_for_each_other_and_each_keeps_its_order(gate: Gate, remote: Results) -> None:
    writer = Writer(remote)
    writer.add("trials", outcome("a", "failed"), "slow")
    writer.add("trials", outcome("a", "stopped"), "slow")
    for number in range(20):
        writer.add("trials", outcome(f"b{number:02d}", "complete"), f"k{number:02d}")
    while len(on_record(remote)) < 20:
        threading.Event().wait(0.02)
    assert gate.begun.count("slow") == 1, "its second waits for its first"
    gate.open["slow"].set()
    writer.wait()
    assert on_record(remote)[:2] == [("a", "failed"), ("a", "stopped")] and len(on_record(remote)) == 22
    first, second = sorted(
        (row for row in remote.table("trials", "s").to_pylist() if row["trial"] == "a"), key=lambda row: row["time"]
    )
    assert (first["state"], second["state"]) == ("failed", "stopped"), "of the time at which they were given"


def test_what_cannot_be_written_is_said_and_nothing_follows_it(
    gate: Gate, remote: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 1)
    writer = Writer(remote)
    with pytest.raises(ResultsError, match="allowed: complete, stopped, failed"):
        writer.add("trials", outcome("a", "odd"), "slow")  # before anything is written
    writer.add("trials", outcome("a", "failed"), "slow")
    writer.add("trials", outcome("a", "stopped"), "slow")
    writer.add("trials", outcome("c", "stopped"), "c")  # waits for a thread
    gate.error = StorageError("no route to it")
    gate.open["slow"].set()
    with pytest.raises(StorageError, match="no route"):
        writer.wait()
    gate.error = None
    with pytest.raises(StorageError, match="no route"):
        writer.add("trials", outcome("b", "failed"), "b")
    with pytest.raises(StorageError, match="no route"):
        writer.written("c")
    assert gate.begun == ["slow"] and on_record(remote) == []


def test_a_driver_that_has_lost_its_study_writes_nothing_more(
    gate: Gate, remote: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 1)
    writer = Writer(remote)
    writer.add("trials", outcome("a", "failed"), "slow")
    writer.add("trials", outcome("a", "stopped"), "slow")
    writer.add("trials", outcome("c", "stopped"), "c")  # waits for a thread
    assert not writer.wait(0.0) and not writer.written("slow") and not writer.written("c")
    writer.drop()
    writer.add("trials", outcome("b", "failed"), "b")
    gate.open["slow"].set()
    assert writer.wait() and writer.written("slow")
    assert on_record(remote) == [("a", "failed")], "what was on its way arrives"
