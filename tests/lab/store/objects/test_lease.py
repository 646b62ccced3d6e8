"""One driver per study: the second is refused at once, and a killed one doesn't stand in the way."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.store.objects.lease import Holder, Lease, LeaseHeld, process_started
from lab.store.objects.storage import Storage, StorageError, open_storage

ROOT = Path(__file__).parents[4]
OFTEN: dict[str, Any] = {"beat": 0.1, "expire": 20.0}
_DRIVER = """
import sys, time
from lab.store.objects.lease import Lease
from lab.store.objects.storage import open_storage
with Lease(open_storage(sys.argv[1]), "study", beat=0.1, expire=20.0) as lease:
    print("held", flush=True)
    while not lease.lost:
        time.sleep(0.05)
    print("lost", flush=True)
"""


def driver(storage: Storage) -> subprocess.Popen[str]:
    """A process that holds the study."""
    command = [sys.executable, "-c", _DRIVER, storage.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


def claims(storage: Storage) -> list[dict[str, Any]]:
    found = [path for path in storage.list("leases/study") if path.endswith(".json")]
    return [json.loads(storage.get(path)) for path in found]


def grow_old(storage: Storage) -> str:
    """Makes the claim on a local path one of long ago, without a sign of life since. Returns its path."""
    (path,) = (path for path in storage.list("leases/study") if path.endswith(".json"))
    os.utime(storage.full(path), (1, 1))
    return path


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def leave_claim(storage: Storage, **more: Any) -> str:
    """A claim of another machine, just written."""
    holder = {"token": "0" * 16, "host": "elsewhere", "machine": "another", "pid": 1, "process_started": "1"}
    holder |= {"since": time.time(), "expire": 20.0, **more}
    name = "000001" if storage.local else holder["token"]
    storage.put(f"leases/study/{name}.json", json.dumps(holder).encode())
    return f"leases/study/{name}.json"


def test_the_second_driver_is_refused_at_once(storage: Storage) -> None:
    with Lease(storage, "study", settle=0.5):
        start = time.monotonic()
        with pytest.raises(LeaseHeld) as refused, Lease(storage, "study", settle=60):
            pass
        assert time.monotonic() - start < 30, "it did not wait for rivals before it looked"
        said = str(refused.value)
        assert f"study 'study' is held by process {os.getpid()} on {claims(storage)[0]['host']} since 20" in said
        # By the storage's clock: an object store's times are whole seconds, so one may have passed at once.
        assert re.search(r"it is free when that ends, or (1\d|20) s from now", said), said
        with Lease(storage, "other", settle=0.1):
            pass
    with Lease(storage, "study", settle=0.1) as again:
        assert not again.lost


def test_a_killed_driver_frees_the_study_at_once(storage: Storage) -> None:
    process = driver(storage)
    with pytest.raises(LeaseHeld), Lease(storage, "study"):
        pass
    process.send_signal(signal.SIGKILL)
    # Its zombie is not waited for, and the expiry neither: before that it would be refused.
    wait_for(lambda: process_started(process.pid) == "")
    with Lease(storage, "study", settle=0.5):
        assert [claim["pid"] for claim in claims(storage)] == [os.getpid()]
    process.wait()


def test_a_process_number_used_again_is_not_the_holder(storage: Storage) -> None:
    with Lease(storage, "study", settle=0.1):
        machine = claims(storage)[0]["machine"]
    leave_claim(storage, machine=machine, pid=os.getpid(), process_started="long ago", token="1" * 16)
    with Lease(storage, "study", settle=0.1):
        pass
    assert process_started(os.getpid()) and process_started(2**22 + 1) == ""


def test_elsewhere_it_is_free_after_expiry(storage: Storage) -> None:
    leave_claim(storage, expire=4.0)
    with pytest.raises(LeaseHeld, match=r"process 1 on elsewhere .* or [1-4] s from now"), Lease(storage, "study"):
        pass
    time.sleep(4.1 if storage.local else 5.1)  # an object store's times are whole seconds
    with Lease(storage, "study", settle=0.1) as lease:
        assert len(claims(storage)) == 1 and not lease.lost


def test_a_frozen_driver_is_replaced_and_notices(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    process = driver(storage)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(LeaseHeld), Lease(storage, "study", **OFTEN):
        pass
    grow_old(storage)
    with Lease(storage, "study", **OFTEN) as lease:
        process.send_signal(signal.SIGCONT)
        assert process.stdout and process.stdout.readline() == "lost\n"
        assert process.wait(60) == 0
        time.sleep(0.3)
        assert not lease.lost
        with pytest.raises(LeaseHeld), Lease(storage, "study", **OFTEN):
            pass


def test_the_heartbeat_keeps_it(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    with Lease(storage, "study", **OFTEN) as lease:
        for _ in range(3):
            old = grow_old(storage)
            wait_for(lambda old=old: storage.info(old).mtime > 1.0)
        assert not lease.lost
        with pytest.raises(LeaseHeld), Lease(storage, "study", **OFTEN):
            pass


def test_storage_that_fails_ends_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, looks = open_storage(tmp_path), list[bool]()

    def fail(*_: Any) -> None:
        looks.append(lease.lost)
        raise StorageError("out of reach")

    with Lease(storage, "study", beat=0.1, expire=1.0) as lease, monkeypatch.context() as patch:
        patch.setattr(Storage, "list", fail)
        wait_for(lambda: lease.lost)
        assert not any(looks), "it may come back"


def _all_list_before_any_claims(patch: pytest.MonkeyPatch, count: int) -> None:
    """The worst case of a race: every thread's first look at the claims is done before any of them goes on."""
    barrier, looked, original = threading.Barrier(count), set(), Storage.list

    def slow_list(self: Storage, prefix: str = "") -> list[str]:
        found = original(self, prefix)
        if threading.get_ident() not in looked:
            looked.add(threading.get_ident())
            barrier.wait()
        return found

    patch.setattr(Storage, "list", slow_list)


