"""A storage that is full or gone for a while, and the lease that outlives it."""

import errno
import os
import pickle
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.store.events import events_of, record_event, record_outages
from lab.store.objects import patient_storage
from lab.store.objects.lease import Lease, lease_folder
from lab.store.objects.patient_storage import PatientStorage
from lab.store.objects.storage import Storage, StorageError, open_storage
from lab.store.tables import Results


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_storage, "FIRST_PAUSE", 0.01)


def failing(monkeypatch: pytest.MonkeyPatch, number: int, times: int) -> list[str]:
    """Makes so many writes fail with this error; the list fills with the paths that were tried."""
    tried: list[str] = []
    put = Storage.put

    def sometimes(self: Storage, path: str, data: bytes, durable: bool = True) -> None:
        tried.append(path)
        if len(tried) <= times:
            raise StorageError(number, f"cannot write {path}: {os.strerror(number)}")
        put(self, path, data, durable)

    monkeypatch.setattr(Storage, "put", sometimes)
    return tried


def test_a_full_disk_is_waited_for_and_put_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(pickle.loads(pickle.dumps(PatientStorage(str(tmp_path), 30.0))))
    tried = failing(monkeypatch, errno.ENOSPC, 3)
    path = results.put_blob("weights/r.pt", b"w")
    assert tried == [path] * 4 and results.get_blob("weights/r.pt") == b"w"
    (text,) = record_outages(results, "study", "t0")
    assert text.startswith(f"the storage was out of reach for 0 s (cannot write {path}: No space left")
    (event,) = events_of(results, "study")
    assert (event.kind, event.text, event.trial) == ("storage_outage", text, "t0")
    assert record_outages(results, "study") == []


def test_threads_that_wait_out_one_outage_tell_of_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    storage, all_out = PatientStorage(str(tmp_path), 30.0), threading.Barrier(4)
    put, tried = Storage.put, Counter[str]()

    def once_each(self: Storage, path: str, data: bytes, durable: bool = True) -> None:
        tried[path] += 1
        if tried[path] < 3:
            all_out.wait(30)
            raise StorageError(errno.EIO, f"cannot write {path}")
        put(self, path, data, durable)

    monkeypatch.setattr(Storage, "put", once_each)
    storage.put_all({f"{number}": b"" for number in range(4)})
    assert len(storage.take_outages()) == 1 and len(storage.list()) == 4
    assert caplog.text.count("trying again") == 1 and caplog.text.count("the storage is back") == 1


@pytest.mark.parametrize(("number", "seconds", "tries"), [(errno.EACCES, 30.0, 1), (errno.ENOSPC, 0.05, None)])
def test_what_does_not_pass_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, seconds: float, tries: int | None
) -> None:
    tried = failing(monkeypatch, number, 1000)
    with pytest.raises(StorageError, match=os.strerror(number)):
        PatientStorage(str(tmp_path), seconds).put("a", b"")
    assert len(tried) == tries if tries else len(tried) > 1
    # An event that cannot be kept is said, and costs no more than itself.
    record_event(Results(PatientStorage(str(tmp_path))), "study", "raised", "t0 raised")


def test_a_folder_that_is_not_mounted_is_not_written_to_nor_found_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, aside = tmp_path / "mount", tmp_path / "aside"
    storage = PatientStorage(str(root), 30.0, lease_folder("study"))
    with pytest.raises(StorageError, match=r"leases/study is gone: is .*/mount still mounted\?"):
        PatientStorage(str(root), 0.0, lease_folder("study")).put("a", b"")
    with Lease(open_storage(root), "study"):
        storage.put("checkpoints/1.pt", b"1")
        root.rename(aside)
        root.mkdir()  # a mount point with nothing mounted

        def mounted_meanwhile(seconds: float) -> None:
            root.rmdir()
            aside.rename(root)

        clock = SimpleNamespace(monotonic=time.monotonic, sleep=mounted_meanwhile)
        monkeypatch.setattr("lab.store.objects.patient_storage.time", clock)
        assert storage.list("checkpoints") == ["checkpoints/1.pt"], "not taken for a storage without checkpoints"
        (outage,) = storage.take_outages()
        assert outage.seconds > 0 and "still mounted" in outage.cause


def test_who_waited_while_another_driver_came_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = PatientStorage(str(tmp_path), 30.0, lease_folder("study"))
    with Lease(open_storage(tmp_path), "study") as lease:
        storage.ours = lease.stands
        tried = failing(monkeypatch, errno.EIO, 1)
        storage.put("a", b"")
        tried.clear()
        (tmp_path / lease_folder("study") / "000900.json").write_text("{}")
        with pytest.raises(StorageError, match="another driver's"):
            storage.put("b", b"")
    assert tried.count("b") == 1 and storage.exists("a") and not storage.exists("b")


def test_a_lease_outlives_an_outage_unless_another_driver_came(tmp_path: Path) -> None:
    root, aside = tmp_path / "root", tmp_path / "aside"
    for outage, taken in ((30.0, False), (30.0, True), (0.0, False)):
        with Lease(open_storage(root), "study", beat=0.05, expire=0.3, outage=outage) as lease:
            root.rename(aside)
            deadline = time.monotonic() + (0.6 if outage else 60)
            while not lease.lost and time.monotonic() < deadline:
                time.sleep(0.02)
            if taken:
                (aside / "leases/study/000900.json").write_text("{}")
            aside.rename(root)
            deadline = time.monotonic() + 60
            wanted = taken or not outage
            while lease.lost != wanted and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.2)
            assert lease.lost == wanted, (outage, taken)
