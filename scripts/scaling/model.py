"""A study on a cluster as a queue: slots that train, one driver that handles their reports, one store.

**Model.** G slots (one trial on one GPU each). A slot trains an epoch, puts its checkpoint (at a trial's end its runs
on record, too) and reports; then it waits until the driver has handled the report, as a class of Tune does. If ASHA
stops the trial there, the slot puts its runs on record before its next one. The driver takes one report after the
other, first come first served: Tune's loop handles one event at a time, and proposals are made inside of it. Beside it,
in threads, the driver puts on record what was proposed and what came of it (on a file system inside the loop), merges
files whenever some hundred have gathered, and hears which stopped trials are on record. The store answers each
operation after its latency, and takes so many a second in all; a slot's place in its queue is that of the moment at
which the driver let the slot go.

**Assumed.** Trials that ASHA stops follow its ideal: one in `factor` goes on at every rung. No trial fails, no run
diverges, none stops by patience, no machine is lost. What grows with a study goes on in a line beyond what was measured
(a rung of 20,000 trials, 50,000 compacted runs), but for a proposal: TPE is shown so many trials at most. The driver's
threads take no time of its loop. The fetching of data by a new slot is left out, and so is what a store takes for
bytes beside its latency. The latencies of the stores `nfs` and `object` are assumed.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lab.store.objects.storage import PUTS_AT_ONCE
from lab.store.tables import COMPACT_ABOVE
from tune.methods.table import SHOWN


@dataclass(frozen=True)
class Costs:
    """CPU seconds of one core of a shared server with AVX-512, as `--measure` found them: see scripts.scaling.costs."""

    # The driver's: real searches of short and long trials (result, trial), the real searcher beside so many trials
    # (propose), the real ASHA (rung), 1,000 waiting tasks of Ray (result_per_slot), the real records (compact).
    result: float = 0.00045  # a report through Tune's loop, ASHA and our callbacks
    result_per_trial: float = 2.7e-8  # more of it for each trial that has ended
    result_per_slot: float = 2.6e-7  # more of it for each running trial
    rung_per_trial: float = 2.1e-8  # a decision at a rung, for each trial that has come to it
    trial: float = 0.0053  # a trial's start and end, its outcome on record, without the proposal
    ask: float = 0.00033  # asking a slot to put a stopped trial on record, and its answer
    snapshot_per_trial: float = 6.1e-4  # Tune's own snapshot, once, at the end
    propose: float = 0.016  # TPE over the default space, and its records
    propose_per_trial: float = 7.5e-6  # more of it for each trial that it is shown: the latest SHOWN, and what runs
    compact_per_run: float = 0.0023  # merging a run's files
    actor: float = 0.0083  # starting a slot's process
    # A slot's: a trivial network in this process (begin, report), the network of preset regimes (seal, read_test).
    actor_start: float = 3.0  # its process until its first trial begins: imports, kernels (wall)
    begin: float = 0.0071  # building a stack
    report: float = 0.0045  # a checkpoint's bytes, and the way to the driver and back
    close: float = 0.0037  # the runs of a stopped trial on record, from memory
    close_per_run: float = 0.0052
    seal_per_run: float = 0.0044  # files of a finished run
    read_test_per_run: float = 0.025  # of a study: the forward pass of a small network and its records
    segment_per_run: float = 3.1e-6  # a trial's start: reading a compacted run on record

    def slower(self, factor: float) -> "Costs":
        return Costs(**{name: seconds * factor for name, seconds in asdict(self).items()})


@dataclass(frozen=True)
class Store:
    """Seconds an operation takes, however many run at once, and how many a second the store takes in all."""

    put: float
    get: float
    delete: float
    listing: float  # a call, of `page` names at most
    name: float  # and more for each name
    page: float = math.inf
    operations: float = math.inf  # per second
    at_once: int = PUTS_AT_ONCE

    def list(self, names: float) -> tuple[float, float]:
        """Seconds and operations of looking runs up, which lists their folder twice."""
        calls = 2 * max(1.0, math.ceil(names / self.page))
        return calls * self.listing + 2 * names * self.name, calls


STORES = {
    "local": Store(0.0013, 1e-4, 3e-4, 1e-4, 2.3e-6, at_once=1),  # measured: a disk, fsync included; one machine only
    "nfs": Store(0.010, 0.002, 0.002, 0.002, 1e-5, operations=5000, at_once=1),  # assumed: a server in the same zone
    # Assumed but for the limit, which Amazon documents for writes to one prefix (3,500 a second).
    "object": Store(0.040, 0.020, 0.020, 0.060, 3e-6, page=1000, operations=3500),
}


@dataclass(frozen=True)
class Work:
    """`search`: TPE and ASHA over trials of `stack` replicates. `study`: stacks of planned runs to their last epoch."""

    kind: str = "search"
    runs: int = 10_000
    stack: int = 3  # runs of a trial
    epochs: int = 40
    grace: int = 4
    factor: int = 3
    epoch: float = 1.0  # seconds of the device for an epoch of a stack
    cadence: int = 1  # epochs of a report and checkpoint; the code has 1: no more than that is lost
    compact_above: int = COMPACT_ABOVE  # single files of runs at which the driver merges them, as it goes
    lengths: tuple[int, ...] = ()  # epochs of each trial, where they are known

    @property
    def trials(self) -> int:
        return math.ceil(self.runs / self.stack)

    def rung(self, epoch: int) -> int | None:
        """Which rung an epoch is, from 0; None where it is none."""
        at, number = self.grace, 0
        while at < epoch:
            at, number = at * self.factor, number + 1
        return number if self.kind == "search" and at == epoch else None

    def length(self, number: int) -> int:
        """Epochs of a trial: of ASHA's ideal, one in `factor` goes on at each rung."""
        if self.lengths:
            return self.lengths[number]
        at, left = self.epochs if self.kind == "study" else min(self.grace, self.epochs), number + 1
        while at < self.epochs and left % self.factor == 0:
            at, left = at * self.factor, left // self.factor
        return min(at, self.epochs)