def _start_at_once(storage: Storage, count: int, **more: Any) -> tuple[list[Lease], list[LeaseHeld]]:
    held: list[Lease] = []
    refused: list[LeaseHeld] = []

    def start() -> None:
        try:
            held.append(Lease(storage, "study", **more).__enter__())
        except LeaseHeld as error:
            refused.append(error)

    threads = [threading.Thread(target=start) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return held, refused


def test_a_starter_that_was_overtaken_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It saw claim 1, released; 2 has come and gone and 3 holds when it links the number 2 that is free again."""
    storage = open_storage(tmp_path)
    with Lease(storage, "study"):
        pass
    holder, original, looked = Lease(storage, "study"), Storage.list, []

    def overtaken(self: Storage, prefix: str = "") -> list[str]:
        found = original(self, prefix)
        if not looked:
            looked.append(True)
            with Lease(storage, "study"):
                pass
            holder.__enter__()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "list", overtaken)
        with pytest.raises(LeaseHeld), Lease(storage, "study"):
            pass
    assert storage.list("leases") == ["leases/study/000003.json"] and not holder.lost
    holder.__exit__(None, None, None)


@pytest.mark.parametrize("before", ["nothing", "released", "expired"])
def test_of_many_that_start_at_once_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    for repeat in range(4):
        storage = open_storage(tmp_path / str(repeat))
        if before == "released":
            with Lease(storage, "study"):
                pass
        elif before == "expired":
            os.utime(storage.full(leave_claim(storage)), (1, 1))
        with monkeypatch.context() as patch:
            _all_list_before_any_claims(patch, 8)
            held, refused = _start_at_once(storage, 8)
        assert len(held) == 1 and len(refused) == 7
        held[0].__exit__(None, None, None)
        assert [claim["released"] for claim in claims(storage)] == [True]


def test_on_an_object_store_the_earliest_of_many_wins(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(s3_url)
    with monkeypatch.context() as patch:
        _all_list_before_any_claims(patch, 4)
        held, refused = _start_at_once(storage, 4, settle=2.0)
    assert len(held) == 1 and len(refused) == 3 and len(claims(storage)) == 1
    held[0].__exit__(None, None, None)
    assert storage.list("leases") == []


def test_on_an_object_store_the_later_of_two_holders_notices(s3_url: str) -> None:
    storage = open_storage(s3_url.replace("/leases?", "/two?"))
    early = leave_claim(storage, token="0" * 16)
    hidden = storage.get(early)
    storage.delete(early)
    with Lease(storage, "study", beat=0.2, expire=5.0, settle=0.0) as lease:
        # Another claim of the same second, lower in name: as if it had been on its way.
        mine = next(path for path in storage.list("leases/study") if path.endswith(".json"))
        storage.put(early, hidden)
        if storage.info(early).mtime == storage.info(mine).mtime:  # else a second has just begun
            wait_for(lambda: lease.lost)
    storage.delete(early)


def test_a_storage_that_does_not_answer_holds_up_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.store.objects.lease.HAND_BACK_SECONDS", 0.05)
    back, put = threading.Event(), Storage.put
    with Lease(open_storage(tmp_path), "study") as lease:
        monkeypatch.setattr(Storage, "put", lambda self, *a, **k: (back.wait(30), put(self, *a, **k))[1])
    assert lease.holder() is not None, "not handed back: it expires"
    back.set()


def test_a_lost_lease_is_seen(storage: Storage) -> None:
    with Lease(storage, "study", beat=0.1, expire=20.0, settle=0.1) as lease:
        for path in storage.list("leases/study"):
            storage.delete(path)
        wait_for(lambda: lease.lost)


@pytest.mark.parametrize(
    "more", [{"since": 1e300}, {"expire": "long"}, {"pid": "1"}, {"token": None}, {"machine": ["x"]}, {"evil": 1}]
)
def test_a_claim_that_is_none_holds_nothing(storage: Storage, more: dict[str, Any]) -> None:
    leave_claim(storage, **more)
    with Lease(storage, "study", settle=0.01):
        pass


def test_a_holder_whose_claim_is_damaged_lets_go(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    with Lease(storage, "study", beat=0.1, expire=1.0) as lease:
        storage.put("leases/study/000001.json", b"[" * 100_000)
        deadline = time.monotonic() + 20
        while not lease.lost and time.monotonic() < deadline:
            time.sleep(0.05)
        assert lease.lost, "nobody can tell whose it is"


def test_damaged_claim_and_bad_settings(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    storage.put("leases/study/000003.json", b"{half")
    storage.put("leases/study/notes.json", b"")
    with Lease(storage, "study"):
        assert storage.exists("leases/study/000004.json")
    with pytest.raises(ValueError, match=r"beat .30 s. must be shorter than expire"):
        Lease(storage, "study", beat=30)
    with pytest.raises(ValueError, match="study name"):
        Lease(storage, "../study")
    assert not Holder("t", "h", "another machine", 1, "", 0.0, 1.0).dead()
