"""How far one driver goes: a search or a study on 1 to 1,000 GPUs, replayed from measured costs.

    python scripts/simulate_cluster.py [--store object] [--epoch-seconds 1] [--compact-every 1000] [--costs FILE.json]
    python scripts/simulate_cluster.py --measure FILE.json   # the costs of this machine, some three minutes
    python scripts/simulate_cluster.py --check               # predictions beside real runs, some six minutes

**Model.** G slots (one stack on one GPU each), one driver, one store; one event is one report of one trial.
A slot trains an epoch, puts its checkpoint (and at its end its runs on record) and reports; then it waits until the
driver has handled the report, as a class of Tune does. The driver is a queue with one server, first come first served:
Tune's loop handles one event at a time, and the searcher's proposals and the driver's own reads and writes happen
inside of it. The store answers each operation after its latency and takes so many a second in all. Trials that ASHA
stops follow its ideal: one in `factor` goes on at every rung. No trial fails, no run diverges, none stops by patience.

**Costs** are those of the code as it is, CPU seconds of one core of a server of 2023 (AVX-512, some 3 GHz): what
`--measure` writes. What grows with a study was measured up to 16,000 trials and 100,000 runs, and goes on in a line.
Assumed, not measured: latencies of `nfs` and `object`, and above all the seconds of an epoch on a GPU.
"""

import argparse
import heapq
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tune.results import COMPACT_ABOVE
from tune.storage import PUTS_AT_ONCE


@dataclass(frozen=True)
class Costs:
    """Seconds; of the driver's own thread where it says driver."""

    result: float = 0.0010  # driver: one report through Tune's loop, ASHA and our callbacks
    result_per_trial: float = 3.0e-7  # driver: more of it for each trial that has ended (Progress looks at all of them)
    result_per_slot: float = 3.5e-7  # driver: more of it for each running trial (ray.wait)
    trial: float = 0.0065  # driver: a trial's start and end, its outcome on record, without the proposal
    snapshot_per_trial: float = 8.0e-4  # driver: Tune's own snapshot, every max(10, 19 x its time) seconds
    propose: float = 0.014  # driver: TPE over the default space, and its records
    propose_per_trial: float = 1.26e-5  # driver: more of it for each trial that has ended or runs
    rung: float = 1.5e-4  # driver: a report at a rung of ASHA
    rung_per_trial: float = 3.3e-8  # driver: more of it for each trial on record
    prune: float = 0.015  # driver: the runs of a stopped trial on record
    prune_per_run: float = 0.030
    actor: float = 0.0055  # driver: the first trial of a slot
    actor_start: float = 4.0  # a slot's process until its first trial begins: imports, kernels
    begin: float = 0.06  # a slot: building a stack
    report: float = 0.012  # a slot: the checkpoint's bytes, and the way to the driver and back
    seal_per_run: float = 0.01  # a slot: files of a finished run
    read_test_per_run: float = 0.02  # a slot, of a study: without the forward pass
    segment_per_run: float = 8.0e-6  # a slot's start: reading a compacted run on record
    lookup_per_run: float = 4.3e-7  # driver: finding runs among those it has read before
    compact_per_run: float = 0.0024  # driver, at the end: CPU of merging a run's files


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