class Prices:
    """What everything costs in one setting; `done` is the number of trials that have ended."""

    def __init__(self, work: Work, costs: Costs, store: Store):
        self.work, self.costs, self.store = work, costs, store
        self.search, size = work.kind == "search", work.stack
        self.beside = store.at_once > 1  # an object store: records of trials are written beside the loop
        puts = math.ceil(2 * size / store.at_once) + math.ceil(size / store.at_once)  # weights and histories, then rows
        self.sealed = puts * store.put, 3.0 * size  # seconds, operations

    def start(self, done: int, slots: int) -> tuple[float, float, float]:
        """Seconds of the driver's loop for a trial's start: its own, the searcher's, the store's."""
        c = self.costs
        if not self.search:
            return c.trial, 0.0, 0.0
        writes = 0 if self.beside else 2  # the proposal, and its runs
        return c.trial, c.propose + c.propose_per_trial * (min(done, SHOWN["tpe"]) + slots), writes * self.store.put

    def report(self, epoch: int, done: int, slots: int) -> float:
        """Seconds of the driver's loop for a report."""
        c, rung = self.costs, self.work.rung(epoch)
        decision = 0.0 if rung is None else c.rung_per_trial * done / self.work.factor**rung
        return c.result + c.result_per_trial * done + c.result_per_slot * slots + decision

    def end(self, pruned: bool) -> tuple[float, float]:
        """Seconds of the driver's loop for a trial's end: its own, the store's (the outcome)."""
        return (self.costs.ask if pruned else 0.0), self.store.put if self.search and not self.beside else 0.0

    def slot_begin(self, single: int, merged: int) -> tuple[float, float, float]:
        """A slot's own seconds, the store's, and operations, for building a stack, beside runs on record in single
        files and in merged ones. It looks for a checkpoint of the stack and for two of each run, and where records are
        written beside the loop waits for those of its proposal before."""
        store, size = self.store, self.work.stack
        seconds, calls = store.list(single)
        own = self.costs.begin + self.costs.segment_per_run * merged
        records = 2 if self.search and self.beside else 0
        wait = records * store.put + seconds + store.listing + 2 * size * (store.listing + store.get)
        return own, wait, records + calls + 1 + 4 * size

    def slot_close(self) -> tuple[float, float, float]:
        """The same where ASHA has stopped the trial: a checkpoint of each run, its files, the stack's checkpoints."""
        c, store, size = self.costs, self.store, self.work.stack
        wait = size * (store.listing + store.put) + self.sealed[0] + store.listing + 2 * store.delete
        return c.close + c.close_per_run * size, wait, 2 * size + self.sealed[1] + 3

    def slot_end(self, single: int) -> tuple[float, float, float]:
        """The same for a trial's last epoch, where its runs go on record and, of a study, test is read."""
        c, store, size = self.costs, self.store, self.work.stack
        own, wait = c.seal_per_run * size, self.sealed[0] + store.listing + (size + 2) * store.delete
        operations = self.sealed[1] + size + 3
        if not self.search:
            seconds, calls = store.list(single)
            own += c.read_test_per_run * size
            wait += 2 * seconds + size * (store.get + 2 * store.put)
            operations += 2 * calls + 3 * size
        return own, wait, operations

    def compaction(self, runs: int) -> float:
        """Seconds of merging the single files of so many runs, three of each; sixteen are read and deleted at once."""
        at_once = 1 if self.store.at_once == 1 else 16
        return runs * (self.costs.compact_per_run + 3 * (self.store.get / 16 + self.store.delete / at_once))


# What a second of a slot goes to; the largest is what limits.
LIMITS = ("GPUs", "trials' own work", "storage", "driver", "searcher", "too few runs")


