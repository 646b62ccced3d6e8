"""One driver per study: a lease with a heartbeat, free again soon after its holder is killed.

On a local path a claim is a hard link to a name with the next number, which the file system gives to one only.
An object store has no such step: everybody puts a claim, waits for it to settle, and the earliest living claim
wins. Ages are differences between two times of the storage's clock, so the hosts' clocks need not agree.
"""

import contextlib
import errno
import json
import os
import socket
import subprocess
import threading
import time
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType

from lab.console.interrupts import Background
from lab.store.objects.storage import TEMPORARY, ObjectMissing, Storage, StorageError
from lab.store.schema import check_study


class LeaseHeld(RuntimeError):
    """Another driver works on the study; says which, since when, and when it would be free."""


HAND_BACK_SECONDS = 2.0
_NO_CLAIM = (TypeError, ValueError, OverflowError, RecursionError)  # what bytes raise that are none


@dataclass(frozen=True)
class Holder:
    """Who holds, or held, a lease."""

    token: str
    host: str
    machine: str  # which running system and which space of process ids `pid` is one of
    pid: int
    process_started: str  # tells a process from a later one that got its number
    since: float  # seconds since 1970
    expire: float  # seconds without a heartbeat until it is free
    released: bool = False

    def dead(self) -> bool:
        """Whether its process surely is gone; False where that cannot be seen from here."""
        return self.machine == _machine() and process_started(self.pid) != self.process_started