STORES = {
    "free": Store(0, 0, 0, 0, 0),
    "local": Store(0.004, 1e-4, 1e-4, 1e-4, 3e-6),  # measured: a disk, fsync included; one machine only
    "nfs": Store(0.010, 0.002, 0.002, 0.002, 1e-5, operations=5000),  # assumed: a server in the same zone
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
    cpu_epoch: float = 0.0  # seconds of a core besides (training on a CPU)
    lengths: tuple[int, ...] = ()  # epochs of each trial, where they are known

    @property
    def trials(self) -> int:
        return math.ceil(self.runs / self.stack)

    @property
    def all_lengths(self) -> list[int]:
        return [self.length(number) for number in range(self.trials)]

    def length(self, number: int) -> int:
        """Epochs of a trial: of ASHA's ideal, one in `factor` goes on at each rung."""
        if self.lengths:
            return self.lengths[number]
        at, left = self.epochs if self.kind == "study" else min(self.grace, self.epochs), number + 1
        while at < self.epochs and left % self.factor == 0:
            at, left = at * self.factor, left // self.factor
        return min(at, self.epochs)


SHARES = {  # of the slots' time, and what binds where one is the largest
    "training": "devices", "overhead": "slots' own work", "storage": "storage, in slots", "loop": "driver",
    "searcher": "searcher", "waiting": "storage, in driver", "idle": "too few runs",
}  # fmt: skip


@dataclass
class Outcome:
    makespan: float  # seconds until the last run is on record
    trials: int
    runs: int
    slot_seconds: dict[str, float]  # of all slots; by SHARES they are slots x makespan
    loop: dict[str, float]  # seconds of the driver's loop: its own work, the searcher's, and waiting for the store
    compaction: float  # seconds at the end, when the slots have no work

    @property
    def core(self) -> float:
        """Share of one core that the driver's loop computes on."""
        return (self.loop["loop"] + self.loop["searcher"]) / self.makespan

    @property
    def busy(self) -> float:
        """Share of the time in which the driver's loop can take no further event."""
        return sum(self.loop.values()) / self.makespan

    @property
    def binds(self) -> str:
        return SHARES[max(self.slot_seconds, key=lambda share: self.slot_seconds[share])]

    def share(self, name: str) -> float:
        return self.slot_seconds[name] / sum(self.slot_seconds.values())


class Cluster:
    """What everything costs in one setting; `done` is the number of trials that have ended."""

    def __init__(self, costs: Costs, store: Store, work: Work, slots: int, compact_every: int = 0, stretch: float = 1):
        """`compact_every`: runs after which another process compacts (0: only at the end, the default).
        `stretch`: how much longer a slot's work on a CPU takes, since cores are shared."""
        self.costs, self.store, self.work, self.slots = costs, store, work, slots
        self.every, self.stretch = compact_every, stretch
        self.search = work.kind == "search"
        self.training = work.epoch + work.cpu_epoch * stretch
        rounds = math.ceil(2 * work.stack / PUTS_AT_ONCE) + math.ceil(work.stack / PUTS_AT_ONCE)
        self.seal = (rounds * store.put, 3 * work.stack)  # seconds, operations: weights, histories, then rows
        self.rungs = (
            {work.grace * work.factor**i for i in range(30)} if self.search and work.grace < work.epochs else ()
        )

    def listing(self, names: float) -> tuple[float, float]:
        """Seconds and operations of listing a folder twice, as a lookup of runs does."""
        calls = 2 * max(1.0, math.ceil(names / self.store.page)) if names else 2.0
        return calls * self.store.listing + 2 * names * self.store.name, calls

    def recorded(self, done: int) -> tuple[int, int]:
        """Runs on record in single files, and in segments."""
        runs = done * self.work.stack
        single = runs % self.every if self.every else runs
        return single, runs - single

    def loop_result(self, done: int, epoch: int) -> float:
        c = self.costs
        seconds = c.result + c.result_per_trial * done + c.result_per_slot * self.slots
        return seconds + (c.rung + c.rung_per_trial * done if epoch in self.rungs else 0.0)

    def loop_start(self, done: int) -> tuple[float, float, float]:
        """The driver's own seconds, the searcher's, and those of the store, for the start of a trial."""
        if not self.search:
            return self.costs.trial, 0.0, 0.0
        proposal = self.costs.propose + self.costs.propose_per_trial * (done + self.slots)
        return self.costs.trial, proposal, 2 * self.store.put  # the proposal, then its members

    def loop_end(self, done: int, pruned: bool) -> tuple[float, float]:
        """The driver's own seconds and those of the store for the end of a trial."""
        if not self.search:
            return 0.0, 0.0
        if not pruned:
            return 0.0, self.store.put
        work, store, (single, compacted) = self.work, self.store, self.recorded(done)
        wait = self.listing(single)[0] + store.listing + store.get + work.stack * store.put + self.seal[0]
        wait += store.listing + 2 * store.delete
        own = self.costs.prune + self.costs.prune_per_run * work.stack + self.costs.lookup_per_run * compacted
        return own, store.put + wait

    def snapshots(self, done: int) -> float:
        """Factor of the driver's time, since Tune takes snapshots."""
        took = self.costs.snapshot_per_trial * done
        return 1 + took / max(10.0, 19 * took)

    def slot_begin(self, done: int) -> tuple[float, float, float]:
        """A slot's own seconds, those of the store, and operations, before the first epoch of a trial."""
        (single, compacted), store = self.recorded(done), self.store
        seconds, calls = self.listing(single)
        wait = seconds + store.listing + self.work.stack * store.get
        own = (self.costs.begin + self.costs.segment_per_run * compacted) * self.stretch
        return own, wait, calls + 1 + self.work.stack

    def slot_own(self, last: bool, pruned: bool) -> float:
        """A slot's own seconds beside the training of an epoch."""
        own, c = self.costs.report, self.costs
        if last and not pruned:
            own += (c.seal_per_run + (0 if self.search else c.read_test_per_run)) * self.work.stack
        return own * self.stretch

    def slot_store(self, epoch: int, last: bool, pruned: bool, done: int) -> tuple[float, float]:
        """Seconds and operations of the store that an epoch ends with."""
        stack, store = self.work.stack, self.store
        wait, operations = store.put, 1.0
        if epoch > 2:  # two checkpoints are kept
            wait, operations = wait + store.delete, operations + 1
        if last and not pruned:
            wait += self.seal[0] + store.listing + (stack + 2) * store.delete
            operations += self.seal[1] + stack + 3
            if not self.search:  # test is read: two lookups, weights and windows and a record for each run
                seconds, calls = self.listing(self.recorded(done)[0])
                wait += 2 * seconds + stack * (store.get + 2 * store.put)
                operations += 2 * calls + 3 * stack
        return wait, operations

    def per_trial(self, done: int) -> tuple[float, float]:
        """Mean seconds of the driver's loop and of a slot for a trial, when nobody waits for another."""
        loop = slot = 0.0
        for number in range(self.work.factor**4):
            length = self.work.length(number)
            pruned = length < self.work.epochs
            loop += sum(self.loop_start(done)) + sum(self.loop_end(done, pruned))
            slot += sum(self.slot_begin(done)[:2])
            for epoch in range(1, length + 1):
                loop += self.loop_result(done, epoch)
                slot += self.slot_own(epoch == length, pruned)
                slot += self.slot_store(epoch, epoch == length, pruned, done)[0] + self.training
        return self.snapshots(done) * loop / (number + 1), slot / (number + 1)

    def compaction(self) -> float:
        """Seconds of compaction at the end: reads side by side, deletes one after the other, three files a run."""
        runs, store = (self.work.runs % self.every if self.every else self.work.runs), self.store
        if runs <= COMPACT_ABOVE:
            return 0.0
        return runs * (self.costs.compact_per_run + 3 * (store.get / 16 + store.delete))


def simulate(cluster: Cluster) -> Outcome:
    """Event by event: two heap operations for an epoch, so that the store and the driver are each met in order."""
    work, trials, used = cluster.work, cluster.work.trials, min(cluster.slots, cluster.work.trials)
    shares, loop = dict.fromkeys(SHARES, 0.0), dict.fromkeys(("loop", "searcher", "waiting"), 0.0)
    free = store_free = last = waiting = 0.0  # from when the driver and the store are free; slots' wait for the driver
    begun = done = 0
    factor = 1.0
    events: list[tuple[float, bool, int, int, int]] = []  # time, whether stored, trial, epoch, length

    def stored(now: float, wait: float, operations: float) -> float:
        nonlocal store_free
        store_free = max(store_free, now) + operations / cluster.store.operations
        end = max(now + wait, store_free)
        shares["storage"] += end - now
        return end

    def train(now: float, trial: int, epoch: int, length: int) -> None:
        own = cluster.slot_own(epoch == length, length < work.epochs)
        shares["training"] += cluster.training
        shares["overhead"] += own
        heapq.heappush(events, (now + cluster.training + own, False, trial, epoch, length))

    def begin(now: float, extra: float = 0.0) -> None:
        nonlocal begun
        own, wait, operations = cluster.slot_begin(done)
        shares["overhead"] += own + extra
        train(stored(now, wait, operations) + own + extra, begun, 1, work.length(begun))
        begun += 1

    for _ in range(used):  # all first proposals are made before the first actor is asked for
        for key, seconds in zip(loop, cluster.loop_start(0), strict=True):
            loop[key] += seconds
        loop["loop"] += cluster.costs.actor
    free = sum(loop.values())
    waiting = free * used
    for _ in range(used):
        begin(free, cluster.costs.actor_start * cluster.stretch)
    while events:
        now, at_store, trial, epoch, length = heapq.heappop(events)
        if not at_store:
            end = stored(now, *cluster.slot_store(epoch, epoch == length, length < work.epochs, done))
            heapq.heappush(events, (end, True, trial, epoch, length))
            continue
        own, proposal, puts = cluster.loop_result(done, epoch), 0.0, 0.0
        if epoch == length:
            ending, puts = cluster.loop_end(done, length < work.epochs)
            done += 1
            factor = cluster.snapshots(done)
            own += ending
            if begun < trials:
                first, proposal, more = cluster.loop_start(done)
                own, puts = own + first, puts + more
        own *= factor
        for key, seconds in zip(loop, (own, proposal, puts), strict=True):
            loop[key] += seconds
        free = max(now, free) + own + proposal + puts
        waiting += free - now
        if epoch < length:
            train(free, trial, epoch + 1, length)
        elif begun < trials:
            begin(free)
        else:
            shares["idle"] -= free
            last = free
    shares["idle"] += cluster.slots * last
    busy = sum(loop.values()) or 1.0
    for key, seconds in loop.items():  # who waits for the driver waits for what keeps the driver busy
        shares[key] += waiting * seconds / busy
    return Outcome(last, done, done * work.stack, shares, loop, cluster.compaction())


# The report


def seconds_of(value: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if value >= 2 * size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:.1f} s"


def standard(kind: str, runs: int, slots: int, args: argparse.Namespace, **changes: Any) -> Work:
    """The work as the defaults cut it: replicates of a proposal, or a study's runs divided over the devices."""
    stack = changes.pop("stack", 3 if kind == "search" else min(args.fits, math.ceil(runs / slots)))
    epoch = changes.pop("epoch", args.epoch_seconds) * (1 + args.further * (stack - 1))
    return Work(kind, runs, stack, epoch=epoch, **changes)


def row(label: str, slots: int, outcome: Outcome) -> str:
    shares = f"{outcome.share('training'):>8.0%}{outcome.busy:>7.0%}{outcome.core:>7.0%}"
    compaction = seconds_of(outcome.compaction) if outcome.compaction else "-"
    return f"{label:<34s}{slots:>6,d}{seconds_of(outcome.makespan):>12s}{shares}{compaction:>11s}  {outcome.binds}"


HEAD = f"{'':<34s}{'GPUs':>6s}{'makespan':>12s}{'devices':>8s}{'loop':>7s}{'core':>7s}{'compaction':>11s}  binds"


def report(costs: Costs, args: argparse.Namespace) -> Iterator[str]:
    store = STORES[args.store]
    yield (
        f"store {args.store}; an epoch of one model takes {args.epoch_seconds:g} s of a GPU, each further one of its "
        f"stack {args.further:.0%} of that (estimates: no GPU was measured)\n"
        "devices: time in which they train; loop: time in which the driver can take no further event; core: of one "
        "core\ncompaction: at the end, when no device has work; binds: what most of the devices' time goes to\n"
    )
    yield HEAD
    for kind in ("search", "study"):
        for runs in args.runs:
            for slots in args.gpus:
                cluster = Cluster(costs, store, standard(kind, runs, slots, args), slots, args.compact_every)
                yield row(f"{kind}, {runs:,d} runs, stacks of {cluster.work.stack}", slots, simulate(cluster))
    yield f"\nwhat the defaults do, at 10,000 runs\n{HEAD}"
    alone: dict[str, Any] = {"stack": 1}
    for slots in (10, 100):
        for label, kind, changes, every in (
            ("search, by default", "search", {}, 0),
            ("  one replicate a trial", "search", alone, 0),
            ("  no ASHA (grace of 40 epochs)", "search", {"grace": 40}, 0),
            ("  compacted every 1,000 runs", "search", {}, 1000),
            ("  epochs five times as long", "search", {"epoch": 5 * args.epoch_seconds}, 0),
            ("study, by default", "study", {}, 0),
            ("  stacks of one", "study", alone, 0),
        ):
            work = standard(kind, 10_000, slots, args, **changes)
            yield row(label, slots, simulate(Cluster(costs, store, work, slots, every)))
    yield (
        "\nGPUs that one driver keeps at work (a slot's seconds for a trial / the driver's, and one); beyond that: "
        "longer epochs,\nlarger stacks, or several studies, each with a driver of its own"
    )
    yield f"{'trials that have ended':<34s}" + "".join(f"{f'{n:,d}':>10s}" for n in (100, 1000, 10_000, 100_000))
    for kind, stack in (("search", 3), ("study", min(16, args.fits))):
        for name in ("local", "nfs", "object"):
            for epoch in (args.epoch_seconds / 5, args.epoch_seconds, args.epoch_seconds * 5):
                found = []
                for done in (100, 1000, 10_000, 100_000):
                    work = standard(kind, done * stack, 1, args, stack=stack, epoch=epoch)
                    loop, slot = Cluster(costs, STORES[name], work, 1, args.compact_every).per_trial(done)
                    found.append(1 + slot / loop)
                text = f"{kind}, stacks of {stack}, {name}, {epoch:g} s"
                yield f"{text:<34s}" + "".join(f"{value:>10,.0f}" for value in found)


# The check


def predict(costs: Costs, work: Work, workers: int) -> float:
    """Seconds of a real search or study on this machine. What computes shares the cores: each then takes as much longer
    as there are more of them than cores, the driver included."""
    cores, stretch, seconds = os.cpu_count() or 1, 1.0, 0.0
    for _ in range(8):  # to where what they compute and how long it takes agree
        found = simulate(Cluster(costs, STORES["local"], work, workers, stretch=stretch))
        seconds = found.makespan
        computing = found.slot_seconds["overhead"] + found.slot_seconds["training"] - work.epoch * sum(work.all_lengths)
        stretch = max(1.0, (computing / seconds + found.core) / cores)
    return seconds


def check(costs: Costs) -> Iterator[str]:
    """Predictions beside real searches and studies of this project on this machine."""
    from cluster_runs import QUICK, TRIVIAL, epoch_seconds, epochs_of, tuned

    sleep, epochs = 0.5, 8
    trained, _ = epoch_seconds(QUICK)
    kernel = max(0.0, trained - costs.report)
    yield (
        f"real runs on {os.cpu_count()} cores; load before {os.getloadavg()[0]:.1f}; an epoch sleeps {sleep:g} s, or "
        f"trains {kernel:.2f} s of CPU (measured before, alone)\n"
    )
    yield f"{'':<52s}{'workers':>8s}{'predicted s':>13s}{'measured s':>12s}{'ratio':>7s}{'load':>6s}"
    for label, kind, settings, trials, pause, computing, grace in (
        ("search, sleeping", "search", TRIVIAL, 16, sleep, 0.0, 0),
        ("study, sleeping", "study", TRIVIAL, 16, sleep, 0.0, 0),
        ("search with ASHA, sleeping, its epochs replayed", "search", TRIVIAL, 24, sleep, 0.0, 2),
        ("search, training", "search", QUICK, 12, 0.0, kernel, 0),
    ):
        for workers in (1, 2, 4):
            work = Work(kind, trials, 1, epochs, grace=grace or epochs, epoch=pause, cpu_epoch=computing)
            before = predict(costs, work, workers) if not grace else 0.0
            real = tuned(kind, epochs_of(settings, epochs), trials, workers, pause, grace=grace)
            if grace:  # which trials are stopped is not predicted
                before = predict(costs, replace(work, lengths=real.lengths), workers)
            load = os.getloadavg()[0]
            ratio = before / real.wall
            yield f"{label:<52s}{workers:>8d}{before:>13.1f}{real.wall:>12.1f}{ratio:>7.2f}{load:>6.1f}"


def numbers(text: str) -> list[int]:
    return [int(float(part)) for part in text.split(",")]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = options.add_argument
    add("--gpus", type=numbers, default=[1, 10, 100, 1000], help="default: 1,10,100,1000")
    add("--runs", type=numbers, default=[100, 10_000, 1_000_000], help="default: 100,1e4,1e6")
    add("--store", choices=STORES, default="object", help="where results are (default: object)")
    add("--epoch-seconds", type=float, default=1.0, help="of a GPU, for one model: an estimate (default: 1)")
    add("--further", type=float, default=0.1, help="and for each further one of a stack, as a part: an estimate (0.1)")
    add("--fits", type=int, default=64, help="models that a GPU holds: an estimate (default: 64)")
    add("--compact-every", type=int, default=0, help="runs after which another process compacts (0: at the end)")
    add("--costs", type=Path, help="a file that --measure wrote (default: the costs of this script)")
    add("--measure", type=Path, metavar="FILE", help="measure the costs of this machine, and write them")
    add("--check", action="store_true", help="compare predictions with real runs on this machine")
    args = options.parse_args()
    if args.measure:
        from cluster_runs import measure

        args.measure.write_text(json.dumps(measure(lambda line: print(line, flush=True)), indent=1) + "\n")
        return
    costs = Costs()
    if args.costs:
        measured = json.loads(args.costs.read_text())
        costs, STORES["local"] = replace(costs, **measured["costs"]), replace(STORES["local"], **measured["local"])
    for line in check(costs) if args.check else report(costs, args):
        print(line, flush=True)


if __name__ == "__main__":
    main()