@dataclass
class Outcome:
    makespan: float  # seconds until the last run is on record
    first: float  # until the first report is handled
    trials: list[int]  # how often each was trained to its end
    spent: dict[str, float]  # seconds of all slots, by LIMITS: slots x makespan in all
    busy: float  # seconds in which the driver's loop can take no further event
    waited: float  # seconds of all slots, for the driver
    cpu: float  # seconds of a core that the driver computes, its threads included
    compaction: float  # seconds at the end, when the slots have no work

    @property
    def limit(self) -> str:
        """What most of the slots' time goes to; of less than half of it on the GPUs, what most of the rest does."""
        others = [name for name in LIMITS if name != "GPUs" or self.utilisation >= 0.5]
        return max(others, key=lambda name: self.spent[name])

    @property
    def utilisation(self) -> float:
        return self.spent["GPUs"] / sum(self.spent.values())


def simulate(
    work: Work, slots: int, costs: Costs = Costs(), store: Store = STORES["local"], starts: Sequence[float] = ()
) -> Outcome:
    """Event by event: a heap holds when each slot's next report reaches the driver.

    `starts`: seconds until each slot's process is up, where they are known (`actor_start` otherwise).
    """
    prices, used = Prices(work, costs, store), min(slots, work.trials)
    spent, loop = dict.fromkeys(LIMITS, 0.0), dict.fromkeys(("driver", "searcher", "storage"), 0.0)
    ended, begun, done = [0] * work.trials, 0, 0
    free = store_free = waited = first = beside = 0.0  # when driver and store are free; slots' wait for the driver
    merged, merging, merges_until = 0, 0, 0.0  # runs in merged files, and on their way there
    reports: list[tuple[float, int, int, int]] = []  # time, trial, epoch, length

    def go(trial: int, epoch: int, length: int, own: float = 0.0, wait: float = 0.0, operations: float = 0.0) -> None:
        """A slot that the driver lets go, until its next report."""
        nonlocal store_free
        epochs = min(work.cadence, length - epoch)
        epoch += epochs
        if epoch == length == work.epochs:
            more = prices.slot_end(done * work.stack - merged)
            own, wait, operations = own + more[0], wait + more[1], operations + more[2]
        training, own, wait = work.epoch * epochs, own + costs.report, wait + store.put + store.delete
        store_free = max(store_free, free) + (operations + 2) / store.operations
        wait = max(wait, store_free - free)
        spent["GPUs"] += training
        spent["trials' own work"] += own
        spent["storage"] += wait
        heapq.heappush(reports, (free + training + own + wait, trial, epoch, length))

    def begin(process: float = 0.0, pruned: bool = False) -> None:
        """A slot's next trial; `pruned`: its last one is to be put on record first."""
        nonlocal begun
        own, wait, operations = prices.slot_begin(done * work.stack - merged, merged)
        if pruned:
            own, wait, operations = (a + b for a, b in zip((own, wait, operations), prices.slot_close(), strict=True))
        go(begun, 0, work.length(begun), own + process, wait, operations)
        begun += 1

    for number in range(used):  # all first proposals are made before the first process is asked for
        for name, seconds in zip(loop, prices.start(0, number), strict=True):
            loop[name] += seconds
    loop["driver"] += costs.actor * used
    free = sum(loop.values())
    waited = free * used
    for number in range(used):
        begin(starts[number] if starts else costs.actor_start)
    last = 0.0  # when the last stopped trial is on record
    while reports:
        now, trial, epoch, length = heapq.heappop(reports)
        own, proposal, puts, pruned = prices.report(epoch, done, used), 0.0, 0.0, False
        if epoch == length:
            pruned = prices.search and length < work.epochs
            more, puts = prices.end(pruned)
            own += more
            ended[trial] += 1
            done += 1
            if begun < work.trials:
                more, proposal, wait = prices.start(done, used)
                own, puts = own + more, puts + wait
        loop["driver"] += own
        loop["searcher"] += proposal
        loop["storage"] += puts
        free = max(now, free) + own + proposal + puts
        waited += free - now
        first = first or free
        if free >= merges_until:
            merged, merging = merged + merging, 0
            if done * work.stack - merged > work.compact_above:
                merging = done * work.stack - merged
                merges_until = free + prices.compaction(merging)
                beside += costs.compact_per_run * merging
        if epoch < length:
            go(trial, epoch, length)
        elif begun < work.trials:
            begin(pruned=pruned)
        else:
            more, wait, _ = prices.slot_close() if pruned else (0.0, 0.0, 0.0)
            last = max(last, free + more + wait)
            spent["trials' own work"] += more
            spent["storage"] += wait
            spent["too few runs"] -= free + more + wait
    at_end, makespan = costs.snapshot_per_trial * work.trials, max(free, last)
    loop["driver"] += at_end
    makespan += at_end
    spent["too few runs"] += slots * makespan
    busy = sum(loop.values())
    for name, seconds in loop.items():  # who waits for the driver waits for what keeps the driver busy
        spent[name] += waited * seconds / busy if busy else 0.0
    left = work.stack * work.trials - merged
    compaction = prices.compaction(left) if left > COMPACT_ABOVE else 0.0
    cpu = loop["driver"] + loop["searcher"] + beside
    return Outcome(makespan, first, ended, spent, busy, waited, cpu, compaction)