class Lease:
    """Holds a study for this process, as a context manager.

    Args:
        beat: seconds between heartbeats.
        expire: seconds without one after which others may take over.
        outage: seconds that the storage may be out of reach without the lease being lost. Whether it still stands is
            seen when the storage is back; until then its holder cannot write anything.
        settle: seconds that a claim on an object store waits for rival claims. Its times are whole seconds, so
            less than two cannot tell who came first.
    Raises:
        LeaseHeld: on entering, if another living driver holds the study.
        StorageError: the storage cannot be read or written.
    """

    def __init__(
        self,
        storage: Storage,
        study: str,
        beat: float = 5.0,
        expire: float = 20.0,
        settle: float = 2.0,
        outage: float = 0.0,
    ) -> None:
        if not 0 < beat < expire:
            raise ValueError(f"beat ({beat:g} s) must be shorter than expire ({expire:g} s)")
        self.storage, self.study = storage, check_study(study)
        self.beat, self.expire, self.settle, self.outage = beat, expire, settle, outage
        self._folder = lease_folder(study)
        self._lost, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._claim = ""  # path of the own claim
        self._holder: Holder | None = None

    @property
    def lost(self) -> bool:
        """Whether another driver may have the study by now: stop, and write nothing more in its name."""
        return self._lost.is_set()

    def stands(self) -> bool:
        """Whether it is still this process's, by a look at the storage. Raises StorageError."""
        return not self.lost and self._still_mine()

    def __enter__(self) -> "Lease":
        self._holder = Holder(
            token=uuid.uuid4().hex[:16],
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            process_started=process_started(os.getpid()),
            since=time.time(),
            expire=self.expire,
        )
        self._lost.clear()
        self._stop.clear()
        self._claim = self._claim_local() if self.storage.local else self._claim_remote()
        self._thread = Background(self._keep, f"lease-{self.study}")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        # A lease that cannot be handed back, or not soon, expires by itself: no reason to fail a search that is
        # through, nor to hold up one that was interrupted.
        back = Background(self._hand_back, f"lease-{self.study}-back")
        back.start()
        back.join(HAND_BACK_SECONDS)

    def _hand_back(self) -> None:
        if self._thread is not None:
            self._thread.join()  # else its last heartbeat would come behind
        with contextlib.suppress(StorageError):
            if self.storage.local and not self.lost:
                # The last claim stays, marked, so that numbers only grow (see `_claim_local`).
                self.storage.put(self._claim, _bytes(replace(self._mine(), released=True)))
            elif not self.storage.local:
                self.storage.delete(self._claim)
                self.storage.delete(_beat_of(self._claim))

    def holder(self) -> Holder | None:
        """Who holds it, for one who only looks: as far as the clock here agrees with the storage's. Claims nothing."""
        for claim in reversed(self._claims()):
            try:
                found, last = _holder(self.storage.get(claim)), self._last_beat(claim)
            except (ObjectMissing, *_NO_CLAIM):
                continue
            if not (found.released or found.dead()) and time.time() - last < found.expire:
                return found
        return None

    def _mine(self) -> Holder:
        assert self._holder is not None, "entered"
        return self._holder

    # A local path: claims 000001.json, 000002.json, ...; the highest holds. The highest is never deleted.

    def _claim_local(self) -> str:
        folder = self.storage.full(self._folder)
        draft = os.path.join(folder, TEMPORARY + self._mine().token)
        with self.storage.errors("claim", self._folder):
            os.makedirs(folder, exist_ok=True)
            try:
                Path(draft).write_bytes(_bytes(self._mine()))
                while True:
                    claims = self._claims()
                    now = os.stat(draft).st_mtime
                    if claims:
                        self._refuse_if_alive(claims[-1], now)
                    number = int(_stem(claims[-1])) + 1 if claims else 1
                    path = f"{self._folder}/{number:06d}.json"
                    try:
                        os.link(draft, self.storage.full(path))
                    except FileExistsError:
                        os.utime(draft)
                        continue  # somebody was faster: look at their claim
                    # Between the listing and the link others may have come, gone, and cleared this number.
                    if self._claims()[-1] == path:
                        break
                    self.storage.delete(path)
                    os.utime(draft)
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(draft)
        for claim in claims:
            self.storage.delete(claim)
        return path

    # An object store: claims TOKEN.json, whose times order them, and beats TOKEN.beat, put again and again.

    def _claim_remote(self) -> str:
        mine = f"{self._folder}/{self._mine().token}.json"
        for claim in self._claims():  # refused at once where that is clear, before putting anything
            self._refuse_if_alive(claim, None)
        self.storage.put(mine, _bytes(self._mine()))
        try:
            time.sleep(self.settle)
            self.storage.put(_beat_of(mine), b"")
            for claim in self._earlier(mine):
                self._refuse_if_alive(claim, self.storage.info(_beat_of(mine)).mtime)
                self.storage.delete(claim)
                self.storage.delete(_beat_of(claim))
        except BaseException:
            self.storage.delete(mine)
            self.storage.delete(_beat_of(mine))
            raise
        return mine

    def _earlier(self, mine: str) -> list[str]:
        """Claims that come before one's own. Raises ObjectMissing if one's own is gone."""
        own = (self.storage.info(mine).mtime, mine)
        before = []
        for claim in self._claims():
            with contextlib.suppress(ObjectMissing):
                if (self.storage.info(claim).mtime, claim) < own:
                    before.append(claim)
        return before

    # Both

    def _claims(self) -> list[str]:
        found = (path for path in self.storage.list(self._folder) if path.endswith(".json"))
        return [path for path in found if not self.storage.local or _stem(path).isdigit()]

    def _refuse_if_alive(self, claim: str, now: float | None) -> None:
        """Raises LeaseHeld if a claim's holder is alive at `now`, by the storage's clock (None: write to see)."""
        try:
            holder = _holder(self.storage.get(claim))
            last = self._last_beat(claim)
        except (ObjectMissing, *_NO_CLAIM):  # gone meanwhile, or not a claim
            return
        if holder.released or holder.dead():
            return
        if now is None:
            probe = f"{self._folder}/{self._mine().token}.beat"
            self.storage.put(probe, b"")
            now = self.storage.info(probe).mtime
            self.storage.delete(probe)
        left = holder.expire - (now - last)
        if left > 0:
            since = datetime.fromtimestamp(holder.since).astimezone().isoformat(" ", "seconds")
            raise LeaseHeld(
                f"study '{self.study}' is held by process {holder.pid} on {holder.host} since {since}; it is "
                f"free when that ends, or {left:.0f} s from now if it gives no more sign of life "
                "(or choose another study name)"
            )

    def _last_beat(self, claim: str) -> float:
        last = self.storage.info(claim).mtime
        with contextlib.suppress(ObjectMissing):
            last = max(last, self.storage.info(_beat_of(claim)).mtime)
        return last

    def _keep(self) -> None:
        """The heartbeat; sets `lost` when the claim is not the first any more, or was silent for too long."""
        fresh = time.monotonic()
        while not self._stop.wait(self.beat):
            with contextlib.suppress(StorageError):
                if not self._still_mine():
                    break
                if self.storage.local:
                    with self.storage.errors("refresh", self._claim):
                        os.utime(self.storage.full(self._claim))
                else:
                    self.storage.put(_beat_of(self._claim), b"")
                # A process that slept (a laptop's lid) past its time may have been replaced and not know it
                # yet; the next look tells, and nothing is lost if nobody came.
                fresh = time.monotonic()
            if time.monotonic() - fresh > max(self.expire, self.outage):
                break
        else:
            return
        self._lost.set()

    def _still_mine(self) -> bool:
        folder = self.storage.full(self._folder)
        if self.storage.local and not os.path.isdir(folder):
            raise StorageError(
                errno.ESTALE, f"{folder} is gone: is it still mounted?"
            )  # nobody has taken anything over
        try:
            if self.storage.local:
                return self._claims()[-1:] == [self._claim] and self._token() == self._mine().token
            # Two drivers that both thought they had won: the earlier claim stands.
            return not self._earlier(self._claim)
        except ObjectMissing:
            return False

    def _token(self) -> str:
        try:
            return _holder(self.storage.get(self._claim)).token
        except _NO_CLAIM:  # somebody damaged it: nobody can tell whose it is
            raise StorageError(errno.EBADMSG, f"{self._claim} is damaged") from None


def lease_folder(study: str) -> str:
    """Where the claims on a study lie. On a local path the folder stays, once there, as long as the results do."""
    return f"leases/{study}"


def _beat_of(claim: str) -> str:
    return claim.removesuffix(".json") + ".beat"


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".json")


def _holder(data: bytes) -> Holder:
    """Raises one of _NO_CLAIM where it is not a claim."""
    holder = Holder(**json.loads(data))
    texts = (holder.token, holder.host, holder.machine, holder.process_started)
    numbers = (holder.pid, holder.since, holder.expire)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, (int, float)) for n in numbers):
        raise TypeError("not a claim")
    datetime.fromtimestamp(holder.since)
    return holder


def _bytes(holder: Holder) -> bytes:
    return json.dumps(asdict(holder), indent=1).encode()


def process_started(pid: int) -> str:
    """When a process of this machine started, in some unit; '' if it is gone or a zombie."""
    try:
        # The name, in brackets, may hold spaces: the state is the first field after it, the start the twentieth.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return ""
    except OSError:
        return ""  # vanished while it was read
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def _machine() -> str:
    """This running system and its space of process ids: a pid of another container means nothing here."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return " ".join(parts)
